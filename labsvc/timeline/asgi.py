"""An ASGI app around another: it notes each request that the other one handles."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from labsvc.timeline import record
from labsvc.timeline.incoming import Incoming

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Noted:
    """The app of the service with this name."""

    def __init__(self, app: Any, name: str) -> None:
        self._app = app
        self._name = name

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Handle what the server got, and note a request while somebody records."""
        tape = record.current()
        if tape is None or scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        pairs = [
            (key.decode("latin-1"), value.decode("latin-1")) for key, value in scope["headers"]
        ]
        incoming = Incoming(tape, self._name, f"{scope['method']} {scope['path']}", pairs)
        incoming.act()

        async def watch(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                incoming.left(str(message["status"]))
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except asyncio.CancelledError:
            incoming.left("", cancelled=True)
            raise
        except Exception:
            incoming.left("500")
            raise
        finally:
            incoming.done()
