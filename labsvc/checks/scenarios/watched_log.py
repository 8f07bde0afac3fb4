"""Part of T6-watched: the log that lines are written to."""

from __future__ import annotations

import asyncio
from typing import Any

FAULTS: dict[int, type[BaseException]] = {1: OSError, 2: asyncio.CancelledError}
"""What the log raises, by the number of the write, when that had come through all the same.

A log raises a CancelledError when a task of its own was cancelled.
"""


class Log:
    """A log that can hang until it is released.

    Attributes:
        lines: that it took, as they were when it took them, in order.
        given: the same, as they are.
        raised: its errors.
        under_way: how many writes are under way.
        writing: how many were at once, at most.
        cut: how many were cancelled by who wrote.

    """

    def __init__(self, *, hung: bool) -> None:
        self.lines: list[Any] = []
        self.given: list[Any] = []
        self.raised: list[BaseException] = []
        self.under_way = self.writing = self.cut = 0
        self._calls = 0
        self._hung = hung
        self._released = asyncio.Event()

    async def write(self, line: Any) -> None:
        """Take a line."""
        self._calls += 1
        call = self._calls
        self.under_way += 1
        self.writing = max(self.writing, self.under_way)
        try:
            if self._hung:
                await self._released.wait()
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            self.cut += 1
            raise
        finally:
            self.under_way -= 1
        self.given.append(line)
        self.lines.append(dict(line) if isinstance(line, dict) else line)
        if call in FAULTS:
            error = FAULTS[call]("the log is away")
            self.raised.append(error)
            raise error

    def release(self) -> None:
        """Go on."""
        self._hung = False
        self._released.set()
