"""Exercise of notebook 32: a client that knows when to come back, and when not to."""

from __future__ import annotations

import math
import random
import time
import uuid
from email.utils import formatdate
from typing import TYPE_CHECKING

import httpx2

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.busy_shop import (
    PATIENCE,
    ROOM_SECONDS,
    TWICE,
    Customer,
    Row,
    Say,
    Shop,
    judged,
)
from labsvc.checks.verdict import Verdict, first_broken, solved

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.busy_shop import Try
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Fault, Run

TIMEOUT = 0.5  # seconds, for each try where answers get lost
FAULTS: tuple[Fault, ...] = ("lost", "refused", "late")
SENT_AWAY = [Say(429), Say(503, "1")]
CALLERS = 16  # of each
NEAR = 0.06  # seconds, of the .25 over which the exercise has the pauses spread
CROWD = 12  # of CALLERS; one time in a thousand, random pauses have so many near each other

NOT_FINAL = "Which answers say that another try may fare better? Two statuses are named."
LISTED = "The exercise lists the methods that may happen twice, and one header."
UNREADABLE = "A value that cannot be read counts as none. See `seconds_asked`."
TOO_LONG = "Whoever waits for your function would wait as well. What is the most that it may wait?"
NOT_TOO_LONG = "The exercise names the longest wait that is still worth it. Is this one longer?"


def _key() -> str:
    return str(uuid.uuid4())


def _date(seconds: float) -> Callable[[], str]:
    """Return what gives the date in so many seconds, rounded up: a date has no fractions."""
    return lambda: formatdate(math.ceil(time.time() + seconds), usegmt=True)


def _rows() -> list[Row]:
    """Return the requests that are sent at the same time, to a shop that is sound."""
    busy, full = Say(503), Say(429)
    may = "GET", "HEAD", "OPTIONS", "PUT", "DELETE"
    final = random.sample((400, 404, 409, 500, 502, 504), 4)
    unreadable = "soon", "-5", "0", formatdate(time.time() - 3600, usegmt=True)
    return [
        *(Row(f"a {each} after 503", each, (busy,), 2, few=LISTED) for each in may),
        Row("a GET after 429", "GET", (full,), 2, few=NOT_FINAL),
        Row("a PATCH with an Idempotency-Key", "PATCH", (busy,), 2, _key(), few=LISTED),
        Row("a PATCH without a key", "PATCH", (Say(503, "1"),), many=LISTED),
        Row("a POST without a key", "POST", (full,), many=TWICE),
        *(Row(f"a GET after {each}", "GET", (Say(each, "1"),), many=NOT_FINAL) for each in final),
        *(
            Row(f"a GET with Retry-After: {each}", "GET", (Say(503, each),), 2, few=UNREADABLE)
            for each in unreadable
        ),
        Row("a GET with Retry-After: 60", "GET", (Say(503, "60"),), many=TOO_LONG),
        Row("a GET to come back in an hour", "GET", (Say(429, _date(3600)),), many=TOO_LONG),
        Row("a GET with Retry-After: 2", "GET", (Say(503, "2"),), 2, few=NOT_TOO_LONG),
        Row("a GET with a date", "GET", (Say(503, _date(0.3)),), 2),
        Row("a GET that is always refused", "GET", (busy,) * 9, 3, many="Count the first one too."),
    ]


@exercise("32-come-back", title="Come back when it helps", returns=httpx2.Response, deadline=25)
def come_back(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`send(client, request)` returns the last answer: three tries at most, where that is safe."""
    cases = Cases(answer, sandbox)
    return (
        cases.broken(_with_a_key, only=FAULTS, at_once=24)
        or cases.broken(_without_a_key, only=FAULTS)
        or cases.broken(_asked_once, beside=[_nobody_there, _all_kinds])
        or solved(
            "each request was repeated where that is safe, and when the shop asked for it",
            cases=cases.count,
        )
    )


def _with_a_key(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Send what may happen twice, under the faults of this run."""
    row = Row("a POST with an Idempotency-Key", "POST", tries=len(run.plan) + 1, key=_key())
    return _sent(row, answer, room, run)


def _without_a_key(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Send what must not happen twice."""
    return _sent(Row("a POST without a key", "POST", many=TWICE), answer, room, run)


def _asked_once(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Ask for a second once, and for nothing after it."""
    row = Row("a GET with Retry-After: 1", "GET", (Say(429, "1"), Say(503)), 3)
    return _sent(row, answer, room, run, ROOM_SECONDS)


def _sent(
    row: Row, answer: Submission, room: Sandbox, run: Run, timeout: float = TIMEOUT
) -> Verdict | None:
    shop = Shop(room, [row])
    customer = Customer(room, run.door(shop.service).url, timeout)
    request = customer.request(row)
    wanted = {(row.method, row.key, request.content)}
    outcome = answer.attempt(customer.client, request, within=PATIENCE, allow=httpx2.TransportError)
    tries = customer.tries.get(request.url.path, [])
    arrived = set(shop.arrived.get(request.url.path, []))
    return first_broken(
        (
            not arrived <= wanted,
            "a request arrived that is not the one that your function was given",
            "Send `request` itself, each time. What does its key stand for?",
        ),
        tries=len(tries),
    ) or judged(row, outcome, tries)


def _all_kinds(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Send each row, and a crowd that is sent away at the same moment: it comes back spread."""
    crowd = [Row("a GET that was sent away", "GET", (say,), 2) for say in SENT_AWAY * CALLERS]
    rows = _rows() + crowd
    outcomes, tried = _together(answer, room, rows)
    wrong = (judged(*each, alone=False) for each in zip(rows, outcomes, tried, strict=True))
    together = tried[-len(crowd) :]
    return next(filter(None, wrong), None) or first_broken(
        *(
            (
                near >= CROWD,
                f"{CALLERS} callers were sent away together, and {near} came back together",
                "Draw each pause anew with `random.uniform(...)`, from the whole range.",
            )
            for near in (_most_near(together[::2]), _most_near(together[1::2]))
        ),
        callers=CALLERS,
    )


def _most_near(tried: Sequence[Sequence[Try]]) -> int:
    """Return how many pauses differ by NEAR seconds at most, where most do."""
    pauses = [after.sent - before.heard for before, after in tried]
    return max(sum(0 <= other - pause <= NEAR for other in pauses) for pause in pauses)


def _nobody_there(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Send to a shop that is closed."""
    row = Row("a GET to a shop that is closed", "GET", tries=3, many="Count the first one too.")
    shop = Shop(room, [row])
    shop.service.stop()
    customer = Customer(room, shop.service.url)
    request = customer.request(row)
    outcome = answer.attempt(
        customer.client, request, within=PATIENCE / 2, allow=httpx2.TransportError
    )
    return judged(row, outcome, customer.tries.get(request.url.path, []))


def _together(
    answer: Submission, room: Sandbox, rows: Sequence[Row]
) -> tuple[list[Outcome], list[Sequence[Try]]]:
    """Send the rows at the same time; return how each call ended, and its tries."""
    shop = Shop(room, rows)
    customer = Customer(room, shop.service.url)
    requests = [customer.request(row, number) for number, row in enumerate(rows)]
    started = [
        answer.start(customer.client, each, within=PATIENCE, allow=httpx2.TransportError)
        for each in requests
    ]
    outcomes = [each.outcome() for each in started]
    return outcomes, [customer.tries.get(each.url.path, []) for each in requests]
