"""Notebooks and editions for the tests of copies: small, in the form that the build gives them."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from labsvc.course.edition import Edition
from labsvc.course.notebook import serialise, text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import pytest

    from labsvc.course.notebook import Cell, Notebook

STUB = "def answer(n):\n    raise NotImplementedError"
CHECK = 'check("22-budget", answer)'


def markdown(words: str) -> Cell:
    """Return a cell of text, with an id that follows from it."""
    return {"cell_type": "markdown", "id": name(words), "metadata": {}, "source": words}


def code(words: str, *tags: str, printed: str = "") -> Cell:
    """Return a cell of code, run if it printed something."""
    outputs = [{"output_type": "stream", "name": "stdout", "text": printed}] if printed else []
    return {
        "cell_type": "code",
        "id": name(words),
        "metadata": {"tags": list(tags)} if tags else {},
        "source": words,
        "outputs": outputs,
        "execution_count": 1 if printed else None,
    }


def name(words: str) -> str:
    """Return an id as the build makes it."""
    return hashlib.sha256(words.encode()).hexdigest()[:8]


def notebook(*cells: Cell) -> Notebook:
    """Return a notebook of these cells."""
    return {"cells": list(cells), "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def lesson(*, stub: str = STUB, more: Sequence[Cell] = (), demo: str = "demo = 1") -> Notebook:
    """Return a notebook with a demonstration and an exercise."""
    return notebook(
        markdown("# Deadlines\nSee [sources.md](sources.md)."),
        code(demo, printed="shown"),
        *more,
        markdown("## Exercise"),
        code(stub, "exercise"),
        code(CHECK, printed="22-budget: not attempted"),
    )


def edition(folder: Path, **notebooks: Notebook) -> Edition:
    """Write an edition of these notebooks and a page into a folder, and return it."""
    place = folder / "notebooks"
    (place / "source").mkdir(parents=True, exist_ok=True)
    (place / "sources.md").write_text("[22_deadlines](22_deadlines.ipynb#exercise)\n")
    for title, each in notebooks.items():
        (place / f"{title.removeprefix('n')}.ipynb").write_bytes(serialise(each))
    return Edition(folder)


def texts(book: Notebook) -> list[str]:
    """Return what stands in the cells."""
    return [text(cell) for cell in book["cells"]]


def save_in_parts(monkeypatch: pytest.MonkeyPatch, path: Path, *contents: bytes) -> None:
    """Let a file hold the next one of these each time that somebody waits for a save to end.

    JupyterLab writes in some milliseconds: a real save would seldom be seen half.
    """
    left = iter(contents)
    clock = SimpleNamespace(sleep=lambda _: path.write_bytes(next(left)))
    monkeypatch.setattr("labsvc.course.notebook.time", clock)


def change(book: Notebook, old: str, new: str, **more: Any) -> Notebook:
    """Return the notebook with another text in one cell, as a learner types it."""
    cells = [
        {**cell, "source": new, **more} if text(cell) == old else cell for cell in book["cells"]
    ]
    return {**book, "cells": cells}
