from __future__ import annotations

import re

import pytest

from labsvc.checks import progress
from labsvc.checks.catalogue import Notebook, Texts, notebooks
from labsvc.checks.progress import forget, record
from labsvc.checks.registry import listed
from labsvc.checks.testing_out import is_test_out, known_parts, notebook_of
from labsvc.errors import LabError

LESSONS = [key for key in listed() if not is_test_out(key)]


def shown(capsys: pytest.CaptureFixture[str], notebook: str | None = None) -> dict[str, str]:
    """Return the state of each exercise that `progress` shows; its sum has the key ""."""
    capsys.readouterr()
    progress(notebook)
    *rows, total = capsys.readouterr().out.splitlines()
    return {row.split()[0]: re.split(r" {2,}", row)[-1] for row in rows} | {"": total}


def test_a_solved_test_out_makes_its_part_known(capsys: pytest.CaptureFixture[str]) -> None:
    """What is left of the part is known, what was solved stays solved, and nothing else changes."""
    record("22-budget", "solved")
    record("22-pass-on", "not solved")
    record("01-percentile", "solved")
    record("T2-front", "solved")
    said = shown(capsys)
    assert said["22-budget"] == "solved"
    assert said["22-pass-on"] == said["27-credit"] == "known"
    assert said["01-open-loop"] == said["12-strict-door"] == "not attempted"
    assert said["T2-front"] == "solved"
    assert said[""] == f"2 of {len(LESSONS)} solved, part 2 known by test-out"
    assert shown(capsys, "22")[""] == "1 of 2 solved, part 2 known by test-out"
    assert shown(capsys, "T2")[""] == "1 of 1 solved, part 2 known by test-out"
    assert shown(capsys, "01")[""] == "1 of 2 solved"


def test_a_reset_makes_it_unknown_again(capsys: pytest.CaptureFixture[str]) -> None:
    """What was stored before is there again."""
    record("22-pass-on", "not solved")
    record("T2-front", "solved")
    forget("T2")
    said = shown(capsys)
    assert said["22-pass-on"] == "not solved"
    assert said["22-budget"] == "not attempted"
    assert "T2-front" not in said
    assert said[""] == f"0 of {len(LESSONS)} solved"


def test_a_test_out_is_listed_once_it_was_tried(capsys: pytest.CaptureFixture[str]) -> None:
    """It is no task that is left; not solved, it changes nothing, and it is never counted."""
    assert "T2-front" not in shown(capsys)
    record("T2-front", "not solved")
    said = shown(capsys)
    assert said["T2-front"] == "not solved"
    assert said["22-budget"] == "not attempted"
    assert said[""] == f"0 of {len(LESSONS)} solved"


def test_all_exercises_of_a_test_out_have_to_be_solved(monkeypatch: pytest.MonkeyPatch) -> None:
    """One of two is not enough."""
    both = {"T5-one": Texts(()), "T5-two": Texts(())}
    monkeypatch.setitem(notebooks(), "T5", Notebook((), both))
    assert known_parts({"T5-one": "solved"}) == []
    assert known_parts({"T5-one": "solved", "T5-two": "solved"}) == ["5"]
    assert known_parts({"T2-front": "solved", "T5-two": "solved"}) == ["2"]


def test_the_notebook_of_a_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part has one; what is no part, and a part without one, are each a sentence."""
    assert notebook_of("2") == "T2"
    for wrong in ("9", "", "22", "T", "T2"):
        with pytest.raises(LabError, match=rf"^there is no part {wrong}; choose 0 to 6$"):
            notebook_of(wrong)
    for number in [number for number in notebooks() if is_test_out(number) and number != "T2"]:
        monkeypatch.delitem(notebooks(), number)
    with pytest.raises(LabError, match=r"^part 4 has no test-out yet; there is one for part 2$"):
        notebook_of("4")
