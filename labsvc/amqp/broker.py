"""The broker: listens, stops, is killed and recovers, and tells what it holds."""

from __future__ import annotations

import asyncio
import errno
import sqlite3
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from labsvc.amqp.rules.counters import Counters
from labsvc.amqp.rules.journal import FORGETFUL
from labsvc.amqp.rules.memory import Memory
from labsvc.amqp.rules.traced import Traced
from labsvc.amqp.rules.vhost import VHost
from labsvc.amqp.session.connection import Connection
from labsvc.amqp.session.farewell import FAREWELL_SECONDS
from labsvc.amqp.session.group_commit import GroupCommit, TurnClock
from labsvc.amqp.stats import BrokerStats, QueueStats
from labsvc.amqp.storage.durable import DurableJournal
from labsvc.amqp.storage.recovery import recover
from labsvc.amqp.storage.store import Store
from labsvc.amqp.timeline import SAMPLE_SECONDS, Depth, Timeline
from labsvc.errors import LabError, PortInUseError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from labsvc.amqp.rules.queue import Queue

MEMORY_LIMIT = 512 * 1024 * 1024  # bytes


class Broker:
    """A broker with one user.

    `start`, `stop`, `kill` and `restart` are awaited on the loop that carries it. `stats` and
    `timeline` may be read from any thread.

    Args:
        user: who may log in.
        password: with what.
        data: the folder for what is durable; one broker at a time can use it. None: each
            start begins with no queues.
        flush: what is answered survives a power cut, not just a kill. The loop waits for the
            disk at each commit.
        memory_limit: bytes of messages, `memory.MESSAGE_OVERHEAD` each beside their bodies;
            publishers beyond it have to wait.
        vhosts: the names of its virtual hosts. In `stats` and `timeline`, a queue of another
            than `/` has its virtual host before its name: "blue/orders".
        name: what a timeline calls it (`labsvc.timeline`).

    """

    def __init__(
        self,
        user: str,
        password: str,
        data: Path | None = None,
        *,
        flush: bool = False,
        memory_limit: int = MEMORY_LIMIT,
        vhosts: Sequence[str] = ("/",),
        name: str = "broker",
    ) -> None:
        self.user = user
        self.password = password
        self._data = data
        self._flush = flush
        self._memory_limit = memory_limit
        self._names = tuple(vhosts)
        self._traced = Traced(name)
        self._timeline = Timeline()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)
        self._prepare(None)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Recover what is durable and listen, on a free port if `port` is 0; return the port.

        Raises:
            LabError: it is started already, or its data cannot be used.
            PortInUseError: another program listens on this port.

        """
        if self._server is not None:
            msg = f"this broker listens on {self.url} already; await stop() before starting again"
            raise LabError(msg)
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self._connection, host, port, start_serving=False)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            msg = f"another program listens on {host}:{port}; use port=0 for a free port"
            raise PortInUseError(msg) from error
        try:
            self._prepare(None if self._data is None else Store(self._data, flush=self._flush))
        except BaseException:
            server.close()
            if self._store is not None:
                self._store.close()
            raise
        self._server = server
        self._address = server.sockets[0].getsockname()[:2]
        self._sample()
        await server.start_serving()
        return self.port

    async def stop(self) -> None:
        """Close the connections with 320 CONNECTION_FORCED, and the port. Idempotent."""
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        for connection in list(self._connections):
            connection.shut_down()
        await self._all_closed()
        for connection in list(self._connections):
            connection.abort()
        await self._all_closed()
        await server.wait_closed()
        if self._store is not None:
            with suppress(sqlite3.Error):  # nobody was told that it is stored
                self._store.settle(self._queues().values())
        self._end()

    async def kill(self) -> None:
        """End as if the process had been killed: what is not stored is lost. Idempotent.

        The sockets are reset without a word. `restart` recovers from the data.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._end()
        for connection in list(self._connections):
            connection.reset()
        await self._all_closed()
        await server.wait_closed()
        self._prepare(None)
        self._timeline.sample({})

    async def restart(self) -> None:
        """Start again on the same port, from the data; stop first, if it is running.

        Raises:
            PortInUseError: another program has taken the port meanwhile.

        """
        await self.stop()
        await self.start(*self._address)

    @property
    def port(self) -> int:
        """The port it listens on, or did last; 0 before the first start."""
        return self._address[1]

    @property
    def url(self) -> str:
        """What a client connects to, password included: amqp://user:password@host:port/."""
        host, port = self._address
        return f"amqp://{quote(self.user, safe='')}:{quote(self.password, safe='')}@{host}:{port}/"

    @property
    def stats(self) -> BrokerStats:
        """A snapshot of what the broker holds and has counted."""
        counters = self._counters
        connections = tuple(self._connections)
        rates = self._timeline.rates()
        return BrokerStats(
            connections=len(connections),
            channels=sum(len(connection.channels or ()) for connection in connections),
            published=counters.published,
            confirmed=counters.confirmed,
            delivered=counters.delivered,
            acked=counters.acked,
            redelivered=counters.redelivered,
            queues={
                name: QueueStats(
                    len(queue), queue.unacked, len(queue.consumers), *rates.get(name, ())
                )
                for name, queue in self._queues().items()
            },
        )

    @property
    def timeline(self) -> dict[str, list[Depth]]:
        """How deep each queue was, and when; a depth holds until the next one.

        Sampled every 50 ms, and kept over `kill` and `restart`.
        """
        return self._timeline.depths()

    def _prepare(self, store: Store | None) -> None:
        """Make what one run of the broker needs, from what the store has."""
        self._store = store
        self._traced.ended = False
        self._group_commit = GroupCommit(store)
        self._clock = TurnClock(self._group_commit)
        self._memory = Memory(self._memory_limit)
        self._counters = Counters()
        self._vhosts = {name: self._vhost(name) for name in self._names}
        self._timeline.restart()

    def _end(self) -> None:
        """Close the store; nothing that happens from now on is stored, or noted."""
        self._traced.ended = True
        self._timeline.sample(self._queues())
        self._clock.stop()
        for queue in self._queues().values():
            queue.stop()
        self._sampling.cancel()
        if self._store is not None:
            self._store.close()

    def _vhost(self, name: str) -> VHost:
        store = self._store
        journal = FORGETFUL if store is None else DurableJournal(store, name)
        vhost = VHost(name, self._clock, journal, self._memory, self._counters, traced=self._traced)
        if store is not None:
            recover(vhost, store)
        return vhost

    def _queues(self) -> dict[str, Queue]:
        return {
            queue.name if vhost.name == "/" else f"{vhost.name}/{queue.name}": queue
            for vhost in self._vhosts.values()
            for queue in tuple(vhost.queues.values())
        }

    def _connection(self) -> Connection:
        connection = Connection(self._vhosts, self._group_commit, self.user, self.password)
        self._connections.add(connection)
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _all_closed(self) -> None:
        if self._connections:
            closed = [connection.closed for connection in self._connections]
            await asyncio.wait(closed, timeout=2 * FAREWELL_SECONDS)

    def _sample(self) -> None:
        self._timeline.sample(self._queues())
        self._sampling = asyncio.get_running_loop().call_later(SAMPLE_SECONDS, self._sample)
