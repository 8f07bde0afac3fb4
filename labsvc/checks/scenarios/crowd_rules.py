"""Part of the check of T0: what holds for each customer.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.crowd_sent import OTHERS
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.crowd_seen import Try

TRIES = 3  # as the exercise says
# Who has no thread waits until another customer has had three timeouts: three times as long.
BEHIND = 0.8  # seconds
SHIFT = 0.08  # seconds: somebody among many is always nearer than that
EARLY = 0.03  # seconds: more than two clocks differ by
PAUSE = 0.1  # seconds between two tries, more often than not
SOME = 4  # pauses: with fewer, one slow thread would decide


@dataclass(frozen=True)
class Customer:
    """One order: when it was meant to start, and its tries, in seconds of one clock."""

    wanted: float
    tries: Sequence[Try]

    @property
    def behind(self) -> float:
        """Seconds from the moment of the schedule to the first try."""
        return self.tries[0].start - self.wanted

    @property
    def pauses(self) -> list[float]:
        """Seconds between the end of each try and the next one."""
        ends = [each.end or math.inf for each in self.tries]
        return [then.start - end for end, then in zip(ends, self.tries[1:], strict=False)]

    @property
    def ordered(self) -> bool:
        """Whether the last try was answered with success."""
        status = self.tries[-1].status
        return status is not None and status < 300  # noqa: PLR2004  # HTTP's limit

    @property
    def ended(self) -> float:
        """When the last try ended."""
        return self.tries[-1].end or math.inf

    @property
    def waited(self) -> float:
        """Seconds that the customer had to wait."""
        return self.ended - self.wanted


def customers(tries: Sequence[Try], starts: Sequence[float]) -> list[Customer]:
    """Return the customers, first come first in the schedule."""
    by_id: dict[str, list[Try]] = {}
    for each in sorted(tries, key=lambda one: one.start):
        by_id.setdefault(each.body["order_id"], []).append(each)
    return [Customer(*each) for each in zip(starts, by_id.values(), strict=True)]


def crowd_broken(crowd: Sequence[Customer], ended: float, slack: float) -> Verdict | None:
    """Return which customer was served otherwise than the exercise says, None if none was.

    `slack` are the seconds by which the machine itself was late.
    """
    # Counts come before times: those no load explains.
    return (
        taught_in("00", next(filter(None, map(_again_broken, crowd)), None))
        or taught_in("01", _start_broken([each.behind for each in crowd], slack))
        or taught_in("00", _end_broken(crowd, ended, slack))
    )


def _start_broken(behind: Sequence[float], slack: float) -> Verdict | None:
    late = sum(one > BEHIND + slack for one in behind)
    return first_broken(
        (
            late > 0,
            f"{late} of {len(behind)} customers ordered long after their start",
            OTHERS,
        ),
        (
            min(behind) < -EARLY,
            f"customers ordered before their time, one by {-min(behind):.2f} s",
            "A start counts from the call of your function.",
        ),
        (
            min(behind) > SHIFT,
            f"each customer ordered after the moment, by {min(behind):.2f} s or more",
            "A start counts from the call of your function. Read the clock first of all.",
        ),
    )


def _end_broken(crowd: Sequence[Customer], ended: float, slack: float) -> Verdict | None:
    unanswered = [each for each in crowd if each.tries[-1].status is None]
    fewest = min((len(each.tries) for each in unanswered), default=TRIES)
    return first_broken(
        (
            any(each.ended > ended for each in crowd),
            "your function returned, and a customer's order was still under way",
            "Wait for the end of every thread.",
        ),
        (
            fewest < TRIES,
            f"no answer came, and your function gave up after {fewest} of {TRIES} tries",
            "TransportError has many kinds: a connection refused or reset, an answer cut or late.",
        ),
        (
            any(_pause(crowd, again) > PAUSE + slack for again in range(TRIES - 1)),
            "your function waited before it tried again",
            "Try again at once. The customer waits.",
        ),
    )


def _pause(crowd: Sequence[Customer], again: int) -> float:
    """Return the median of the seconds before the customers' second or third try, 0 if unsure."""
    pauses = [each.pauses[again] for each in crowd if len(each.pauses) > again]
    return median(pauses) if len(pauses) >= SOME else 0


def _again_broken(customer: Customer) -> Verdict | None:
    said = [each.status for each in customer.tries]
    final = [status for status in said[:-1] if status is not None]
    return first_broken(
        (
            min(customer.pauses, default=0) < 0,
            "a customer's next try began while one was under way",
            "One after the other: wait for an answer, or for the error.",
        ),
        (
            bool(final),
            f"the shop answered {(final or [0])[0]}, and the order was sent again",
            "An answer is final, an error status too. Only a TransportError allows another try.",
        ),
        (
            len(said) > TRIES,
            f"an order was sent {len(said)} times",
            f"{TRIES} tries in all. Count the first one too.",
        ),
    )
