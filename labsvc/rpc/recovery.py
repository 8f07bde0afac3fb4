"""Server interceptors that answer what a handler raises, and leak nothing (claim C05).

    StatusError                       as it is, with its details
    what `translate` knows            the StatusError that it returns
    a call to another service that
    was UNAVAILABLE or too late       the same code, without the other service's text
    everything else, sys.exit too     INTERNAL "internal error, id=...", the rest in the log

`context.abort` keeps working. Without these interceptors gRPC answers UNKNOWN with the exception's
own text, and a handler that calls sys.exit never answers at all.

Put one outermost, but for those that count: it answers what is raised behind it, in interceptors
too, and nothing that is raised before it. Notebook 25 shows both orders. Not covered: a handler
that returns what is no message, which gRPC answers itself with the type's name.
"""

from __future__ import annotations

import functools
import inspect
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar, cast

import grpc
import grpc.aio

from labsvc.rpc import _server
from labsvc.rpc._guard import Refused, around
from labsvc.rpc._server import Layer
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.rpc._guard import Call, Guard

    Translate = Callable[[Exception], StatusError | None]

log = logging.getLogger(__name__)
log.addHandler(logging.NullHandler())

F = TypeVar("F", bound="Callable[..., Any]")

_PASSED_ON = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def server(translate: Translate | None = None) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server.

    `translate` turns the application's own exceptions into a StatusError, or returns None.
    """
    return _server.server(_Recovery(translate))


def aio_server(translate: Translate | None = None) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(_Recovery(translate))


def answers(translate: Translate | None = None) -> Callable[[F], F]:
    """Return a decorator for a servicer's method, which answers what the method means to say.

    For a servicer that answers its own errors on any server, with interceptors or without: a
    StatusError and what `translate` knows. Everything else is raised as before.
    """

    def decorate(method: F) -> F:
        guarded: Any = _Guarded(method, partial(_Answering, partial(_known, translate)))
        functools.update_wrapper(guarded, method)
        return cast("F", guarded)

    return decorate


class _Guarded:
    """A servicer's method inside of a guard, made anew for each server that asks for it."""

    def __init__(self, method: Callable[..., Any], guard: Guard) -> None:
        self._method = method
        self._guard = guard

    def __get__(self, servicer: Any, owner: type | None = None) -> Any:
        if servicer is None:
            return self
        bound = self._method.__get__(servicer, owner)
        streams = inspect.isgeneratorfunction(bound)
        return functools.wraps(bound)(around(self._guard, bound, streams=streams))


class _Recovery(Layer):
    def __init__(self, translate: Translate | None) -> None:
        super().__init__()
        self._translate = translate

    def guard(self, method: str, handler: Any) -> Guard | None:
        return partial(_Answering, partial(self._answer, method))

    def failed(self, method: str, error: Exception) -> Refused | None:
        return Refused.of(self._answer(method, error))

    def _answer(self, method: str, error: BaseException) -> StatusError:
        known = _known(self._translate, error) or _passed_on(error)
        return known or _unexpected(method, error)


class _Answering:
    """The guard: asks `answer` about what the handler raised, and raises it on if that is None."""

    __slots__ = ("_answer", "_noted")

    def __init__(self, answer: Callable[[BaseException], StatusError | None], call: Call) -> None:
        self._answer = answer
        self._noted = None if call.asynchronous else _NotesAbort(call.context)
        if self._noted is not None:
            call.context = self._noted

    def __enter__(self) -> None:
        """Wait for what the handler raises."""

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        if not isinstance(error, Exception | SystemExit) or isinstance(error, grpc.aio.AbortError):
            return
        # The bare RpcError is raised by a stream of requests whose caller has left.
        if self._noted is not None and (self._noted.aborted or type(error) is grpc.RpcError):
            return
        if (answer := self._answer(error)) is not None:
            raise Refused.of(answer) from error


def _known(translate: Translate | None, error: BaseException) -> StatusError | None:
    if isinstance(error, StatusError):
        return error
    if translate is None or not isinstance(error, Exception):
        return None
    try:
        return translate(error)
    except Exception:
        log.exception("translate failed for a %s", type(error).__name__)
        return None


def _passed_on(error: BaseException) -> StatusError | None:
    if not isinstance(error, grpc.RpcError) or type(error) is grpc.RpcError:
        return None
    code = StatusError.of(error).code
    if code not in _PASSED_ON:
        return None
    log.warning("a service behind this one answered %s", code.name, exc_info=error)
    return StatusError(code, f"a service behind this one answered {code.name}")


def _unexpected(method: str, error: BaseException) -> StatusError:
    error_id = secrets.token_hex(6)
    log.error("internal error, id=%s, in %s", error_id, method, exc_info=error)
    return StatusError(grpc.StatusCode.INTERNAL, f"internal error, id={error_id}")


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
