"""The middlebox on the lab's loop: a listening port and the table of connections."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Unpack, get_args

from labsvc.errors import PortInUseError
from labsvc.faults import Faults, Setting
from labsvc.ports import hold
from labsvc.proxy._link import Link

if TYPE_CHECKING:
    import socket

    from labsvc.faults import Settings

BACKLOG = 512
REST_SECONDS = 0.2
SEED = 1  # jitter draws the same times on every run


@dataclass(frozen=True, slots=True)
class ProxyStats:
    """What a proxy has counted since it was made, or since `Proxy.reset_stats`.

    Attributes:
        connections: Connections accepted.
        open: Client connections open now.
        silent: Those of the open ones that are lost: their bytes vanish.
        resets: Connections the proxy reset. Resets that a client or the upstream sent
            are passed on and not counted.
        refused: Connections accepted from a client that the upstream did not take.
        bytes_up: Bytes passed from clients to the upstream.
        bytes_down: Bytes passed from the upstream to clients.
        dropped: Bytes swallowed.

    """

    connections: int
    open: int
    silent: int
    resets: int
    refused: int
    bytes_up: int
    bytes_down: int
    dropped: int


@dataclass(slots=True)
class Meter:
    """Bytes passed in one direction."""

    passed: int = 0


@dataclass(slots=True)
class Counters:
    """Events counted."""

    connections: int = 0
    resets: int = 0
    refused: int = 0
    dropped: int = 0


class Box:
    """The part of a proxy that lives on the loop. Its methods run on that loop only."""

    def __init__(self, upstream: tuple[str, int], port: int) -> None:
        self.upstream = upstream
        self.port = port
        self.faults = Faults()
        self.random = random.Random(SEED)  # noqa: S311  # no secret depends on it
        self.open = 0
        self.silent = 0
        self.counters = Counters()
        self.up = Meter()
        self.down = Meter()
        self._links: set[Link] = set()
        self._door: socket.socket | None = None
        self._entering: set[asyncio.Task[object]] = set()

    @property
    def stats(self) -> ProxyStats:
        """A snapshot of the counters; any thread may ask."""
        return ProxyStats(
            connections=self.counters.connections,
            open=self.open,
            silent=self.silent,
            resets=self.counters.resets,
            refused=self.counters.refused,
            bytes_up=self.up.passed,
            bytes_down=self.down.passed,
            dropped=self.counters.dropped,
        )

    async def start(self) -> None:
        """Listen, on the same port as before if there was one."""
        if self._door is None:
            self.loop = asyncio.get_running_loop()
            self._open_door(refuse=self.faults.refuse)

    async def stop(self) -> None:
        """Close the port and reset every connection."""
        self._close_door()
        for link in tuple(self._links):
            link.reset(ours=False)
        await _settle()

    async def change(self, **settings: Unpack[Settings]) -> None:
        """Change what is given, for open connections too.

        Raises:
            TypeError: no such setting, or a value of the wrong type.
            ValueError: a value out of range.

        """
        unknown = settings.keys() - set(get_args(Setting))
        if unknown:
            msg = (
                f"no such setting: {', '.join(sorted(unknown))};"
                f" a proxy has {', '.join(get_args(Setting))}"
            )
            raise TypeError(msg)
        await self.restore(replace(self.faults, **settings))

    async def restore(self, faults: Faults) -> None:
        """Put other settings in the place of those of now."""
        before = self.faults
        if self._door is not None and faults.refuse != before.refuse:
            self._close_door()
            self._open_door(refuse=faults.refuse)
        self.faults = faults
        if (before.blackhole and not faults.blackhole) or (
            before.blackhole_after_idle and not faults.blackhole_after_idle
        ):
            self._reset_lost()
        for link in tuple(self._links):
            if faults.cut_after_bytes != before.cut_after_bytes:
                link.allowance = faults.cut_after_bytes
            link.refresh()
        await _settle()

    async def clear(self) -> None:
        """Pass everything on again; reset the lost connections."""
        await self.restore(Faults())
        self._reset_lost()
        await _settle()

    async def reset_stats(self) -> None:
        """Count from zero again; `open` and `silent` are states and stay."""
        self.counters = Counters()
        self.up.passed = self.down.passed = 0  # the lanes of open connections hold these

    async def cut(self) -> None:
        """Reset every open connection."""
        for link in tuple(self._links):
            link.reset()
        await _settle()

    async def freeze(self) -> None:
        """Lose every open connection."""
        for link in tuple(self._links):
            link.lose()

    def enter(self, link: Link) -> None:
        """Add a connection to the table."""
        self._links.add(link)
        self.open += 1
        self.silent += link.lost
        self.counters.connections += 1
        if self._door is None:
            link.reset(ours=False)  # it was accepted just before we stopped

    def leave(self, link: Link) -> None:
        """Remove a connection from the table."""
        self._links.discard(link)

    def _reset_lost(self) -> None:
        for link in tuple(self._links):
            if link.lost:
                link.reset()

    def _open_door(self, *, refuse: bool) -> None:
        """Hold the port. Without `listen` the system refuses who comes."""
        try:
            door = _door(self.port, listen=not refuse)
        except OSError as error:
            msg = (
                f"port {self.port} of the proxy is taken by another program;"
                " make a new proxy, it gets a free port"
            )
            raise PortInUseError(msg) from error
        self._door = door
        self.port = door.getsockname()[1]
        if not refuse:
            self.loop.add_reader(door, self._accept, door)

    def _close_door(self) -> None:
        if self._door is not None:
            self.loop.remove_reader(self._door)
            self._door.close()
            self._door = None

    def _accept(self, door: socket.socket) -> None:
        # asyncio.Server would leak a connection that comes just as it closes (Python 3.11).
        try:
            sock, _ = door.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return  # the client has left already
        except OSError:  # too many open files: who comes waits in the backlog
            self.loop.remove_reader(door)
            self.loop.call_later(REST_SECONDS, self._accept_again, door)
            return
        entering = self.loop.connect_accepted_socket(lambda: Link(self).client, sock)
        task: asyncio.Task[object] = self.loop.create_task(entering)
        self._entering.add(task)
        task.add_done_callback(self._entering.discard)

    def _accept_again(self, door: socket.socket) -> None:
        if door is self._door:
            self.loop.add_reader(door, self._accept, door)


def _door(port: int, *, listen: bool) -> socket.socket:
    door = hold(port)
    try:
        door.settimeout(0)
        if listen:
            door.listen(BACKLOG)
    except OSError:
        door.close()
        raise
    return door


async def _settle() -> None:
    """Let the loop close the sockets just aborted: it does so in its next round."""
    await asyncio.sleep(0)
