"""Server interceptors that answer what a handler raises, and leak nothing (claim C05).

    StatusError                       as it is, with its details
    what `translate` knows            the StatusError that it returns
    a call to another service that
    was UNAVAILABLE or too late       the same code, without the other service's text
    everything else, sys.exit too     INTERNAL "internal error, id=...", the rest in the log

`context.abort` keeps working. Without these interceptors gRPC answers UNKNOWN with the exception's
own text, and a handler that calls sys.exit never answers at all.

Put one outermost, but for those that count: it answers what is raised behind it, in interceptors
too, and nothing that is raised before it. Notebook 05 shows both orders. Not covered: a handler
that returns what is no message, which gRPC answers itself with the type's name.
"""

from __future__ import annotations

import inspect
import logging
import secrets
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc._wraps import around
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    Translate = Callable[[Exception], StatusError | None]

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

_PASSED_ON = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class AnswerErrors(grpc.aio.ServerInterceptor):
    """The interceptor for grpc.aio.server.

    `translate` turns the application's own exceptions into a StatusError, or returns None.
    """

    def __init__(self, translate: Translate | None = None) -> None:
        self._answers = _Answers(translate)

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler; what it or an interceptor behind raises is answered."""
        method = handler_call_details.method
        try:
            handler = await continuation(handler_call_details)
        except Exception as error:  # noqa: BLE001  an interceptor behind this one
            return _refuse_aio(self._answers.status(method, error))
        return self._answers.wraps.wrap(method, handler)


class AnswerErrorsThreaded(grpc.ServerInterceptor):
    """The interceptor for grpc.server; `translate` as for AnswerErrors."""

    def __init__(self, translate: Translate | None = None) -> None:
        self._answers = _Answers(translate)

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler; what it or an interceptor behind raises is answered."""
        method = handler_call_details.method
        try:
            handler = continuation(handler_call_details)
        except Exception as error:  # noqa: BLE001  an interceptor behind this one
            return _refuse(self._answers.status(method, error))
        return self._answers.wraps.wrap(method, handler)


class _Answers:
    """What both interceptors share."""

    def __init__(self, translate: Translate | None) -> None:
        self._translate = translate
        self.wraps = around(self._watch)

    def _watch(self, method: str, handler: Any, behaviour: Any) -> Any:
        if inspect.iscoroutinefunction(behaviour):
            return self._coroutine(method, behaviour)
        if inspect.isasyncgenfunction(behaviour):
            return self._async_generator(method, behaviour)
        return (self._generator if handler.response_streaming else self._function)(
            method, behaviour
        )

    def _coroutine(self, method: str, behaviour: Any) -> Any:
        async def wrapped(request: Any, context: Any) -> Any:
            try:
                return await behaviour(request, context)
            except grpc.aio.AbortError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001  this is its purpose
                await context.abort_with_status(self.status(method, error))

        return wrapped

    def _async_generator(self, method: str, behaviour: Any) -> Any:
        async def wrapped(request: Any, context: Any) -> AsyncIterator[Any]:
            try:
                async with aclosing(behaviour(request, context)) as messages:
                    async for message in messages:
                        yield message
            except grpc.aio.AbortError:
                raise
            except (Exception, SystemExit) as error:  # noqa: BLE001
                await context.abort_with_status(self.status(method, error))

        return wrapped

    def _function(self, method: str, behaviour: Any) -> Any:
        def wrapped(request: Any, context: Any) -> Any:
            noted = _NotesAbort(context)
            try:
                return behaviour(request, noted)
            except (Exception, SystemExit) as error:
                if noted.aborted or _caller_left(error):
                    raise
                _abort(context, self.status(method, error))

        return wrapped

    def _generator(self, method: str, behaviour: Any) -> Any:
        def wrapped(request: Any, context: Any) -> Iterator[Any]:
            noted = _NotesAbort(context)
            try:
                yield from behaviour(request, noted)
            except (Exception, SystemExit) as error:
                if noted.aborted or _caller_left(error):
                    raise
                _abort(context, self.status(method, error))

        return wrapped

    def status(self, method: str, error: BaseException) -> grpc.Status:
        return (self._known(error) or _unexpected(method, error)).status()

    def _known(self, error: BaseException) -> StatusError | None:
        if isinstance(error, StatusError):
            return error
        if self._translate is not None and isinstance(error, Exception):
            try:
                if (translated := self._translate(error)) is not None:
                    return translated
            except Exception:
                log.exception("translate failed for a %s", type(error).__name__)
        if isinstance(error, grpc.RpcError) and not _caller_left(error):
            code = StatusError.of(error).code
            if code in _PASSED_ON:
                log.warning("a service behind this one answered %s", code.name, exc_info=error)
                return StatusError(code, f"a service behind this one answered {code.name}")
        return None


def _abort(context: Any, status: grpc.Status) -> Any:
    # A plain function on a grpc.aio server gets a context without abort_with_status.
    context.set_trailing_metadata(status.trailing_metadata)
    context.abort(status.code, status.details)


# A handler for streams on both sides answers any kind of call, and waits for no request.
def _refuse(status: grpc.Status) -> Any:
    def handler(_: Any, context: Any) -> Any:
        context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(handler)


def _refuse_aio(status: grpc.Status) -> Any:
    async def handler(_: Any, context: Any) -> None:
        await context.abort_with_status(status)

    return grpc.stream_stream_rpc_method_handler(handler)


def _unexpected(method: str, error: BaseException) -> StatusError:
    error_id = secrets.token_hex(6)
    log.error("internal error, id=%s, in %s", error_id, method, exc_info=error)
    return StatusError(grpc.StatusCode.INTERNAL, f"internal error, id={error_id}")


def _caller_left(error: BaseException) -> bool:
    """Tell the bare RpcError, raised by a stream of requests whose caller has left."""
    return type(error) is grpc.RpcError


class _NotesAbort:
    """The context of a threaded handler: what `abort` raises there has no type of its own."""

    __slots__ = ("_context", "aborted")

    def __init__(self, context: Any) -> None:
        self._context = context
        self.aborted = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._context, name)

    def abort(self, *status: Any, **more: Any) -> Any:
        self.aborted = True
        self._context.abort(*status, **more)

    def abort_with_status(self, status: Any) -> Any:
        self.aborted = True
        self._context.abort_with_status(status)
