from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Handler = Callable[[Any, Any], Any]

REFUSED = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab."""
    with Lab() as running:
        yield running


def limited(handler: Handler, calls: int) -> Handler:
    """Solve the exercise."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def counted(handler: Handler, calls: int) -> Handler:
    """Solve it with a number and a lock."""
    lock = threading.Lock()
    inside = 0

    def handle(request: Any, context: Any) -> Any:
        nonlocal inside
        with lock:
            full = inside >= calls
            inside += not full
        if full:
            context.abort(REFUSED, "try later")
        try:
            return handler(request, context)
        finally:
            with lock:
                inside -= 1

    return handle


def waits(handler: Handler, calls: int) -> Handler:
    """Let what is too much wait."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        with free:
            return handler(request, context)

    return handle


def no_limit(handler: Handler, calls: int) -> Handler:
    """Return the handler as it is."""
    return handler


def limit_for_each_call(handler: Handler, calls: int) -> Handler:
    """Make a semaphore for every call."""

    def handle(request: Any, context: Any) -> Any:
        return limited(handler, calls)(request, context)

    return handle


def gives_back_only_after_success(handler: Handler, calls: int) -> Handler:
    """Give the place back on the last line."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        reply = handler(request, context)
        free.release()
        return reply

    return handle


def never_gives_back(handler: Handler, calls: int) -> Handler:
    """Count the calls that came in, ever."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        if not free.acquire(blocking=False):
            context.abort(REFUSED, "try later")
        return handler(request, context)

    return handle


def another_code(handler: Handler, calls: int) -> Handler:
    """Refuse with UNAVAILABLE."""
    free = threading.BoundedSemaphore(calls)

    def handle(request: Any, context: Any) -> Any:
        if not free.acquire(blocking=False):
            context.abort(grpc.StatusCode.UNAVAILABLE, "try later")
        try:
            return handler(request, context)
        finally:
            free.release()

    return handle


def one_too_few(handler: Handler, calls: int) -> Handler:
    """Refuse when the last place is taken."""
    return limited(handler, calls - 1)


def returns_nothing(handler: Handler, calls: int) -> None:
    """Forget to return the inner function."""


@pytest.mark.parametrize("answer", [limited, counted])
def test_limit_solved(answer: Callable[..., Any]) -> None:
    """A semaphore and a number behind a lock both solve the exercise."""
    assert str(run_check("07-limit", answer)) == (
        "solved\n"
        "  what was too much was refused at once, and every place came back\n"
        "  counts: calls 10, served 3, refused 7"
    )


def test_limit_stub() -> None:
    """The stub is not attempted."""

    def stub(handler: Handler, calls: int) -> Handler:
        raise NotImplementedError

    assert run_check("07-limit", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (waits, "waited, and were not refused", "return at once"),
        (no_limit, "10 handlers ran at once, 3 were allowed", "before you enter"),
        (limit_for_each_call, "10 handlers ran at once", "for all calls together"),
        (gives_back_only_after_success, "after handlers had failed", "`finally` always is"),
        (never_gives_back, "one after the other were not served", "given back"),
        (another_code, "ended with UNAVAILABLE", "RESOURCE_EXHAUSTED says"),
        (one_too_few, "2 calls were served, 3 had a place", "all places are taken"),
        (returns_nothing, "returned a NoneType", "and return it"),
    ],
)
def test_limit_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("07-limit", answer, guarantee, hint)
