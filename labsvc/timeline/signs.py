"""Signs that belong to no bar: what a proxy did, messages that leave, commits outside of calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.timeline.scale import SIGN, free
from labsvc.timeline.shapes import Words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.timeline.bars import Sign
    from labsvc.timeline.scale import Scale

MOST_ROWS = 3  # of signs with words; a row more has those without
_LOUDEST = ("loss", "gone", "delayed", "committed", "connected", "dot")


@dataclass(eq=False)
class Place:
    """Where a sign without a bar stands, and the row of its words."""

    x: float
    signs: list[Sign]
    row: int = 0

    @property
    def look(self) -> str:
        """The look of the sign that matters most."""
        return min((sign.look for sign in self.signs), key=_LOUDEST.index)


def places(signs: Sequence[Sign], scale: Scale) -> list[Place]:
    """Put signs that are nearer to each other than 1 % of the axis together."""
    places: list[Place] = []
    for sign in sorted(signs, key=lambda sign: sign.at):
        x = scale.x(sign.at)
        if places and x - places[-1].x < max(scale.near, 1.5 * SIGN):
            places[-1].signs.append(sign)
        else:
            places.append(Place(x, [sign]))
    return places


def beside(place: Place, scale: Scale) -> Words | None:
    """Return a place's words, to the right of it if there is room."""
    counts: dict[str, int] = {}
    for sign in place.signs:
        counts[sign.word] = counts.get(sign.word, 0) + 1
    counts.pop("", None)
    if not counts:
        return None
    text = ", ".join(f"{word} {count}x" if count > 1 else word for word, count in counts.items())
    right = Words(place.x + SIGN + 0.02, 0, text, "beside")
    if right.span[1] <= scale.right:
        return right
    return right._replace(x=place.x - SIGN - 0.02, align="right")


def in_rows(found: Sequence[Place], scale: Scale) -> int:
    """Give each place the first row with room for its words, losses first; return how many."""
    taken: list[list[tuple[float, float]]] = [[] for _ in range(MOST_ROWS)]
    for place in sorted(found, key=lambda place: (place.look != "loss", place.x)):
        mine = [(place.x - SIGN, place.x + SIGN)]
        if (written := beside(place, scale)) is not None:
            mine.append(written.span)
        rows = (row for row, spans in enumerate(taken) if all(free(span, spans) for span in mine))
        place.row = next(rows, MOST_ROWS)
        if place.row < MOST_ROWS:
            taken[place.row] += mine
    return max((place.row + 1 for place in found), default=0)
