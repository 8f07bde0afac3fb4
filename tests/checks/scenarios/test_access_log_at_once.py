"""Answers to 61-access-log that are wrong as soon as calls come at the same time."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.checks.scenarios.test_access_log import EXERCISE, id_of, logged, milliseconds
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.checks.scenarios.test_access_log import Handler, Write

pytestmark = pytest.mark.usefixtures("answers_have_ended")


def one_for_all(handler: Handler, write: Write) -> Handler:
    """Keep what belongs to one call where all calls see it."""
    now: dict[str, Any] = {}

    async def watched(request: Any, context: Any) -> Any:
        now.update(id=id_of(context), start=time.perf_counter(), ending="UNKNOWN")
        try:
            answer = await handler(request, context)
            now["ending"] = "OK"
        except asyncio.CancelledError:
            now["ending"] = "CANCELLED"
            raise
        finally:
            status = context.code().name if context.code() else now["ending"]
            write({"request_id": now["id"], "status": status, "ms": milliseconds(now["start"])})
        return answer

    return watched


def in_turns(handler: Handler, write: Write) -> Handler:
    """Serve one call after the other."""
    turn = asyncio.Lock()
    inner = logged(handler, write)

    async def watched(request: Any, context: Any) -> Any:
        async with turn:
            return await inner(request, context)

    return watched


def by_id(handler: Handler, write: Write) -> Handler:
    """Keep what belongs to one call under its id."""
    started: dict[str, float] = {}
    ended: dict[str, str] = {}

    async def watched(request: Any, context: Any) -> Any:
        mine = id_of(context)
        started[mine], ended[mine] = time.perf_counter(), "UNKNOWN"
        try:
            answer = await handler(request, context)
            ended[mine] = "OK"
        except asyncio.CancelledError:
            ended[mine] = "CANCELLED"
            raise
        finally:
            status = context.code().name if context.code() else ended[mine]
            write({"request_id": mine, "status": status, "ms": milliseconds(started[mine])})
        return answer

    return watched


def by_id_but_dash(handler: Handler, write: Write) -> Handler:
    """Do so where there is an id, and well where there is none."""
    kept, right = by_id(handler, write), logged(handler, write)

    async def watched(request: Any, context: Any) -> Any:
        return await (right if id_of(context) == "-" else kept)(request, context)

    return watched


def started_by_id(take: Callable[[list[float]], float]) -> Callable[..., Any]:
    """Return an answer that keeps under each id when its calls came."""

    def answer(handler: Handler, write: Write) -> Handler:
        started: dict[str, list[float]] = {}

        async def watched(request: Any, context: Any) -> Any:
            started.setdefault(id_of(context), []).append(time.perf_counter())

            def timed(line: dict[str, Any]) -> None:
                write(line | {"ms": milliseconds(take(started[line["request_id"]]))})

            return await logged(handler, timed)(request, context)

        return watched

    return answer


def last(times: list[float]) -> float:
    """Take the last one, and forget the others."""
    time_of_it = times.pop()
    times.clear()
    return time_of_it


by_id_popped = started_by_id(last)
by_id_as_stack = started_by_id(list.pop)


def endings_by_id(handler: Handler, write: Write) -> Handler:
    """Keep under its id that a call failed."""
    ended: dict[str, str] = {}

    async def watched(request: Any, context: Any) -> Any:
        start = time.perf_counter()
        try:
            return await handler(request, context)
        except asyncio.CancelledError:
            ended[id_of(context)] = "CANCELLED"
            raise
        except Exception:
            ended[id_of(context)] = "UNKNOWN"
            raise
        finally:
            status = context.code().name if context.code() else ended.get(id_of(context), "OK")
            write({"request_id": id_of(context), "status": status, "ms": milliseconds(start)})

    return watched


def once_for_an_id(handler: Handler, write: Write) -> Handler:
    """Write no second line with the same id."""
    seen = set()

    def once(line: dict[str, Any]) -> None:
        if line["request_id"] not in seen:
            seen.add(line["request_id"])
            write(line)

    return logged(handler, once)


def turns_by_id(handler: Handler, write: Write) -> Handler:
    """Serve calls with one id one after the other."""
    turns: dict[str, asyncio.Lock] = {}
    inner = by_id(handler, write)

    async def watched(request: Any, context: Any) -> Any:
        async with turns.setdefault(id_of(context), asyncio.Lock()):
            return await inner(request, context)

    return watched


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (in_turns, "at the same time, one waited for another", "a task of its own"),
        (one_for_all, "of three calls at the same time, one raised", "local variables"),
        (by_id, "without an id, one raised an error, and `ms`", "names no single call"),
        (by_id_but_dash, "with one id, one raised an error, and `ms`", "A retry has the id"),
        (by_id_popped, "of three calls at the same time without an id", "names no single call"),
        (by_id_as_stack, "of three calls at the same time without an id", "local variables"),
        (endings_by_id, "without an id, one was answered, and its line says", "local variables"),
        (once_for_an_id, "without an id, one was answered, and has 0 lines", "no single call"),
        (turns_by_id, "without an id, one waited for another", "a task of its own"),
    ],
)
def test_access_log_at_once_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """What belongs to one call and is kept where others find it is not solved."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
