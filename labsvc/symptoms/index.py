"""The index of the course's pitfalls, as notebooks/build.py made it: `index.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("index.json")


@dataclass(frozen=True)
class Entry:
    """A pitfall as a row of its notebook's summary table has it, or an exercise.

    The table's cells are Markdown. `section` is a heading of the notebook. An exercise has no
    cause, and its fix is how to ask for a hint. `claims` are ids of the ledger. What finds an
    entry: `say`, sentences of people; `paste`, texts of libraries and checks; `prose`, the terms
    of its section and of its claims.
    """

    notebook: str
    section: str
    symptom: str
    cause: str
    fix: str
    setting: str
    claims: tuple[str, ...]
    say: tuple[str, ...]
    paste: tuple[str, ...]
    prose: str

    @property
    def title(self) -> str:
        """The heading without the word before the colon, which is the same for all."""
        return self.section.partition(": ")[2] or self.section


@dataclass(frozen=True)
class Index:
    """All entries in the order of the course, and the groups of words for one another."""

    words: tuple[tuple[str, ...], ...]
    entries: tuple[Entry, ...]


def read(text: str) -> Index:
    """Return the index that a text in JSON holds."""
    stored: dict[str, Any] = json.loads(text, object_hook=_frozen)
    entries = tuple(Entry(**entry) for entry in stored["entries"])
    return Index(tuple(map(tuple, stored["words"])), entries)


def _frozen(row: dict[str, Any]) -> dict[str, Any]:
    kept = ("entries", "words")
    return {k: tuple(v) if isinstance(v, list) and k not in kept else v for k, v in row.items()}


def load() -> Index:
    """Return the index that came with the package."""
    return read(FILE.read_text(encoding="utf-8"))
