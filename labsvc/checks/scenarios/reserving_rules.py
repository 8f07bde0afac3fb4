"""Part of the check of T4: what holds for members over many calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.reserving_calls import SOON, calls, calls_until
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.scenarios.reserving_member import Member
    from labsvc.checks.scenarios.reserving_stage import Stage

MOST_CONNECTIONS = 2  # to one member, where none is lost and nothing changes


def spread(stage: Stage, number: int, least: int) -> Verdict | None:
    """Return what is wrong with the way in which calls go to all members."""
    members = stage.members
    if found := calls_until(stage, members, lambda: all(each.arrived for each in members)):
        return found
    before = [each.arrived for each in members]
    if found := (
        one_connection(stage) or calls(stage, members, number, pause=0) or one_connection(stage)
    ):
        return found
    got = [each.arrived - had for each, had in zip(members, before, strict=True)]
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
    stats = [each.door.stats for each in stage.members]
    most = max(each.connections for each in stats)
    wait(lambda: all(each.door.stats.open <= 1 for each in stage.members), SOON)
    beside = max(each.door.stats.open for each in stage.members)
    return taught_in(
        "40",
        first_broken(
            (
                most > MOST_CONNECTIONS,
                f"{stage.tale}, and {most} connections were opened to one member",
                "Keep the channel in `kept`, and there alone, whatever the order of the list.",
            ),
            (
                beside > 1,
                f"{stage.tale}, and {beside} connections to one member stayed open",
                "One is enough for all calls: use the channel that is there.",
            ),
            connections=max(most, beside),
        ),
    )


def reached(member: Member, before: int, what: str, hint: str) -> Verdict | None:
    """Return what is wrong if a member got no call, beside those from before."""
    none = member.arrived == before
    return taught_in("41", first_broken((none, f"{what}, and got no call", hint)))


def left_alone(member: Member, before: int, what: str, hint: str, notebook: str) -> Verdict | None:
    """Return what is wrong if a member got calls that it must not get, beside those from before."""
    got = member.arrived - before
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
