from __future__ import annotations

import json
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from build import sockets_in
from nbclient import NotebookClient

import labsvc
from labsvc.checks import solution
from labsvc.checks.catalogue import notebooks
from labsvc.checks.progress import record
from labsvc.course import places
from labsvc.errors import LabError

if TYPE_CHECKING:
    from pathlib import Path

IDS = [key for each in notebooks().values() for key in each.exercises]


def cell(source: str, *tags: str) -> dict[str, Any]:
    """Return a code cell as it is stored."""
    lines = source.splitlines(keepends=True)
    return {"cell_type": "code", "metadata": {"tags": list(tags)}, "source": lines}


@pytest.fixture
def course(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to a course of its own, without any solution."""
    (tmp_path / "notebooks" / "source").mkdir(parents=True)
    (tmp_path / "notebooks" / "solutions").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("exercise", IDS)
def test_every_exercise_has_a_solution(exercise: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The solutions that come with the course are found, and are code."""
    assert labsvc.solution is solution
    record(exercise, "solved")
    solution(exercise)
    code = capsys.readouterr().out
    assert "    # solution\n" in code
    compile(code, exercise, "exec")


def test_the_cell_before_the_check_is_the_one(
    course: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two exercises, each gets the tagged cell above its own check."""
    cells = [
        cell("def one():\n    return 1", "exercise"),
        {"cell_type": "markdown", "metadata": {}, "source": "words"},
        cell('check("22-pass-on", one)'),
        cell("def two():\n    return 2", "exercise"),
        cell('check("22-budget", two)'),
    ]
    path = course / "notebooks" / "solutions" / "22_deadlines.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    record("22-pass-on", "solved")
    solution("22-pass-on")
    assert capsys.readouterr().out == "def one():\n    return 1\n"
    solution("22-budget")
    assert capsys.readouterr().out == (
        'not solved yet: hint("22-budget") gives less away\ndef two():\n    return 2\n'
    )


def test_without_the_course(course: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A course without the notebook, one that is torn, and no course are each a sentence."""
    with pytest.raises(LabError, match=f"{course} has none; work in the folder .*git clone"):
        solution("22-budget")
    path = course / "notebooks" / "solutions" / "22_deadlines.ipynb"
    for torn in ('{"cells": [', "[]", '{"cells": [1]}'):
        path.write_text(torn)
        with pytest.raises(LabError, match="cannot be read"):
            solution("22-budget")
    path.write_text('{"cells": []}')
    with pytest.raises(LabError, match="no cell with the solution of 22-budget"):
        solution("22-budget")
    (course / "notebooks" / "source").rmdir()
    monkeypatch.setattr(places, "__file__", str(tmp_path / "a" / "b" / "c" / "d"))
    with pytest.raises(LabError, match="no folder of the course is here; work in the folder"):
        solution("22-budget")


def test_solution_of_an_unknown_exercise() -> None:
    """A mistyped id is the error that `check` raises."""
    with pytest.raises(LabError, match="no exercise '22-bugdet'; choose one of: 00-order-again"):
        solution("22-bugdet")


def test_solution_in_a_kernel() -> None:
    """A notebook shows it as highlighted Python, below the line that it is not solved."""
    v4: Any = nbformat.v4
    source = "from labsvc import solution\nsolution('01-percentile')"
    notebook = v4.new_notebook(cells=[v4.new_code_cell(source)])
    with TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=60, config=sockets_in(folder)).execute()
    said, shown = notebook.cells[0].outputs
    assert said.text == 'not solved yet: hint("01-percentile") gives less away\n'
    assert shown.data["text/markdown"].startswith("```python\ndef p99(latencies")
    assert shown.data["text/plain"].startswith("def p99(latencies")
