"""Calls of plain grpcio stubs, blocking and asyncio, noted where they leave: after interceptors.

grpcio has no hook for a channel that exists already, so its call classes are wrapped while somebody
records (`patches`), and only then. A message of a stream is noted where the caller takes it.
"""

from __future__ import annotations

import time
from functools import wraps
from typing import TYPE_CHECKING, Any

import grpc
import grpc._channel as blocking
import grpc.aio._call as asynchronous

from labsvc.timeline.outgoing import Outgoing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.timeline.patches import Patch
    from labsvc.timeline.record import Kind, Tape

_KEPT = "_labsvc_outgoing"  # on a call object, for its messages


def short(method: str) -> str:
    """Turn "/labsvc.shop.v1.UserService/GetUser" into "UserService/GetUser"."""
    service, _, name = method.strip("/").rpartition("/")
    return f"{service.rpartition('.')[2]}/{name}"


def patches(tape: Tape) -> Iterator[Patch]:
    """Yield what to put in the place of which attribute of which class."""
    for kind in (
        blocking._UnaryUnaryMultiCallable,  # noqa: SLF001  # there is no public way
        blocking._StreamUnaryMultiCallable,  # noqa: SLF001
    ):
        yield kind, "__call__", _blocking(tape, kind.__call__)
        yield kind, "with_call", _blocking(tape, kind.with_call)
        yield kind, "future", _started(tape, kind.future)
    for stream in (
        blocking._UnaryStreamMultiCallable,  # noqa: SLF001
        blocking._SingleThreadedUnaryStreamMultiCallable,  # noqa: SLF001
        blocking._StreamStreamMultiCallable,  # noqa: SLF001
    ):
        yield stream, "__call__", _started(tape, stream.__call__)
    answers: Any = blocking._Rendezvous  # noqa: SLF001
    yield answers, "__next__", _next(answers.__next__)
    for call in (
        asynchronous.UnaryUnaryCall,
        asynchronous.UnaryStreamCall,
        asynchronous.StreamUnaryCall,
        asynchronous.StreamStreamCall,
    ):
        yield call, "__init__", _init(tape, call.__init__)
    reader, writer = asynchronous._StreamResponseMixin, asynchronous._StreamRequestMixin  # noqa: SLF001
    yield reader, "_read", _message(reader._read, "received")  # noqa: SLF001
    yield writer, "_write", _message(writer._write, "sent")  # noqa: SLF001


def _outgoing(tape: Tape, callable_: Any, request: Any, timeout: float | None) -> Outgoing:
    method, target = callable_._method, callable_._target  # noqa: SLF001
    return Outgoing(tape, short(method.decode()), request, target.decode(), timeout)


def _blocking(tape: Tape, original: Any) -> Any:
    @wraps(original)
    def call(
        self: Any, request: Any, timeout: Any = None, metadata: Any = None, *more: Any, **named: Any
    ) -> Any:
        outgoing = _outgoing(tape, self, request, timeout)
        metadata = (*(metadata or ()), outgoing.pair)
        try:
            answer = original(self, _noted(request, outgoing), timeout, metadata, *more, **named)
        except grpc.RpcError as error:
            outgoing.end(_code(error), answered=False)
            raise
        except BaseException as error:
            outgoing.end(type(error).__name__, answered=False)
            raise
        outgoing.end("OK", answered=True)
        return answer

    return call


def _started(tape: Tape, original: Any) -> Any:
    @wraps(original)
    def start(
        self: Any, request: Any, timeout: Any = None, metadata: Any = None, *more: Any, **named: Any
    ) -> Any:
        outgoing = _outgoing(tape, self, request, timeout)
        metadata = (*(metadata or ()), outgoing.pair)
        call = original(self, _noted(request, outgoing), timeout, metadata, *more, **named)
        setattr(call, _KEPT, outgoing)

        def ended() -> None:
            code = _code(call)
            outgoing.end(code, answered=code == "OK")

        if not call.add_callback(ended):
            ended()
        return call

    return start


def _next(original: Any) -> Any:
    @wraps(original)
    def take(self: Any) -> Any:
        message = original(self)
        outgoing = getattr(self, _KEPT, None)
        if outgoing is not None:
            outgoing.message("received")
        return message

    return take


def _init(tape: Tape, original: Any) -> Any:
    @wraps(original)
    def init(self: Any, request: Any, deadline: Any, metadata: Any, *more: Any) -> None:
        method = more[3]
        timeout = None if deadline is None else deadline - time.time()
        outgoing = Outgoing(tape, short(method.decode()), request, timeout=timeout)
        setattr(self, _KEPT, outgoing)
        original(self, request, deadline, (*metadata, outgoing.pair), *more)

        def ended(call: Any) -> None:
            code = _aio_code(call)
            outgoing.end(code, answered=code == "OK")

        self.add_done_callback(ended)

    return init


def _message(original: Any, kind: Kind) -> Any:
    @wraps(original)
    async def pass_on(self: Any, *arguments: Any) -> Any:
        message = await original(self, *arguments)
        outgoing = getattr(self, _KEPT, None)
        if outgoing is not None and message is not grpc.aio.EOF:
            outgoing.message(kind)
        return message

    return pass_on


def _noted(request: Any, outgoing: Outgoing) -> Any:
    """Return the request as it is, or an iterator of requests that are noted as they are taken."""
    if not hasattr(request, "__next__"):
        return request

    def each() -> Iterator[Any]:
        for message in request:
            outgoing.message("sent")
            yield message

    return each()


def _code(call: Any) -> str:
    return str(getattr(call.code(), "name", call.code()))


def _aio_code(call: Any) -> str:
    """Return the status of a call that is done: its coroutine has nothing to wait for."""
    asked = call.code()
    try:
        asked.send(None)
    except StopIteration as answer:
        return str(answer.value.name)
    finally:
        asked.close()
    return "UNKNOWN"
