"""Exercise of notebook 33: a readiness page that tells the truth."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.checks.asking import channel
from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.health_stage import (
    ANY_CODE,
    NOT_READY,
    SERVING,
    Health,
    Services,
    Stage,
    ask,
    came_back,
    tells,
)
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

NAMES = [f"shop.v1.{name}Service" for name in ("Cart", "Coupon", "Order", "Price", "Stock", "User")]
BAD = ("NOT_SERVING", "SERVICE_UNKNOWN", "UNAVAILABLE", "NOT_FOUND", "UNIMPLEMENTED", "INTERNAL")
HANGING = 16  # or a small pool of threads is quick enough
LONGEST = 1.5  # seconds; the exercise says 1, and a busy machine adds to it
SHORTEST = 0.25  # seconds for one call; the exercise says .3


@exercise(
    "33-readiness",
    title="Tell a balancer the truth",
    returns=tuple[int, dict[str, str]],
    deadline=40,
)
def readiness(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`readyz(required, optional, draining)` says what each service says, within a second."""
    cases = Cases(answer, sandbox)
    return (
        cases.broken(_come_and_go)
        or cases.broken(_are_all_optional)
        or cases.broken(_are_asked_in_time)
        or cases.broken(_hang)
        or cases.broken(_has_to_end)
        or cases.broken(_hears_it_meanwhile)
        or cases.broken(_are_down)
        or cases.broken(_one_call_fails, only=("lost", "refused", "late"))
        or solved(
            "each answer was true and in time, whatever the services did",
            cases=cases.count,
        )
    )


def _names() -> list[str]:
    return random.sample(NAMES, len(NAMES))


def _come_and_go(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let one service after the other stop serving, each in another way, and come back."""
    names = _names()
    stage = Stage(room, names[:2], names[2:4])
    if fault := stage.judge(stage.ask(answer), {}):
        return fault
    for number, bad in enumerate(random.sample(BAD, len(BAD))):
        for name in (names[number % 2], names[2 + number % 2]):
            stage.health.says[name] = bad
            if fault := stage.judge(stage.ask(answer), {name: bad}):
                return fault
            stage.health.says[name] = SERVING  # and the next call has to say so
    return stage.judge(stage.ask(answer), {})


def _are_all_optional(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Require nothing."""
    names = _names()
    stage = Stage(room, (), names[:2])
    stage.health.says[names[0]] = "NOT_SERVING"
    return stage.judge(stage.ask(answer), {names[0]: "NOT_SERVING"})


def _are_asked_in_time(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let each service take a moment, and look at the deadlines."""
    names = _names()
    stage = Stage(room, names[:3], names[3:])
    stage.health.says = dict.fromkeys(names, "slow")
    outcome, limits = stage.ask(answer), stage.health.limits
    return first_broken(
        (
            None in limits,
            "a call had no deadline",
            "If the service hangs, such a call never ends. A stub's method takes a timeout.",
        ),
        (
            any(limit is not None and limit < SHORTEST for limit in limits),
            "a service had less than 0.3 seconds to answer",
            "All are asked at the same moment, and each has the same time.",
        ),
    ) or stage.judge(outcome, {})


def _hang(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let many services hang."""
    names = [f"shop.v1.Shard{number}" for number in range(HANGING)]
    stage = Stage(room, names[::2], names[1::2])
    stage.health.says = dict.fromkeys(names, "hangs")
    began = time.monotonic()
    outcome = stage.ask(answer)
    took = time.monotonic() - began
    return first_broken(
        (
            outcome.hung or took > LONGEST,
            f"{HANGING} services hung, and your function took longer than a second",
            "How long does one call wait, and does the next one wait for its end?",
        ),
        services=HANGING,
    ) or stage.judge(outcome, dict.fromkeys(names, ANY_CODE))


def _has_to_end(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Set the event before the call."""
    names = _names()
    stage = Stage(room, names[:2], names[2:3])
    stage.health.draining.set()
    return _not_ready(stage, stage.ask(answer), "before the call")


def _hears_it_meanwhile(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Set the event when a service is asked."""
    names = _names()
    stage = Stage(room, names[:2], names[2:3])
    stage.health.says[names[0]] = "drains"
    return _not_ready(stage, stage.ask(answer), "while it waited for the services")


def _not_ready(stage: Stage, outcome: Outcome, when: str) -> Verdict | None:
    return came_back(outcome) or first_broken(
        (
            outcome.value[0] != NOT_READY,
            f"`draining` was set {when}, and the status was {outcome.value[0]}",
            "When do you look at `draining.is_set()`? Waiting takes time.",
        ),
        (
            not stage.health.draining.is_set(),
            "`draining` was set, and your function cleared it",
            "Others look at it too. Only read it.",
        ),
    )


def _are_down(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Let nobody listen where the services were."""
    names = _names()
    stage = Stage(room, names[:2], names[2:3])
    if fault := stage.judge(stage.ask(answer), {}):
        return fault
    stage.service.stop()
    return stage.judge(stage.ask(answer), dict.fromkeys(names[:3], ANY_CODE))


def _one_call_fails(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask three servers; the faults of the run strike calls."""
    names = _names()[:3]
    stubs: Services = {}
    for name in names:
        health = Health()
        health.says[name] = SERVING
        service = room.serve_grpc(health, name=name)
        line = room.enter(channel(run.door(service).target))
        stubs[name] = health_pb2_grpc.HealthStub(line)
    optional = {names[2]: stubs.pop(names[2])}
    outcome = ask(answer, stubs, optional, threading.Event())
    if fault := came_back(outcome):
        return fault
    failed = [name for name, said in outcome.value[1].items() if said != SERVING]
    requests = sum(event.point.kind == "request" for event in run.events)
    struck, retried = len(run.struck), requests > len(names)
    return first_broken(
        (
            len(failed) > struck or (len(failed) < struck and not retried),
            f"calls that failed: {struck}, services that are said to be down: {len(failed)}",
            "What does a call say that failed? Only an answer can say SERVING.",
        ),
    ) or tells(outcome, stubs, optional, dict.fromkeys(failed, ANY_CODE))
