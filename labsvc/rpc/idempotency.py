"""Idempotency keys: what is sent twice happens once.

The client makes one key for each thing that it wants done, and sends it with every try; the
retries of a retryPolicy carry the same metadata by themselves:

    stub.PlaceOrder(request, timeout=1, metadata=[new_key()])

The server keeps what it answered for each key and answers that again. The answers are kept in
memory: a restart, or a second server, knows nothing of them. Where that is not enough, store the
key in the same transaction as the effect, as the shop does with its order_id.

The name follows the IETF draft "The Idempotency-Key HTTP Header Field". Notebook 26.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc import _server
from labsvc.rpc._guard import NOTHING, Answered, Refused
from labsvc.rpc._server import Layer
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from labsvc.rpc._guard import Call, Guard

KEY = "idempotency-key"


def new_key() -> tuple[str, str]:
    """Return a metadata entry with a new key; make it once, before the first try."""
    return KEY, uuid.uuid4().hex


def server(most: int = 10_000) -> grpc.ServerInterceptor:
    """Return the interceptor for grpc.server; it keeps the newest `most` answers.

    Calls without a key pass, and so do streams. A handler that raises, aborts or sets a code must
    have changed nothing: its key is forgotten, and a retry runs it again. A key that belongs to
    another request is refused with INVALID_ARGUMENT. While the first call is under way it is
    refused with ABORTED: have your RetryPolicy name this code, and gRPC asks again.
    Raises ValueError if `most` is less than 1.
    """
    return _server.server(_Once(most))


def aio_server(most: int = 10_000) -> grpc.aio.ServerInterceptor:
    """Return the interceptor for grpc.aio.server; see `server`."""
    return _server.aio_server(_Once(most))


@dataclass
class _Entry:
    request: Any
    answer: Any = None  # None while the first call is under way


class _Answers:
    """What was answered for which method and key."""

    def __init__(self, most: int) -> None:
        if most < 1:
            msg = f"most must be 1 or more, not {most}"
            raise ValueError(msg)
        self._most = most
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def begin(self, key: tuple[str, str], request: Any) -> Any:
        """Return the stored answer, or None: then run the handler, and call `end`.

        Raises Refused if the key is not this request's, or its first call is under way.
        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._entries[key] = _Entry(request)
                return None
            if entry.request != request:
                msg = "this idempotency-key was sent with another request; make a new key"
                raise _refused(grpc.StatusCode.INVALID_ARGUMENT, msg)
            if entry.answer is None:
                msg = "the first call with this idempotency-key is under way; try again"
                raise _refused(grpc.StatusCode.ABORTED, msg, retry_after=0.1)
            return entry.answer

    def end(self, key: tuple[str, str], answer: Any) -> None:
        """Keep an answer; None forgets the key, for the handler has failed."""
        with self._lock:
            if answer is None:
                self._entries.pop(key, None)
                return
            self._entries[key].answer = answer
            while len(self._entries) > self._most:
                oldest = next((k for k, e in self._entries.items() if e.answer is not None), key)
                del self._entries[oldest]


class _Once(Layer):
    def __init__(self, most: int) -> None:
        super().__init__()
        self._answers = _Answers(most)

    def guard(self, method: str, handler: Any) -> Guard | None:
        streams = handler.request_streaming or handler.response_streaming
        return None if streams else partial(self._enter, method)

    def _enter(self, method: str, call: Call) -> AbstractContextManager[None]:
        key = _key(method, call.context)
        if key is None:
            return NOTHING
        answer = self._answers.begin(key, call.request)
        if answer is not None:
            raise Answered(answer)
        return self._first(key, call)

    @contextmanager
    def _first(self, key: tuple[str, str], call: Call) -> Iterator[None]:
        try:
            yield
        finally:
            self._answers.end(key, call.answer if _is_ok(call.context) else None)


def _key(method: str, context: Any) -> tuple[str, str] | None:
    for name, value in context.invocation_metadata():
        if name == KEY:
            return method, value
    return None


def _is_ok(context: Any) -> bool:
    """Say whether the handler left the status alone; grpc.aio has 0 where grpc has None."""
    return context.code() in (None, 0, grpc.StatusCode.OK)


def _refused(code: grpc.StatusCode, text: str, retry_after: float | None = None) -> Refused:
    return Refused.of(StatusError(code, text, retry_after=retry_after))
