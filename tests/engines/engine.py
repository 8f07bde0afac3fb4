"""The broker under test: ours, or RabbitMQ, behind one face."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from labsvc.amqp import Broker
from labsvc.child import TempFolder
from labsvc.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from tests.engines.rabbit import RabbitMQ


class Engine(Protocol):
    """A broker that runs. `other` is a second virtual host."""

    name: str
    other: str

    def url(self, vhost: str = "/") -> str:
        """Return the address with user and password, of one virtual host."""

    def restart(self) -> None:
        """End the broker and start it again, with the data that it had stored."""

    def crash(self) -> None:
        """Kill the broker and start it again, with the data that it had stored."""

    def memory_alarm(self) -> AbstractContextManager[None]:
        """Make the broker believe that its memory is used up, for the time of a block."""


class LabsvcEngine:
    """Our broker on a loop of its own, with its data in a temporary folder."""

    name = "labsvc"
    other = "other"

    def __init__(self) -> None:
        self._folder = TempFolder()
        self.loop = Loop.start()
        self.broker = Broker("lab", "p@ss/word", data=self._folder.path, vhosts=("/", "other"))
        self.loop.run(self.broker.start())

    def stop(self) -> None:
        """End it, and remove its data."""
        self.loop.run(self.broker.stop())
        self.loop.stop()
        self._folder.remove()

    def url(self, vhost: str = "/") -> str:
        """Return the address with user and password, of one virtual host."""
        return self.broker.url + ("" if vhost == "/" else quote(vhost, safe=""))

    def restart(self) -> None:
        """Kill it all the same: it has to keep what RabbitMQ keeps that ends in good order."""
        self.crash()

    def crash(self) -> None:
        """Kill the broker and start it again."""
        self.loop.run(self.broker.kill())
        self.loop.run(self.broker.restart())

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Set the limit so low that any use of memory is above it."""
        memory = self.broker._memory
        limit, memory.limit = memory.limit, -1
        try:
            yield
        finally:
            memory.limit = limit


class RabbitEngine:
    """RabbitMQ."""

    name = "rabbitmq"
    other = "other"

    def __init__(self, server: RabbitMQ) -> None:
        self._server = server

    def url(self, vhost: str = "/") -> str:
        """Return the address with user and password, of one virtual host."""
        return self._server.url(vhost)

    def restart(self) -> None:
        """Stop it in good order and start it again.

        Killed, RabbitMQ would bring acked messages back: it does not write an ack at once.
        """
        self._server.restart()

    def crash(self) -> None:
        """Kill the server and start it again.

        Killed in the moment after a declaration, RabbitMQ may forget the queue: sync first.
        """
        self._server.call("mnesia", "sync_log", "[]")
        self._server.kill()
        self._server.start()

    @contextmanager
    def memory_alarm(self) -> Iterator[None]:
        """Set the high watermark so low that any use of memory is above it."""
        self._watermark("0.000001")
        try:
            yield
        finally:
            self._watermark("0.4")

    def _watermark(self, fraction: str) -> None:
        self._server.call("vm_memory_monitor", "set_vm_memory_high_watermark", f"[{fraction}]")
        self._server.call("rabbit_alarm", "get_alarms", "[]")  # answered when all have been told
