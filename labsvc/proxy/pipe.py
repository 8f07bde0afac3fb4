"""One direction of a connection: bytes go from its source to its sink, in order.

Without faults a chunk is written where it arrives. With faults it is stamped, queued
and released at its time, so that delay adds latency and takes no throughput.
"""

from __future__ import annotations

import enum
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncio

    from labsvc.proxy.connection import Connection
    from labsvc.proxy.stats import Meter

QUEUE_BYTES = 16 * 2**20  # what a delayed pipe holds: 320 MB/s at 50 ms
QUEUE_CHUNKS = 2**16
BUFFER_SECONDS = 0.05  # what waits where bandwidth is short, in seconds of that bandwidth
BUFFER_BYTES = 2**16  # but never less than a usual socket buffer
SLICE_SECONDS = 0.005  # short bandwidth is spent in slices of this length


class End(enum.Enum):
    """How a direction of a stream ends."""

    FIN = enum.auto()
    RST = enum.auto()


class Pipe:
    """Bytes on their way in one direction."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_free_at",
        "_held",
        "_meter",
        "_plain",
        "_queue",
        "_queued",
        "_timer",
        "ended",
        "finished",
        "sink",
        "source",
    )

    def __init__(self, connection: Connection, meter: Meter) -> None:
        self._connection = connection
        self._meter = meter
        self.source: asyncio.Transport | None = None
        self.sink: asyncio.Transport | None = None
        self.ended = False  # the source sends no more
        self.finished = False  # and the sink has been told so
        self._plain = False
        self._blocked = False  # the sink's buffer is full
        self._held = False  # the source's reading is paused
        self._queue: deque[tuple[float, float, memoryview | End]] = deque()
        self._queued = 0
        self._free_at = 0.0  # when the bandwidth for what was passed is spent
        self._timer: asyncio.TimerHandle | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing waits in the pipe."""
        return not self._queue

    def feed(self, data: bytes) -> None:
        """Take a chunk from the source."""
        connection = self._connection
        connection.touch()
        if self._plain and self.sink is not None:
            self._meter.passed += len(data)
            self.sink.write(data)
            return
        if connection.middlebox.faults.blackhole:
            connection.lose()
        if connection.lost:
            connection.drop(len(data))
            return
        if connection.middlebox.faults.delay:
            connection.middlebox.note("delayed", f"{connection.middlebox.faults.delay:g} s")
        self._put(memoryview(data))
        self._queued += len(data)
        self.refresh()

    def end(self, how: End) -> None:
        """Take the end of the stream from the source; it keeps its place in the queue."""
        self.ended = True
        self._put(how)
        self.refresh()
        if how is End.RST and self._blocked:
            self._finish(how)  # a reset does not wait for a slow reader

    def block(self, *, full: bool) -> None:
        """Stop while the sink's buffer is full, and go on when it is empty again."""
        self._blocked = full
        self.refresh()

    def refresh(self) -> None:
        """Release what is due under the faults of now, and hold or free the source."""
        self._release()
        connection = self._connection
        faults = connection.middlebox.faults
        self._plain = (
            self.sink is not None
            and not self._queue
            and not connection.lost
            and connection.allowance is None
            and faults.bandwidth is None
            and not (faults.delay or faults.jitter or faults.blackhole)
        )
        full = self._queued >= self._capacity() or len(self._queue) >= QUEUE_CHUNKS
        waiting = self.sink is None or self._blocked or full
        self._hold(waiting and not connection.lost and not self.ended)

    def drop(self) -> int:
        """Forget what waits and return how many bytes that was."""
        dropped, self._queued = self._queued, 0
        self._queue.clear()
        self._rest()
        return dropped

    def _put(self, item: memoryview | End) -> None:
        middlebox = self._connection.middlebox
        self._queue.append((middlebox.loop.time(), middlebox.random.random(), item))

    def _release(self) -> None:
        self._rest()
        faults = self._connection.middlebox.faults
        now = self._connection.middlebox.loop.time()
        while self._queue and not self._blocked and self.sink is not None:
            arrived, luck, item = self._queue[0]
            ready = arrived + faults.delay + luck * faults.jitter
            if ready > now:
                self._wake_at(ready)
                return
            if isinstance(item, End):
                self._queue.popleft()
                self._finish(item)
                continue
            size = len(item)
            if faults.bandwidth is not None:
                size = min(size, max(1, int(faults.bandwidth * SLICE_SECONDS)))
                passed = max(ready, self._free_at) + size / faults.bandwidth
                if passed > now:
                    self._wake_at(passed)
                    return
                self._free_at = passed
            if size == len(item):
                self._queue.popleft()
            else:
                self._queue[0] = (arrived, luck, item[size:])
            self._queued -= size
            self._pass(item[:size], self.sink)

    def _pass(self, data: memoryview, sink: asyncio.Transport) -> None:
        connection = self._connection
        connection.touch()
        if connection.allowance is None:
            self._meter.passed += len(data)
            sink.write(data)
            return
        data = data[: connection.allowance]
        connection.allowance -= len(data)
        self._meter.passed += len(data)
        sink.write(data)
        if connection.allowance == 0:
            connection.reset()

    def _finish(self, how: End) -> None:
        self.finished = True
        if how is End.RST:
            self._connection.reset(ours=False)
            return
        assert self.sink is not None
        try:
            self.sink.write_eof()
        except OSError:  # the sink's peer has reset its side
            self._connection.reset(ours=False)
        else:
            self._connection.finish()

    def _capacity(self) -> int:
        faults = self._connection.middlebox.faults
        if faults.bandwidth is None:
            return QUEUE_BYTES
        seconds = faults.delay + faults.jitter + BUFFER_SECONDS
        return min(QUEUE_BYTES, max(BUFFER_BYTES, int(faults.bandwidth * seconds)))

    def _hold(self, hold: bool) -> None:  # noqa: FBT001
        if self.source is None or hold == self._held:
            return
        self._held = hold
        if hold:
            self.source.pause_reading()
        else:
            self.source.resume_reading()

    def _wake_at(self, when: float) -> None:
        self._timer = self._connection.middlebox.loop.call_at(when, self.refresh)

    def _rest(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
