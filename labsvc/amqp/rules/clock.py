"""The time, as the rules see it: injected, so that a test can move it by hand."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable


class Timer(Protocol):
    """What `Clock.call_at` returns."""

    def cancel(self) -> None:
        """Do not call. No error when it was called already."""


class Clock(Protocol):
    """Seconds since the epoch: a deadline has to mean the same after a restart."""

    def now(self) -> float:
        """Return the time."""

    def call_at(self, when: float, act: Callable[[], None]) -> Timer:
        """Call `act` once, at a time or soon after it."""


class LoopClock:
    """The system's time, and timers of the running loop."""

    def now(self) -> float:
        """Return the time."""
        return time.time()

    def call_at(self, when: float, act: Callable[[], None]) -> Timer:
        """Call `act` once, at a time or soon after it."""
        return asyncio.get_running_loop().call_later(when - time.time(), act)
