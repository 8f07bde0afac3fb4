"""Bars that overlap stand in rows of their lane; those that find no row are folded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.timeline.shapes import width

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labsvc.timeline.bars import Bar

MOST_ROWS = 6
MOST_BARS = 40  # in the rows of a lane, above or below
_WITH_WORDS = 3  # rows that words beside bars may take
_SLIVER = 0.045  # inches, of the shortest bar
_GAP = 0.03
PAD = 0.05  # inches between a bar's end and words


@dataclass(frozen=True)
class Scale:
    """Where a time is, in inches; `span` is in seconds."""

    left: float
    right: float
    span: float

    def x(self, seconds: float) -> float:
        """Return where a time is, that of a deadline far away beyond the right edge."""
        return self.left + seconds / self.span * (self.right - self.left)

    @property
    def near(self) -> float:
        """Inches below which two signs are one: 1 % of the axis."""
        return 0.01 * (self.right - self.left)

    def ends(self, bar: Bar) -> tuple[float, float]:
        """Return from where to where a bar is drawn."""
        start = min(self.x(bar.start), self.right - _SLIVER)
        return start, max(start + _SLIVER, self.x(bar.end))

    def plain(self, bar: Bar) -> float:
        """Return up to where a bar's own words may stand: the first sign, or work in vain."""
        signs = [self.x(sign.at) - 2 * PAD for sign in bar.signs]
        ticks = [self.x(tick) - PAD for tick in bar.ticks[:1]]
        return min([self.ends(bar)[1], self.x(min(bar.vain, self.span)), *signs, *ticks])


@dataclass(frozen=True)
class Label:
    """Words in a bar, and words beside it that start at an inch; "" for none."""

    inside: str
    beside: str = ""
    at: float = 0

    @property
    def ends(self) -> tuple[float, float]:
        """From where to where the words beside it reach."""
        return self.at, self.at + width(self.beside, "status")


@dataclass(frozen=True)
class Fold:
    """How many bars are not drawn, and from when to when they were."""

    count: int
    start: float
    end: float


def label(bar: Bar, scale: Scale) -> Label:
    """Return a bar's words: its name in it if that fits, else beside it, as its status is."""
    start, end = scale.ends(bar)
    fits = bar.look != "call" and width(bar.name, "inside") + 2 * PAD <= scale.plain(bar) - start
    beside = bar.status if fits else f"{bar.name} {bar.status}".strip()
    inside = bar.name if fits else ""
    if not beside:
        return Label(inside)
    wide = width(beside, "status") + 2 * PAD
    if end + wide <= scale.right:
        return Label(inside, beside, end + PAD + (PAD if bar.signs else 0))
    if start - wide >= scale.left:
        return Label(inside, beside, start - wide + PAD)
    return Label(inside)


def pack(bars: Sequence[Bar], scale: Scale) -> Fold | None:
    """Give each bar of one half of a lane its row, and return what is folded."""
    shown = [bar for bar in bars if bar.owner is None or bar.owner.row >= 0]
    for with_words in (True, False):
        rows = _rows(shown, scale, with_words=with_words)
        if max(rows, default=-1) < _WITH_WORDS and -1 not in rows:
            break
    for bar, row in zip(shown, rows, strict=True):
        bar.row = row
    folded = [bar for bar in bars if bar.row < 0]
    if not folded:
        return None
    return Fold(len(folded), min(bar.start for bar in folded), max(bar.end for bar in folded))


def _rows(bars: Iterable[Bar], scale: Scale, *, with_words: bool) -> list[int]:
    """Return the first row in which each bar has room, -1 if there is none."""
    taken: list[float] = []
    rows: list[int] = []
    for bar in bars:
        start, end = scale.ends(bar)
        words = label(bar, scale)
        if with_words and words.beside:
            start, end = min(start, words.at), max(end, words.ends[1] + PAD)
        row = next((row for row, until in enumerate(taken) if until + _GAP <= start), len(taken))
        if row >= MOST_ROWS or len(rows) - rows.count(-1) >= MOST_BARS:
            rows.append(-1)
            continue
        taken[row:] = [end, *taken[row + 1 :]]
        rows.append(row)
    return rows


def free(span: tuple[float, float], taken: Iterable[tuple[float, float]]) -> bool:
    """Say whether a stretch of a row overlaps none of those that are taken."""
    return all(span[1] <= start or end <= span[0] for start, end in taken)
