"""The memory alarm: publishers wait while the messages take too much memory.

As in RabbitMQ's guide "Memory and disk alarms": a connection that publishes while the alarm
is on gets connection.blocked and is not read any more; its consumers still get messages. A
connection that only consumes notices nothing, so the queues can be emptied.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Protocol

MESSAGE_OVERHEAD = 512  # bytes in memory for a message in a queue, beside its body
CHECK_SECONDS = 0.01  # how soon after the memory is free the publishers go on
REASON = "low on memory"  # RabbitMQ's text


class Publishing(Protocol):
    """A connection that publishes."""

    def block(self, reason: str) -> None:
        """Stop reading, and tell the client."""

    def unblock(self) -> None:
        """Read again, and tell the client."""


class Memory:
    """Counts the bytes of messages in queues, those unacked included.

    A message counts in each queue that holds it. `used` is kept by the queues.

    Args:
        limit: in bytes; beyond it, publishers wait.

    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0
        self._blocked: set[Publishing] = set()

    def published(self, connection: Publishing) -> None:
        """Block a connection that has just published, if the memory is used up."""
        if self.used > self.limit and connection not in self._blocked:
            if not self._blocked:
                self._check_soon()
            self._blocked.add(connection)
            connection.block(REASON)

    def left(self, connection: Publishing) -> None:
        """Forget a connection that has ended."""
        self._blocked.discard(connection)

    def _check_soon(self) -> None:
        asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check)

    def _check(self) -> None:
        if self.used > self.limit:
            if self._blocked:
                self._check_soon()
            return
        while self._blocked:
            self._blocked.pop().unblock()


UNLIMITED = Memory(sys.maxsize)
