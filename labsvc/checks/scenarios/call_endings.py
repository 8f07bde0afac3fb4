"""Part of exercise 61-access-log: the ways in which a call can end, and how its line reads then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["ANSWERED", "ENDINGS", "ERRORS", "RAISED", "Ending"]


class _MistakeError(Exception):
    """What a handler raises that has a mistake."""


ERRORS = (_MistakeError, TimeoutError, grpc.RpcError, grpc.aio.AbortError)
"""What the handlers raise."""


@dataclass(frozen=True)
class Ending:
    """One way in which a call ends.

    Attributes:
        said: goes on from "a call", such as "was answered".
        does: what the handler does with its context in the end, and with a text that is secret.
        caller: the code that the caller reads.
        status: the one that belongs into the line.
        hint: for a line with another status.
        has_id: whether an id comes with the call.
        leaves: whether the caller goes away while the handler is at work, which then never ends.

    """

    said: str
    does: Callable[[Any, str], Awaitable[None]]
    caller: str = "OK"
    status: str = "OK"
    hint: str = "Which calls end well?"
    has_id: bool = True
    leaves: bool = False


async def _answer(_context: Any, _text: str) -> None:
    pass


async def _abort(context: Any, text: str) -> None:
    await context.abort(grpc.StatusCode.PERMISSION_DENIED, text)


async def _set(context: Any, _text: str) -> None:
    context.set_code(grpc.StatusCode.NOT_FOUND)


async def _raise(_context: Any, text: str) -> None:
    raise _MistakeError(text)


async def _time_out(_context: Any, text: str) -> None:
    raise TimeoutError(text)


async def _fail_behind(_context: Any, text: str) -> None:
    none = grpc.aio.Metadata()
    raise grpc.aio.AioRpcError(grpc.StatusCode.UNAVAILABLE, none, none, details=text)


async def _set_and_raise(context: Any, text: str) -> None:
    context.set_code(grpc.StatusCode.ALREADY_EXISTS)
    raise _MistakeError(text)


ANSWERED = Ending("was answered", _answer)
RAISED = Ending(
    "raised an error",
    _raise,
    "UNKNOWN",
    "UNKNOWN",
    "After an error that is no abort, `context.code()` is None, and the caller reads UNKNOWN.",
)
ENDINGS = (
    ANSWERED,
    Ending(
        "was aborted",
        _abort,
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "`context.code()` knows with which code the call was aborted.",
    ),
    Ending(
        "returned with the code NOT_FOUND set",
        _set,
        "NOT_FOUND",
        "NOT_FOUND",
        "A handler can return and have failed. What does `context.code()` say then?",
    ),
    RAISED,
    Ending(
        "raised TimeoutError",
        _time_out,
        "UNKNOWN",
        "UNKNOWN",
        "Something that the handler waited for took too long. Its caller is still there, and reads"
        " UNKNOWN.",
    ),
    Ending(
        "raised the error of a call to the next service",
        _fail_behind,
        "UNKNOWN",
        "UNKNOWN",
        "The code in that error is of another call. What does the caller of this one read?",
    ),
    Ending(
        "set the code ALREADY_EXISTS and raised an error",
        _set_and_raise,
        "ALREADY_EXISTS",
        "ALREADY_EXISTS",
        "`context.code()` comes first, whatever was raised.",
    ),
    Ending(
        "was cancelled",
        _answer,
        "CANCELLED",
        "CANCELLED",
        "`asyncio.CancelledError` is no `Exception`: an `except Exception` does not see it.",
        leaves=True,
    ),
    Ending("came without an id", _answer, has_id=False),
)
