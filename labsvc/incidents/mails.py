"""The relay of the outbox, and the mail service, which takes its events from a queue."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import aio_pika
from opentelemetry.trace import SpanKind

from labsvc.delivery.outbox import AioOutbox

if TYPE_CHECKING:
    from pathlib import Path

    from labsvc.incidents.observed import Observed
    from labsvc.loop import Loop

QUEUE, DEAD = "mails", "mails-dead"
WORKERS = 2
SECONDS = 0.01
RENDER_SECONDS = 1.0  # until the template gives up on an event that it cannot read
SLOW_SECONDS = 1.0
RELAY_SECONDS = 0.05
CONNECT_SECONDS = 15.0  # a lab that is busy takes its time to answer itself
POISON = b"\xff no order"


class Relay:
    """Sends the events of the outbox on.

    `supervised` says whether it goes on after an error. Setting it starts the relay, if it ended.
    """

    def __init__(self, loop: Loop, url: str, file: Path, seen: Observed) -> None:
        self._loop, self._url, self._file, self._seen = loop, url, file, seen
        self._supervised = True
        self._connection: Any = None
        self._loop.run(self._begin())

    @property
    def supervised(self) -> bool:
        """Whether it goes on after an error. Setting it starts the relay, if it ended."""
        return self._supervised

    @supervised.setter
    def supervised(self, value: bool) -> None:
        self._supervised = value
        self._loop.run(self._start())

    def break_connection(self) -> None:
        """Close its connection, as a broker that is replaced does."""
        self._loop.run(self._break())

    def close(self) -> None:
        """End it."""
        self._loop.run(self._end())

    async def _begin(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def _start(self) -> None:
        if self._task.done():
            self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        while True:
            try:
                await self._relay()
            except Exception as error:  # noqa: BLE001  # whatever ends it, it goes on
                self._seen.log.warning("the relay broke", extra={"cause": type(error).__name__})
                if not self._supervised:
                    return
            await asyncio.sleep(RELAY_SECONDS)

    async def _relay(self) -> None:
        db = sqlite3.connect(self._file)
        try:
            outbox = AioOutbox(db)
            self._connection = await aio_pika.connect(self._url, timeout=CONNECT_SECONDS)
            async with self._connection:
                exchange = (await self._connection.channel()).default_exchange
                while True:
                    await outbox.relay(exchange)
                    await asyncio.sleep(RELAY_SECONDS)
        finally:
            db.close()

    async def _break(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CONNECT_SECONDS):
                while not self._task.done() and self._is_closed():  # noqa: ASYNC110  # no event
                    await asyncio.sleep(RELAY_SECONDS)
        if not self._is_closed():
            await self._connection.close()

    def _is_closed(self) -> bool:
        return self._connection is None or self._connection.is_closed

    async def _end(self) -> None:
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task


class Mails:
    """Two workers, each with a channel of its own, that write a mail for each order.

    Attributes:
        slow: whether the first one runs on an old machine.
        requeue: whether an event that failed is put back; else it goes to the dead letters.

    """

    def __init__(self, loop: Loop, url: str, seen: Observed) -> None:
        self._loop, self._url, self._seen = loop, url, seen
        self._sent: set[str] = set()
        self.slow = False
        self.requeue = False
        self._prefetch = 1
        self._connection: Any = None
        self._loop.run(self._restart())

    @property
    def sent(self) -> set[str]:
        """The orders that have got their mail: one, however often the event comes."""
        return self._sent

    @property
    def prefetch(self) -> int:
        """How many events a worker may hold, 0 without a bound. Setting it restarts the workers."""
        return self._prefetch

    @prefetch.setter
    def prefetch(self, value: int) -> None:
        self._prefetch = value
        self._loop.run(self._restart())

    def publish_poison(self, count: int) -> None:
        """Publish events that no worker can read."""
        self._loop.run(self._publish(count))

    def close(self) -> None:
        """End the workers."""
        self._loop.run(self._close())

    async def _restart(self) -> None:
        await self._close()
        self._connection = await aio_pika.connect(self._url, timeout=CONNECT_SECONDS)
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": DEAD}
        for number in range(WORKERS):
            channel = await self._connection.channel()
            await channel.set_qos(prefetch_count=self._prefetch)
            await channel.declare_queue(DEAD, durable=True)
            inbox = await channel.declare_queue(QUEUE, durable=True, arguments=arguments)
            await inbox.consume(self._worker(number))

    async def _close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def _publish(self, count: int) -> None:
        channel = await self._connection.channel()
        for _ in range(count):
            await channel.default_exchange.publish(aio_pika.Message(POISON), routing_key=QUEUE)
        await channel.close()

    def _worker(self, number: int) -> Any:
        turn = asyncio.Lock()  # one mail after the other

        async def on_event(message: Any) -> None:
            tracer = self._seen.tracing.tracer
            async with turn:
                with tracer.start_as_current_span("write mail", kind=SpanKind.CONSUMER):
                    await self._write(number, message)

        return on_event

    async def _write(self, number: int, message: Any) -> None:
        try:
            if message.body == POISON:
                await asyncio.sleep(RENDER_SECONDS)
            order_id = message.body.decode()
            await asyncio.sleep(SLOW_SECONDS if self.slow and number == 0 else SECONDS)
        except UnicodeDecodeError as error:
            self._seen.log.warning("no mail", extra={"cause": type(error).__name__})
            await message.reject(requeue=self.requeue)
            return
        self._sent.add(order_id)
        await message.ack()
