"""Part of the check of T4: a list that changes, files that are renewed, calls that end badly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc

from labsvc.checks.scenarios.reserving_rules import (
    SOME,
    TLS,
    calls,
    calls_until,
    closed,
    in_time,
    left_alone,
    no_copies,
    reached,
)
from labsvc.checks.scenarios.reserving_stage import SECONDS, Stage
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SHORT = 0.6  # seconds
AFTER = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL)


def change(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let a member leave the list and another come, and then the list come empty."""
    stage = Stage(answer, room)
    gone, stays, new = stage.members
    stage.during("all was well", TLS, "40")
    if found := calls_until(stage, [gone, stays], lambda: bool(gone.arrived and stays.arrived)):
        return found
    before, now = len(gone.arrived), [stays, new]
    stage.during("the list had changed", "Make the channel to the list that came.", "41")
    never = "A channel to a list of addresses never hears of another one."
    if found := (
        calls_until(stage, now, lambda: bool(new.arrived))
        or calls(stage, now, SOME)
        or reached(new, "a member came into the list", never)
    ):
        return found
    stage.during("the list came empty", "Go on with the members from before.", "42")
    what = "a member had left the list"
    return (
        calls(stage, [], SOME)
        or left_alone(gone, before, what, "Forget it, and close its channel.", "41")
        or closed(gone, 0, what, "41")
    )


def renewed(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Renew the caller's files twice while calls run, and then let them be unreadable."""
    stage = Stage(answer, room, 2)
    stage.during("all was well", TLS, "40")
    if found := calls(stage, stage.members, SOME):
        return found
    for _ in range(2):
        stage.renew()
        before = [len(each.arrived) for each in stage.members]
        what = "the certificate had been renewed"
        stage.during(what, "Wait until it is connected.", "40")
        if found := calls(stage, stage.members, SOME):
            return found
        came = [each.arrived[had:] for each, had in zip(stage.members, before, strict=True)]
        stale = sum(shown != stage.certificate for some in came for _, shown in some)
        hint = "It is shown when a connection begins. A client needs a new channel."
        found = taught_in(
            "40",
            first_broken((stale > 0, f"{what}, and {stale} calls went with the old one", hint)),
        )
        for each in stage.members:
            found = found or closed(each, 1, what, "40")
        if found:
            return found
    stage.files = None
    stage.during("`read` raised OSError", "Go on with what it returned before.", "40")
    return calls(stage, stage.members, SOME)


def ends_once(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let members take an order, and then say that something is wrong, or nothing at all."""
    stage = Stage(answer, room, 2)
    stage.during("all was well", TLS, "40")
    if found := calls(stage, stage.members, SOME):
        return found
    for code in (*AFTER, None):
        for each in stage.members:
            each.ends = code
        said = code.name if code else "nothing"
        stage.during(f"a member took an order and said {said}", "", "41")
        seconds = SECONDS if code else SHORT
        order = stage.order(stage.members, seconds)
        got = order.outcome.status
        found = first_broken(
            (
                not order.outcome.error,
                f"{stage.tale}, and your function returned",
                "The caller has to learn it: let the grpc.RpcError out.",
            ),
            (
                code is not None and got != code.name,
                f"{stage.tale}, and the caller got {got or type(order.outcome.error).__name__}",
                "Let the error of the call out as it is.",
            ),
        )
        if (
            found := in_time(stage, order, seconds)
            or no_copies(stage, order)
            or taught_in("41", found)
        ):
            return found
    return None
