"""Part of the check of T0: what holds for the orders that customers sent.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.scenarios.crowd_stage import Try

TRIES = 3  # as the exercise says
BEHIND = 0.25  # seconds that a busy machine rarely loses
SOME = 4  # customers: more than one slow thread
EARLY = 0.2  # seconds: more than two clocks differ by
OTHERS = "Nobody waits for an answer to somebody else: as many threads as customers."
LINES = [{"sku": "tea-100", "quantity": 1}]


@dataclass(frozen=True)
class Customer:
    """One order: when it was meant to start, and its tries, in seconds of one clock.

    `lost` are the seconds by which the machine was late at that moment.
    """

    wanted: float
    tries: Sequence[Try]
    lost: float

    @property
    def behind(self) -> float:
        """Seconds from the moment of the schedule to the first try, without those lost."""
        late = self.tries[0].start - self.wanted
        return late - self.lost if late > 0 else late

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


def orders_broken(tries: Sequence[Try], starts: Sequence[float], *, hung: bool) -> Verdict | None:
    """Return what is wrong with the orders that were sent, None if nothing is.

    Where the function was still at work when it was stopped, some may be missing.
    """
    wrong = [
        each.body
        for each in tries
        if not isinstance(each.body, dict)
        or not isinstance(each.body.get("order_id"), str)
        or (each.body.get("user_id"), each.body.get("lines")) != ("u-1", LINES)
    ]
    ids = {str(each.body.get("order_id")) for each in tries if isinstance(each.body, dict)}
    there = f"{len(starts)} customers came, and {len(ids)} orders were sent"
    return taught_in(
        "00",
        first_broken(
            (not tries, "no customer's order was sent", "POST /v1/orders with `tea(order_id)`."),
            (bool(wrong), "something else than one box of tea was sent", "Send what `tea` makes."),
            (
                len(ids) > len(starts),
                there,
                "Which line makes an id, and how often does it run for one customer?",
            ),
            (
                len(ids) < len(starts) and not hung,
                there,
                "Each customer's order has an id of its own, and nobody is left out.",
            ),
            tries_sent=len(tries),
        ),
    ) or taught_in(
        "01",
        first_broken(
            (
                len(ids) < len(starts),
                f"{len(ids)} of {len(starts)} customers had ordered, long after the last start",
                OTHERS,
            )
        ),
    )


def customers(
    tries: Sequence[Try], starts: Sequence[float], lost: Sequence[float]
) -> list[Customer]:
    """Return the customers, first come first in the schedule."""
    by_id: dict[str, list[Try]] = {}
    for each in sorted(tries, key=lambda one: one.start):
        by_id.setdefault(each.body["order_id"], []).append(each)
    return [Customer(*each) for each in zip(starts, by_id.values(), lost, strict=True)]


def crowd_broken(crowd: Sequence[Customer], ended: float) -> Verdict | None:
    """Return which customer was served otherwise than the exercise says, None if none was."""
    behind = [each for each in crowd if each.behind > BEHIND]
    early = [each for each in crowd if each.behind < -EARLY]
    return (
        taught_in(
            "01",
            first_broken(
                (
                    len(behind) >= SOME,
                    f"{len(behind)} of {len(crowd)} customers ordered long after their start",
                    OTHERS,
                ),
                (
                    len(early) >= SOME,
                    f"{len(early)} of {len(crowd)} customers ordered before their time",
                    "A start counts from the moment when your function was called.",
                ),
            ),
        )
        or taught_in(
            "00",
            first_broken(
                (
                    any(each.ended > ended for each in crowd),
                    "your function returned, and a customer's order was still under way",
                    "Wait for the end of every thread.",
                )
            ),
        )
        or taught_in("00", next(filter(None, map(_tries_broken, crowd)), None))
        or taught_in(
            "00",
            first_broken(
                (
                    sum(max(each.pauses, default=0) > BEHIND for each in crowd) >= SOME,
                    "your function waited before it tried again",
                    "Try again at once. The customer waits.",
                ),
            ),
        )
    )


def _tries_broken(customer: Customer) -> Verdict | None:
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
        (
            said[-1] is None and len(said) < TRIES,
            f"no answer came, and your function gave up after {len(said)} of {TRIES} tries",
            "httpx2.TransportError has many kinds: an answer may be cut off, or late.",
        ),
    )
