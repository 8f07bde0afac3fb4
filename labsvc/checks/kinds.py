"""How an answer is written: a function, a coroutine function, or a generator of either sort."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from labsvc.checks.values import described
from labsvc.checks.wording import SubmissionError

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["either", "function", "coroutine", "generator", "async generator"]
"""How an answer has to be written; "either": as a function or as a coroutine function."""

_SAID: dict[Kind, tuple[str, str]] = {
    "function": ("a plain `def`", "Here it is called from a thread, and nobody awaits it."),
    "coroutine": ("an `async def`", "Here it is awaited on an event loop."),
    "generator": ("a `def` with `yield` in it", "Here a thread reads it, value by value."),
    "async generator": ("an `async def` with `yield` in it", "Here `async for` reads it."),
}


def kind_of(function: Callable[..., Any]) -> Kind:
    """Return how a function is written."""
    called = type(function).__call__
    if inspect.isasyncgenfunction(function) or inspect.isasyncgenfunction(called):
        return "async generator"
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called):
        return "coroutine"
    if inspect.isgeneratorfunction(function) or inspect.isgeneratorfunction(called):
        return "generator"
    return "function"


def must_be(wanted: Kind, function: Callable[..., Any]) -> None:
    """Refuse an `async def` where a thread calls, and what has to be told before the call.

    A plain function may return a coroutine or an iterator, and a generator is told by its value.

    Raises:
        SubmissionError: the function is of another kind.

    """
    unclear = {"function": ("function", "generator")}.get(wanted, ("function",))
    if wanted != "either" and kind_of(function) not in (wanted, *unclear):
        raise _other_kind(function, wanted)


def must_be_awaitable(made: object, function: Callable[..., Any]) -> None:
    """Refuse what a function that had to be a coroutine function has made.

    Raises:
        SubmissionError: it cannot be awaited.

    """
    if not inspect.isawaitable(made):
        raise _other_kind(function, "coroutine")


def nothing_to_read(value: object, wanted: Kind) -> SubmissionError:
    """Return what to say of a function that had to be a generator and returned `value`."""
    form, reason = _SAID[wanted]
    return SubmissionError(
        f"your function returned {described(value)}, and has to be {form}", reason
    )


def _other_kind(function: Callable[..., Any], wanted: Kind) -> SubmissionError:
    form, reason = _SAID[wanted]
    found, _ = _SAID[kind_of(function)]
    return SubmissionError(f"your function is {found}, and has to be {form}", reason)
