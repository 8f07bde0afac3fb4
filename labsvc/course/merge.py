"""What a learner wrote, carried over into a newer edition of a notebook.

Three notebooks take part: `base`, which the learner began with, `mine`, what became of it, and
`theirs`, the newer edition. The result is `theirs` cell by cell, with
    - a cell that the learner changed, where the edition left it as it was;
    - outputs of the cells that neither changed;
    - the learner's own cells, behind the cell that they stood behind.
A cell that both changed is the edition's; the learner's version stands behind it, an answer to an
exercise as code that still runs, all else as text. Nothing that a learner wrote is left out.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from labsvc.course.notebook import keys, text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.course.notebook import Cell, Notebook

BEHIND = "**From your copy.** This edition changed the exercise above. Your answer stands below."
GONE = "**From your copy.** This edition changed a cell here. Your version of it was:"


@dataclass(frozen=True)
class Merged:
    """A notebook with both sides in it, and how many cells stand beside the new ones."""

    notebook: Notebook
    answers_beside: int
    texts_beside: int


def merge(base: Notebook, mine: Notebook, theirs: Notebook) -> Merged:
    """Return the newer edition of a notebook with all that the learner wrote in it."""
    base_cells = dict(zip(keys(base), base["cells"], strict=True))
    their_cells = dict(zip(keys(theirs), theirs["cells"], strict=True))
    changed: dict[str, Cell] = {}
    behind: dict[int, list[Cell]] = defaultdict(list)
    places = _places(list(base_cells), list(their_cells))
    known = _known(base, mine)
    answers = texts = 0
    for cell, (key, place) in zip(mine["cells"], known, strict=True):
        where = places[place]
        if key is None:
            behind[where].append(cell)
        elif text(cell) == text(base_cells[key]):
            if key in their_cells and text(cell) == text(their_cells[key]):
                changed[key] = cell  # for its outputs
        elif key in their_cells and text(base_cells[key]) == text(their_cells[key]):
            changed[key] = cell
        elif text(cell) == text(their_cells.get(key, base_cells[key])):
            continue  # the edition says what the learner said
        elif "/" in key:
            behind[where] += _answer(cell)
            answers += 1
        elif text(cell).strip():
            behind[where].append(_quoted(cell))
            texts += 1
    cells = list(behind[-1])
    for place, (key, cell) in enumerate(their_cells.items()):
        cells.append(_taken(cell, changed[key]) if key in changed else cell)
        cells += behind[place]
    whole = {**theirs, "metadata": {**mine.get("metadata", {}), **theirs["metadata"]}}
    return Merged({**whole, "cells": _distinct(cells)}, answers, texts)


def _known(base: Notebook, mine: Notebook) -> list[tuple[str | None, int]]:
    """Return for each cell of `mine` its key in `base`, or None, and the place it stands at.

    A learner's own cell stands at the place before it in `base`; where base cells behind that are
    missing in `mine`, at the last of those, for it may be what became of them.
    """
    base_keys = keys(base)
    origins = _origins(base["cells"], mine["cells"])
    found: list[tuple[str | None, int]] = []
    at = -1
    for origin in origins:
        if origin is None:
            end = at
            while end + 1 < len(base_keys) and end + 1 not in origins:
                end += 1
            found.append((None, end))
        else:
            at = origin
            found.append((base_keys[origin], origin))
    return found


def _origins(base: Sequence[Cell], mine: Sequence[Cell]) -> list[int | None]:
    """Return for each cell of `mine` its place in `base`, None for a learner's own.

    A cell that lost its id, by cut and paste or in an old editor, is known by its text.
    """
    by_id = {cell["id"]: place for place, cell in enumerate(base)}
    origins = [by_id.pop(cell.get("id"), None) for cell in mine]
    for number, cell in enumerate(mine):
        if origins[number] is None:
            lost = (place for place in sorted(by_id.values()) if text(base[place]) == text(cell))
            place = next(lost, None)
            if place is not None:
                by_id.pop(base[place]["id"])
            origins[number] = place
    return origins


def _places(base: Sequence[str], theirs: Sequence[str]) -> dict[int, int]:
    """Return for each place in `base` the one in `theirs` that it corresponds to.

    In a stretch that was replaced that is the end of what replaced it. Before the first is -1.
    """
    places = {-1: -1}
    for what, low, high, start, end in SequenceMatcher(None, base, theirs, False).get_opcodes():  # noqa: FBT003  # the name of this flag is junk
        for place in range(low, high):
            places[place] = start + place - low if what == "equal" else end - 1
    return places


def _taken(new: Cell, old: Cell) -> Cell:
    """Return the learner's cell with what the edition says about it, such as its tags."""
    return {**old, "id": new["id"], "metadata": {**old.get("metadata", {}), **new["metadata"]}}


def _answer(cell: Cell) -> list[Cell]:
    """Return a note and the learner's answer, as code to be run behind the new cell."""
    return [_note(BEHIND), {**cell, "id": _name(text(cell)), "metadata": {}}]


def _quoted(cell: Cell) -> Cell:
    """Return a learner's version of a cell as text, for run twice it could disturb the new one."""
    fence = "`" * max(3, 1 + max(map(len, re.findall("`+", text(cell))), default=0))
    language = "python" if cell["cell_type"] == "code" else ""
    return _note(f"{GONE}\n\n{fence}{language}\n{text(cell)}\n{fence}")


def _note(words: str) -> Cell:
    return {"cell_type": "markdown", "id": _name(words), "metadata": {}, "source": words}


def _name(words: str) -> str:
    return hashlib.sha256(f"beside\n{words}".encode()).hexdigest()[:8]


def _distinct(cells: list[Cell]) -> list[Cell]:
    """Return the cells with an id each: one that is taken gets another."""
    seen: set[str] = set()
    distinct = []
    for cell in cells:
        name = str(cell.get("id") or _name(text(cell)))
        number = 1
        while name in seen:
            number += 1
            name = f"{_name(text(cell))}-{number}"
        seen.add(name)
        distinct.append({**cell, "id": name})
    return distinct
