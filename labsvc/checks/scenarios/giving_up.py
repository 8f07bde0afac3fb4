"""Part of the check of notebook 21: calls that get no answer, and how they have to end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Literal

from labsvc.checks.scenarios.one_user import (
    BOUND,
    WITHIN,
    OneUser,
    read_by_caller,
    stub,
    wait_until_lost,
)
from labsvc.checks.verdict import Verdict, first_broken
from labsvc.errors import LabError

if TYPE_CHECKING:
    from labsvc.checks.cases import Case
    from labsvc.checks.run import Outcome
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.hosts.proxy import Proxy
    from labsvc.sweep import Run

Turn = Literal["refuses", "is silent"]
TURN_SECONDS = 1.2  # until a server that refuses falls silent, or the reverse
LATEST_TURN = 1.6  # later, a first try of two seconds may end by itself, and there is no second
TRIES = 4  # to turn in time
OVER = ("UNAVAILABLE", "DEADLINE_EXCEEDED")  # how a call to nobody may end


def answers_or_tells(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask a server that is up, under the faults of this run: the name, or the truth in time."""
    users = OneUser(room)
    with stub(run.door(users.service).target) as ask:
        outcome = answer.attempt(ask, users.user_id, within=WITHIN)
    if outcome.error is None and not outcome.hung:
        return first_broken(
            (
                outcome.value != users.name,
                "your function returned something else than the user's name",
                "Which errors does it turn into a value? A made-up value hides the outage.",
            ),
        )
    return _gave_up(outcome, "the call went wrong") or first_broken(
        (
            not run.plan,
            f"the server was up, and the call ended with {read_by_caller(outcome)}",
            "Which timeout has the call? Nothing else went wrong.",
        ),
    )


def _nobody_answers(what: str, *turns: Turn) -> Case:
    """Return the case of a server that refuses its connections or is silent, turn by turn."""

    def in_vain(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        del run  # its faults are none of the network's
        for _ in range(TRIES):
            outcome, took = _asked_in_vain(answer, room, turns)
            if took < LATEST_TURN:
                return _gave_up(outcome, what)
        msg = f"the machine is too busy: what was to come in {TURN_SECONDS} s took {took:.1f} s"
        raise LabError(msg)

    return in_vain


def _asked_in_vain(
    answer: Submission, room: Sandbox, turns: tuple[Turn, ...]
) -> tuple[Outcome, float]:
    """Return how the answer ended, and the seconds from its start to the last turn."""
    users = OneUser(room)
    way = room.proxy(users.service)
    with users.connected(way.target) as (line, ask):
        users.silent = True
        _turn(way, turns[0])
        if turns[0] == "refuses":
            wait_until_lost(line)
        start = time.monotonic()
        attempt = answer.start(ask, users.user_id, within=WITHIN)
        took = 0.0
        for turn in turns[1:]:
            time.sleep(TURN_SECONDS)
            _turn(way, turn)
            took = time.monotonic() - start
        return attempt.outcome(), took


NOBODY_ANSWERS = (
    _nobody_answers("the server stayed away", "refuses"),
    _nobody_answers("the connection was open, and the server silent", "is silent"),
    _nobody_answers("the server refused at first, then it was silent", "refuses", "is silent"),
    _nobody_answers("the server was silent at first, then it refused", "is silent", "refuses"),
)


def _turn(way: Proxy, turn: Turn) -> None:
    way.set(refuse=turn == "refuses")
    if turn == "refuses":
        way.cut()


def _gave_up(outcome: Outcome, what: str) -> Verdict | None:
    return first_broken(
        (outcome.hung, f"{what}, and your function was still waiting after two seconds", BOUND),
        (
            outcome.error is None,
            f"{what}, and your function returned as if it had answered",
            "Let the grpc.RpcError reach the caller: a made-up value hides the outage.",
        ),
        (
            outcome.status not in OVER,
            f"{what}, and the caller read {read_by_caller(outcome)}",
            "Let the grpc.RpcError of the last call out, or keep it as the cause.",
        ),
    )
