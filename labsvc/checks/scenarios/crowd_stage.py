"""Stage of T0-crowd: a shop over HTTP that stalls and loses what passes, and what it was sent."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.shop.api import create_app
from labsvc.shop.orders import LocalInventory, LocalUsers, Orders

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.shop.store import Store

TIMEOUT = 0.8  # seconds that the client waits for an answer
TOO_LATE = 2 * TIMEOUT
STALL = 0.6  # seconds: shorter than the timeout
STALLED_CUSTOMER = 24  # at whose order the stall begins

LOST, TAKEN, LATE = "request lost", "answer lost", "answer late"
SCRIPTS: dict[int, Sequence[str | int]] = {
    3: (TAKEN,),
    6: (LOST,),
    9: (TAKEN, LOST),
    12: (503,),
    15: (LATE, LATE, LATE),
    18: (LOST, TAKEN, LOST),
    21: (LATE, LATE),
    29: (TAKEN,),
    36: (LATE,),
    40: (500,),
    43: (LATE, LATE, LATE),
    46: (LATE,),
    50: (LATE, LATE, LATE),
    54: (429,),
}
"""What happens to the tries of a customer, by the place in the row of those who come."""


@dataclass
class Try:
    """One request, from the client's side: `status` is None where no answer came. In seconds."""

    start: float
    body: Any
    end: float | None = None
    status: int | None = None


class Seen(httpx2.BaseTransport):
    """Carries requests over the network, and notes each try."""

    def __init__(self) -> None:
        self.tries: list[Try] = []
        self._real = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request, and read the whole of its answer."""
        made = Try(time.monotonic(), _json(request))
        self.tries.append(made)
        try:
            answer = self._real.handle_request(request)
            content = answer.read()
            made.status = answer.status_code
        finally:
            made.end = time.monotonic()
        return httpx2.Response(answer.status_code, headers=answer.headers, content=content)

    def close(self) -> None:
        """Close the connections."""
        self._real.close()


def _json(request: httpx2.Request) -> Any:
    try:
        return json.loads(request.read())
    except ValueError:
        return None


@dataclass
class Crowded:
    """The shop's HTTP face. It does to each try what its customer's script says."""

    store: Store
    _tries: dict[str, list[str | int]] = field(default_factory=dict)
    _awake_at: float = 0.0
    _row: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        """Open the shop."""
        orders = Orders(self.store, LocalUsers(self.store), LocalInventory(self.store))
        self._app: Any = create_app(orders)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or hurt it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        message = await receive()
        while message.get("more_body"):
            more = await receive()
            message = more | {"body": message["body"] + more["body"]}

        async def received() -> Any:
            return message

        fate = self._next(message.get("body", b""))
        await asyncio.sleep(max(0.0, self._awake_at - time.monotonic()))
        if isinstance(fate, int):
            await send({"type": "http.response.start", "status": fate, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        elif fate:
            if fate != LOST:
                await self._app(scope, received, _nowhere)
            if fate == LATE:
                await asyncio.sleep(TOO_LATE)
            await _cut(send)
        else:
            await self._app(scope, received, send)

    def _next(self, body: bytes) -> str | int | None:
        """Return what happens to this try."""
        try:
            order_id = str(json.loads(body)["order_id"])
        except (ValueError, KeyError, TypeError):
            return None
        if order_id not in self._tries:
            number = len(self._tries)
            self._tries[order_id] = list(SCRIPTS.get(number, ()))
            if number == STALLED_CUSTOMER:
                self._awake_at = time.monotonic() + STALL
        script = self._tries[order_id]
        return script.pop(0) if script else None


async def _nowhere(_message: Any) -> None:
    """Send nothing: the answer is lost."""


async def _cut(send: Any) -> None:
    """End the connection within an answer: the server closes where too little was sent."""
    headers = [(b"content-length", b"100")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{", "more_body": False})
