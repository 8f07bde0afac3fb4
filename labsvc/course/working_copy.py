"""A folder that belongs to a learner: the course's notebooks by part, and nothing else to see.

Beside them lies `.labsvc`, which JupyterLab does not show:
    course.json   marks the folder as a copy
    bases/        each notebook as it came, by its digest: what a merge compares with
    good/         each notebook as it was last saved whole
    progress.json what is solved in this copy
    updating      is there while an update is at work, or was interrupted
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.course.edition import LESSON, TEST_OUT, place
from labsvc.course.notebook import base_of, digest, parse, serialise, text, with_base
from labsvc.errors import LabError
from labsvc.folders import data_folder, write_whole

if TYPE_CHECKING:
    from labsvc.course.notebook import Cell, Notebook

HIDDEN = ".labsvc"
MARK = Path(HIDDEN, "course.json")
FIRST = "00_start_here.ipynb"
WELCOME = "labsvc-welcome"


class WorkingCopy:
    """The copy in one folder, which need not be there yet.

    Args:
        folder: where it lies; without it, in the learner's data folder.

    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = (folder or data_folder() / "course").resolve()
        self.hidden = self.folder / HIDDEN
        self.lock = self.hidden / "lock"
        self.updating = self.hidden / "updating"

    @property
    def made(self) -> bool:
        """Whether the copy is there."""
        return (self.folder / MARK).is_file()

    def make(self) -> None:
        """Mark the folder as a copy, so far without notebooks.

        Raises:
            LabError: the folder holds something else.
            OSError: it cannot be written.

        """
        there = self.folder.iterdir() if self.folder.is_dir() else ()
        if any(entry.name != HIDDEN for entry in there):
            msg = (
                f"{self.folder} holds something else than a copy of the course, so nothing in it"
                " was touched. Name a new folder, or an empty one: labsvc lab --into FOLDER"
            )
            raise LabError(msg)
        self.hidden.mkdir(parents=True, exist_ok=True)
        self.updating.touch()
        write_whole(self.folder / MARK, json.dumps({"format": 1}).encode())

    def path(self, name: str) -> Path:
        """Return where a notebook or a page belongs."""
        return self.folder / place(name)

    def good(self, name: str) -> Path:
        """Return where a notebook's last whole version is kept."""
        return self.hidden / "good" / name

    def written(self) -> list[Path]:
        """Return the folders that an update writes into."""
        return [
            self.folder,
            *self.folder.glob("[0-9] */"),
            self.hidden / "bases",
            self.hidden / "good",
        ]

    def names(self) -> list[str]:
        """Return the names of the course's notebooks that are in the copy."""
        found = (path for path in self.folder.glob("[0-9] */*.ipynb") if self.holds(path))
        return sorted(path.name for path in found)

    def holds(self, path: Path) -> bool:
        """Return whether a path is that of one of the course's notebooks."""
        known = LESSON.fullmatch(path.name) or TEST_OUT.fullmatch(path.name)
        return bool(known) and path == self.path(path.name)

    def base(self, notebook: Notebook) -> Notebook | None:
        """Return what a notebook was made from, None if that cannot be told.

        An editor may have thrown away what the notebook says of it. Then it is the base that
        shares most cells with it.
        """
        named = base_of(notebook)
        if named is not None and (base := self._stored(named)) is not None:
            return base
        ids = {cell.get("id") for cell in notebook["cells"]}
        stored = (self._stored(path.stem) for path in sorted((self.hidden / "bases").glob("*")))
        shared = [
            (len(ids & {cell["id"] for cell in base["cells"]}), base)
            for base in stored
            if base is not None
        ]
        most, likeliest = max(shared, key=lambda pair: pair[0], default=(0, None))
        return likeliest if most else None

    def remember(self, base: Notebook) -> str:
        """Store what a notebook is made from; return its digest."""
        name = digest(base)
        path = self.hidden / "bases" / f"{name}.ipynb"
        if self._stored(name) is None:
            write_whole(path, serialise(base))
        return name

    def begin(self, name: str, notebook: Notebook) -> None:
        """Write a notebook as an edition has it, over what is there."""
        base = self.remember(notebook)
        self.write(name, self.welcomed(notebook) if name == FIRST else notebook, base)

    def write(self, name: str, notebook: Notebook, base: str, over: bytes | None = None) -> bool:
        """Write a notebook that was made from `base`, and keep it as the last good one.

        With `over`, only if its file still holds that. Returns whether it was written.
        """
        content = serialise(with_base(notebook, base))
        written = write_whole(self.path(name), content, over)
        if written:
            write_whole(self.good(name), content)
        return written

    def welcomed(self, notebook: Notebook) -> Notebook:
        """Return the first notebook with a cell that says where this copy lies."""
        words = (
            f"> **This copy is yours.** It lies in `{self.folder}`. Change what you like: the"
            " course keeps the original. In a terminal, `labsvc reset 00` gives a notebook back"
            " as it came, and `labsvc update` brings a newer edition in and keeps your answers."
        )
        welcome: Cell = {"cell_type": "markdown", "id": WELCOME, "metadata": {}, "source": words}
        others = [cell for cell in notebook["cells"] if cell.get("id") != WELCOME]
        return {**notebook, "cells": [welcome, *others]}

    def welcome(self) -> None:
        """Say in the first notebook where the copy lies now, if it lay elsewhere."""
        path = self.path(FIRST)
        notebook = parse(path.read_bytes()) if path.is_file() else None
        if notebook is None or not (base := base_of(notebook)):
            return
        old = [text(cell) for cell in notebook["cells"] if cell.get("id") == WELCOME]
        if old and f"`{self.folder}`" not in old[0]:
            self.write(FIRST, self.welcomed(notebook), base)

    def _stored(self, name: str) -> Notebook | None:
        try:
            return parse((self.hidden / "bases" / f"{name}.ipynb").read_bytes())
        except OSError:
            return None


def copy_around(folder: Path) -> WorkingCopy | None:
    """Return the copy that a folder lies in, None if it lies in none."""
    for parent in (folder, *folder.parents):
        if (parent / MARK).is_file():
            return WorkingCopy(parent)
    return None
