"""Stage of notebook 00's exercise: the shop over HTTP, with a door that loses what passes."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.shop.api import create_app
from labsvc.shop.orders import LocalInventory, LocalUsers, Orders

if TYPE_CHECKING:
    import httpx2

    from labsvc.shop.store import Store

SECONDS = 1.0  # the client's timeout


class LossyShop:
    """The shop's HTTP face; its proxy refuses connections, loses requests or loses answers.

    `tries` counts the requests, `status` is the last one that was answered. With `refusal`, each
    request is answered with that status and has no effect.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        orders = Orders(store, LocalUsers(store), LocalInventory(store))
        self._app: Any = create_app(orders)
        self.proxy: Any = None
        self.refusal = 0
        self.begin(Case(""))

    def begin(self, case: Case) -> None:
        """Forget the tries so far; the next ones meet this case."""
        self.tries = self.status = 0
        self._case = case
        if case.connections:
            self.proxy.cut()  # or the connection of the last call would be used again
            self.proxy.set(refuse=True)

    def sends(self, _request: httpx2.Request) -> None:
        """Count a request that will find nobody, or see that the next one finds the shop."""
        if self._case.connections:
            if self.tries < self._case.connections:
                self.tries += 1
            else:
                self.proxy.clear()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve one request, or hurt its connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def noted(message: Any) -> None:
            self.status = message.get("status", self.status)
            await send(message)

        self.tries += 1
        case, number = self._case, self.tries - self._case.connections
        if number <= case.requests:
            await asyncio.to_thread(self.proxy.cut)
        elif number <= case.requests + case.answers:
            await self._app(scope, receive, _nowhere)
            await asyncio.to_thread(self.proxy.cut)
        elif number <= case.requests + case.answers + case.late:
            await self._app(scope, receive, _nowhere)
            await asyncio.sleep(2 * SECONDS)
        elif self.refusal:
            await noted({"type": "http.response.start", "status": self.refusal, "headers": []})
            await noted({"type": "http.response.body", "body": b""})
        else:
            await self._app(scope, receive, noted)


async def _nowhere(_message: Any) -> None:
    """Send nothing: the answer is lost."""


@dataclass(frozen=True)
class Case:
    """What is lost in one run, in words, and how often."""

    words: str
    connections: int = 0
    requests: int = 0
    answers: int = 0
    late: int = 0


LOST = (
    Case("nothing was lost"),
    Case("the first request was lost", requests=1),
    Case("the first answer was lost", answers=1),
    Case("two answers were lost", answers=2),
    Case("a request and an answer were lost", requests=1, answers=1),
    Case("the first connection was refused", connections=1),
    Case("the first answer came too late", late=1),
)
"""Each needs three tries at most."""
