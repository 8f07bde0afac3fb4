"""What ASGI leaves to the application: a body that ends, a caller who leaves, a path as sent."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from labsvc.web.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from starlette.types import Message, Receive, Scope, Send

MAX_BODY_BYTES = 4 * 1024 * 1024  # what gRPC allows by default


class Sent:
    """A `send` that remembers whether the answer has begun."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def __call__(self, message: Message) -> None:
        """Send it."""
        self.started = True
        await self._send(message)


async def unless_left(receive: Receive, work: Coroutine[Any, Any, None]) -> None:
    """Do the work of a request, and cancel it when the caller leaves."""
    working, leaving = asyncio.create_task(work), asyncio.create_task(_left(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass  # a body that nobody asked for


async def nothing() -> Message:
    """Be a `receive` for an answer that reads no more."""
    return {"type": "http.disconnect"}


async def body_of(receive: Receive) -> bytes:
    """Return the whole body.

    Raises:
        ProblemError: it is too large, or its sender has left.

    """
    chunks, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ProblemError(499, "the caller has left", code="CANCELLED")
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
        if size > MAX_BODY_BYTES:
            text = f"the body may have {MAX_BODY_BYTES} bytes"
            close = {"connection": "close"}
            raise ProblemError(413, text, code="RESOURCE_EXHAUSTED", headers=close)
        more = message.get("more_body", False)
    return b"".join(chunks)


def path_of(scope: Scope) -> str:
    """Return the path as it was sent, below the prefix under which the gateway is mounted."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"]).encode()
    path = raw.decode("ascii").partition("?")[0]
    return path.removeprefix(quote(scope.get("root_path", "")))
