"""One connection through the middlebox: two sockets, and a lane for each direction."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from typing import TYPE_CHECKING, cast

from labsvc.proxy._lane import End, Lane

if TYPE_CHECKING:
    from labsvc.proxy._box import Box

# Closing with a linger time of 0 sends RST in place of FIN. Windows has 16-bit fields.
LINGER_ZERO = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)


class Leg(asyncio.Protocol):
    """One socket of a connection: it feeds one lane and is the sink of the other."""

    def __init__(self, link: Link, inbound: Lane, outbound: Lane) -> None:
        self._link = link
        self._inbound = inbound
        self._outbound = outbound
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the socket to its lanes."""
        self.transport = cast("asyncio.Transport", transport)
        # Any byte that has to wait stops the other side: little is ever buffered here.
        self.transport.set_write_buffer_limits(high=0)
        self._inbound.source = self._outbound.sink = self.transport
        self._link.joined(self)

    def data_received(self, data: bytes) -> None:
        """Hand a chunk to the lane."""
        self._inbound.feed(data)

    def eof_received(self) -> bool:
        """Pass the peer's FIN on. True: our own side of this socket stays open."""
        self._link.ended(self, End.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on; `exc` is None when we closed the socket ourselves."""
        self.transport = None
        self._outbound.sink = None
        self._link.parted(self, reset=exc is not None)

    def pause_writing(self) -> None:
        """Hold what comes for this socket: its buffer is not empty."""
        self._outbound.block(full=True)

    def resume_writing(self) -> None:
        """Go on: its buffer is empty."""
        self._outbound.block(full=False)

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        if self.transport is not None:
            self.transport.close()

    def abort(self) -> None:
        """Send RST."""
        if self.transport is not None:
            with contextlib.suppress(OSError):  # the peer may be gone already
                self.transport.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, LINGER_ZERO
                )
            self.transport.abort()


class Link:
    """A client's connection and the connection to the upstream that goes with it.

    A link is lost once bytes of it were swallowed: TCP never delivers a stream with a
    hole, so whatever comes later vanishes too. A lost link is silent until one side
    leaves, and then towards the other side.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        self.lost = box.faults.blackhole
        self.allowance = box.faults.cut_after_bytes
        self._up = Lane(self, box.up)
        self._down = Lane(self, box.down)
        self.client = Leg(self, self._up, self._down)
        self._upstream = Leg(self, self._down, self._up)
        self._last = 0.0
        self._over = False
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Note that a byte passed: the link is not idle."""
        self._last = self.box.loop.time()

    def joined(self, leg: Leg) -> None:
        """Go on after a socket has connected: the client's first, then the upstream's."""
        self.touch()
        if leg is self.client:
            self.box.enter(self)
            if not (self.lost or self._over):
                self._connecting = self.box.loop.create_task(self._connect())
        elif self._over:
            leg.abort()
            return
        self.refresh()

    def ended(self, leg: Leg, how: End) -> None:
        """Pass on that a side sends no more, unless the link swallows that as well."""
        lane = self._up if leg is self.client else self._down
        if self.box.faults.blackhole:
            self.lose()
        if not self.lost:
            lane.end(how)
        elif how is End.FIN:
            leg.close()

    def parted(self, leg: Leg, *, reset: bool) -> None:
        """Go on after a socket was closed."""
        if leg is self.client:
            self.box.open -= 1
            self.box.silent -= self.lost
        if reset and not self._over:
            self.ended(leg, End.RST)
        if self.client.transport is None and self._upstream.transport is None:
            self._stop()
            self.box.leave(self)

    def refresh(self) -> None:
        """Take the faults of now into account."""
        if self._over:
            return
        if self.box.faults.blackhole and not (self._up.empty and self._down.empty):
            self.lose()
        self._up.refresh()
        self._down.refresh()
        self._watch()

    def lose(self) -> None:
        """Fall silent: whatever is on its way, and comes later, vanishes."""
        if self.lost or self._over:
            return
        self.lost = True
        self.box.silent += self.client.transport is not None
        self.box.counters.dropped += self._up.drop() + self._down.drop()
        self.refresh()

    def finish(self) -> None:
        """Close both sockets when both directions have ended."""
        if self._up.finished and self._down.finished:
            self._close()

    def reset(self, *, ours: bool = True) -> None:
        """Send RST to both sides. `ours`: the proxy wanted it, so it counts as a reset."""
        if ours and not self._over and self.client.transport is not None:
            self.box.counters.resets += 1
        self._stop()
        self.client.abort()
        self._upstream.abort()

    def _close(self) -> None:
        self._stop()
        self.client.close()
        self._upstream.close()

    def _stop(self) -> None:
        self._over = True
        self._up.drop()
        self._down.drop()
        if self._timer is not None:
            self._timer.cancel()
        if self._connecting is not None:
            self._connecting.cancel()

    async def _connect(self) -> None:
        host, port = self.box.upstream
        try:
            await self.box.loop.create_connection(lambda: self._upstream, host, port)
        except OSError:
            self.box.counters.refused += 1
            self.reset(ours=False)

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        faults = self.box.faults
        limit = faults.cut_after_idle or faults.blackhole_after_idle
        if limit is None or self.lost:
            return
        now = self.box.loop.time()
        if not (self._up.empty and self._down.empty):
            self._last = now  # bytes are on their way
        if self._last + limit > now:
            self._timer = self.box.loop.call_at(self._last + limit, self._watch)
        elif faults.cut_after_idle is not None:
            self._close()
        else:
            self.lose()
