"""Where a time is in a picture, and where there is room."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from labsvc.timeline.bars import Bar

PAD = 0.05  # inches between a bar's end and words
SIGN = 0.07  # inches, half of a sign's width
_SLIVER = 0.045  # inches, of the shortest bar

Span = tuple[float, float]  # from where to where, in inches


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

    def vain(self, bar: Bar) -> float:
        """Return where a bar's work begins to be in vain, its end if it never does."""
        start, end = self.ends(bar)
        return max(start, min(end, self.x(min(bar.vain, self.span))))


def free(span: Span, taken: Iterable[Span]) -> bool:
    """Say whether a stretch of a row overlaps none of those that are taken."""
    return all(span[1] <= start or end <= span[0] for start, end in taken)
