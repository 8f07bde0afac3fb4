"""Test-out of part 4: a call to any of several members, which come and go, over mutual TLS."""

from __future__ import annotations

import random
import time
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.reserving_calls import (
    OTHERS,
    SOME,
    TLS,
    calls,
    calls_until,
    ended_well,
    no_copies,
)
from labsvc.checks.scenarios.reserving_changes import another_authority, change, renewed
from labsvc.checks.scenarios.reserving_endings import comes_back, ends_once, unreachable
from labsvc.checks.scenarios.reserving_rules import left_alone, one_connection, reached, spread
from labsvc.checks.scenarios.reserving_stage import Stage
from labsvc.checks.verdict import Verdict, solved
from labsvc.shop.v1 import inventory_pb2

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

CASE_SECONDS = 30.0  # one takes two seconds where there is time
SHARED = 120  # calls over three members: forty each in turn, by lot hardly ever fewer than LEAST
LEAST = 24
NOTICE = 1.0  # seconds for news of a member to reach the caller


@exercise(
    "T4-reserve",
    title="Test out of part 4: a call to members that come and go",
    kind="function",
    returns=inventory_pb2.ReserveStockResponse,
    deadline=90,
)
def reserve(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`reserve(request, members, read, kept, seconds)`: one of the members gets it, once."""
    cases = Cases(answer, sandbox)
    asked = partial(cases.broken, within=CASE_SECONDS)
    beside = [
        _strangers,
        _not_serving,
        change,
        renewed,
        another_authority,
        ends_once,
        unreachable,
        comes_back,
    ]
    return (
        asked(_all_is_well)
        or asked(_die, beside=beside)
        or solved(
            "each order went to a member that serves, once, and to nobody else", cases=cases.count
        )
    )


def _all_is_well(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call three members that serve, then with a second caller by turns, who keeps things too."""
    stage, second = Stage(answer, room), Stage(answer, room, 1)
    stage.during("all was well", TLS, "40")
    if found := spread(stage, SHARED, LEAST):
        return found
    same = stage.order(stage.members, again=True)
    if found := ended_well(stage, same) or no_copies(stage, same):
        return found
    for each in (second, stage) * 5:
        each.during("two callers took turns", "Keep all in `kept`: each caller has its own.", "40")
        if found := calls(each, each.members, 1):
            return found
    return one_connection(second) or one_connection(stage)


def _strangers(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call one member, and two who show a certificate for another name, or of another authority."""
    stage = Stage(answer, room, 1, strangers=True)
    listed = [*stage.members, *stage.strangers]
    random.shuffle(listed)
    stage.during("two of three members showed a wrong certificate", OTHERS, "41")
    found = calls_until(
        stage, listed, lambda: all(each.door.stats.connections for each in stage.strangers)
    ) or calls(stage, listed, SOME)
    for each, shown in zip(stage.strangers, ("name", "authority"), strict=True):
        what = f"a member showed a certificate of another {shown}"
        hint = "Trust the authority that `read` returns and no other, and one name."
        found = left_alone(each, 0, what, hint, "40") or found
    return found


def _not_serving(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Call three members of whom one says NOT_SERVING, then serves, and then does not again."""
    stage = Stage(answer, room)
    one = stage.members[0]
    what = "a member said NOT_SERVING"
    hint = "With a `healthCheckConfig` in its service config, a channel asks each member."
    one.service.health.set(serving=False)
    stage.during(what, OTHERS, "41")
    if found := calls(stage, stage.members, SOME) or left_alone(one, 0, what, hint, "41"):
        return found
    one.service.health.set(serving=True)
    back = "a member was SERVING again"
    stage.during(back, OTHERS, "41")
    if (
        found := calls_until(stage, stage.members, lambda: bool(one.arrived))
        or reached(one, 0, back, "Leave it in the list: the channel watches its health.")
        or calls(stage, stage.members, SHARED, pause=0)
    ):
        return found
    one.service.health.set(serving=False)
    time.sleep(NOTICE)  # what it says has to arrive
    before = one.arrived
    stage.during(what, OTHERS, "41")
    return (
        calls(stage, stage.members, SOME)
        or left_alone(one, before, what, hint, "41")
        or one_connection(stage)
    )


def _die(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let one member after the other die, until the last."""
    stage = Stage(answer, room)
    members = stage.members
    stage.during("all was well", TLS, "40")
    if found := calls_until(stage, members, lambda: all(each.arrived for each in members)):
        return found
    stage.during("a member had died", OTHERS, "41")
    for each in members[:-1]:
        each.door.set(refuse=True)
        each.door.cut()
        time.sleep(NOTICE)  # a call into a connection that is just lost may fail
        if found := calls(stage, members, SOME):
            return found
    return None
