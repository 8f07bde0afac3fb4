"""Where threads wait for each other, or processes through their parent."""

from __future__ import annotations

import threading
from contextlib import suppress

MEET_SECONDS = 2.0


class Meeting:
    """Where so many callers wait for each other, in threads of this process or in children.

    Calling it waits until all are there, or until one has waited so many `seconds`; after that
    nobody waits any more.
    """

    def __init__(self, callers: int, seconds: float = MEET_SECONDS) -> None:
        self._barrier = threading.Barrier(callers)
        self._seconds = seconds

    def __call__(self) -> None:
        """Wait for the others."""
        with suppress(threading.BrokenBarrierError):
            self._barrier.wait(self._seconds)

    def __reduce__(self) -> tuple[type[FarMeeting], tuple[()]]:
        """Leave the waiting to the parent: there the others are, too."""
        return FarMeeting, ()


class FarMeeting:
    """What a child gets for a `Meeting`, until it has its way to the parent."""
