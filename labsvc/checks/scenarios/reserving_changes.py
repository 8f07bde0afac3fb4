"""Part of the check of T4: a list that changes, files that are renewed, another authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.reserving_calls import SOME, TLS, calls, calls_until
from labsvc.checks.scenarios.reserving_rules import closed, left_alone, reached
from labsvc.checks.scenarios.reserving_stage import Stage

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.reserving_member import Member
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict
    from labsvc.sweep import Run

FEW = 6  # calls
NEVER = (
    "A channel never hears of another list: compare each with a copy of the one it was made for."
)
FROM_BEFORE = "Go on with a copy of the list from before, and with what else is new."


def change(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let members come into the list, leave it and return; let it come empty, then full again."""
    stage = Stage(answer, room)
    a, b, c = stage.members
    for now in ([a, b], [a, b, c], [a, c], [b, c], [a, b]):
        stage.during("the list had changed", "Make the channel to the list that came.", "41")
        if found := _listed(stage, now):
            return found
    stage.during("the list came empty", FROM_BEFORE, "42")
    before = c.arrived
    if found := calls(stage, [], SOME):
        return found
    stage.renew()
    stage.during("the list came empty when the certificate was new", FROM_BEFORE, "42")
    if found := calls(stage, [], FEW) or left_alone(
        c, before, "a member had left the list, and the list came empty", FROM_BEFORE, "42"
    ):
        return found
    stage.during("the list was there again", "Look at it in each call.", "42")
    return _listed(stage, [b, c])


def _listed(stage: Stage, now: Sequence[Member]) -> Verdict | None:
    """Return what is wrong if not all of a list get calls, or others do or stay connected."""
    before = {each: each.arrived for each in stage.members}
    gone = "a member had left the list"
    found = calls_until(
        stage, now, lambda: all(each.arrived > before[each] for each in now)
    ) or calls(stage, now, FEW)
    for each, had in before.items():
        if each in now:
            found = found or reached(each, had, "a member came into the list", NEVER)
        else:
            found = found or left_alone(each, had, gone, "Forget it, close its channel.", "41")
            found = found or closed(each, 0, gone, "41")
    return found


def renewed(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Renew the caller's files while calls run, let them be unreadable, and then be new again."""
    stage = Stage(answer, room, 2)
    stage.during("all was well", TLS, "40")
    if found := calls(stage, stage.members, SOME):
        return found
    what = "the certificate had been renewed"
    for readable in (True, True, False, True):
        stage.readable = readable
        if readable:
            stage.renew()
            stage.during(what, "Wait until it is connected.", "40")
            if found := calls(stage, stage.members, SOME):
                return found
            for each in stage.members:
                if found := closed(each, 1, what, "40"):
                    return found
        elif found := _unreadable(stage):
            return found
    stage.restless = True
    hint = "Take all three of one `read()`: key and certificate belong together."
    stage.during("`read` returned other files each time", hint, "40")
    return calls(stage, stage.members, FEW)


def _unreadable(stage: Stage) -> Verdict | None:
    """Return what is wrong while files cannot be read, and the list changes."""
    stage.during("`read` raised OSError", "Go on with what it returned before.", "40")
    if found := calls(stage, stage.members, SOME):
        return found
    hint = "The list counts all the same: keep files and members apart."
    what = "`read` raised OSError when the list had changed"
    stage.during(what, hint, "40")
    one, other = stage.members
    before = other.arrived
    return calls(stage, [one], FEW) or left_alone(
        other, before, f"{what}, a member had left it", hint, "40"
    )


def another_authority(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Replace the authority alone: whoever was a stranger is a member then, and others are not."""
    stage = Stage(answer, room, 2, strangers=True)
    new = stage.strangers[-1]
    listed = [*stage.members, new]
    stage.during("a member showed a certificate of another authority", TLS, "40")
    if found := calls(stage, listed, FEW):
        return found
    stage.trust_the_other()
    before = [each.arrived for each in stage.members]
    what = "`read` returned another authority"
    hint = "Compare all that `read` returns, and trust the authority of now alone."
    stage.during(what, hint, "40")
    found = calls(stage, listed, FEW)
    for each, had in zip(stage.members, before, strict=True):
        told = f"{what}, a member had a certificate of the one before"
        found = left_alone(each, had, told, hint, "40") or found or closed(each, 0, what, "40")
    return found
