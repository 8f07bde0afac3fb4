"""The end of a worker of notebooks 50 and 51: it runs until it is cancelled, and then no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.verdict import Verdict, broken

if TYPE_CHECKING:
    from labsvc.checks.submission import Attempt

END_SECONDS = 4.0  # a worker ends in milliseconds; what it leaves behind is given two seconds


def cancelled(worker: Attempt, *, idle: bool = False) -> Verdict | None:
    """Cancel a worker; return what broke if it goes on, None if it ends.

    One that is idle is asked twice. Up to Python 3.11 `asyncio.wait_for`, which aio-pika calls for
    each answer of the broker, drops a cancel that comes just after that answer.
    """
    ended = worker.cancel(END_SECONDS) or (idle and worker.cancel(END_SECONDS))
    worker.stop()
    if ended:
        return None
    return broken(
        "your worker was cancelled, and did not end",
        "A cancel is raised inside your function, as asyncio.CancelledError. What catches it?"
        " `except Exception` does not, a bare `except` and BaseException do: raise it again.",
    )
