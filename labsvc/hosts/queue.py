"""The queue: the AMQP 0-9-1 broker of `labsvc.amqp`, or a RabbitMQ named by LAB_AMQP_URL."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Self

from labsvc.amqp import Broker, BrokerStats, Depth
from labsvc.hosts.external import ExternalService, target_of
from labsvc.hosts.service import LoopService
from labsvc.ports import HOST

if TYPE_CHECKING:
    from collections import deque
    from pathlib import Path

    from labsvc.loop import Loop

USER = "lab"
VARIABLE = "LAB_AMQP_URL"

_logger = logging.getLogger("labsvc.amqp")


class QueueService(LoopService):
    """The broker in this kernel; `Lab.serve_queue` makes one.

    What is durable is kept over a stop or a kill, until the lab stops.
    """

    def __init__(self, loop: Loop, name: str, password: str, folder: Path) -> None:
        super().__init__(loop, name)
        self._broker = Broker(USER, password, folder, name=name)
        self._defects = _ToLog(self.log)

    @property
    def url(self) -> str:
        """The address with user and password: "amqp://user:password@127.0.0.1:port/"."""
        return self._broker.url

    @property
    def stats(self) -> BrokerStats:
        """What the broker holds and has counted: connections, messages, each queue."""
        return self._broker.stats

    @property
    def timeline(self) -> dict[str, list[Depth]]:
        """How deep each queue was over time, for a plot; kept over `kill` and `restart`."""
        return self._broker.timeline

    def kill(self) -> None:
        """Kill the broker, as a crash would: only what is stored is left for `restart`."""
        with self._lock:
            if self._running:
                self._running = False
                self._loop.run(self._broker.kill())
                self._hold()

    def restart(self) -> Self:
        """Start again on the same port, with what is stored; stop first, if it is running.

        Raises:
            PortInUseError: another program listens on the port.

        """
        with self._lock:
            self.stop()
            return self.start()

    async def _aopen(self, port: int) -> int:
        taken = await self._broker.start(HOST, port)
        _logger.addHandler(self._defects)
        return taken

    async def _aclose(self, grace: float) -> None:
        _logger.removeHandler(self._defects)
        await self._broker.stop()


class _ToLog(logging.Handler):
    """Keeps what the broker says of its own defects in the service's ring buffer."""

    def __init__(self, lines: deque[str]) -> None:
        super().__init__()
        self._lines = lines

    def emit(self, record: logging.LogRecord) -> None:
        self._lines.extend(self.format(record).splitlines())


class ExternalQueue(ExternalService):
    """A broker that runs elsewhere."""

    def __init__(self, name: str, url: str) -> None:
        wrong = f"{VARIABLE} is no AMQP address; write amqp://user:password@host:5672/"
        super().__init__(name, target_of(url, {"amqp": 5672, "amqps": 5671}, wrong), VARIABLE)
        self.url = url

    def kill(self) -> None:
        """Refuse, as `stop` does.

        Raises:
            LabError: always.

        """
        self.stop()

    restart = kill

    @property
    def stats(self) -> None:
        """Nothing: the broker's own tools count (`rabbitmqctl list_queues`)."""
        return
