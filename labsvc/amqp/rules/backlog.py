"""What waits in a queue, in order.

A message that is handed out and comes back goes in front of those that were never handed
out, ordered among its like by the `place` it is given. With priorities there is such an
order for each of them, and the highest comes first.
"""

from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from typing import TYPE_CHECKING

from labsvc.amqp.rules.message import Message
from labsvc.amqp.wire.content_header import with_header
from labsvc.amqp.wire.encoded import long

if TYPE_CHECKING:
    from collections.abc import Iterator


class Entry:
    """A message in one queue.

    `position` is its place there, `expires` when it dies (seconds since the epoch) or None.
    `deliveries` is how often it was handed out in vain, counted in a quorum queue only.
    """

    __slots__ = ("deliveries", "expires", "message", "position", "redelivered")

    def __init__(self, message: Message, position: int) -> None:
        self.message = message
        self.position = position
        self.redelivered = False
        self.expires: float | None = None
        self.deliveries = 0

    def counted(self) -> Message:
        """Return the message as a quorum queue delivers it, with `x-delivery-count`."""
        message = self.message
        header = with_header(message.header, "x-delivery-count", long(self.deliveries))
        return Message(message.route, header, message.body)


class Backlog:
    """The waiting messages of one queue; `len` is their number, `size` their bytes of body.

    Every call takes O(log n) at most, however many wait.

    Args:
        max_priority: the highest level; a higher priority counts as this.

    """

    def __init__(self, max_priority: int = 0) -> None:
        self.size = 0
        self._count = 0
        self._max_priority = max_priority
        self._levels: dict[int, _Level] = {}
        self._filled = 0  # bit p is set: there is a message of priority p

    def __len__(self) -> int:
        """Return how many messages wait."""
        return self._count

    def __iter__(self) -> Iterator[Entry]:
        """Iterate over what waits, in no particular order."""
        for level in self._levels.values():
            yield from (entry for _, entry in level.returned)
            yield from level.fresh

    def append(self, entry: Entry) -> None:
        """Put a message behind all of its priority."""
        self._level_for(entry).fresh.append(entry)

    def put_back(self, entry: Entry, place: int) -> None:
        """Put a message in front of those never handed out, lower places first."""
        heappush(self._level_for(entry).returned, (place, entry))

    def first(self) -> Entry | None:
        """Return the message that is next, or None."""
        if not self._filled:
            return None
        level = self._levels[self._filled.bit_length() - 1]
        return level.returned[0][1] if level.returned else level.fresh[0]

    def pop(self) -> Entry:
        """Remove the message that is next; there must be one."""
        priority = self._filled.bit_length() - 1
        level = self._levels[priority]
        entry = heappop(level.returned)[1] if level.returned else level.fresh.popleft()
        if not level.fresh and not level.returned:
            self._filled ^= 1 << priority
        self._count -= 1
        self.size -= len(entry.message.body)
        return entry

    def clear(self) -> None:
        """Remove all messages."""
        self.size = self._count = self._filled = 0
        self._levels.clear()

    def _level_for(self, entry: Entry) -> _Level:
        message = entry.message
        priority = min(message.priority, self._max_priority)
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = _Level()
        self._filled |= 1 << priority
        self._count += 1
        self.size += len(message.body)
        return level


class _Level:
    """The waiting messages of one priority."""

    __slots__ = ("fresh", "returned")

    def __init__(self) -> None:
        self.fresh: deque[Entry] = deque()
        self.returned: list[tuple[int, Entry]] = []  # a heap
