"""See the calls that a learner's function makes, from its own side of the wire."""

from __future__ import annotations

import time
from typing import Any

import grpc


class Watch(grpc.UnaryUnaryClientInterceptor):
    """Notes of each call when it started, its timeout, and when it ended, in seconds.

    With the `context` of a handler, `spare` is by how much each timeout is shorter than what the
    handler's caller had left at that moment.
    """

    def __init__(self, context: grpc.ServicerContext | None = None) -> None:
        self._context = context
        self.starts: list[float] = []
        self.timeouts: list[float | None] = []
        self.spare: list[float] = []
        self.ends: list[float] = []
        self._calls: list[Any] = []

    @property
    def codes(self) -> list[str]:
        """How each call ended; "" for one that was started and goes on, and is not waited for."""
        return [call.code().name if call.done() else "" for call in self._calls]

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Make the call, and note it."""
        self.starts.append(time.monotonic())
        self.timeouts.append(details.timeout)
        if self._context is not None and details.timeout is not None:
            self.spare.append(self._context.time_remaining() - details.timeout)
        call = continuation(details, request)
        self._calls.append(call)
        call.add_done_callback(lambda _: self.ends.append(time.monotonic()))
        return call
