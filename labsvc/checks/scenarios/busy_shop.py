"""Part of the check of notebook 32: a shop that sends customers away, and a client that is watched.

A `Row` is one request: what the shop says to it, and how often it may be sent.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome
    from labsvc.hosts.http import HttpService

KEY = "Idempotency-Key"
AGAIN = (429, 503)
PATIENCE = 8.0  # seconds for one call of the answer
LONGEST_PAUSE = 0.9  # seconds; the exercise says .3, and a busy machine adds to it
ROOM_SECONDS = 5.0
NO_END = "A loop that tries again needs an end."
TWICE = "What if the first one had its effect, and only the answer was lost?"


@dataclass(frozen=True)
class Say:
    """One answer: its status, and what stands in Retry-After, made when it is given."""

    status: int
    wait: str | Callable[[], str] = ""

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers of the answer."""
        wait = self.wait if isinstance(self.wait, str) else self.wait()
        return [(b"retry-after", wait.encode())] if wait else []


@dataclass(frozen=True)
class Row:
    """A request; after what the shop says it gets 200. `tries` is how often it has to be sent.

    `few` and `many` are hints for an answer that sends it less often, or more often.
    """

    what: str
    method: str
    says: tuple[Say, ...] = ()
    tries: int = 1
    key: str = ""
    few: str = "Three tries in all, after 429, 503, a lost connection or a timeout."
    many: str = "The first answer that is neither 429 nor 503 ends the tries."


@dataclass
class Try:
    """One request on its way; `answer` is None as long as nothing has come back."""

    sent: float
    answer: httpx2.Response | None = None
    heard: float = 0.0
    asked: float = 0.0  # seconds, by Retry-After


@dataclass
class Shop:
    """The shop over HTTP, each row on a path of its own."""

    room: Sandbox
    rows: Sequence[Row]
    service: HttpService = field(init=False)
    arrived: dict[str, list[tuple[str, str, bytes]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Serve it."""
        self.service = self.room.serve_http(self, name="shop")

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request, by ASGI."""
        if scope["type"] != "http":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        headers = dict(scope["headers"])
        key = headers.get(KEY.lower().encode(), b"").decode()
        arrivals = self.arrived.setdefault(scope["path"], [])
        arrivals.append((scope["method"], key, body))
        says = self.rows[int(scope["path"].rpartition("/")[2])].says
        said = says[len(arrivals) - 1] if len(arrivals) <= len(says) else Say(200)
        start = {"type": "http.response.start", "status": said.status, "headers": said.headers()}
        await send(start)
        await send({"type": "http.response.body", "body": b"{}"})


class Customer:
    """A client that notes each request and each answer, by path."""

    def __init__(self, room: Sandbox, url: str, timeout: float = ROOM_SECONDS) -> None:
        self.tries: dict[str, list[Try]] = {}
        hooks: Any = {"request": [self._sends], "response": [self._hears]}
        self.client = room.enter(
            httpx2.Client(
                base_url=url, timeout=timeout, trust_env=False, verify=False, event_hooks=hooks
            )
        )

    def request(self, row: Row, number: int = 0) -> httpx2.Request:
        """Return the request of a row."""
        headers = {KEY: row.key} if row.key else {}
        path = f"/orders/{number}"
        return self.client.build_request(row.method, path, json={"sku": "tea-100"}, headers=headers)

    def _sends(self, request: httpx2.Request) -> None:
        self.tries.setdefault(request.url.path, []).append(Try(time.time()))

    def _hears(self, answer: httpx2.Response) -> None:
        last = self.tries[answer.request.url.path][-1]
        last.answer, last.heard = answer, time.time()
        last.asked = _seconds_asked(answer.headers.get("Retry-After", ""))


def judged(
    row: Row, outcome: Outcome, tries: Sequence[Try], *, alone: bool = True
) -> Verdict | None:
    """Return what broke when the answer sent the request of a row.

    What is sent beside many others may be late for that, and is not blamed for it.
    """
    times = "once" if len(tries) == 1 else f"{len(tries)} times"
    last, name = tries[-1] if tries else Try(0), type(outcome.error).__name__
    return first_broken(
        (outcome.hung, f"{row.what}: your function did not come back", NO_END),
        (not tries, "no request was sent", "Call `client.send(request)`."),
        (len(tries) > row.tries, f"{row.what} was sent {times}", row.many),
        (len(tries) < row.tries, f"{row.what} was given up after it was sent {times}", row.few),
        (
            last.answer is None and outcome.error is None,
            f"{row.what}: the last try was lost, and your function returned as if all was well",
            "An earlier answer does not say how the last try ended: raise its error.",
        ),
        (
            last.answer is not None and outcome.error is not None,
            f"{row.what}: the last try was answered, and the caller got {name}",
            "What the last try brought is what the caller gets.",
        ),
        (
            outcome.error is None and outcome.value is not last.answer,
            f"{row.what}: what came back is not the last answer",
            "Return what `client.send` returned last, and make nothing up.",
        ),
    ) or _paused(row, tries, LONGEST_PAUSE if alone else None)


def _paused(row: Row, tries: Sequence[Try], longest: float | None) -> Verdict | None:
    """Return what is wrong with the pauses between tries; None is as long as it takes."""
    pairs = list(pairwise(tries))
    rest = [after.sent - (one.heard or one.sent) - one.asked for one, after in pairs]
    heard = [pause for pause, (one, _) in zip(rest, pairs, strict=True) if one.heard]
    shortest = min(rest, default=1.0)
    return first_broken(
        (
            shortest < SHORTEST_PAUSE and not any(one.asked for one in tries),
            f"{row.what} was sent again at once",
            "A server that has just fallen needs a moment: .05 seconds at least.",
        ),
        (
            shortest < -SHORTEST_PAUSE,
            f"{row.what} came before the time that the shop had asked for",
            "`Retry-After` holds seconds, or a date.",
        ),
        (
            shortest < SHORTEST_PAUSE,
            f"{row.what} came at the very moment that the shop had named",
            "So do all others who were sent away. Add a random time, .05 seconds at least.",
        ),
        (
            longest is not None and max(heard, default=0.0) > longest,
            f"{row.what} was sent again too late",
            "Each pause is .3 seconds at most, beyond what its own answer asked for.",
        ),
    )


def _seconds_asked(value: str) -> float:
    """Return the seconds that a Retry-After asks for, 0 if it asks for none."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0.0
