"""Part of T6-watched: where events are published."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.checks.scenarios.watched_visits import Visit

SLOW_SECONDS = 1.5  # that a slow event takes


class Post:
    """Publishes the events of visits; `at_once` is how many were on their way together, at most."""

    def __init__(self, exchange: Any, queue: str, visits: Mapping[bytes, Visit]) -> None:
        self.at_once = 0
        self._exchange, self._queue, self._visits = exchange, queue, visits
        self._on_their_way = 0

    async def publish(self, body: bytes, headers: Any) -> None:
        """Publish an event; its headers are noted as they come."""
        visit = self._visits[bytes(body)]
        visit.published.append(dict(headers or {}))
        message = aio_pika.Message(body, headers=dict(headers or {}))
        if isinstance(headers, dict):  # as clients do that put in their own
            headers["x-published"] = len(visit.published)
        if visit.away is not None:
            raise visit.away
        self._on_their_way += 1
        self.at_once = max(self.at_once, self._on_their_way)
        try:
            await asyncio.sleep(SLOW_SECONDS if visit.slow else 0)
            await self._exchange.publish(message, self._queue, timeout=5)
            visit.confirmed += 1
        finally:
            self._on_their_way -= 1
