"""Part of the check of T0: the crowds that come, and what happens to their tries."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PATH = "POST /v1/orders"
TIMEOUT = 0.8  # seconds that the client waits for an answer

Fate = str | int
"""What happens to a try: one of the words below, or a status that is answered."""
REFUSED, RESET = "connection refused", "connection reset"
LOST, TAKEN, LATE = "request lost", "answer lost", "answer late"

MOST = 60  # customers, as the exercise says
AT_ONCE = (10, 11, 12, 30, 31)  # customers who come at the moment of the one before
GAPS = random.Random(4)  # the same ones for everybody


def _gap(number: int) -> float:
    return 0.0 if number in (0, *AT_ONCE) else GAPS.uniform(0.003, 0.017)


STARTS = tuple(accumulate(map(_gap, range(MOST))))
"""Seconds from the call of the function to the start of each customer: all within a timeout."""


@dataclass(frozen=True)
class Crowd:
    """Customers of one call: how many, and what happens to their tries, by their place in the row.

    The shop answers none of them before all have come, so that each needs a thread of its own.
    """

    size: int
    scripts: Mapping[int, Sequence[Fate]]

    @property
    def starts(self) -> tuple[float, ...]:
        """When they come: the first ones of every crowd at the same moments."""
        return STARTS[: self.size]


CROWDS = (
    Crowd(
        MOST,
        {
            3: (TAKEN,),
            6: (LOST,),
            9: (TAKEN, LOST),
            12: (503,),
            15: (LATE, LATE, LATE),
            18: (LOST, TAKEN, LOST),
            21: (LATE, LATE),
            24: (REFUSED,),
            27: (307,),
            29: (TAKEN,),
            32: (200,),
            34: (RESET, REFUSED),
            36: (LATE,),
            40: (500,),
            43: (LATE, LATE, LATE),
            46: (LATE,),
            50: (LATE, LATE, LATE),
            54: (429,),
        },
    ),
    # One of twelve waits long: their p95 is his wait, and nothing between it and the next one.
    Crowd(12, {1: (LATE, LATE, LATE), 4: (LATE,), 6: (202,), 8: (RESET,), 9: (404,)}),
)
