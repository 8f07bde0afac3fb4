"""What a check sees of a queue: its own connection to the broker, used from the check's thread."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aio_pika

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

    from labsvc.checks.bench import Bench

T = TypeVar("T")

LIBRARIES = ("aio_pika", "aiormq")


class Desk:
    """A broker, one durable queue of this check alone, and a proxy before the broker.

    `url` is the way through the proxy, for the learner's function. The check's own connection
    goes past it. At the end of the `with` block the queue is deleted.
    """

    def __init__(self, bench: Bench) -> None:
        broker = bench.serve_queue()
        self.proxy = bench.proxy(broker)
        self.url = broker.url.replace(broker.target, self.proxy.target)
        self.queue = f"check-{uuid.uuid4().hex}"
        self._loop = bench.lab.loop
        self._direct = broker.url

    def __enter__(self) -> Self:
        with _quiet():
            self._connection, self._channel = self._loop.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        with _quiet():
            self._loop.run(self._close())

    @contextmanager
    def quiet(self) -> Iterator[None]:
        """Keep the client libraries from reporting the connections that the check breaks."""
        with _quiet():
            yield

    def ready(self) -> int:
        """Return how many messages wait in the queue, those handed out left out."""
        return self._run(self._ready())

    def publish(self, *bodies: str) -> None:
        """Put messages into the queue, in this order; the id of `o-1` is `id of o-1`."""
        self._run(self._publish(bodies))

    def take(self, *, requeue: bool = False) -> AbstractIncomingMessage:
        """Take one message; with `requeue` it goes back, as from a worker that died.

        Raises:
            TimeoutError: none came within five seconds.

        """
        return self._run(self._take(requeue=requeue))

    def take_all(self) -> list[AbstractIncomingMessage]:
        """Take every message out of the queue."""
        return self._run(self._take_all())

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, `seconds` at most; return whether it does."""
        give_up_at = time.monotonic() + seconds
        while not (holds := condition()) and time.monotonic() < give_up_at:
            time.sleep(0.02)
        return holds

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    async def _open(self) -> tuple[AbstractConnection, AbstractChannel]:
        connection = await aio_pika.connect(self._direct, timeout=5)
        channel = await connection.channel()
        await channel.declare_queue(self.queue, durable=True)
        return connection, channel

    async def _close(self) -> None:
        async with asyncio.timeout(5):
            await self._channel.queue_delete(self.queue)
            await self._connection.close()

    async def _ready(self) -> int:
        declared = await self._channel.declare_queue(self.queue, passive=True, timeout=5)
        return declared.declaration_result.message_count or 0

    async def _publish(self, bodies: tuple[str, ...]) -> None:
        for body in bodies:
            message = aio_pika.Message(body.encode(), message_id=f"id of {body}")
            exchange = self._channel.default_exchange
            await exchange.publish(message, routing_key=self.queue, timeout=5)

    async def _take(self, *, requeue: bool) -> AbstractIncomingMessage:
        queue = await self._channel.get_queue(self.queue)
        async with asyncio.timeout(5):
            while (message := await queue.get(fail=False)) is None:  # noqa: ASYNC110  # it polls
                await asyncio.sleep(0.01)
        if requeue:
            await message.reject(requeue=True)
        else:
            await message.ack()
        return message

    async def _take_all(self) -> list[AbstractIncomingMessage]:
        queue = await self._channel.get_queue(self.queue)
        taken = []
        while (message := await queue.get(no_ack=True, fail=False, timeout=5)) is not None:
            taken.append(message)
        return taken


@contextmanager
def _quiet() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
