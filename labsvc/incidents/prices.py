"""The prices service over HTTP: a cache before a database that is slow."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from fastapi import FastAPI

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.trace import Tracer

DB_SECONDS = 0.24  # for one price
DB_PLACES = 1  # 4 prices in a second
TTL = 5.0
CHECK_SECONDS = 0.12
BLOCKING_SECONDS = 0.3
QUESTION = "SELECT price"
CENTS = {"tea": 450, "mug": 1299, "pot": 2599}


class Prices:
    """Answers GET /prices/{sku} with the price in cents.

    Attributes:
        ttl: seconds for which a price is kept.
        together: whether those who miss the same price at the same time share one question.
        check: awaited with each sku before it is answered: a library of the trade.

    """

    def __init__(self, tracer: Tracer) -> None:
        self._tracer = tracer
        self.ttl = TTL
        self.together = True
        self.check: Callable[[str], Awaitable[None]] = check_trade
        self._kept: dict[str, tuple[float, int]] = {}
        self._asking: dict[str, asyncio.Task[int]] = {}
        self._places = asyncio.Semaphore(DB_PLACES)
        self.app = FastAPI()
        self.app.get("/prices/{sku}")(self.price)

    async def price(self, sku: str) -> dict[str, int]:
        """Return the price of one."""
        await self.check(sku)
        until, cents = self._kept.get(sku, (0.0, 0))
        if time.monotonic() < until:
            return {"cents": cents}
        if not self.together:
            return {"cents": await self._ask(sku)}
        task = self._asking.get(sku)
        if task is None or task.done():
            task = self._asking[sku] = asyncio.create_task(self._ask(sku))
        return {"cents": await asyncio.shield(task)}

    def expire(self) -> None:
        """Forget all prices, as when they change."""
        self._kept.clear()

    async def _ask(self, sku: str) -> int:
        with self._tracer.start_as_current_span(QUESTION):
            async with self._places:
                await asyncio.sleep(DB_SECONDS)
        cents = CENTS[sku]
        self._kept[sku] = (time.monotonic() + self.ttl, cents)
        return cents


async def check_trade(_: str) -> None:
    """Ask the library of the trade, in its form for asyncio."""
    await asyncio.sleep(CHECK_SECONDS)


async def check_trade_blocking(_: str) -> None:
    """Ask the library in the form that everybody knows."""
    time.sleep(BLOCKING_SECONDS)  # noqa: ASYNC251  # the fault of an incident
