from __future__ import annotations

import asyncio
import random
import threading
import time
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.usefixtures("answers_have_ended")

EXERCISE = "32-come-back"
SAFE = {"GET", "HEAD", "OPTIONS", "PUT", "DELETE"}
KEY = "Idempotency-Key"


def seconds_asked(answer: httpx2.Response) -> float:
    """Return what Retry-After asks for, as the notebook has it."""
    value = answer.headers.get("Retry-After", "")
    if value.isdecimal():
        return int(value)
    try:
        return max(0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return 0


def random_pause() -> float:
    """Draw a pause."""
    return random.uniform(0.05, 0.3)  # noqa: S311  # no secret


def may_repeat(request: httpx2.Request) -> bool:
    """Say what may happen twice."""
    return request.method in SAFE or KEY in request.headers


def send(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """Solve the exercise."""
    for _ in range(2 if may_repeat(request) else 0):
        try:
            answer = client.send(request)
            asked = seconds_asked(answer)
            if answer.status_code not in {429, 503} or asked > 2:
                return answer
        except httpx2.TransportError:
            asked = 0
        time.sleep(asked + random_pause())
    return client.send(request)


async def on_asyncio(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """Solve it with the pauses of asyncio and a list of tries."""
    left = 3 if may_repeat(request) else 1
    while True:
        left -= 1
        pause = random.choice(range(51, 300)) / 1000  # noqa: S311
        try:
            answer = await asyncio.to_thread(client.send, request)
        except httpx2.TransportError:
            if not left:
                raise
        else:
            asked = seconds_asked(answer)
            if not left or answer.status_code not in {429, 503} or asked > 2:
                return answer
            pause += asked
        await asyncio.sleep(pause)


def anew_each_time(client: httpx2.Client, request: httpx2.Request) -> httpx2.Response:
    """Solve it with a request that is built anew, and with recursion."""

    def attempt(left: int) -> httpx2.Response:
        copy = client.build_request(
            request.method, request.url, content=request.content, headers=request.headers
        )
        answer = error = None
        try:
            answer = client.send(copy)
        except httpx2.TransportError as lost:
            error = lost
        final = answer is not None and answer.status_code not in (429, 503)
        asked = 0 if answer is None else seconds_asked(answer)
        if left and not final and asked <= 2:
            threading.Event().wait(asked + random_pause())
            return attempt(left - 1)
        if answer is None:
            assert error is not None
            raise error
        return answer

    return attempt(2 if may_repeat(request) else 0)


def tries(
    client: httpx2.Client,
    request: httpx2.Request,
    *,
    most: int = 3,
    may: Callable[[httpx2.Request], bool] = may_repeat,
    again: Any = (429, 503),
    errors: Any = httpx2.TransportError,
    asks: Callable[[httpx2.Response], float] = seconds_asked,
    too_long: float = 2,
    pause: Callable[[float], float] = lambda asked: asked + random_pause(),
) -> Any:
    """Send a request up to `most` times, each habit as it is asked for."""
    for left in reversed(range(most if may(request) else 1)):
        asked = 0.0
        try:
            answer = client.send(request)
            asked = asks(answer)
            if not left or answer.status_code not in again or asked > too_long:
                return answer
        except errors:
            if not left:
                raise
        time.sleep(pause(asked))
    return None


def with_(**habits: Any) -> Callable[..., Any]:
    """Return an answer with other habits."""

    def answer(client: httpx2.Client, request: httpx2.Request) -> Any:
        return tries(client, request, **habits)

    return answer


def new_key_each_time(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Make each try another order, and all else right."""

    def another_key(asked: float) -> float:
        if KEY in request.headers:
            request.headers[KEY] = str(random.random())  # noqa: S311
        return asked + random_pause()

    return tries(client, request, pause=another_key)


PAUSE = random_pause()


def one_pause_for_all(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Draw the random time once, for the whole program."""
    return tries(client, request, pause=lambda asked: asked + PAUSE)


def without_its_body(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Build the request anew, and forget what is in it."""
    headers = {KEY: request.headers[KEY]} if KEY in request.headers else {}
    return tries(client, client.build_request(request.method, request.url, headers=headers))


def closes_the_client(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Close what belongs to somebody else."""
    with client:
        return tries(client, request)


def raises_when_refused(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Make an error of the last answer."""
    answer = tries(client, request)
    if answer.status_code in {429, 503}:
        msg = "busy"
        raise httpx2.TransportError(msg)
    return answer


def waits_two_at_most(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Cut short what an answer asks for."""
    return tries(client, request, asks=lambda answer: min(seconds_asked(answer), 2))


def answer_before_last(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Return the answer before last when the last try was lost."""
    answer: Any = None
    for _ in range(3 if may_repeat(request) else 1):
        try:
            answer = client.send(request)
            if answer.status_code not in (429, 503) or seconds_asked(answer) > 2:
                return answer
        except httpx2.TransportError:
            pass
        time.sleep(random_pause())
    return answer or httpx2.Response(503)


def raises_statuses(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Raise for each status that is no success."""
    return tries(client, request).raise_for_status()


def for_ever(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Try until it works."""
    return tries(client, request, most=1000)


def retry_after_for_all(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Keep what an earlier answer asked for."""
    asked = 0.0

    def remembers(answer: httpx2.Response) -> float:
        nonlocal asked
        asked = seconds_asked(answer) or asked
        return asked

    return tries(client, request, asks=remembers)


def only_seconds(answer: httpx2.Response) -> float:
    """Read the one form, and take the other for none."""
    value = answer.headers.get("Retry-After", "0")
    return float(value) if value.isdecimal() else 0.0


def seconds_or_crash(answer: httpx2.Response) -> float:
    """Read the one form, and fail at the other."""
    return float(answer.headers.get("Retry-After", "0"))


def unused(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Send it with another client."""
    return httpx2.Response(200)


def made_up(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Return an answer that says the same."""
    return httpx2.Response(tries(client, request).status_code)


def text(client: httpx2.Client, request: httpx2.Request) -> Any:
    """Return the text in the place of the answer."""
    return tries(client, request).text


@pytest.mark.parametrize("answer", [send, on_asyncio, anew_each_time, with_()])
def test_come_back_solved(answer: Callable[..., Any]) -> None:
    """Three tries where that is safe, each as late as was asked for, solve the exercise."""
    assert str(run_check(EXERCISE, answer)) == (
        "solved\n"
        "  each request was repeated where that is safe, and when the shop asked for it\n"
        "  counts: cases 28"
    )


def test_come_back_stub() -> None:
    """The stub is not attempted."""

    def stub(client: Any, request: Any) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (with_(most=1), "given up after it was sent once", "Three tries in all"),
        (with_(most=2), "given up after it was sent 2 times", "Three tries in all"),
        (with_(most=4), "a shop that is closed was sent 4 times", "Count the first one too"),
        (for_ever, "a shop that is closed: your function did not come back", "needs an end"),
        (
            with_(errors=(httpx2.NetworkError, httpx2.RemoteProtocolError)),
            "the caller had given up: a POST with an Idempotency-Key was given up",
            "a timeout",
        ),
        (with_(may=lambda _: True), "a POST without a key was sent 2 times", "had its effect"),
        (
            with_(may=lambda r: r.method in SAFE),
            "a POST with an Idempotency-Key was given up after it was sent once",
            "Three tries in all",
        ),
        (
            with_(may=lambda r: r.method in ("GET", "HEAD") or KEY in r.headers),
            "was given up after it was sent once",
            "lists the methods",
        ),
        (
            with_(may=lambda r: r.method in (*SAFE, "PATCH") or KEY in r.headers),
            "a PATCH without a key was sent 2 times",
            "lists the methods",
        ),
        (with_(again=(503,)), "a GET after 429 was given up", "Two statuses are named"),
        (with_(again=range(429, 600)), "was sent 2 times", "Two statuses are named"),
        (with_(asks=only_seconds), "an hour was sent 2 times", "wait as well"),
        (with_(asks=seconds_or_crash), "ValueError", "Try that line"),
        (with_(asks=lambda _: 0), "was sent 2 times", "wait as well"),
        (
            with_(too_long=10_000, asks=lambda a: min(seconds_asked(a), 2)),
            "60 was sent 2",
            "most that it may wait",
        ),
        (with_(too_long=1.5), "Retry-After: 2 was given up", "Is this one longer"),
        (with_(too_long=1.99), "Retry-After: 2 was given up", "Is this one longer"),
        (one_pause_for_all, "came back together", "Draw each pause anew"),
        (without_its_body, "not the one that your function was given", "Send `request` itself"),
        (closes_the_client, "RuntimeError", "Try that line"),
        (raises_when_refused, "the last try was answered, and the caller got", "is what the"),
        (waits_two_at_most, "60 was sent 2 times", "wait as well"),
        (with_(pause=lambda asked: asked), "was sent again at once", ".05 seconds at least"),
        (
            with_(pause=lambda asked: asked or random_pause()),
            "at the very moment that the shop had named",
            "Add a random time",
        ),
        (with_(pause=lambda _: random_pause()), "before the time", "holds seconds, or a date"),
        (with_(pause=lambda asked: asked + 0.1), "came back together", "Draw each pause anew"),
        (
            with_(pause=lambda asked: asked + random.uniform(0.1, 0.12)),  # noqa: S311
            "came back together",
            "the whole range",
        ),
        (with_(pause=lambda asked: asked + 1.2), "was sent again too late", ".3 seconds at most"),
        (retry_after_for_all, "was sent again too late", "its own answer"),
        (new_key_each_time, "not the one that your function was given", "its key stand for"),
        (
            answer_before_last,
            "the last try was lost, and your function returned",
            "raise its error",
        ),
        (raises_statuses, "HTTPStatusError", "Try that line"),
        (unused, "no request was sent", "client.send"),
        (made_up, "not the last answer", "make nothing up"),
        (text, "returned a str", "asks for a Response"),
    ],
)
def test_come_back_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
