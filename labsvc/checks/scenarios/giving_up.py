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

if TYPE_CHECKING:
    from labsvc.checks.cases import Case
    from labsvc.checks.run import Outcome
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.hosts.proxy import Proxy
    from labsvc.sweep import Run

Turn = Literal["refuses", "is silent"]
TURN_SECONDS = 1.2  # until a server that refuses falls silent, or the reverse
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
        users = OneUser(room)
        way = room.proxy(users.service)
        with users.connected(way.target) as (line, ask):
            users.silent = True
            _turn(way, turns[0])
            if turns[0] == "refuses":
                wait_until_lost(line)
            attempt = answer.start(ask, users.user_id, within=WITHIN)
            for turn in turns[1:]:
                time.sleep(TURN_SECONDS)
                _turn(way, turn)
            return _gave_up(attempt.outcome(), what)

    return in_vain


def _turned_away(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Refuse the call after a while, and leave the next one without an answer.

    The connection stays: when it goes, a call that comes at once may still be given to it, and fail
    with it, however long it was to wait.
    """
    del run
    users = OneUser(room)
    with users.connected() as (_, ask):
        users.silent = True
        attempt = answer.start(ask, users.user_id, within=WITHIN)
        time.sleep(TURN_SECONDS)
        users.turn_away()
        return _gave_up(attempt.outcome(), "the server was silent at first, then it refused")


NOBODY_ANSWERS = (
    _nobody_answers("the server stayed away", "refuses"),
    _nobody_answers("the connection was open, and the server silent", "is silent"),
    _nobody_answers("the server refused at first, then it was silent", "refuses", "is silent"),
    _turned_away,
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
