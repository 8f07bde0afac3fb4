"""A guard: what runs around a handler, written once for every kind of handler.

    @contextmanager
    def guard(call):           before the handler; `raise Refused(...)` ends the call here
        yield                  the handler runs
        ...                    after it, however it ended

gRPC knows four kinds of handler functions and asks each which it is. `around` spells them out, so
that the modules of this package need not.
"""

from __future__ import annotations

import inspect
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import grpc

    from labsvc.rpc.errors import StatusError

    Guard = Callable[["Call"], AbstractContextManager[Any]]

NOTHING: AbstractContextManager[None] = nullcontext()
"""What a guard returns that has nothing to do when the handler ends."""


class Refused(Exception):  # noqa: N818  it says what happens to the call
    """Raised by a guard, before the handler runs or after it failed: this status is the answer."""

    def __init__(self, code: grpc.StatusCode, text: str, metadata: Any = ()) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
        self.metadata = metadata  # sent behind the status

    @classmethod
    def of(cls, error: StatusError) -> Self:
        """Return what refuses a call with this error and its details."""
        status = error.status()
        return cls(status.code, status.details, status.trailing_metadata)

    def abort(self, context: Any) -> None:
        """End a call on grpc.server, or of a plain function on grpc.aio.server."""
        if self.metadata:
            context.set_trailing_metadata(self.metadata)
        context.abort(self.code, self.text)

    async def aio_abort(self, context: Any) -> None:
        """End a call on grpc.aio.server."""
        await context.abort(self.code, self.text, self.metadata)


class Answered(Exception):  # noqa: N818  likewise
    """Raised by a guard before the handler of one answer runs: the answer is there already."""

    def __init__(self, answer: Any) -> None:
        super().__init__("answered without the handler")
        self.answer = answer


class Call:
    """One call on its way into a handler, as its guard sees it.

    Attributes:
        request: what came; for a stream of requests, its iterator. A guard may put
            its own in place.
        context: what the handler will get. A guard may put its own in place of gRPC's.
        answer: what the handler returned, None before; a stream of answers leaves it at None.
        on_answer: called before each answer of a stream goes out; None for nothing.
        asynchronous: whether the handler is awaited; its `context.abort` is then awaited too.

    """

    __slots__ = ("answer", "asynchronous", "context", "on_answer", "request")

    def __init__(self, request: Any, context: Any, asynchronous: bool) -> None:  # noqa: FBT001
        self.request = request
        self.context = context
        self.answer: Any = None
        self.on_answer: Callable[[], None] | None = None
        self.asynchronous = asynchronous


def around(guard: Guard, behaviour: Any, *, streams: bool) -> Any:
    """Return a function of the kind of `behaviour` that runs it inside of `guard(call)`.

    `streams` says whether a plain function returns an iterator of answers.
    """
    if inspect.iscoroutinefunction(behaviour) or inspect.isasyncgenfunction(behaviour):
        return _asynchronous(guard, behaviour)
    return _plain(guard, behaviour, streams=streams)


def _asynchronous(guard: Guard, behaviour: Any) -> Any:
    async def coroutine(request: Any, context: Any) -> Any:
        call = Call(request, context, True)  # noqa: FBT003
        try:
            with guard(call):
                call.answer = await behaviour(call.request, call.context)
        except Refused as refused:
            await refused.aio_abort(context)
        except Answered as answered:
            return answered.answer
        return call.answer

    async def generator(request: Any, context: Any) -> AsyncIterator[Any]:
        call = Call(request, context, True)  # noqa: FBT003
        try:
            with guard(call):
                async with aclosing(behaviour(call.request, call.context)) as answers:
                    async for answer in answers:
                        if call.on_answer is not None:
                            call.on_answer()
                        yield answer
        except Refused as refused:
            await refused.aio_abort(context)

    # A stream of answers may also be a coroutine, which writes them to its context.
    return generator if inspect.isasyncgenfunction(behaviour) else coroutine


def _plain(guard: Guard, behaviour: Any, *, streams: bool) -> Any:
    def function(request: Any, context: Any) -> Any:
        call = Call(request, context, False)  # noqa: FBT003
        try:
            with guard(call):
                call.answer = behaviour(call.request, call.context)
        except Refused as refused:
            refused.abort(context)
        except Answered as answered:
            return answered.answer
        return call.answer

    def generator(request: Any, context: Any) -> Iterator[Any]:
        call = Call(request, context, False)  # noqa: FBT003
        try:
            with guard(call):
                for answer in behaviour(call.request, call.context):
                    if call.on_answer is not None:
                        call.on_answer()
                    yield answer
        except Refused as refused:
            refused.abort(context)

    return generator if streams else function
