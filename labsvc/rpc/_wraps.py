"""The common part of server interceptors that put something around each handler."""

from __future__ import annotations

import inspect
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import grpc


class Wraps:
    """Wraps each handler once: a server has the same few all its life.

    `remake(method, handler)` returns the RpcMethodHandler to use in place of `handler`.
    """

    def __init__(self, remake: Callable[[str, Any], Any]) -> None:
        self._remake = remake
        self._kept: dict[str, tuple[Any, Any]] = {}

    def wrap(self, method: str, handler: Any) -> Any:
        """Return the RpcMethodHandler to use for a call; None for a method that does not exist."""
        if handler is None:
            return None
        kept = self._kept.get(method)
        if kept is None or kept[0] is not handler:
            kept = (handler, self._remake(method, handler))
            self._kept[method] = kept
        return kept[1]


def around(put: Callable[[str, Any, Any], Any]) -> Wraps:
    """Wrap the functions of handlers.

    `put(method, handler, behaviour)` returns what runs in place of the handler's function
    `behaviour`, a function of the same kind, because gRPC asks which kind it is.
    """

    def remake(method: str, handler: Any) -> Any:
        way = kind(handler)
        return handler._replace(**{way: put(method, handler, getattr(handler, way))})

    return Wraps(remake)


def kind(handler: Any) -> str:
    """Return the name under which an RpcMethodHandler keeps its function."""
    return ("stream" if handler.request_streaming else "unary") + (
        "_stream" if handler.response_streaming else "_unary"
    )


def unless(
    refusal: Callable[[Any, Any], tuple[grpc.StatusCode, str] | None], behaviour: Any
) -> Any:
    """Return a function of the same kind that aborts where `refusal(request, context)` says so."""

    async def coroutine(request: Any, context: Any) -> Any:
        if refused := refusal(request, context):
            await context.abort(*refused)
        return await behaviour(request, context)

    async def async_generator(request: Any, context: Any) -> AsyncIterator[Any]:
        if refused := refusal(request, context):
            await context.abort(*refused)
        async with aclosing(behaviour(request, context)) as responses:
            async for response in responses:
                yield response

    def function(request: Any, context: Any) -> Any:
        if refused := refusal(request, context):
            context.abort(*refused)
        return behaviour(request, context)

    if inspect.iscoroutinefunction(behaviour):
        return coroutine
    return async_generator if inspect.isasyncgenfunction(behaviour) else function
