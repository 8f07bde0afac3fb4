"""What came back from an answer, against what its exercise asks for."""

from __future__ import annotations

import inspect
import re
import sqlite3
from types import NoneType, UnionType
from typing import Any, get_args

import grpc
from pydantic import ConfigDict, TypeAdapter, ValidationError

from labsvc.checks.wording import SubmissionError

_STRICT = ConfigDict(strict=True, arbitrary_types_allowed=True)


def complaint(value: object, wanted: Any) -> SubmissionError | None:
    """Return what is wrong with the kind of a value, None if it is of the type `wanted`."""
    if inspect.iscoroutine(value):
        value.close()  # or Python warns later, out of place
        return SubmissionError(
            "your function returned a coroutine where a value was asked for",
            "Calling an `async def` only makes a coroutine. Who awaits it?",
        )
    if inspect.isgenerator(value) or inspect.isasyncgen(value):
        return SubmissionError(
            "your function returned a generator where a value was asked for",
            "A function with `yield`, or (… for …), does nothing until it is read."
            " Return the finished value.",
        )
    if _fits(value, wanted):
        return None
    return SubmissionError(f"your function returned {described(value)}", _hint(value, wanted))


def described(value: object) -> str:
    """Return what a value is: "None", "an int", "a list of str", "an empty tuple"."""
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, list | tuple | set | frozenset):
        inner = " and ".join(sorted({type(one).__name__ for one in value}))
        return f"{_article(name)} of {inner}" if value else f"an empty {name}"
    return _article(name)


def closed(thing: object) -> str:
    """Return what a thing is called if it has been closed ("database"), "" if not."""
    if isinstance(thing, sqlite3.Connection):
        try:
            _ = thing.total_changes
        except sqlite3.ProgrammingError as error:
            return "database" if "closed" in str(error) else ""
    if isinstance(thing, grpc.Channel):
        try:
            # The only question to a channel that starts nothing; its error is the answer.
            thing._channel.check_connectivity_state(False)  # type: ignore[attr-defined]  # noqa: SLF001, FBT003
        except ValueError:
            return "channel"
        except AttributeError:  # an intercepted one, which holds the other
            return closed(getattr(thing, "_channel", None))
    return ""


def _fits(value: object, wanted: Any) -> bool:
    if wanted is object:
        return True
    try:
        TypeAdapter(wanted, config=_STRICT).validate_python(value)
    except ValidationError:
        return False
    return True


def _hint(value: object, wanted: Any) -> str:
    if value is None:
        return "Is there a `return` on every way through the function?"
    return f"The exercise asks for {_type_name(wanted)}."


def _type_name(wanted: Any) -> str:
    if isinstance(wanted, UnionType):
        return " or ".join(_type_name(one) for one in get_args(wanted))
    if wanted is NoneType:
        return "None"
    if isinstance(wanted, type) and not get_args(wanted):
        return _article(wanted.__name__)
    return re.sub(r"\b(\w+\.)+", "", str(wanted))


def _article(name: str) -> str:
    return f"{'an' if name[:1].lower() in 'aeiou' else 'a'} {name}"
