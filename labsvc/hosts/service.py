"""What all hosted services share: a name, a port, a log, `start()` and `stop()`."""

from __future__ import annotations

import errno
import threading
from abc import ABC, abstractmethod
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from labsvc.errors import LoopDeadError, PortInUseError
from labsvc.ports import HOST, hold
from labsvc.timeline import record

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterable

    from labsvc.loop import Loop

GRACE_SECONDS = 0.2
LOG_LINES = 1000


class Service(ABC):
    """A service that the lab hosts under a name.

    `log` is a ring buffer of its last lines; a service never prints. It keeps its
    port: after `stop()` the system refuses who comes, no other program gets the
    port, and `start()` listens there again.
    """

    def __init__(self, name: str, port: int = 0) -> None:
        self.name = name
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._port = port
        self._running = False
        self._held: dict[int, socket.socket] = {}  # by port
        self._lock = threading.RLock()

    @property
    def target(self) -> str:
        """The address as "host:port", for a gRPC channel or a proxy."""
        return f"{HOST}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the service takes calls."""
        return self._running

    def start(self) -> Self:
        """Start the service, on the port it had before; when it runs, do nothing.

        Raises:
            PortInUseError: another program listens on the port.

        """
        with self._lock:
            if not self._running:
                self._let_go()
                try:
                    self._port = self._open(self._port)
                    self._running = True
                    record.note("started", party=self.name)
                except BaseException as error:  # the stop button too
                    with suppress(Exception):
                        self._close(0)
                    if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                        raise self._port_in_use() from error
                    raise
        return self

    def stop(self, grace: float = GRACE_SECONDS) -> None:
        """Stop the service and keep its port; when it is stopped, do nothing.

        Args:
            grace: seconds that calls under way get to finish.

        """
        with self._lock:
            if self._running:
                self._running = False
                record.note("stopping", party=self.name)
                self._close(grace)
                self._hold()
                record.note("stopped", party=self.name)

    def release(self) -> None:
        """Let go for good what the lab holds, the port too. `Lab` calls it."""
        self.stop()
        self._let_go()

    def start_in_place_of(self, port: int) -> None:
        """Start on the port of the service that this one replaces, if it is still free."""
        if port and not self._port:
            self._port = port
            with suppress(PortInUseError):
                self.start()
                return
            self._port = 0
        self.start()

    def __repr__(self) -> str:
        state = f"on {self.target}" if self._running else "stopped"
        return f"<{type(self).__name__} {self.name!r} {state}>"

    def _hold(self, ports: Iterable[int] | None = None) -> None:
        """Keep its ports from others: a client must not meet another lab where ours has gone."""
        for port in self._own_ports() if ports is None else ports:
            if port not in self._held:
                with suppress(OSError):  # somebody was faster
                    self._held[port] = hold(port)

    def _let_go(self, ports: Iterable[int] | None = None) -> None:
        for port in [*self._held] if ports is None else ports:
            if port in self._held:
                self._held.pop(port).close()

    def _own_ports(self) -> Iterable[int]:
        """Return the ports that it listens on; a service with more than one says so."""
        return (self._port,)

    def _port_in_use(self) -> PortInUseError:
        msg = (
            f"port {self._port} is in use, so {self.name!r} cannot start there;"
            " stop the other program, or serve without port= to get a free port"
        )
        return PortInUseError(msg)

    @abstractmethod
    def _open(self, port: int) -> int:
        """Start on `port`, 0 for any free one, and return the port taken."""

    @abstractmethod
    def _close(self, grace: float) -> None:
        """Stop, and return when the port is free; when nothing is open, do nothing."""


class LoopService(Service):
    """A service that runs on the lab's background loop."""

    def __init__(self, loop: Loop, name: str, port: int = 0) -> None:
        super().__init__(name, port)
        self._loop = loop

    async def aopen(self, port: int = 0) -> int:
        """Start as a part of another service, from the loop itself; return the port taken."""
        self._port = await self._aopen(port or self._port)
        self._running = True
        return self._port

    async def aclose(self, grace: float = 0) -> None:
        """Stop from the loop itself: it is about to end, or another service that this is part of.

        The port is not kept.
        """
        self._running = False
        await self._aclose(grace)

    def _open(self, port: int) -> int:
        return self._loop.run(self._aopen(port))

    def _close(self, grace: float) -> None:
        with suppress(LoopDeadError):  # a loop that dies closes its services
            self._loop.run(self._aclose(grace), timeout=grace + 10)

    @abstractmethod
    async def _aopen(self, port: int) -> int:
        """Start on `port`, 0 for any free one, and return the port taken."""

    @abstractmethod
    async def _aclose(self, grace: float) -> None:
        """Close what is open; called again, do nothing."""
