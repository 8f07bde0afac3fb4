"""Idempotency keys: what is sent twice happens once.

The client makes one key for each thing that it wants done, and sends it with every try; the
retries of a retryPolicy carry the same metadata by themselves:

    stub.PlaceOrder(request, timeout=1, metadata=[new_key()])

The server keeps what it answered for each key and answers that again. The answers are kept in
memory: a restart, or a second server, knows nothing of them. Where that is not enough, store the
key in the same transaction as the effect, as the shop does with its order_id.

The name follows the IETF draft "The Idempotency-Key HTTP Header Field". Notebook 05.
"""

from __future__ import annotations

import inspect
import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.rpc._wraps import around
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = "idempotency-key"


def new_key() -> tuple[str, str]:
    """Return a metadata entry with a new key; make it once, before the first try."""
    return KEY, uuid.uuid4().hex


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

        Raises:
            StatusError: INVALID_ARGUMENT if the key belongs to another request, ABORTED while the
                first call is under way.

        """
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                self._entries[key] = _Entry(request)
                return None
            if entry.request != request:
                msg = "this idempotency-key was sent with another request; make a new key"
                raise StatusError(grpc.StatusCode.INVALID_ARGUMENT, msg)
            if entry.answer is None:
                msg = "the first call with this idempotency-key is under way; try again"
                raise StatusError(grpc.StatusCode.ABORTED, msg, retry_after=0.1)
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


class _Once:
    """What both interceptors share."""

    def __init__(self, most: int = 10_000) -> None:
        self._answers = _Answers(most)
        self._wraps = around(self._around)

    def _around(self, method: str, handler: Any, behaviour: Any) -> Any:
        if handler.request_streaming or handler.response_streaming:
            return behaviour
        if inspect.iscoroutinefunction(behaviour):
            return self._coroutine(method, behaviour)
        return self._function(method, behaviour)

    def _function(self, method: str, behaviour: Any) -> Any:
        def wrapped(request: Any, context: Any) -> Any:
            if (key := _key(method, context)) is None:
                return behaviour(request, context)
            answer = self._answers.begin(key, request)
            if answer is None:
                try:
                    answer = behaviour(request, context)
                finally:
                    self._answers.end(key, answer if _is_ok(context) else None)
            return answer

        return wrapped

    def _coroutine(self, method: str, behaviour: Any) -> Any:
        async def wrapped(request: Any, context: Any) -> Any:
            if (key := _key(method, context)) is None:
                return await behaviour(request, context)
            answer = self._answers.begin(key, request)
            if answer is None:
                try:
                    answer = await behaviour(request, context)
                finally:
                    self._answers.end(key, answer if _is_ok(context) else None)
            return answer

        return wrapped


class IdempotentCalls(_Once, grpc.aio.ServerInterceptor):
    """The interceptor for grpc.aio.server; it keeps the newest `most` answers.

    Put it behind AnswerErrors, which answers the StatusError that it raises. Calls without a key
    pass, and so do streams. A handler that raises, aborts or sets a code must have changed
    nothing: its key is forgotten, and a retry runs it again.
    """

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now runs once for each key."""
        handler = await continuation(handler_call_details)
        return self._wraps.wrap(handler_call_details.method, handler)


class IdempotentCallsThreaded(_Once, grpc.ServerInterceptor):
    """The interceptor for grpc.server; as IdempotentCalls."""

    def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Any],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Return the method's handler, which now runs once for each key."""
        handler = continuation(handler_call_details)
        return self._wraps.wrap(handler_call_details.method, handler)


def _key(method: str, context: Any) -> tuple[str, str] | None:
    for name, value in context.invocation_metadata():
        if name == KEY:
            return method, value
    return None


def _is_ok(context: Any) -> bool:
    """Say whether the handler left the status alone; grpc.aio has 0 where grpc has None."""
    return context.code() in (None, 0, grpc.StatusCode.OK)
