"""The proxy before a service: the middlebox of `labsvc.proxy` as a notebook holds it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from labsvc.faults import find
from labsvc.hosts.service import LoopService
from labsvc.proxy import Middlebox
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.faults import Faults, Settings
    from labsvc.loop import Loop
    from labsvc.proxy import ProxyStats
    from labsvc.proxy.gate import MakeGate

ADDRESS = re.compile(r"(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")


class Proxy(LoopService):
    """A TCP middlebox in front of one upstream; `Lab.proxy` makes one.

    It listens on 127.0.0.1 and opens one upstream connection for each connection it
    accepts, so an upstream that restarts on its port is found again. Half-close, resets
    and back-pressure are passed on; TCP_NODELAY is set on both sides. `stop` resets every
    connection at once, whatever the grace; settings and counts outlive a stop and a start.

    A connection of which bytes were swallowed (by `blackhole`, `blackhole_after_idle` or
    `freeze`) is lost: it stays silent, for TCP never delivers a stream with a hole. It is
    reset when the fault that swallowed them is lifted, and by `clear` or `cut`.

    All methods may be called from any thread but the lab's loop.

    Args:
        loop: the lab's loop, which carries the traffic.
        name: the name that it runs under.
        upstream: where connections go, as "host:port".

    Raises:
        ValueError: `upstream` is no "host:port".

    """

    def __init__(self, loop: Loop, name: str, upstream: str) -> None:
        super().__init__(loop, name)
        self.upstream = upstream
        self._middlebox = Middlebox(*_parse(upstream), self.log, name)

    def __repr__(self) -> str:
        """Say where it listens, where it passes to, and what it does on the way."""
        state = str(self.faults) if self._running else "stopped"
        return f"<Proxy {self.name!r} {self.target} -> {self.upstream}: {state}>"

    @property
    def url(self) -> str:
        """Where it listens, as "http://127.0.0.1:port"."""
        return f"http://{self.target}"

    @property
    def stats(self) -> ProxyStats:
        """A snapshot of the counters."""
        return self._middlebox.counters.snapshot()

    @property
    def faults(self) -> Faults:
        """The settings of now."""
        return self._middlebox.faults

    def reset_stats(self) -> None:
        """Count from zero again; `open` and `silent` are states and stay."""
        self._loop.run(self._middlebox.reset_stats())

    def set(self, **settings: Unpack[Settings]) -> None:
        """Change the settings that are given, for open connections too.

        `labsvc.faults.Faults` describes each with its unit. While `refuse` is set the
        port is held but not listened on: the system refuses connections, so the proxy
        cannot count them.

        Raises:
            TypeError: no such setting, or a value of the wrong type.
            ValueError: a value out of range, or settings that exclude each other.

        """
        self._loop.run(self._middlebox.change(**settings))
        record.note(f"set to: {self.faults}", party=self.name)

    def clear(self) -> None:
        """Pass everything on again, and reset the connections that were lost."""
        self._loop.run(self._middlebox.clear())
        record.note("cleared", party=self.name)

    def cut(self) -> None:
        """Reset (RST) every open connection, once. New ones pass."""
        self._loop.run(self._middlebox.cut())

    def freeze(self) -> None:
        """Let every open connection fall silent for good. New ones pass."""
        self._loop.run(self._middlebox.freeze())
        record.note("every connection frozen", party=self.name)

    def watch(self, make_gate: MakeGate) -> None:
        """Let a gate stand in each connection that comes from now on.

        A gate sees the bytes of one connection on the lab's loop, and passes them on, holds them
        back or breaks the connection; `labsvc.sweep` finds requests and messages in them so.
        """
        self._loop.run(self._middlebox.watch(make_gate))

    @contextmanager
    def fault(self, name: str, dose: float | None = None) -> Iterator[Faults]:
        """Apply a fault of the catalogue in a `with` block, then restore what was set before.

        Args:
            name: A name in `labsvc.faults.CATALOGUE`, such as "slow-link".
            dose: How much of it, in the unit of the fault; None takes the usual dose.

        Raises:
            TypeError: the dose is no number.
            ValueError: no such fault, or the dose is out of range.

        """
        settings = find(name).settings(dose)
        before = self.faults
        self.set(**settings)
        try:
            yield self.faults
        finally:
            self._loop.run(self._middlebox.restore(before))
            record.note(f"set to: {self.faults}", party=self.name)

    async def _aopen(self, port: int) -> int:
        return await self._middlebox.start(port)

    async def _aclose(self, grace: float) -> None:
        await self._middlebox.stop()


def _parse(upstream: str) -> tuple[str, int]:
    match = ADDRESS.fullmatch(upstream)
    if match is None or not 0 < int(match["port"]) < 2**16:
        msg = f"upstream must be 'host:port', such as '127.0.0.1:50051', not {upstream!r}"
        raise ValueError(msg)
    return match["host"].strip("[]"), int(match["port"])
