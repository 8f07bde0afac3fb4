"""Stage of T0-crowd: a shop over HTTP that stalls and loses what passes, and what it was sent."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.checks.scenarios.crowd_plan import LATE, LOST, REFUSED, RESET, TIMEOUT
from labsvc.checks.scenarios.crowd_seen import HEADER, Seen
from labsvc.shop.api import create_app
from labsvc.shop.model import Order, OrderLine, OrderStatus
from labsvc.shop.orders import Orders
from labsvc.shop.store import Store

if TYPE_CHECKING:
    import threading

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.crowd_plan import Fate

TICK = 0.02  # seconds
EARLIER = [f"o-{number}" for number in range(100)]  # as a counter makes them
TOO_LATE = 2 * TIMEOUT


@dataclass
class Crowded:
    """The shop's HTTP face. It stalls until `awake`, and does to each try what that asks for.

    `strangers` counts requests that no `Seen` sent.
    """

    store: Store
    awake: threading.Event
    strangers: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        """Open the shop."""
        self._app: Any = create_app(Orders(self.store))

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

        fate = dict(scope["headers"]).get(HEADER.encode(), b"").decode()
        self.strangers += not fate
        while not self.awake.is_set():  # noqa: ASYNC110  # it is set from another thread
            await asyncio.sleep(TICK)
        if fate in ("", "None"):
            await self._app(scope, received, send)
            return
        if fate not in (LOST, RESET) and not _refuses(fate):
            await self._app(scope, received, _nowhere)
        if fate.isdecimal():
            # A client that follows redirects would send a refused order again.
            headers = [(b"location", b"/v1/orders")]
            await send({"type": "http.response.start", "status": int(fate), "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        if fate == LATE:
            await asyncio.sleep(TOO_LATE)
        await _cut(send)


class Stage:
    """A shop that has orders already, and a client for it, whose requests are `seen`."""

    def __init__(self, room: Sandbox) -> None:
        store, tea = room.enter(Store.seeded()), (OrderLine("tea-100", 1),)
        price = store.total_cents(tea)
        for order_id in EARLIER:
            store.add_order(Order(order_id, "u-1", tea, OrderStatus.PLACED, price))
        ways: dict[Fate, httpx2.URL] = {}
        self.seen = Seen(ways, set(EARLIER))
        self.shop = Crowded(store, self.seen.all_came)
        service = room.serve_http(self.shop, name="shop")
        refusing, torn = (room.proxy(service, name=name) for name in ("refusing", "torn"))
        refusing.set(refuse=True)
        torn.set(cut_after_bytes=300)  # within a request, behind its head
        ways |= {REFUSED: httpx2.URL(refusing.url), RESET: httpx2.URL(torn.url)}
        self.http = room.enter(
            httpx2.Client(
                base_url=service.url, timeout=TIMEOUT, transport=self.seen, trust_env=False
            )
        )


def _refuses(fate: str) -> bool:
    return fate.isdecimal() and not httpx2.codes.is_success(int(fate))


async def _nowhere(_message: Any) -> None:
    """Send nothing: the answer is lost."""


async def _cut(send: Any) -> None:
    """End the connection within an answer: the server closes where too little was sent."""
    headers = [(b"content-length", b"100")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{", "more_body": False})
