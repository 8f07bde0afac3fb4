"""`labsvc symptom` as a person meets it: what is printed, how wide, and the exit codes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from labsvc.__main__ import main
from labsvc.symptoms import answer, symptom
from labsvc.symptoms.answer import ABSENT, USAGE, WIDTH, told
from labsvc.symptoms.index import load
from labsvc.symptoms.match import Match

COMMAND = (sys.executable, "-m", "labsvc", "symptom")
TRACEBACK = Path(__file__).parent / "pasted" / "30_pool.txt"
HEAVY = ("grpc", "aio_pika", "httpx2", "numpy", "matplotlib", "yaml")


def test_answer_says_all_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    """A match is the symptom, its cause, fix and setting, and the notebook with the section."""
    assert main(["symptom", "too_many_pings"]) == 0
    said = capsys.readouterr().out
    for part in (
        "1. too_many_pings\n",
        "   symptom   too_many_pings\n",
        "   cause     the server allows fewer\n",
        "   fix       interval and permit\n",
        "   setting   grpc.http2.min_ping_interval_without_data_ms\n",
        '   where     21_outages.ipynb, "Pitfall: too_many_pings"\n',
    ):
        assert part in said


def test_no_line_is_too_wide() -> None:
    """Whatever is found, lines are 80 columns at most, without the marks of Markdown."""
    for entry in load().entries:
        said = told(1, Match(entry, 1.0))
        assert max(map(len, said.splitlines())) <= WIDTH
        assert "`" not in said
    for text in (ABSENT, USAGE):
        assert max(map(len, text.splitlines())) <= WIDTH


def test_three_matches_at_most() -> None:
    """A word that much of the course has gets three answers, not thirty."""
    said, code = answer("timeout")
    assert code == 0
    assert said.count("\n   where") == 3


def test_unknown_is_said_honestly() -> None:
    """What the course does not treat is a sentence and exit code 1."""
    assert answer("center a div with css flexbox") == (ABSENT, 1)
    assert ABSENT.startswith("Not in this course")


@pytest.mark.parametrize("text", ["", "   ", "\n\n", "?!", "..."])
def test_nothing_asked_is_told_how(text: str) -> None:
    """An empty question gets a sentence on what to type, and exit code 2."""
    assert answer(text) == (USAGE, 2)


def test_terminal_without_words_does_not_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without words on a terminal nothing is read."""
    monkeypatch.setattr("sys.stdin", type("Terminal", (), {"isatty": lambda _: True})())
    assert symptom([]) == (USAGE, 2)


@pytest.mark.parametrize("arguments", [(), ("-",)])
def test_traceback_comes_from_a_pipe(arguments: tuple[str, ...]) -> None:
    """A pipe is read with "-" and without any word."""
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=TRACEBACK.read_bytes(),
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0
    assert done.stdout.decode().startswith("1. the bank is slow, and the price page is down")
    assert done.stderr == b""


def test_words_win_over_a_pipe() -> None:
    """What is typed is looked for even where standard input is a pipe."""
    done = subprocess.run(
        [*COMMAND, "too_many_pings"], input=b"Socket closed", capture_output=True, check=True
    )
    assert done.stdout.startswith(b"1. too_many_pings")


def test_no_heavy_package_is_loaded() -> None:
    """The command starts at once: no client of a service and no plotting is imported."""
    code = "import json, sys; from labsvc.symptoms import answer; answer('x'); "
    code += "print(json.dumps(list(sys.modules)))"
    loaded = json.loads(subprocess.check_output([sys.executable, "-c", code]))
    assert {name.partition(".")[0] for name in loaded}.isdisjoint(HEAVY)
