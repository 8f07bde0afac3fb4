"""One connection through the middlebox: two sockets, and a pipe for each direction."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from labsvc.ports import reset_on_close
from labsvc.proxy.pipe import End, Pipe

if TYPE_CHECKING:
    from labsvc.proxy.middlebox import Middlebox


class Side(asyncio.Protocol):
    """One socket of a connection: it feeds one pipe and is the sink of the other."""

    def __init__(self, connection: Connection, inbound: Pipe, outbound: Pipe) -> None:
        self._connection = connection
        self._inbound = inbound
        self._outbound = outbound
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Join the socket to its pipes."""
        self.transport = cast("asyncio.Transport", transport)
        # Any byte that has to wait stops the other side: little is ever buffered here.
        self.transport.set_write_buffer_limits(high=0)
        self._inbound.source = self._outbound.sink = self.transport
        self._connection.joined(self)

    def data_received(self, data: bytes) -> None:
        """Hand a chunk to the gate, or to the pipe if there is none."""
        self._connection.received(self, data)

    def eof_received(self) -> bool:
        """Pass the peer's FIN on. True: our own side of this socket stays open."""
        self._connection.ended(self, End.FIN)
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """Pass a reset on; `exc` is None when we closed the socket ourselves."""
        self.transport = None
        self._outbound.sink = None
        self._connection.parted(self, reset=exc is not None)

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
                reset_on_close(self.transport.get_extra_info("socket"))
            self.transport.abort()


class Connection:
    """A client's connection and the one to the upstream that goes with it.

    It is lost once bytes of it were swallowed: TCP never delivers a stream with a
    hole, so whatever comes later vanishes too. A lost connection is silent until one side
    leaves, and then towards the other side.
    """

    def __init__(self, middlebox: Middlebox) -> None:
        self.middlebox = middlebox
        self.lost = middlebox.faults.blackhole
        self.allowance = middlebox.faults.cut_after_bytes
        self._up = Pipe(self, middlebox.counters.up)
        self._down = Pipe(self, middlebox.counters.down)
        self.client = Side(self, self._up, self._down)
        self._upstream = Side(self, self._down, self._up)
        self._gate = middlebox.make_gate(self) if middlebox.make_gate is not None else None
        self._last = 0.0
        self._over = False
        self._connecting: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def touch(self) -> None:
        """Note that a byte passed: the connection is not idle."""
        self._last = self.middlebox.loop.time()

    def received(self, side: Side, data: bytes) -> None:
        """Take a chunk from a side's socket."""
        up = side is self.client
        if self._gate is None:
            (self._up if up else self._down).feed(data)
        elif not self._over:
            (self._gate.up if up else self._gate.down)(data)

    def pass_up(self, data: bytes) -> None:
        """Send bytes on to the upstream; the gate calls it."""
        self._up.feed(data)

    def pass_down(self, data: bytes) -> None:
        """Send bytes on to the client; the gate calls it."""
        self._down.feed(data)

    def joined(self, side: Side) -> None:
        """Go on after a socket has connected: the client's first, then the upstream's."""
        self.touch()
        if side is self.client:
            self.middlebox.enter(self)
            if not (self.lost or self._over):
                self._connecting = self.middlebox.loop.create_task(self._connect())
        elif self._over:
            side.abort()
            return
        self.refresh()

    def ended(self, side: Side, how: End) -> None:
        """Pass on that a side sends no more, unless the connection swallows that as well."""
        pipe = self._up if side is self.client else self._down
        if self.middlebox.faults.blackhole:
            self.lose()
        if not self.lost:
            pipe.end(how)
        elif how is End.FIN:
            side.close()

    def parted(self, side: Side, *, reset: bool) -> None:
        """Go on after a socket was closed."""
        if side is self.client:
            self.middlebox.counters.open -= 1
            self.middlebox.counters.silent -= self.lost
        if reset and not self._over:
            self.ended(side, End.RST)
        if self.client.transport is None and self._upstream.transport is None:
            self._stop()
            self.middlebox.leave(self)

    def refresh(self) -> None:
        """Take the faults of now into account."""
        if self._over:
            return
        if self.middlebox.faults.blackhole and not (self._up.empty and self._down.empty):
            self.lose()
        self._up.refresh()
        self._down.refresh()
        self._watch()

    def lose(self) -> None:
        """Fall silent: whatever is on its way, and comes later, vanishes."""
        if self.lost or self._over:
            return
        self.lost = True
        self.middlebox.counters.silent += self.client.transport is not None
        self.drop(self._up.drop() + self._down.drop())
        self.middlebox.log.append("a connection fell silent")
        self.refresh()

    def drop(self, size: int) -> None:
        """Count bytes that vanish."""
        self.middlebox.counters.dropped += size
        if size:
            self.middlebox.note("swallowed")

    def finish(self) -> None:
        """Close both sockets when both directions have ended."""
        if self._up.finished and self._down.finished:
            self._close()

    def reset(self, *, ours: bool = True) -> None:
        """Send RST to both sides. `ours`: the proxy wanted it, so it counts as a reset."""
        if ours and not self._over and self.client.transport is not None:
            self.middlebox.counters.resets += 1
            self.middlebox.log.append("a connection was reset")
            self.middlebox.note("cut")
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
        host, port = self.middlebox.upstream
        try:
            await self.middlebox.loop.create_connection(lambda: self._upstream, host, port)
        except OSError as error:
            self.middlebox.counters.refused += 1
            self.middlebox.note("refused")
            self.middlebox.log.append(f"{host}:{port} took no connection: {error}")
            self.reset(ours=False)

    def _watch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        faults = self.middlebox.faults
        limit = faults.cut_after_idle or faults.blackhole_after_idle
        if limit is None or self.lost:
            return
        now = self.middlebox.loop.time()
        if not (self._up.empty and self._down.empty):
            self._last = now  # bytes are on their way
        if self._last + limit > now:
            self._timer = self.middlebox.loop.call_at(self._last + limit, self._watch)
        elif faults.cut_after_idle is not None:
            self.middlebox.note("cut", "idle")
            self._close()
        else:
            self.lose()
