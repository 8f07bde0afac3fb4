"""Two things a lab changes in its process, and takes back: the stop button and the proxies."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
from contextlib import suppress

from labsvc.ports import HOST

NO_PROXY = ("NO_PROXY", "no_proxy")


class StopButton:
    """Lets the stop button end a cell that sits in `await`.

    The kernel answers SIGINT with a callback that it puts on its event loop, without
    waking the loop: a cell that awaits something slow goes on until something else
    happens. A wake-up descriptor (`signal.set_wakeup_fd`) becomes readable with every
    signal, so that the loop wakes. Only the main thread may set one; elsewhere, and
    where a descriptor is set already, this does nothing.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ends: tuple[socket.socket, socket.socket] | None = None

    def install(self) -> None:
        """Wake the running loop of the main thread with every signal, if there is one."""
        if threading.current_thread() is not threading.main_thread():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        reading, writing = socket.socketpair()
        for end in (reading, writing):
            end.settimeout(0)
        self._loop, self._ends = loop, (reading, writing)
        before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        try:
            loop.add_reader(reading, _drain, reading)
        except NotImplementedError:  # the proactor loop of Windows
            signal.set_wakeup_fd(before)
            self._close()
            return
        if before != -1:  # whoever set it wakes the loop already
            self.remove()
            signal.set_wakeup_fd(before)

    def remove(self) -> None:
        """Take the descriptor back, if it is still ours. Other threads than main leave it."""
        if self._ends is None or threading.current_thread() is not threading.main_thread():
            return
        now = signal.set_wakeup_fd(-1)
        if now not in (-1, self._ends[1].fileno()):
            signal.set_wakeup_fd(now)
        self._close()

    def _close(self) -> None:
        if self._ends is not None and self._loop is not None:
            if not self._loop.is_closed():
                with suppress(NotImplementedError):
                    self._loop.remove_reader(self._ends[0])
            for end in self._ends:
                end.close()
        self._loop, self._ends = None, None


def _drain(sock: socket.socket) -> None:
    with suppress(BlockingIOError):
        sock.recv(4096)


class NoProxy:
    """Keeps calls to 127.0.0.1 away from the proxy that `http_proxy` names.

    gRPC and most HTTP clients send even those there, unless `no_proxy` says otherwise.
    """

    def __init__(self) -> None:
        self._before: dict[str, tuple[str | None, str]] = {}

    def install(self) -> None:
        """Add 127.0.0.1 to NO_PROXY and no_proxy."""
        for name in NO_PROXY:
            old = os.environ.get(name)
            hosts = [host.strip() for host in (old or "").split(",") if host.strip()]
            if HOST not in hosts and "*" not in hosts:
                new = ",".join([*hosts, HOST])
                os.environ[name] = new
                self._before[name] = (old, new)

    def remove(self) -> None:
        """Put back what was there, unless it was changed meanwhile."""
        for name, (old, new) in self._before.items():
            if os.environ.get(name) != new:
                continue
            if old is None:
                del os.environ[name]
            else:
                os.environ[name] = old
        self._before = {}
