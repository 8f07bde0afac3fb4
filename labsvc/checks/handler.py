"""The answer, or a function that it returned, as a server of the scenario calls it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Iterable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from labsvc.checks import values
from labsvc.checks.kinds import kind_of, must_be_awaitable, nothing_to_read

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from labsvc.checks.examiner import Terms
    from labsvc.checks.submission import Submission


class Handler:
    """Calls a function in its own form, and notes in the submission what is wrong with it."""

    def __init__(self, answer: Submission, function: Callable[..., Any], terms: Terms) -> None:
        self._answer = answer
        self._function = function
        self._terms = terms

    @property
    def form(self) -> Callable[..., Any]:
        """The method to call: a function, a coroutine function or a generator."""
        kind = kind_of(self._function) if self._terms.kind == "either" else self._terms.kind
        forms: dict[str, Callable[..., Any]] = {
            "function": self._call,
            "coroutine": self._call_async,
            "generator": self._read,
            "async generator": self._read_async,
        }
        return forms[kind]

    def _call(self, *args: Any) -> Any:
        with self._noting():
            attempt = self._answer.begin(self._function, args, self._terms)
            outcome = attempt.outcome()
            if outcome.hung:
                raise attempt.hang()
            if outcome.error is not None:
                raise outcome.error
            return outcome.value

    async def _call_async(self, *args: Any) -> Any:
        with self._noting():
            made = self._function(*args)
            must_be_awaitable(made, self._function)
            value = await made
            if problem := values.complaint(value, self._terms.returns):
                raise problem
            return value

    def _read(self, *args: Any) -> Iterator[Any]:
        with self._noting():
            made = self._function(*args)
            if not isinstance(made, Iterable):
                raise nothing_to_read(made, "generator")
            yield from made

    async def _read_async(self, *args: Any) -> AsyncIterator[Any]:
        with self._noting():
            made = self._function(*args)
            if not isinstance(made, AsyncIterable):
                raise nothing_to_read(made, "async generator")
            async for value in made:
                yield value

    @contextmanager
    def _noting(self) -> Iterator[None]:
        try:
            yield
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:
            self._answer.note_fault(error, self._terms)
            raise
