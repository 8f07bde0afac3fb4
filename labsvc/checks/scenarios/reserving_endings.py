"""Part of the check of T4: calls that end badly, and members that nobody reaches for a while."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import grpc

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.reserving_calls import (
    OTHERS,
    SOME,
    TLS,
    calls,
    calls_until,
    ended_well,
    in_time,
    no_copies,
    once,
)
from labsvc.checks.scenarios.reserving_rules import one_connection, reached
from labsvc.checks.scenarios.reserving_stage import Stage
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.reserving_stage import Order
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SHORT = 1.0  # seconds
SLOW = 1.5  # seconds of a member that serves
DIALS = 4  # tries to connect, after which gRPC's own pause is longer than SOON
DEAD = 12.0  # seconds in which a member is tried so often, if it is at all
CODES = [each for each in grpc.StatusCode if each is not grpc.StatusCode.OK]
LIKE_LOST = [  # what a member may say of a call of its own, after its effect
    "Socket closed",
    "failed to connect to all addresses; last error: UNKNOWN: ipv4:10.0.0.9:443: refused",
]


def ends_once(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let members take an order and then be slow, fail, say nothing, or lose the connection."""
    stage = Stage(answer, room, 2)
    stage.during("all was well", TLS, "40")
    if found := calls(stage, stage.members, SOME):
        return found
    ends = [(code, f"the goods are put aside, {random.random()}") for code in CODES]
    ends += [(grpc.StatusCode.UNAVAILABLE, said) for said in LIKE_LOST]
    for code, said in random.sample(ends, len(ends)):
        for each in stage.members:
            each.ends, each.says = code, said
        stage.during(f"a member took an order and said {code.name}", "", "41")
        order = stage.order(stage.members)
        if found := _let_out(stage, order, code.name, said) or one_connection(stage):
            return found
    return _slow(stage) or _silent(stage) or _cut(stage)


def _let_out(stage: Stage, order: Order, code: str = "", said: str = "") -> Verdict | None:
    """Return what is wrong with a call that should have ended with an error of gRPC's."""
    error = order.outcome.error
    got, details = "", ""
    if isinstance(error, grpc.RpcError):
        got, details = error.code().name, error.details() or ""
    hint = "Let the error of the call out as it is, with its code and its details."
    return (
        in_time(stage, order)
        or once(stage, order)
        or taught_in(
            "41",
            first_broken(
                (
                    error is None,
                    f"{stage.tale}, and your function returned",
                    "The caller has to learn it: let the grpc.RpcError out.",
                ),
                (not got, f"{stage.tale}, and the caller got {type(error).__name__}", hint),
                (bool(code) and got != code, f"{stage.tale}, and the caller got {got}", hint),
                (
                    bool(said) and details != said,
                    f"{stage.tale}, and the caller got other details",
                    hint,
                ),
            ),
        )
    )


def _slow(stage: Stage) -> Verdict | None:
    for each in stage.members:
        each.ends, each.pause = grpc.StatusCode.OK, SLOW
    hint = "It serves: wait for all of `seconds`."
    stage.during("a member took its time", hint, "22")
    return ended_well(stage, stage.order(stage.members))


def _silent(stage: Stage) -> Verdict | None:
    for each in stage.members:
        each.ends, each.pause = None, 0.0
    stage.during("a member took an order and said nothing", "", "41")
    order = stage.order(stage.members, SHORT)
    return no_copies(stage, order) or _let_out(stage, order, "DEADLINE_EXCEEDED")


def _cut(stage: Stage) -> Verdict | None:
    """Cut the connection while a member has the order and has not answered."""
    before = len(stage.log)

    def cut() -> None:
        wait(lambda: len(stage.log) > before, SHORT)
        for each in stage.members:
            each.ends = grpc.StatusCode.OK  # whoever gets it again answers
        for arrival in stage.log[before:]:
            arrival.member.door.cut()

    stage.during("a connection was lost after the order had arrived", "", "41")
    order = stage.order(stage.members, meanwhile=cut)
    return no_copies(stage, order) or _let_out(stage, order)


def unreachable(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let nobody be there at first; then one member comes, and another takes and says nothing."""
    stage = Stage(answer, room, 2)
    here, mute = stage.members
    for each in stage.members:
        each.door.set(refuse=True)
    stage.during("no member could be reached", "", "41")
    if found := _let_out(stage, stage.order(stage.members, SHORT)):
        return found
    here.door.clear()
    mute.door.set(refuse=False, blackhole=True)
    give_up_at = time.monotonic() + DEAD
    while not here.arrived and time.monotonic() < give_up_at:
        stage.order(stage.members)  # it may fail until there is a connection
        time.sleep(0.05)
    stage.during("one member served, and one took connections and said nothing", OTHERS, "41")
    return calls(stage, stage.members, SOME)


def comes_back(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let a member die, and come back after some tries to connect to it."""
    stage = Stage(answer, room, 2)
    one, _ = stage.members
    stage.during("all was well", TLS, "40")
    if found := calls_until(stage, stage.members, lambda: bool(one.arrived)):
        return found
    stage.during("a member had died", OTHERS, "41")
    dialled = one.door.stats.connections
    one.door.set(cut_after_bytes=1)
    one.door.cut()
    time.sleep(SHORT)  # a call into a connection that is just lost may fail
    give_up_at = time.monotonic() + DEAD
    while one.door.stats.connections < dialled + DIALS and time.monotonic() < give_up_at:
        if found := calls(stage, stage.members, 1, pause=0.05):
            return found
    before = one.arrived
    one.door.clear()
    back = "a member that had been dead was there again"
    stage.during(back, OTHERS, "41")
    return calls_until(stage, stage.members, lambda: one.arrived > before) or reached(
        one, before, back, "gRPC waits longer after each try, up to two minutes: set its backoff."
    )
