"""The course as this checkout has it: its notebooks by name, as a learner gets them."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import quote

from labsvc.course.notebook import Notebook, parse, text, without_outputs
from labsvc.errors import LabError

PARTS = {
    "0": "start",
    "1": "contracts",
    "2": "calls",
    "3": "HTTP",
    "4": "network",
    "5": "messages and state",
    "6": "operating",
}
"""The parts of the course, by the first digit of a notebook."""

LESSON = re.compile(r"[0-9]{2}_\w+\.ipynb")
TEST_OUT = re.compile(r"T[0-9]_\w+\.ipynb")
LINK = re.compile(r"(?<=\]\()(\w+\.(?:ipynb|md))(?=[)#])")
SOURCE = Path("notebooks", "source")


class Edition:
    """The notebooks and pages of one checkout.

    Args:
        folder: the checkout; without it, the one that this package lies in.

    Raises:
        LabError: there are no notebooks.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or Path(__file__).parents[2]) / "notebooks"
        names = sorted(path.name for path in self.folder.glob("*.ipynb"))
        self.lessons = [name for name in names if LESSON.fullmatch(name)]
        self.test_outs = [name for name in names if TEST_OUT.fullmatch(name)]
        self.pages = sorted(path.name for path in self.folder.glob("*.md"))
        if not self.lessons:
            msg = (
                f"There are no notebooks in {self.folder}. Get the course with `git clone`,"
                " and run this in the folder that you got."
            )
            raise LabError(msg)

    def named(self, number: str) -> str:
        """Return the file's name of a notebook, "22_deadlines.ipynb" for "22".

        Raises:
            LabError: there is no such notebook; the message lists those there are.

        """
        for name in (*self.lessons, *self.test_outs):
            if name[:2] == number:
                return name
        there = ", ".join(name[:2] for name in self.lessons)
        msg = f"there is no notebook {number!r}; choose one of: {there}"
        raise LabError(msg)

    def notebook(self, name: str) -> Notebook:
        """Return a notebook without outputs, with links that hold in a learner's copy.

        Raises:
            LabError: the checkout's own file is broken.

        """
        path = self.folder / name
        notebook = parse(path.read_bytes())
        if notebook is None:
            msg = f"{path} is broken; restore it with `git checkout -- {path.name}` in its folder"
            raise LabError(msg)
        cells = [
            {**cell, "source": _linked(text(cell), "../")}
            if cell["cell_type"] == "markdown"
            else {**cell, "source": text(cell)}
            for cell in notebook["cells"]
        ]
        return without_outputs({**notebook, "cells": cells})

    def page(self, name: str) -> bytes:
        """Return a page, with links that hold in a learner's copy."""
        return _linked((self.folder / name).read_text(encoding="utf-8"), "").encode()


def place(name: str) -> str:
    """Return where a notebook or a page stands in a copy: "2 calls/22_deadlines.ipynb"."""
    if not (LESSON.fullmatch(name) or TEST_OUT.fullmatch(name)):
        return name
    digit = name[1] if name.startswith("T") else name[0]
    return f"{digit} {PARTS[digit]}/{name}"


def _linked(words: str, up: str) -> str:
    return LINK.sub(lambda link: up + quote(place(link[1])), words)
