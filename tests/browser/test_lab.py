"""Notebook 00 in JupyterLab in a real browser, as a learner meets it after `make lab`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nbformat
import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.driver import Notebook

EXERCISE = "00-order-again"


def last(cells: list[Any], text: str) -> int:
    """Return which cell is the last code that contains `text`."""
    return max(i for i, c in enumerate(cells) if c.cell_type == "code" and text in c.source)


def test_pictures_have_alternative_text(notebook: Notebook) -> None:
    """After Run All every cell is done, and a reader of the screen hears what each plot shows."""
    pictures = notebook.page.locator(".jp-OutputArea-output img")
    texts = pictures.evaluate_all("pictures => pictures.map(picture => picture.alt)")
    assert texts
    assert all(texts), texts


def test_console_is_clean(notebook: Notebook) -> None:
    """Opening and running the notebook logs no error in the browser's console."""
    assert notebook.complaints == []


def test_nothing_leaves_this_machine(notebook: Notebook) -> None:
    """Every request and every websocket goes to 127.0.0.1."""
    assert any("/api/kernels/" in url for url in notebook.requests if url.startswith("ws:"))
    assert notebook.away() == []


def test_nothing_pops_up(notebook: Notebook) -> None:
    """No news, no offer of an update and no dialog comes up."""
    assert notebook.popups() == 0


def test_exercise_turns_solved(notebook: Notebook, course: Path, data: Path) -> None:
    """An exercise that is typed in goes from not attempted to solved, and progress shows it."""
    name = "00_start_here.ipynb"
    learner = nbformat.read(data / "course" / "0 start" / name, 4).cells
    solved = nbformat.read(course / "notebooks" / "solutions" / name, 4).cells
    checked = last(learner, f'check("{EXERCISE}"')
    stub = last(learner[:checked], "NotImplementedError")
    answer = solved[last(solved[: last(solved, f'check("{EXERCISE}"')], "# solution")]
    shown = last(learner, "progress(")

    assert f"{EXERCISE}: not attempted" in notebook.output(checked)
    assert "0 of " in notebook.output(shown)
    notebook.write(stub, answer.source)
    notebook.run(stub)
    notebook.run(checked)
    assert f"{EXERCISE}: solved" in notebook.output(checked)
    notebook.run(shown)
    assert "1 of " in notebook.output(shown)


def test_restarted_kernel_runs_all_again(notebook: Notebook) -> None:
    """After a restart every cell runs again, from number 1 on."""
    notebook.restart_and_run_all()
    prompts = notebook.page.locator(".jp-CodeCell .jp-InputArea-prompt").all_inner_texts()
    assert [prompt.strip() for prompt in prompts] == [f"[{n + 1}]:" for n in range(len(prompts))]


@pytest.mark.parametrize(("cell", "word"), [(1, "calling"), (2, "waiting")])
def test_stop_button_ends_a_hung_cell(hung: Notebook, cell: int, word: str) -> None:
    """The stop button ends a call without a deadline, and an await, within two seconds."""
    hung.start(cell)
    hung.cell(cell).locator(f'.jp-OutputArea-output:has-text("{word}")').wait_for()
    hung.page.click('.jp-NotebookPanel-toolbar [data-command="notebook:interrupt-kernel"]')
    hung.finish(cell, patience=2000)
    assert "KeyboardInterrupt" in hung.output(cell) or "CancelledError" in hung.output(cell)
    hung.run(3)
    assert hung.output(3).strip() == "42"
