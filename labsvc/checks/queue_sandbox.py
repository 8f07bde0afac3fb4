"""What a check sees of a queue: its own connection to the broker, used from the check's thread."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import uuid
from contextlib import closing, contextmanager
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import aio_pika

from labsvc.checks.asking import wait
from labsvc.delivery.deadletter import SUFFIX, aio_declare_with_dead_letters

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

    from labsvc.checks.sandbox import Sandbox
    from labsvc.hosts.proxy import Proxy

T = TypeVar("T")

LONGEST_ID = 255  # bytes that AMQP has for it


class QueueSandbox:
    """A broker, one durable queue of this check alone, and a proxy before the broker.

    `url` is the way through the proxy, for the learner's function; a case of a sweep puts its door
    before `broker` instead. The check's own connection goes past them. With `deliveries`, so many
    times a message is handed out at most, and then goes to the dead-letter queue `dead`. At the end
    of the `with` block the queues are deleted.
    """

    def __init__(self, sandbox: Sandbox, *, deliveries: int | None = None) -> None:
        self.broker = sandbox.serve_queue()
        self.queue = f"check-{uuid.uuid4().hex}"
        self.dead = self.queue + SUFFIX
        self._deliveries = deliveries
        self._sandbox = sandbox
        self._loop = sandbox.lab.loop

    def __enter__(self) -> Self:
        self._connection, self._channel = self._loop.run(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.run(self._close())

    @cached_property
    def proxy(self) -> Proxy:
        """The proxy, put up on first use."""
        return self._sandbox.proxy(self.broker)

    @property
    def url(self) -> str:
        """Where the broker is, through the proxy."""
        return self.broker.url.replace(self.broker.target, self.proxy.target)

    def ready(self, queue: str | None = None) -> int:
        """Return how many messages wait in the queue, or another; those handed out left out."""
        return self._run(self._ready(queue or self.queue))

    def publish(self, *bodies: str | bytes) -> None:
        """Put messages into the queue, in this order; the id of `o-1` is `id of o-1`."""
        self._run(self._publish(bodies))

    def take(self, *, requeue: bool = False) -> AbstractIncomingMessage:
        """Take one message; with `requeue` it goes back, as from a worker that died.

        Raises:
            TimeoutError: none came within five seconds.

        """
        return self._run(self._take(requeue=requeue))

    def look(self) -> list[AbstractIncomingMessage]:
        """Return every message of the queue, in order, and leave them there."""
        return self._run(self._look())

    def take_all(self, queue: str | None = None) -> list[AbstractIncomingMessage]:
        """Take every message out of the queue, or out of another one."""
        return self._run(self._take_all(queue or self.queue))

    def wait(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until a condition holds, `seconds` at most; return whether it does."""
        return wait(condition, seconds)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    async def _open(self) -> tuple[AbstractConnection, AbstractChannel]:
        connection = await aio_pika.connect(self.broker.url, timeout=5)
        channel = await connection.channel()
        if self._deliveries is None:
            await channel.declare_queue(self.queue, durable=True)
        else:
            await aio_declare_with_dead_letters(channel, self.queue, deliveries=self._deliveries)
        return connection, channel

    async def _close(self) -> None:
        async with asyncio.timeout(5):
            for queue in (self.queue, self.dead):
                await self._channel.queue_delete(queue)
            await self._connection.close()

    async def _ready(self, queue: str) -> int:
        declared = await self._channel.declare_queue(queue, passive=True, timeout=5)
        return declared.declaration_result.message_count or 0

    async def _publish(self, bodies: tuple[str | bytes, ...]) -> None:
        for body in bodies:
            data = body.encode() if isinstance(body, str) else body
            name = data.decode(errors="replace")
            message_id = f"id of {name}".encode()[:LONGEST_ID].decode(errors="ignore")
            message = aio_pika.Message(data, message_id=message_id)
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

    async def _look(self) -> list[AbstractIncomingMessage]:
        channel = await self._connection.channel()
        queue = await channel.get_queue(self.queue)
        seen = []
        while (message := await queue.get(fail=False, timeout=5)) is not None:
            seen.append(message)
        await channel.close()  # what was not acknowledged goes back to its place
        return seen

    async def _take_all(self, name: str) -> list[AbstractIncomingMessage]:
        queue = await self._channel.get_queue(name)
        taken = []
        while (message := await queue.get(no_ack=True, fail=False, timeout=5)) is not None:
            taken.append(message)
        return taken


def names(kind: str, count: int) -> list[str]:
    """Return names that no answer can know beforehand."""
    return [f"{kind}-{uuid.uuid4().hex[:8]}" for _ in range(count)]


def file_of(db: sqlite3.Connection) -> str:
    """Return where a database lies."""
    path: str = db.execute("PRAGMA database_list").fetchone()[2]
    return path


@contextmanager
def database(schema: str) -> Iterator[sqlite3.Connection]:
    """Make a database in a file, as after a restart; the answer runs in a thread of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="labsvc-check-") as folder,
        closing(sqlite3.connect(Path(folder, "check.db"), check_same_thread=False)) as db,
    ):
        db.execute("PRAGMA journal_mode=WAL")  # so that another connection can look at any time
        db.executescript(schema)
        yield db
