"""Part of the check of T4: what holds for each call."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.reserving_stage import LATE
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.scenarios.reserving_member import Member
    from labsvc.checks.scenarios.reserving_stage import Order, Stage
    from labsvc.shop.v1.inventory_pb2 import ReserveStockResponse

TLS = "Read its text, or `tls.reason(error)`: key, certificate, authority, the name in it."
UNSAID = (
    "Try it without `wait_for_ready`, and read the error: key, certificate, authority, its name, or"
    " the service whose health is asked for."
)
OTHERS = "The others serve: whoever is connected gets the call. Wait for no one member."
SOME = 20  # calls
SOON = 3.0  # seconds in which each change has to be followed; it takes a tenth of one
PAUSE = 0.01  # seconds between two calls, in which a connection may come about
FANNED_OUT = 0.1  # seconds in which a copy of an order arrives that nobody waits for
ROUNDED = 1.12  # of `seconds`; gRPC sends a timeout with few digits, rounded up
SHARE = 0.75  # of `seconds`, from its beginning: a call that gets less is given up early


def calls(
    stage: Stage, members: Sequence[Member], number: int, pause: float = PAUSE
) -> Verdict | None:
    """Make so many calls; return what is wrong with the first that has not ended well."""
    for _ in range(number):
        if found := ended_well(stage, stage.order(members)):
            return found
        time.sleep(pause)
    return None


def calls_until(
    stage: Stage, members: Sequence[Member], condition: Callable[[], bool]
) -> Verdict | None:
    """Make calls until a condition holds, for three seconds at most, and judge each."""
    give_up_at = time.monotonic() + SOON
    while not condition() and time.monotonic() < give_up_at:
        if found := ended_well(stage, stage.order(members)):
            return found
        time.sleep(PAUSE)
    return None


def ended_well(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong with a call that should have ended well."""
    error, came = order.outcome.error, stage.came(order)
    how = order.outcome.status or type(error).__name__
    unsaid = stage.hint == TLS and how == "DEADLINE_EXCEEDED"
    return (
        in_time(stage, order)
        or once(stage, order)
        or taught_in(
            stage.notebook,
            first_broken(
                (
                    error is not None,
                    f"{stage.tale}, and a call ended with {how}",
                    UNSAID if unsaid else stage.hint,
                )
            ),
        )
        or first_broken(
            (
                not came,
                "your function returned, and no member got the order",
                "Send `request` as it is, and return what a member answers.",
            ),
            (
                [each.answer for each in came] != [_sent(order.outcome.value)],
                "your function returned another answer than the member's",
                "A newer member says more than your version knows: return its message as it is.",
            ),
        )
    )


def _sent(answer: ReserveStockResponse) -> bytes:
    return answer.SerializeToString()


def in_time(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong if a call took longer than it may, or its member was told otherwise."""
    came = stage.came(order)
    # Both hold on a slow machine too: a member never sees more than the rest of the time.
    more = any(each.left > order.seconds * ROUNDED for each in came)
    less = any(each.at - order.began + each.left < order.seconds * SHARE for each in came)
    return taught_in(
        "22",
        first_broken(
            (
                order.outcome.hung or order.took > order.seconds + LATE,
                f"{stage.tale}, and a call took longer than `seconds`",
                "Each call takes a `timeout`, and it bounds all that happens in it.",
            ),
            (
                more,
                f"{stage.tale}, and a member was given longer than `seconds`",
                "Give the call a `timeout`: what is left of `seconds`.",
            ),
            (
                less,
                f"{stage.tale}, and a member was given a part of `seconds`",
                "A slow member may need them all: the `timeout` is what is left of `seconds`.",
            ),
        ),
    )


def once(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong if another order arrived, or more than one, or not as from the caller.

    What comes after a call has ended is found in the next one.
    """
    came = stage.came(order)
    others = [each for each in came if each.request != order.request]
    stale = any(each.certificate not in order.certificates for each in came)
    return taught_in(
        "41",
        first_broken(
            (
                bool(others),
                f"{stage.tale}, and a member got an order that is not the one of the call",
                "Send `request` with all that is in it, and nothing else.",
            ),
            (
                len(came) > 1,
                f"{stage.tale}, and one order arrived {len(came)} times",
                "One member gets it, once. What was sent may be done, whatever came back.",
            ),
        ),
    ) or taught_in(
        "40",
        first_broken(
            (
                stale,
                f"{stage.tale}, and a call went with the old certificate",
                "It is shown when a connection begins. A client needs a new channel.",
            )
        ),
    )


def no_copies(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong if a copy of an order arrives that the answer did not wait for."""
    wait(lambda: len(stage.came(order)) > 1, FANNED_OUT)
    return once(stage, order)
