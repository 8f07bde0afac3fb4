"""Part of the check of T4: what holds for each call, and for members over many calls."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.reserving_stage import LATE, SECONDS, Stage
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.scenarios.reserving_stage import Member, Order

TLS = "Read its text, or `tls.reason(error)`: key, certificate, authority, the name in it."
SOME = 20  # calls
SOON = 3.0  # seconds in which each change has to be followed; it takes a tenth of one
MOST_CONNECTIONS = 2  # to one member: the second replaces one that was lost
PAUSE = 0.01  # seconds between two calls, in which a connection may come about
FANNED_OUT = 0.1  # seconds in which a copy of an order arrives that nobody waits for


def calls(stage: Stage, members: Sequence[Member], number: int) -> Verdict | None:
    """Make so many calls; return what is wrong with the first that has not ended well."""
    for _ in range(number):
        if found := ended_well(stage, stage.order(members)):
            return found
        time.sleep(PAUSE)
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
    error = order.outcome.error
    how = order.outcome.status or type(error).__name__
    return (
        in_time(stage, order, SECONDS)
        or taught_in(
            stage.notebook,
            first_broken(
                (error is not None, f"{stage.tale}, and a call ended with {how}", stage.hint)
            ),
        )
        or first_broken(
            (
                not stage.arrivals(order.order_id),
                "your function returned, and no member got the order",
                "Send `request` as it is, and return what a member answers.",
            )
        )
        or once(stage, order)
    )


def in_time(stage: Stage, order: Order, seconds: float) -> Verdict | None:
    """Return what is wrong if a call took longer than it may."""
    return taught_in(
        "22",
        first_broken(
            (
                order.outcome.hung or order.took > seconds + LATE,
                f"{stage.tale}, and a call took longer than `seconds`",
                "Each call takes a `timeout`, and it bounds all that happens in it.",
            )
        ),
    )


def once(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong if an order arrived more than once."""
    times = stage.arrivals(order.order_id)
    return taught_in(
        "41",
        first_broken(
            (
                times > 1,
                f"{stage.tale}, and one order arrived {times} times",
                "One member gets it, once. What was sent may be done, whatever came back.",
            )
        ),
    )


def no_copies(stage: Stage, order: Order) -> Verdict | None:
    """Return what is wrong if a copy of an order arrives that the answer did not wait for."""
    wait(lambda: stage.arrivals(order.order_id) > 1, FANNED_OUT)
    return once(stage, order)


def spread(stage: Stage, number: int, least: int) -> Verdict | None:
    """Return what is wrong with the way in which calls go to all members."""
    members = stage.members
    if found := calls_until(stage, members, lambda: all(each.arrived for each in members)):
        return found
    before = [len(each.arrived) for each in members]
    if found := one_connection(stage) or calls(stage, members, number) or one_connection(stage):
        return found
    got = [len(each.arrived) - had for each, had in zip(members, before, strict=True)]
    return taught_in(
        "41",
        first_broken(
            (
                min(got) < least,
                f"of {number} calls one of {len(members)} members got {min(got)}",
                "A channel stays with one address unless its service config says round_robin.",
            )
        ),
    )


def one_connection(stage: Stage) -> Verdict | None:
    """Return what is wrong if members have more than one connection each."""
    most = max(each.door.stats.connections for each in stage.members)
    return taught_in(
        "40",
        first_broken(
            (
                most > MOST_CONNECTIONS,
                f"{most} connections were opened to one member",
                "Keep the channel in `kept`: a handshake costs more than a call.",
            ),
            connections=most,
        ),
    )


def reached(member: Member, what: str, hint: str) -> Verdict | None:
    """Return what is wrong if a member got no call."""
    return taught_in("41", first_broken((not member.arrived, f"{what}, and got no call", hint)))


def left_alone(member: Member, before: int, what: str, hint: str, notebook: str) -> Verdict | None:
    """Return what is wrong if a member got calls that it must not get, beside those from before."""
    got = len(member.arrived) - before
    return taught_in(
        notebook, first_broken((got > 0, f"{what}, and it got {got} calls", hint), calls=got)
    )


def closed(member: Member, most: int, what: str, notebook: str) -> Verdict | None:
    """Return what is wrong if more connections to a member stay open than it needs."""
    wait(lambda: member.door.stats.open <= most, SOON)
    return taught_in(
        notebook,
        first_broken(
            (
                member.door.stats.open > most,
                f"{what}, and the connection from before stayed open",
                "Close a channel when another has taken its place.",
            )
        ),
    )
