"""The common part of server interceptors that put something around each handler."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class Wraps:
    """Wraps each handler once: a server has the same few all its life.

    `around(method, handler, behaviour)` returns what runs in place of the handler's function
    `behaviour`, a function of the same kind, because gRPC asks which kind it is.
    """

    def __init__(self, around: Callable[[str, Any, Any], Any]) -> None:
        self._around = around
        self._kept: dict[str, tuple[Any, Any]] = {}

    def wrap(self, method: str, handler: Any) -> Any:
        """Return the RpcMethodHandler to use for a call; None for a method that does not exist."""
        if handler is None:
            return None
        kept = self._kept.get(method)
        if kept is None or kept[0] is not handler:
            way = ("stream" if handler.request_streaming else "unary") + (
                "_stream" if handler.response_streaming else "_unary"
            )
            around = self._around(method, handler, getattr(handler, way))
            kept = (handler, handler._replace(**{way: around}))
            self._kept[method] = kept
        return kept[1]
