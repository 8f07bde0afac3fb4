"""The port that clients come to: listened on, or held so that the system refuses them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from labsvc.ports import hold

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

BACKLOG = 512
REST_SECONDS = 0.2


class Listener:
    """A port on a loop. Made and used on that loop only.

    Args:
        protocol: makes the protocol of each connection that is accepted.

    """

    def __init__(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None
        self._entering: set[asyncio.Task[object]] = set()

    @property
    def is_open(self) -> bool:
        """Whether the port is ours."""
        return self._socket is not None

    def open(self, port: int, *, refuse: bool) -> int:
        """Take a port, 0 for any free one, and return it; with `refuse` only hold it.

        Raises:
            OSError: another program listens on it.

        """
        taken = hold(port)
        try:
            taken.settimeout(0)
            if not refuse:
                taken.listen(BACKLOG)
                self._loop.add_reader(taken, self._accept, taken)
        except OSError:
            taken.close()
            raise
        self._socket = taken
        return int(taken.getsockname()[1])

    def close(self) -> None:
        """Let the port go. A second call does nothing."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _accept(self, listening: socket.socket) -> None:
        # asyncio.Server would leak a connection that comes just as it closes (Python 3.11).
        try:
            client, _ = listening.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has left already
        except OSError:  # too many open files: who comes waits in the backlog
            self._loop.remove_reader(listening)
            self._loop.call_later(REST_SECONDS, self._accept_again, listening)
            return
        entering = self._loop.connect_accepted_socket(self._protocol, client)
        task: asyncio.Task[object] = self._loop.create_task(entering)
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    def _accept_again(self, listening: socket.socket) -> None:
        if listening is self._socket:
            self._loop.add_reader(listening, self._accept, listening)
