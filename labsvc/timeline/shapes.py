"""What a picture consists of, in inches from its left upper corner; nothing here draws.

A look is a name that `drawing` knows colours for. Widths of words are estimated, a little too wide,
so that what is drawn, and where, is known without a font.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

Align = Literal["left", "center", "right"]

SIZES: dict[str, float] = {
    "title": 14,
    "difference": 10.5,
    "panel": 10.5,
    "lane": 10,
    "caption": 9.5,
    "legend": 9,
}  # points
_SIZE = 8.5  # of all other words
_BOLD = ("title", "panel", "lane")
_POINTS = 72  # in an inch
_WIDE, _NARROW = "mwMW@%+", "iljIJftr.,:;|!'/()[] -"
_IDEOGRAPHS = 0x2E80  # the first of the scripts whose letters are squares


class Box(NamedTuple):
    """A rectangle; a torn end, "l" or "r" or both, is one that nobody recorded."""

    x0: float
    y0: float
    x1: float
    y1: float
    look: str
    torn: str = ""


class Line(NamedTuple):
    """A straight line; an arrow's head is at its second end."""

    x0: float
    y0: float
    x1: float
    y1: float
    look: str


class Mark(NamedTuple):
    """A small sign."""

    x: float
    y: float
    look: str


class Words(NamedTuple):
    """Words, `y` is their middle."""

    x: float
    y: float
    text: str
    look: str
    align: Align = "left"

    @property
    def span(self) -> tuple[float, float]:
        """From where to where they reach."""
        wide = width(self.text, self.look)
        start = self.x - {"left": 0, "center": 0.5, "right": 1}[self.align] * wide
        return start, start + wide

    @property
    def height(self) -> float:
        """How high they are."""
        return 1.1 * SIZES.get(self.look, _SIZE) / _POINTS


@dataclass
class Shapes:
    """All that is drawn."""

    boxes: list[Box] = field(default_factory=list)
    lines: list[Line] = field(default_factory=list)
    marks: list[Mark] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)

    @property
    def looks(self) -> set[str]:
        """The looks that occur, for the legend."""
        torn = {"torn" for box in self.boxes if box.torn}
        looks = [box.look for box in self.boxes] + [line.look for line in self.lines]
        return {*looks, *(mark.look for mark in self.marks)} | torn

    def add(self, other: Shapes, down: float) -> None:
        """Add what another one has, so many inches further down."""
        self.boxes += [box._replace(y0=box.y0 + down, y1=box.y1 + down) for box in other.boxes]
        self.lines += [line._replace(y0=line.y0 + down, y1=line.y1 + down) for line in other.lines]
        self.marks += [mark._replace(y=mark.y + down) for mark in other.marks]
        self.words += [words._replace(y=words.y + down) for words in other.words]


def width(text: str, look: str) -> float:
    """Return how many inches words are wide, about."""
    ems = sum(map(_em, text)) * (1.12 if look in _BOLD else 1)
    return ems * SIZES.get(look, _SIZE) / _POINTS


def _em(letter: str) -> float:
    if letter in _WIDE:
        return 0.95
    if letter in _NARROW:
        return 0.385
    if ord(letter) >= _IDEOGRAPHS:
        return 1.05
    return 0.72 if letter.isupper() else 0.615


def clean(text: str) -> str:
    """Return words that every font and file takes: in one line, without control characters."""
    whole = text.encode("utf-8", "replace").decode()
    return "".join(letter if letter.isprintable() else " " for letter in whole).strip()


def cut(text: str, look: str, most: float) -> str:
    """Shorten words to a width in inches."""
    text = clean(text)
    if width(text, look) <= most:
        return text
    while text and width(text + "…", look) > most:
        text = text[:-1]
    return text.rstrip() + "…"


def wrap(text: str, look: str, most: float) -> list[str]:
    """Break words into lines of a width in inches."""
    lines = [""]
    for word in clean(text).split():
        longer = f"{lines[-1]} {word}".strip()
        if width(longer, look) <= most:
            lines[-1] = longer
        else:
            lines = [*lines, cut(word, look, most)] if lines[-1] else [cut(word, look, most)]
    return lines
