"""The broker: listens, stops, and tells what it holds."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import dataclass
from urllib.parse import quote

from labsvc.amqp.connection import FAREWELL_SECONDS, Connection
from labsvc.amqp.stream import Outbox
from labsvc.amqp.vhost import VHost
from labsvc.errors import LabError, PortInUseError


@dataclass(frozen=True, slots=True)
class QueueStats:
    """One queue: messages that wait, messages handed out and not yet acked, consumers."""

    ready: int
    unacked: int
    consumers: int


@dataclass(frozen=True, slots=True)
class BrokerStats:
    """What the broker holds now, and the messages it has counted since it started.

    `connections` and `channels` are open now. `redelivered` is part of `delivered`, which
    has basic.get in it. `acked` are answers of clients, without no-ack deliveries.
    """

    connections: int
    channels: int
    published: int
    confirmed: int
    delivered: int
    acked: int
    redelivered: int
    queues: dict[str, QueueStats]


class Broker:
    """A broker with one user and one virtual host, `/`.

    `start` and `stop` are awaited on the loop that carries it. Everything is in memory:
    each start begins with no queues. `stats` may be read from any thread.
    """

    def __init__(self, user: str, password: str) -> None:
        self.user = user
        self.password = password
        self._vhost = VHost()
        self._outbox = Outbox()
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self._address = ("127.0.0.1", 0)

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen, on a free port if `port` is 0; return the port.

        Raises:
            LabError: it is started already.
            PortInUseError: another program listens on this port.

        """
        if self._server is not None:
            msg = f"this broker listens on {self.url} already; await stop() before starting again"
            raise LabError(msg)
        self._vhost = VHost()
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._connection, host, port)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            msg = f"another program listens on {host}:{port}; use port=0 for a free port"
            raise PortInUseError(msg) from error
        self._address = self._server.sockets[0].getsockname()[:2]
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
        counters = self._vhost.counters
        connections = tuple(self._connections)
        return BrokerStats(
            connections=len(connections),
            channels=sum(len(connection.channels) for connection in connections),
            published=counters.published,
            confirmed=counters.confirmed,
            delivered=counters.delivered,
            acked=counters.acked,
            redelivered=counters.redelivered,
            queues={
                queue.name: QueueStats(len(queue), queue.unacked, len(queue.consumers))
                for queue in tuple(self._vhost.queues.values())
            },
        )

    def _connection(self) -> Connection:
        connection = Connection(self._vhost, self._outbox, self.user, self.password)
        self._connections.add(connection)
        connection.closed.add_done_callback(lambda _: self._connections.discard(connection))
        return connection

    async def _all_closed(self) -> None:
        if self._connections:
            closed = [connection.closed for connection in self._connections]
            await asyncio.wait(closed, timeout=2 * FAREWELL_SECONDS)
