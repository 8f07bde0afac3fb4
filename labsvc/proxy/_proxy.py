"""`Proxy`: the middlebox as a notebook holds it."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Unpack

from labsvc.errors import LabError
from labsvc.faults import Faults, find
from labsvc.ports import HOST
from labsvc.proxy._box import Box, ProxyStats

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.faults import Settings
    from labsvc.loop import Loop

ADDRESS = re.compile(r"(?P<host>[^\s:/\[\]]+|\[[0-9a-fA-F:]+\]):(?P<port>\d{1,5})")


class Proxy:
    """A TCP middlebox in front of one upstream.

    It listens on 127.0.0.1 and opens one upstream connection for each connection it
    accepts, so an upstream that restarts on its port is found again. Half-close, resets
    and back-pressure are passed on; TCP_NODELAY is set on both sides.

    A connection of which bytes were swallowed (by `blackhole`, `blackhole_after_idle` or
    `freeze`) is lost: it stays silent, for TCP never delivers a stream with a hole. It is
    reset when the fault that swallowed them is lifted, and by `clear` or `cut`.

    All methods may be called from any thread but the lab's loop.

    Args:
        loop: The lab's loop, which carries the traffic.
        upstream: Where connections go, as "host:port".
        port: The port to listen on; 0 takes a free one.

    Raises:
        ValueError: `upstream` is no "host:port".

    """

    def __init__(self, loop: Loop, upstream: str, *, port: int = 0) -> None:
        self._loop = loop
        self._box = Box(_parse(upstream), port)
        self.upstream = upstream

    def __repr__(self) -> str:
        """Say where it listens, where it passes to, and what it does on the way."""
        default = Faults()
        settings = ", ".join(
            f"{name}={value}"
            for name in Faults.__slots__
            if (value := getattr(self.faults, name)) != getattr(default, name)
        )
        return f"<Proxy {HOST}:{self._box.port} -> {self.upstream}: {settings or 'passing'}>"

    def start(self) -> Proxy:
        """Listen; after a stop, on the same port again.

        Raises:
            PortInUseError: another program took the port meanwhile.

        """
        self._loop.run(self.astart())
        return self

    def stop(self) -> None:
        """Close the port and every connection. A second call does nothing."""
        self._loop.run(self.aclose())

    async def astart(self) -> None:
        """`start`, for code on the lab's loop."""
        await self._box.start()

    async def aclose(self) -> None:
        """`stop`, for code on the lab's loop."""
        await self._box.stop()

    @property
    def target(self) -> str:
        """Where it listens, as "127.0.0.1:port"."""
        if self._box.port == 0:
            msg = "the proxy has no port yet; call start() first"
            raise LabError(msg)
        return f"{HOST}:{self._box.port}"

    @property
    def url(self) -> str:
        """Where it listens, as "http://127.0.0.1:port"."""
        return f"http://{self.target}"

    @property
    def stats(self) -> ProxyStats:
        """A snapshot of the counters."""
        return self._box.stats

    @property
    def faults(self) -> Faults:
        """The settings of now."""
        return self._box.faults

    def reset_stats(self) -> None:
        """Count from zero again; `open` and `silent` are states and stay."""
        self._loop.run(self._box.reset_stats())

    def set(self, **settings: Unpack[Settings]) -> None:
        """Change the settings that are given, for open connections too.

        `labsvc.faults.Faults` describes each with its unit. While `refuse` is set the
        port is held but not listened on: the system refuses connections, so the proxy
        cannot count them.

        Raises:
            TypeError: no such setting, or a value of the wrong type.
            ValueError: a value out of range, or settings that exclude each other.

        """
        self._loop.run(self._box.change(**settings))

    def clear(self) -> None:
        """Pass everything on again, and reset the connections that were lost."""
        self._loop.run(self._box.clear())

    def cut(self) -> None:
        """Reset (RST) every open connection, once. New ones pass."""
        self._loop.run(self._box.cut())

    def freeze(self) -> None:
        """Let every open connection fall silent for good. New ones pass."""
        self._loop.run(self._box.freeze())

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
            self._loop.run(self._box.restore(before))


def _parse(upstream: str) -> tuple[str, int]:
    match = ADDRESS.fullmatch(upstream)
    if match is None or not 0 < int(match["port"]) < 2**16:
        msg = f"upstream must be 'host:port', such as '127.0.0.1:50051', not {upstream!r}"
        raise ValueError(msg)
    return match["host"].strip("[]"), int(match["port"])
