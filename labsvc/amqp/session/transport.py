"""A socket that carries frames, fair to all others on the same loop.

Frames are handled as they arrive, without a task or a queue in between. What they cause
is collected and written at the end of the turn, in one piece for each socket. A turn is
bounded in frames and in bytes; what is left waits for the next round of the loop.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from labsvc.amqp.wire.frames import FrameReader
from labsvc.ports import reset_on_close

if TYPE_CHECKING:
    from labsvc.amqp.session.group_commit import GroupCommit

TURN_FRAMES = 512  # frames handled before others on the loop have their turn
TURN_BYTES = 64 * 1024  # bytes of deliveries collected in one turn
UNREAD_BYTES = 1024 * 1024  # that wait for the client to read, before we stop to listen


class FrameProtocol(asyncio.Protocol, ABC):
    """The transport half of a connection; a subclass knows what the frames mean.

    A client that does not read is no burden: once the transport's buffer is full its
    deliveries wait (`writable`), and beyond `UNREAD_BYTES` bytes its requests wait too.
    `closed` is done when the socket is gone.
    """

    def __init__(self, group_commit: GroupCommit, first_frame_max: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.closed: asyncio.Future[None] = self.loop.create_future()
        self.reader = FrameReader(first_frame_max)
        self.transport: asyncio.Transport
        self.heard = self.spoke = False  # since somebody last cleared them
        self._group_commit = group_commit
        self._out: list[bytes] = []
        self._out_size = 0
        self._full = False  # the transport cannot take more
        self.blocked = False  # frames are not handled for now; deliveries go on
        self._starved = False  # a delivery wanted to be sent and could not
        self._held = False  # frames wait in the reader
        self._scheduled = False

    @abstractmethod
    def handle_next(self) -> bool:
        """Handle the next frame in the reader; return False if there is none."""

    @abstractmethod
    def turn_ends(self) -> None:
        """Add what is sent once per turn."""

    @abstractmethod
    def wake(self) -> None:
        """Try the deliveries again for which `writable` was False."""

    @abstractmethod
    def lost(self) -> None:
        """Clean up: the socket is gone."""

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the socket."""
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Handle what the client sent."""
        self.heard = True
        self.reader.feed(data)
        self._turn()
        self._group_commit.flush()

    def pause_writing(self) -> None:
        """Note that the client does not read."""
        self._full = True

    def resume_writing(self) -> None:
        """Note that the client reads again."""
        self._full = False
        self._carry_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """Clean up."""
        self.lost()
        self._group_commit.flush()
        self.closed.set_result(None)

    # What the subclass and its channels call

    def writable(self) -> bool:
        """Whether a delivery may be sent now. If not, `wake` is called when it may."""
        if self._full or self._out_size >= TURN_BYTES:
            self._starved = True
            return False
        return True

    def send(self, data: bytes) -> None:
        """Write at the end of this turn."""
        if not self._out:
            self._group_commit.writers.append(self)
        self._out.append(data)
        self._out_size += len(data)

    def flush(self) -> None:
        """Write now what was collected, once what caused it is stored."""
        if self._group_commit.commit():
            self.write()

    def write(self) -> None:
        """Write what was collected. The group commit calls it."""
        data = b"".join(self._out)
        self._out.clear()
        self._out_size = 0
        if data and not self.transport.is_closing():
            self.spoke = True
            self.transport.write(data)
        waiting = self._starved or (self._held and not self.blocked)
        if waiting and not self._full and not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._carry_on)

    def abort(self) -> None:
        """Drop the socket, without a word."""
        self.transport.abort()

    def reset(self) -> None:
        """Drop the socket with RST, as the end of a process that had not read all does."""
        sock = self.transport.get_extra_info("socket")
        if sock.fileno() >= 0:  # else the client has just closed it, and `closed` is not told yet
            reset_on_close(sock)
        self.transport.abort()

    def resume(self) -> None:
        """Handle frames again, after `blocked`."""
        if not self._scheduled:
            self._scheduled = True
            self.loop.call_soon(self._carry_on)

    # Turns

    def _carry_on(self) -> None:
        """Take another turn: deliveries and frames that had to wait."""
        self._scheduled = False
        if self._full or self.transport.is_closing():
            return
        if self._starved:
            self._starved = False
            self.wake()
        if self._held and not self.blocked:
            self._turn()
        self._group_commit.flush()

    def _turn(self) -> None:
        """Handle the frames at hand, a turn's worth of them."""
        self._held = self._handle_frames()
        self.turn_ends()
        if not self._held:
            self.transport.resume_reading()
            return
        self.transport.pause_reading()
        if not self._out:
            self._group_commit.writers.append(self)  # its write asks for the next turn

    def _handle_frames(self) -> bool:
        """Return whether frames may be left."""
        for _ in range(TURN_FRAMES):
            if self.blocked or self._backed_up():
                return True
            if not self.handle_next():
                return False
        return True

    def _backed_up(self) -> bool:
        waiting = self._out_size
        if self._full:
            waiting += self.transport.get_write_buffer_size()
        return waiting >= UNREAD_BYTES
