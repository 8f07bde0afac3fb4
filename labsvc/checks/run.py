"""One call of the learner's function, in a thread of its own, which is ended when time is up."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import ctypes
import inspect
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.checks.asking import status_of
from labsvc.checks.values import closed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

THREAD_NAME = "labsvc-check"
FAREWELL_SECONDS = 1.0
LOCKING = ("__enter__", "__exit__")


class _Stop(BaseException):
    """Thrown into a thread that has run too long; no `except Exception` swallows it."""


@dataclass(frozen=True)
class Outcome:
    """How one call of the answer ended: a value, an error, or neither because it hangs."""

    value: Any = None
    error: BaseException | None = None
    hung: bool = False

    @property
    def status(self) -> str | None:
        """The name of the gRPC status of the error or of its cause, None if there is none."""
        return status_of(self.error)


class Clock:
    """The seconds in which an answer may run, for all its calls together."""

    def __init__(self, seconds: float) -> None:
        self._left = seconds
        self._running = 0
        self._since = 0.0
        self._lock = threading.Lock()

    def start(self) -> None:
        """Count from now on, until as many `end` as `start` have been called."""
        with self._lock:
            if not self._running:
                self._since = time.monotonic()
            self._running += 1

    def end(self) -> None:
        """Count no more for one of those that started."""
        with self._lock:
            self._running -= 1
            if not self._running:
                self._left -= time.monotonic() - self._since

    def left(self) -> float:
        """Return the seconds that are left, 0 at least."""
        with self._lock:
            used = time.monotonic() - self._since if self._running else 0.0
            return max(0.0, self._left - used)


class Run:
    """A function under way in a daemon thread.

    An awaitable that it returns is awaited there, on a loop of its own, if `awaits` is true. What
    that loop would print goes to `stray`, as an error that nobody awaited. `lent` are the arguments
    that were open.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        clock: Clock,
        within: float | None,
        *,
        awaits: bool,
    ) -> None:
        self.function = function
        self.lent = [thing for thing in args if not closed(thing)]
        self._args = args
        self._clock = clock
        self._awaits = awaits
        self._give_up_at = float("inf") if within is None else time.monotonic() + within
        self._outcome: Outcome | None = None
        self._ending = False  # its loop is being closed, which must not be torn apart
        self._counts = True
        self.stopped = False
        # Thread.join does not wait: interrupted, it takes a running thread for dead (CPython 3.11).
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[Any] | None = None
        self.coroutine: Any = None
        self.stray: list[BaseException] = []
        clock.start()
        # A copied context keeps what the answer prints in the cell that asked for the check.
        run = contextvars.copy_context().run
        self.thread = threading.Thread(target=run, args=(self._run,), name=THREAD_NAME, daemon=True)
        self.thread.start()

    @property
    def alive(self) -> bool:
        """Whether its thread still runs."""
        return self.thread.is_alive() and not self._ended.is_set()

    @property
    def time_left(self) -> float:
        """The seconds until it counts as hanging."""
        return min(self._clock.left(), max(0.0, self._give_up_at - time.monotonic()))

    def join(self, seconds: float) -> None:
        """Wait until its thread ends, so many seconds at most."""
        if self._ended.wait(max(0.0, seconds)):
            # From 3.13 on no other thread gets its number before: a key made of it looked unique.
            self.thread.join()

    def wait(self) -> Outcome:
        """Wait until it ends or its time is up; from then on its seconds no longer count."""
        self.join(self.time_left)
        outcome = self.outcome
        self._count_no_more()
        return outcome

    @property
    def outcome(self) -> Outcome:
        """How it ended; it hangs as long as it has not."""
        return Outcome(hung=True) if self.alive or self._outcome is None else self._outcome

    def cancel(self) -> None:
        """Count it as stopped, and ask a coroutine to end."""
        self.stopped = True
        if self._loop is not None and self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(self._task.cancel)

    def interrupt(self) -> bool:
        """Make the next line of Python in the thread raise; return whether that may help.

        Not while it takes or leaves a lock: that would stay taken for good. gRPC's are Python's.
        """
        self._count_no_more()
        if not self.alive or self._outcome is not None or self._ending:
            return False
        frame = sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001
        if frame is not None and frame.f_code.co_name in LOCKING:
            return True
        ctypes.pythonapi.PyThreadState_SetAsyncExc(
            ctypes.c_ulong(self.thread.ident or 0), ctypes.py_object(_Stop)
        )
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has just closed
                self._loop.call_soon_threadsafe(_nothing)  # a loop that waits runs no Python
        return True

    def _count_no_more(self) -> None:
        with self._lock:
            counted, self._counts = self._counts, False
        if counted:
            self._clock.end()

    def _run(self) -> None:
        # A late _Stop may hit the thread when its work is done.
        with contextlib.suppress(_Stop):
            try:
                self._outcome = self._run_to_end()
                self._count_no_more()
            finally:
                self._ended.set()

    def _run_to_end(self) -> Outcome:
        try:
            value = self.function(*self._args)
            if self._awaits and inspect.isawaitable(value):
                value = self._run_async(value)
            return Outcome(value)
        except BaseException as error:  # noqa: BLE001  # SystemExit too is an outcome
            return Outcome(hung=True) if self.stopped else Outcome(error=error)

    def _run_async(self, awaitable: Any) -> Any:
        async def main() -> Any:
            return await awaitable

        self.coroutine = awaitable
        # asyncio.Runner is not used: its close waits without an end for a task that does not end.
        with contextlib.closing(asyncio.new_event_loop()) as loop:
            self._loop = loop
            loop.set_exception_handler(self._note)
            self._task = loop.create_task(main())
            try:
                return loop.run_until_complete(self._task)
            finally:
                self._ending = True
                loop.run_until_complete(_end_tasks(loop))

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, Exception) and not self._ending:  # what was cancelled has not failed
            self.stray.append(error)


def end(runs: Iterable[Run]) -> None:
    """End the threads in which Python code still runs; waits a second and a half at most.

    A thread that is parked in C code cannot be ended. It stays, as a daemon thread, until its
    call returns, and holds nothing up.
    """
    left = [run for run in runs if run.alive]
    for run in left:
        run.cancel()
    give_up_at = time.monotonic() + FAREWELL_SECONDS / 2
    for run in left:
        if run.coroutine is not None:
            run.join(give_up_at - time.monotonic())
    give_up_at += FAREWELL_SECONDS
    while (hit := [run for run in left if run.interrupt()]) and time.monotonic() < give_up_at:
        hit[0].join(0.05)


async def _end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what the answer left running, and what that starts as it ends, as aio-pika does.

    What is cancelled and goes on all the same is left behind after a while.
    """
    give_up_at = time.monotonic() + FAREWELL_SECONDS
    while left := asyncio.all_tasks() - {asyncio.current_task()}:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=FAREWELL_SECONDS / 4)
        if time.monotonic() > give_up_at:
            return
    await asyncio.wait({loop.create_task(loop.shutdown_asyncgens())}, timeout=FAREWELL_SECONDS)


def _nothing() -> None:
    """Wake a loop that waits."""
