"""How long a learner waits for the first cell of the course, and for a newer edition of it."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labsvc.course import Edition, WorkingCopy, bring, ready
from labsvc.course.notebook import serialise
from tests.bench.bench_row import Row
from tests.browser.driver import browser, checkout, chromium, jupyterlab

if TYPE_CHECKING:
    from collections.abc import Iterator

STARTS = 5


def course_copy() -> Iterator[Row]:
    """Open JupyterLab in a browser, and update a copy in which every notebook was run."""
    times = []
    with tempfile.TemporaryDirectory() as scratch:
        if chromium() is not None:
            first, later = _first_cell(Path(scratch))
            detail = f"in Chromium; {first:.1f} s with the copy to be made, then median of {STARTS}"
            yield Row("labsvc lab to the first rendered cell", later, 6, "s", detail)
        for number in range(STARTS):
            seconds, notebooks = _update(Path(scratch, f"update{number}"))
            times.append(seconds)
    detail = f"{notebooks} notebooks, each changed by the edition, with outputs; median of {STARTS}"
    yield Row("update of all notebooks", statistics.median(times), 3, "s", detail)


def _first_cell(scratch: Path) -> tuple[float, float]:
    """Return the seconds from the command to the cell, of the first start and of later ones."""
    course = checkout(scratch / "start")
    times = []
    with browser() as running:
        for _ in range(STARTS + 1):
            page = running.new_page()
            began = time.monotonic()
            with jupyterlab(course, scratch / "data") as lab:
                page.goto(lab.start)
                page.wait_for_selector(".jp-Notebook .jp-Cell")
                times.append(time.monotonic() - began)
                page.close()
    return times[0], statistics.median(times[1:])


def _update(folder: Path) -> tuple[float, int]:
    """Return the seconds of an update, and of how many notebooks."""
    course = checkout(folder)
    own, copy = course / "notebooks", WorkingCopy(folder / "mine")
    ready(copy, Edition(course))
    lessons = Edition(course).lessons
    for name in lessons:
        shown: dict[str, Any] = json.loads((own / name).read_bytes())
        run = {cell["id"]: cell for cell in shown["cells"]}
        mine = json.loads(copy.path(name).read_bytes())
        mine["cells"] = [run.get(cell["id"], cell) for cell in mine["cells"]]
        copy.path(name).write_bytes(serialise(mine))
        shown["cells"][3] |= {"id": "newer", "source": "What the newer edition says."}
        (own / name).write_bytes(serialise(shown))
    os.environ["LABSVC_DATA_DIR"] = str(folder / "own")
    began = time.monotonic()
    bring(copy, Edition(course))
    return time.monotonic() - began, len(lessons)
