"""The middlebox on the lab's loop: one upstream, the settings and the table of connections."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack, get_args

from labsvc.errors import PortInUseError
from labsvc.faults import Faults, Setting
from labsvc.proxy.connection import Connection
from labsvc.proxy.listener import Listener
from labsvc.proxy.stats import Counters
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections import deque

    from labsvc.faults import Settings
    from labsvc.proxy.gate import MakeGate

SEED = 1  # jitter draws the same times on every run


class Middlebox:
    """Carries connections from one port to one upstream. Its methods run on its loop only.

    Args:
        host: the upstream's host.
        port: the upstream's port.
        log: where it says what it did to connections, line by line.
        name: what a timeline calls it.

    """

    def __init__(self, host: str, port: int, log: deque[str], name: str) -> None:
        self.name = name
        self.upstream = (host, port)
        self.log = log
        self.faults = Faults()
        self.counters = Counters()
        self.make_gate: MakeGate | None = None
        self.random = random.Random(SEED)  # noqa: S311  # no secret depends on it
        self._connections: set[Connection] = set()
        self._listener: Listener | None = None
        self._port = 0

    async def start(self, port: int) -> int:
        """Listen on a port, 0 for any free one, and return it; when it listens, do nothing.

        Raises:
            OSError: another program listens on the port.

        """
        if not self._is_open:
            self.loop = asyncio.get_running_loop()
            self._listener = Listener(lambda: Connection(self).client)
            self._port = self._listener.open(port, refuse=self.faults.refuse)
        return self._port

    async def stop(self) -> None:
        """Close the port and reset every connection. A second call does nothing."""
        if self._listener is not None:
            self._listener.close()
        for connection in tuple(self._connections):
            connection.reset(ours=False)
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
        if faults.refuse != before.refuse:
            self._reopen(refuse=faults.refuse)
        self.faults = faults
        self.log.append(f"set to: {faults}")
        if (before.blackhole and not faults.blackhole) or (
            before.blackhole_after_idle and not faults.blackhole_after_idle
        ):
            self._reset_lost()
        for connection in tuple(self._connections):
            if faults.cut_after_bytes != before.cut_after_bytes:
                connection.allowance = faults.cut_after_bytes
            connection.refresh()
        await _settle()

    async def clear(self) -> None:
        """Pass everything on again; reset the lost connections."""
        await self.restore(Faults())
        self._reset_lost()
        await _settle()

    async def watch(self, make_gate: MakeGate) -> None:
        """Let a gate stand in each connection that comes from now on."""
        self.make_gate = make_gate

    async def reset_stats(self) -> None:
        """Count from zero again; `open` and `silent` are states and stay."""
        self.counters.reset()

    async def cut(self) -> None:
        """Reset every open connection."""
        for connection in tuple(self._connections):
            connection.reset()
        await _settle()

    async def freeze(self) -> None:
        """Lose every open connection."""
        for connection in tuple(self._connections):
            connection.lose()

    def enter(self, connection: Connection) -> None:
        """Add a connection to the table."""
        self._connections.add(connection)
        self.counters.open += 1
        self.counters.silent += connection.lost
        self.counters.connections += 1
        self.note("connected")
        if not self._is_open:
            connection.reset(ours=False)  # it was accepted just before we stopped

    def leave(self, connection: Connection) -> None:
        """Remove a connection from the table."""
        self._connections.discard(connection)

    def note(self, kind: record.Kind, detail: str = "") -> None:
        """Note on the tape, if somebody records, what it does to a connection."""
        if (tape := record.current()) is not None:
            tape.add(kind, detail=detail, party=self.name)

    @property
    def _is_open(self) -> bool:
        return self._listener is not None and self._listener.is_open

    def _reset_lost(self) -> None:
        for connection in tuple(self._connections):
            if connection.lost:
                connection.reset()

    def _reopen(self, *, refuse: bool) -> None:
        """Go from listening to holding the port, or back; while stopped do nothing."""
        if self._listener is None or not self._listener.is_open:
            return
        self._listener.close()
        try:
            self._listener.open(self._port, refuse=refuse)
        except OSError as error:
            msg = (
                f"port {self._port} of the proxy is taken by another program;"
                " make a new proxy, it gets a free port"
            )
            raise PortInUseError(msg) from error


async def _settle() -> None:
    """Let the loop close the sockets just aborted: it does so in its next round."""
    await asyncio.sleep(0)
