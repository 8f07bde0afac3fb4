"""Heartbeats: a sign of life when there is nothing to say, and an ear for the peer's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.amqp.wire.frames import HEARTBEAT_FRAME

if TYPE_CHECKING:
    import asyncio

    from labsvc.amqp.session.transport import FrameProtocol

MISSED_TICKS = 4  # two ticks to a heartbeat


class Heartbeat:
    """Ticks twice per heartbeat interval, from `start` on.

    A tick sends a heartbeat if nothing was sent since the last one, and drops the
    connection if nothing was received for two intervals (specification, 4.2.7).

    Counting ticks instead of reading a clock forgives a loop that was frozen: late ticks
    are one tick, and what the peer sent in the meantime is read before the next one.
    """

    def __init__(self, connection: FrameProtocol) -> None:
        self._connection = connection
        self._missed = 0
        self._timer: asyncio.TimerHandle | None = None

    def start(self, interval: float) -> None:
        """Start to tick; `interval` in seconds, 0 for no heartbeats at all."""
        if interval:
            self._timer = self._connection.loop.call_later(interval / 2, self._tick, interval)

    def stop(self) -> None:
        """Stop to tick."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self, interval: float) -> None:
        connection = self._connection
        listening = not connection.blocked
        self._missed = self._missed + 1 if listening and not connection.heard else 0
        if self._missed >= MISSED_TICKS:
            connection.abort()
            return
        if not connection.spoke:
            connection.send(HEARTBEAT_FRAME)
            connection.flush()
        connection.heard = connection.spoke = False
        self.start(interval)
