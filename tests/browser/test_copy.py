"""A learner's own copy in JupyterLab: the first run, an update, and a save that is cut short."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

from labsvc import until
from labsvc.course.notebook import parse
from tests.browser.driver import browser, checkout, chromium, command, jupyterlab, opened
from tests.browser.test_lab import EXERCISE, last

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.browser.driver import Notebook

pytestmark = pytest.mark.skipif(chromium() is None, reason="no Chromium or Chrome on PATH")

PARTS = [
    "0 start",
    "1 contracts",
    "2 calls",
    "3 HTTP",
    "4 network",
    "5 messages and state",
    "6 operating",
]
FIRST = "0 start/00_start_here.ipynb"
SYMPTOM = "too_many_pings"
IN_VIEW = """heading => {
    const box = heading.getBoundingClientRect();
    return box.height && box.top > 0 && box.bottom < innerHeight;
}"""
SAVES = 3


@pytest.fixture(scope="module")
def chromium_running() -> Iterator[Browser]:
    """Run Chromium."""
    with browser() as running:
        yield running


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """Make a checkout that the test may turn into a newer edition."""
    return checkout(tmp_path / "checkout")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Name a data folder that is not there yet."""
    return tmp_path / "data"


def cells(path: Path) -> list[Any]:
    """Return the cells of a notebook's file."""
    found: list[Any] = nbformat.read(path, 4).cells
    return found


def save(notebook: Notebook) -> None:
    """Press the keys for saving."""
    notebook.page.keyboard.press("ControlOrMeta+s")


def test_the_first_run_opens_a_copy(course: Path, data: Path, chromium_running: Browser) -> None:
    """The first screen says where it lies; the list has the parts; nothing was run before."""
    with jupyterlab(course, data) as lab:
        notebook = opened(chromium_running, lab.start)
        welcome = notebook.page.locator('strong:text-is("This copy is yours.")')
        welcome.wait_for()
        assert welcome.is_visible()
        assert str(data / "course") in notebook.page.inner_text(".jp-Notebook")
        notebook.page.click(".jp-BreadCrumbs-home")
        notebook.page.wait_for_function(
            "count => document.querySelectorAll('.jp-DirListing-itemText').length >= count",
            arg=len(PARTS),
        )
        listed = notebook.page.locator(".jp-DirListing-itemText").all_inner_texts()
        assert [name for name in listed if not name.endswith(".md")] == PARTS
        assert notebook.page.locator(".jp-OutputArea-output").count() == 0
        assert notebook.popups() == 0
        notebook.page.close()
    assert cells(course / "notebooks" / "00_start_here.ipynb")[-1].outputs is not None


def test_a_symptom_leads_to_its_section(
    course: Path, data: Path, chromium_running: Browser
) -> None:
    """The page of symptoms is shown as a page; its links open a notebook and find the section."""
    with jupyterlab(course, data) as lab:
        notebook = opened(chromium_running, lab.start)
        page = notebook.page
        page.locator('.jp-Notebook a:text-is("symptoms.md")').click()
        link = page.locator(f'.jp-MarkdownViewer a:text-is("21 {SYMPTOM}")')
        link.click()
        section = page.locator(f'.jp-Notebook h2:has-text("Pitfall: {SYMPTOM}")')
        section.wait_for(state="attached")
        page.click('.lm-TabBar-tabLabel:text-is("symptoms.md")')
        link.click()
        page.wait_for_function(IN_VIEW, arg=section.element_handle())
        page.close()


@pytest.mark.timeout(240)
def test_an_answer_outlives_an_update(course: Path, data: Path, chromium_running: Browser) -> None:
    """Typed, checked and saved; after a newer edition came it is there and is still solved."""
    path = data / "course" / FIRST
    own = course / "notebooks" / "00_start_here.ipynb"
    with jupyterlab(course, data) as lab:
        notebook = opened(chromium_running, lab.start)
        place, checked = exercise(cells(path))
        solved = cells(course / "notebooks" / "solutions" / own.name)
        answer = solved[exercise(solved, "# solution")[0]].source
        notebook.run_all()
        notebook.write(place, answer)
        notebook.run(place)
        notebook.run(checked)
        assert f"{EXERCISE}: solved" in notebook.output(checked)
        save(notebook)
        written(path, "# solution")
        notebook.page.close()
        newer(own)
        said = command(course, data, "update")
        assert f"{own.name} is updated." in said
        again = opened(chromium_running, lab.at(FIRST, view="lab/workspaces/again/tree"))
        assert "What a newer edition says." in again.page.inner_text(".jp-Notebook")
        place, checked = exercise(cells(path), "# solution")
        assert again.cell(place).locator(".cm-content").inner_text().strip() == answer.strip()
        again.run_all()
        assert f"{EXERCISE}: solved" in again.output(checked)
        again.page.close()


def exercise(book: list[Any], mark: str = "NotImplementedError") -> tuple[int, int]:
    """Return which cell is the exercise, and which checks it."""
    checked = last(book, f'check("{EXERCISE}"')
    return last(book[:checked], mark), checked


def newer(own: Path) -> None:
    """Turn the checkout's first notebook into that of a newer edition."""
    book = json.loads(own.read_text(encoding="utf-8"))
    book["cells"][0]["source"].append("\n\nWhat a newer edition says.")
    book["cells"][0]["id"] = "newer"
    own.write_text(json.dumps(book), encoding="utf-8")


@pytest.mark.timeout(400)  # it starts JupyterLab seven times
def test_a_save_that_is_cut_short(course: Path, data: Path, chromium_running: Browser) -> None:
    """Page, kernel and server end in the middle of a save: the file is whole at the next start.

    At the end half a file is left, as a full disk leaves it: what was saved before is back.
    """
    path = data / "course" / FIRST
    kept = 0
    for number in range(SAVES):
        with jupyterlab(course, data) as lab:
            view = f"lab/workspaces/save{number}/tree"
            notebook = opened(chromium_running, lab.at(FIRST, view))
            place = last(cells(path), "lab.stop()")
            notebook.write(place, f"lab.stop()\nmine = {number}")
            save(notebook)
            if number:
                notebook.page.wait_for_timeout(20 * number)
            else:
                written(path, "mine = 0")
            lab.process.kill()
            notebook.page.close()
        # JupyterLab empties a file before it writes it: only the next start says what is kept.
        with jupyterlab(course, data):
            said = [cell.source for cell in cells(path)]
        answers = [re.search(r"mine = (\d+)", words) for words in said]
        (found,) = [int(answer[1]) for answer in answers if answer]
        assert found in (kept, number)
        kept = found
    path.write_bytes(path.read_bytes()[:5000])
    with jupyterlab(course, data) as lab:
        assert f"mine = {kept}" in cells(path)[last(cells(path), "lab.stop()")].source
        assert "was broken" in (data / "jupyterlab.log").read_text()


def written(path: Path, words: str) -> None:
    """Wait until a notebook's file is whole and holds these words: half of it comes before."""

    def saved() -> bool:
        content = path.read_bytes()
        return parse(content) is not None and words.encode() in content

    until(saved, timeout=60)
