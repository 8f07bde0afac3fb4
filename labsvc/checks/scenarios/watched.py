"""Test-out of part 6: a worker whose messages can be followed, counted and found again."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.watched_numbers import one_by_one, wrong_hang, wrong_numbers
from labsvc.checks.scenarios.watched_rules import wrong_visit
from labsvc.checks.scenarios.watched_stage import Watched
from labsvc.checks.scenarios.watched_visits import Visit
from labsvc.checks.verdict import Verdict, solved

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

MANY = 130  # messages: more than lines that may wait
ODD_KINDS = (None, "Order", " order", "cancelled", "other")


class Stop(BaseException):
    """What ends a task in some libraries, as KeyboardInterrupt does: no Exception."""


@exercise(
    "T6-watched",
    title="Test out of part 6: a worker that can be watched",
    kind="function",
    deadline=40,
)
def watched(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`watched(handle, publish, tracer, registry, write)` returns what handles a message."""
    secret = secrets.token_hex(8)
    run = Watched(answer, sandbox, _all_sorts(secret), secret)
    if said := one_by_one(run) or _first(run) or wrong_numbers(run):
        return said
    many = [Visit(sends=0, traced="no") for _ in range(MANY)]
    hung = Watched(answer, sandbox, many, secret, hung=True)
    return (
        one_by_one(hung)
        or wrong_hang(hung)
        or solved(
            "each message has its trace, its line and its count, and none waited for the log",
            messages=len(run.visits) + MANY,
        )
    )


def _first(run: Watched) -> Verdict | None:
    return next(filter(None, (wrong_visit(run, each) for each in run.visits.values())), None)


def _all_sorts(secret: str) -> list[Visit]:
    """Return messages, all at work at the same time, of which some end badly."""
    return [
        Visit(sends=2),
        Visit("cancel"),
        Visit(traced="no"),
        Visit(traced="broken"),
        Visit(traced="number"),
        Visit(traced="zeros"),
        Visit(traced="unsampled"),
        Visit(slow=True),
        Visit("cancel", slow=True, traced="zeros"),
        Visit(away=LookupError(secret)),
        Visit(raises=ValueError(secret)),
        Visit("cancel", raises=UnicodeDecodeError("ascii", b"x", 0, 1, secret), traced="no"),
        Visit(raises=RuntimeError(secret)),
        Visit(raises=TimeoutError(secret)),
        Visit("cancel", raises=Stop(secret)),
        Visit(raises=GeneratorExit(secret)),
        Visit(leaves=True, sends=0),
        Visit(f"gift-{secret[:4]}"),
        Visit("refund", raises=KeyError(secret)),
        *(Visit(kind) for kind in ODD_KINDS),
    ]
