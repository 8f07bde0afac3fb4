"""What is around the lanes of a picture: the time axis, the legend, the caption."""

from __future__ import annotations

from math import floor, log10
from typing import TYPE_CHECKING

from labsvc.timeline.panel import EDGE, HALF
from labsvc.timeline.shapes import Box, Line, Mark, Shapes, Words, width

if TYPE_CHECKING:
    from labsvc.timeline.scale import Scale

BOXES = {
    "call": "caller waits",
    "handler": "handler at work",
    "cancelled": "handler cancelled",
    "wasted": "work after the caller gave up",
    "queue": "message in the queue",
    "consumer": "message at a consumer",
    "torn": "end not recorded",
}
LINES = {"deadline": "deadline"}
MARKS = {"committed": "commit", "loss": "lost", "tick": "message of a stream"}
ROW = 0.22  # inches, of the legend
_SAMPLE = 0.26
_TICKS = 9  # numbers at the axis, at most
_STEPS = (1, 2, 5, 10)
_SECONDS = 2.0  # and above, the axis is in seconds


def legend(looks: set[str], right: float) -> tuple[Shapes, float]:
    """Return the legend for the looks that occur, from y = 0 on, and its height."""
    shapes = Shapes()
    x, y = EDGE, ROW / 2
    entries = {**BOXES, **LINES, **MARKS}
    for look in (look for look in entries if look in looks):
        sample = _SAMPLE if look in BOXES or look == "tick" else _SAMPLE / 2
        wide = sample + 0.07 + width(entries[look], "legend")
        if x + wide > right:
            x, y = EDGE, y + ROW
        middle = x + sample / 2
        if look in BOXES:
            half = HALF.get(look, 0.08) if look == "call" else 0.065
            torn, drawn = ("r", "handler") if look == "torn" else ("", look)
            shapes.boxes.append(Box(x, y - half, x + sample, y + half, drawn, torn))
        elif look in LINES:
            shapes.lines.append(Line(middle, y - 0.085, middle, y + 0.085, look))
        else:
            if look == "tick":
                shapes.boxes.append(Box(x, y - 0.065, x + sample, y + 0.065, "handler"))
            shapes.marks.append(Mark(middle, y, look))
        shapes.words.append(Words(x + sample + 0.07, y, entries[look], "legend"))
        x += wide + 0.14
    return shapes, y + ROW / 2 if shapes.words else 0.0


def axis(scale: Scale, top: float, bottom: float) -> Shapes:
    """Return a line at each round time from `top` to `bottom`, and the times below."""
    shapes = Shapes()
    unit, size = ("s", 1.0) if scale.span >= _SECONDS else ("ms", 1e-3)
    span = scale.span / size
    rough = span / _TICKS
    power = 10.0 ** floor(log10(rough))
    step = next(power * step for step in _STEPS if power * step >= rough * 0.9999)
    digits = max(0, -floor(log10(step) + 1e-9))
    for number in range(floor(span / step + 1e-9) + 1):
        x = scale.x(number * step * size)
        shapes.lines.append(Line(x, top, x, bottom, "grid"))
        text = f"{number * step:,.{digits}f}"
        words = Words(x, bottom + 0.12, f"{text} {unit}" if number == 0 else text, "axis", "center")
        shapes.words.append(words)
    return shapes


def caption(drawn: int, folded: int, hidden: int, dropped: int) -> str:
    """Say what is not in the picture."""
    parts = []
    if folded:
        parts.append(f"{drawn:,} of {drawn + folded:,} bars are drawn; grey bands are the others.")
    if hidden:
        parts.append(
            f"{hidden:,} more {'parties have' if hidden > 1 else 'party has'} no lane here."
        )
    if dropped:
        parts.append(f"Dropped for want of room: the {dropped:,} oldest events.")
    return " ".join(parts)
