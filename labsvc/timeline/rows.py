"""Bars that overlap stand in rows of their lane; those that find no row are folded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.timeline.labels import outside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.bars import Bar
    from labsvc.timeline.scale import Scale

MOST_ROWS = 6
MOST_BARS = 40  # in the rows of a lane, above or below
_FEW_ROWS = 3  # for the first ones of more than that
_WITH_WORDS = 3  # rows that words beside bars may take
_GAP = 0.03  # inches


@dataclass(frozen=True)
class Fold:
    """How many bars are not drawn, and from when to when they were."""

    count: int
    start: float
    end: float


def pack(bars: Sequence[Bar], scale: Scale) -> Fold | None:
    """Give each bar of one half of a lane its row, and return what is folded."""
    shown = [bar for bar in bars if bar.owner is None or not bar.owner.folded]
    for with_words in (True, False):
        rows = _rows(shown, scale, with_words=with_words)
        if max(rows, default=-1) < _WITH_WORDS and -1 not in rows:
            break
    for bar in bars:
        bar.folded = True
    for bar, row in zip(shown, rows, strict=True):
        bar.row, bar.folded = row, row < 0
    folded = [bar for bar in bars if bar.folded]
    if not folded:
        return None
    return Fold(len(folded), min(bar.start for bar in folded), max(bar.end for bar in folded))


def _rows(bars: Sequence[Bar], scale: Scale, *, with_words: bool) -> list[int]:
    """Return the first row in which each bar has room, -1 if there is none."""
    taken: list[float] = []
    until: list[float] = []  # the same in seconds
    rows: list[int] = []
    drawn = 0
    most = _FEW_ROWS if len(bars) > MOST_BARS else MOST_ROWS
    for bar in bars:
        start, end = outside(bar, scale) if with_words else scale.ends(bar)
        row = next((row for row, x in enumerate(taken) if x + _GAP <= start), len(taken))
        # Many that follow each other closely need no rows to be told apart: they are too many.
        close = (
            len(bars) > MOST_BARS
            and row == len(taken)
            and min(until, default=math.inf) <= bar.start
        )
        if row >= most or drawn >= MOST_BARS or close:
            rows.append(-1)
            continue
        taken[row : row + 1] = [end]
        until[row : row + 1] = [bar.end]
        rows.append(row)
        drawn += 1
    return rows
