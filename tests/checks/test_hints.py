from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import labsvc
from labsvc.checks import check, hint, run_check
from labsvc.checks.catalogue import Texts, notebooks, texts
from labsvc.checks.hints import hint as module_hint
from labsvc.checks.progress import count_hint, forget, load, record
from labsvc.checks.registry import listed
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

LONGEST = 200
TEXTS = {key: said for each in notebooks().values() for key, said in each.exercises.items()}


def right(latencies: list[float]) -> float:
    """Return the p99 by nearest rank."""
    return sorted(latencies)[-(-len(latencies) * 99 // 100) - 1]


def sentences(text: str) -> list[str]:
    """Return the sentences of a text, in which a dot inside a name ends none."""
    return [one for one in re.split(r"(?<=[.?])\s+(?=[A-Z`])", text) if one]


def test_every_exercise_has_its_ladder() -> None:
    """The files of texts have the exercises that are registered, and no others."""
    assert set(listed()) == set(TEXTS)


@pytest.mark.parametrize("exercise", TEXTS)
def test_a_ladder_is_short_and_plain(exercise: str) -> None:
    """Two to four hints, each a sentence or two, all different."""
    said = TEXTS[exercise]
    assert 2 <= len(said.hints) <= 4
    assert len(set(said.hints)) == len(said.hints)
    for one in said.hints:
        assert one[0].isupper() or one[0] == "`"
        assert one[-1] in ".?"
        assert len(sentences(one)) <= 2
    for one in (*said.hints, said.also):
        assert len(one) <= LONGEST
        assert "\n" not in one
        assert "!" not in one
    assert not said.also or said.also.endswith(".")


def test_hints_come_one_by_one(capsys: pytest.CaptureFixture[str]) -> None:
    """Each call gives the next hint; the last one says so, and is repeated."""
    assert labsvc.hint is hint is module_hint
    ladder = TEXTS["22-budget"].hints
    for number in range(1, len(ladder) + 2):
        hint("22-budget")
        at = min(number, len(ladder))
        last = ", the last" if at == len(ladder) else ""
        assert capsys.readouterr().out == (
            f"22-budget: hint {at} of {len(ladder)}{last}\n  {ladder[at - 1]}\n"
        )


def test_hints_survive_a_restart_and_not_a_reset(capsys: pytest.CaptureFixture[str]) -> None:
    """Another kernel goes on with the next one; what a check records leaves the count alone."""
    hint("22-budget")
    record("22-budget", "not solved")
    code = "import labsvc; labsvc.hint('22-budget'); labsvc.hint('22-pass-on')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("22-budget: hint 2 of 4\n")
    assert "22-pass-on: hint 1 of 4\n" in run.stdout
    hint("01-percentile")
    forget("22")
    assert load()[0].hints == {"01-percentile": 1}
    capsys.readouterr()
    hint("22-budget")
    assert capsys.readouterr().out.startswith("22-budget: hint 1 of 4\n")


def test_a_count_beyond_a_shorter_ladder() -> None:
    """A ladder that has become shorter with an update is at its last hint."""
    assert [count_hint("22-budget", 4)[0] for _ in range(4)] == [1, 2, 3, 4]
    assert count_hint("22-budget", 2) == (2, "")


def test_hint_of_an_unknown_exercise() -> None:
    """A mistyped id is the error that `check` raises."""
    with pytest.raises(LabError) as of_check:
        run_check("22-bugdet", right)
    with pytest.raises(LabError) as of_hint:
        hint("22-bugdet")
    assert str(of_hint.value) == str(of_check.value)
    assert "choose one of: 00-order-again, 01-open-loop, " in str(of_hint.value)


def test_hint_where_nothing_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first hint is shown all the same, with a word about the folder."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("LABSVC_DATA_DIR", str(tmp_path / "file"))
    hint("01-percentile")
    said = capsys.readouterr().out
    assert TEXTS["01-percentile"].hints[0] in said
    assert f"Check the folder {tmp_path / 'file'}." in said


def test_what_the_solution_does_differently(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is a line of a verdict that is solved, and of no other."""
    notebook = notebooks()["01"]
    also = Texts(notebook.exercises["01-percentile"].hints, "the solution sorts.")
    monkeypatch.setitem(notebook.exercises, "01-percentile", also)
    assert texts("01-percentile") == also
    check("01-percentile", right)
    assert capsys.readouterr().out.splitlines()[-1] == "  also: the solution sorts."
    check("01-percentile", max)
    assert "also:" not in capsys.readouterr().out
