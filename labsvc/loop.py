"""The one background event loop of a kernel.

Servers never share the kernel's own loop: a busy cell would freeze them, and a
synchronous call from a cell to such a server would wait for itself for ever.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import inspect
import io
import threading
import traceback
from collections import deque
from contextlib import redirect_stderr, suppress
from typing import TYPE_CHECKING, Any, TypeVar

from labsvc.errors import LabError, LoopDeadError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

T = TypeVar("T")

THREAD_NAME = "labsvc-loop"
LOG_LINES = 1000
FAREWELL_SECONDS = 2.0


class Loop:
    """A daemon thread that runs one plain asyncio loop.

    `Loop.start()` makes one. What the loop would have printed (an exception that
    nobody awaited) goes to `log`, a ring buffer of lines.
    """

    def __init__(self) -> None:
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self._loop = asyncio.SelectorEventLoop()  # never uvloop, whatever policy is set
        self._loop.set_exception_handler(self._note)
        self._thread = threading.Thread(target=self._main, name=THREAD_NAME, daemon=True)
        self._lock = threading.Lock()
        self._ended: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._farewell: Callable[[], Awaitable[object]] | None = None
        self._cause: BaseException | None = None

    @classmethod
    def start(cls) -> Loop:
        """Start a new thread with a new loop; it accepts work at once."""
        loop = cls()
        loop._thread.start()
        return loop

    @property
    def alive(self) -> bool:
        """Whether the thread still runs and takes work."""
        return self._thread.is_alive() and not self._ended.done()

    def on_end(self, farewell: Callable[[], Awaitable[object]]) -> None:
        """Name what to await on the loop when it ends, also when it dies.

        It closes servers, so that their callers get an answer and no port stays
        open behind a loop that nobody runs. It has two seconds.
        """
        self._farewell = farewell

    def submit(self, coro: Coroutine[Any, Any, T]) -> concurrent.futures.Future[T]:
        """Start a coroutine on the loop and return at once with its future.

        If the thread ends first, the future is cancelled.

        Raises:
            TypeError: `coro` is no coroutine.
            LoopDeadError: the thread has ended.

        """
        _check(coro)
        with self._lock:
            if not self.alive:
                coro.close()
                raise self._obituary()
            return asyncio.run_coroutine_threadsafe(coro, self._loop)

    def run(self, coro: Coroutine[Any, Any, T], timeout: float = 30.0) -> T:
        """Run a coroutine on the loop and wait for its result, `timeout` seconds at most.

        The stop button (KeyboardInterrupt) cancels the coroutine.

        Raises:
            LabError: called on the loop's own thread, or not done in time.
            LoopDeadError: the thread has ended, or ends while we wait.

        """
        _check(coro)
        if threading.current_thread() is self._thread:
            coro.close()
            msg = (
                "this code already runs on the lab's loop and would wait for itself;"
                " use `await` here instead of Loop.run"
            )
            raise LabError(msg)
        job = _Job()
        try:
            future = self.submit(job.supervise(coro))
            first = concurrent.futures.FIRST_COMPLETED
            concurrent.futures.wait([future, self._ended], timeout, first)
        except LoopDeadError:
            coro.close()
            raise
        except BaseException:
            # The interrupt may strike before submit has returned: cancel by way of the job.
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(job.abandon)
            raise
        if self._ended.done() and not _succeeded(future):
            raise self._obituary()
        if not future.done():
            future.cancel()
            msg = (
                f"not done after {timeout:g} s, so it was cancelled;"
                " look at the service's .log, or pass a longer timeout"
            )
            raise LabError(msg)
        return future.result()

    def stop(self, within: float = 2 * FAREWELL_SECONDS) -> None:
        """Cancel what runs, end the thread and close the loop. A second call does nothing.

        It waits `within` seconds for that at most.
        """
        if threading.current_thread() is self._thread:
            msg = "the lab's loop cannot stop itself; call stop() from a cell"
            raise LabError(msg)
        with self._lock:
            if self.alive:
                self._loop.call_soon_threadsafe(self._loop.stop)
        if self._thread.ident is not None:
            self._thread.join(within)

    def _main(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        except BaseException as error:  # noqa: BLE001  # sys.exit in a handler lands here
            self._cause = error
            self.log.extend(traceback.format_exception(error))
        with self._lock:
            self._ended.set_result(None)
        if self._cause is None:
            self._last_rites()
        else:
            printed = io.StringIO()  # gRPC prints the error that ended the loop
            with redirect_stderr(printed):
                self._last_rites()
            self.log.extend(printed.getvalue().splitlines())

    def _last_rites(self) -> None:
        for step in (self._say_farewell, self._cancel_all, self._loop.shutdown_asyncgens):
            try:
                self._loop.run_until_complete(_within(FAREWELL_SECONDS, step))
            except BaseException as error:  # noqa: BLE001  # the thread ends in any case
                self.log.extend(traceback.format_exception(error))
        self._loop.close()

    async def _say_farewell(self) -> None:
        if self._farewell is not None:
            await self._farewell()

    async def _cancel_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _obituary(self) -> LoopDeadError:
        why = f" ({type(self._cause).__name__} in a handler)" if self._cause is not None else ""
        msg = f"the lab's background thread has ended{why}; make a new lab: lab = Lab()"
        error = LoopDeadError(msg)
        error.__cause__ = self._cause
        return error

    def _note(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.log.append(str(context.get("message", "")))
        error = context.get("exception")
        if isinstance(error, BaseException):
            self.log.extend(traceback.format_exception(error))


def _check(coro: object) -> None:
    if not inspect.iscoroutine(coro):
        msg = f"the loop runs coroutines, not {coro!r}; call the async function: f(), not f"
        raise TypeError(msg)


class _Job:
    """A coroutine that can be cancelled from the moment it is handed over."""

    def __init__(self) -> None:
        self._task: asyncio.Task[Any] | None = None
        self._abandoned = False

    async def supervise(self, coro: Coroutine[Any, Any, T]) -> T:
        self._task = asyncio.current_task()
        if self._abandoned:
            coro.close()
            raise asyncio.CancelledError
        return await coro

    def abandon(self) -> None:
        self._abandoned = True
        if self._task is not None:
            self._task.cancel()


async def _within(seconds: float, step: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(seconds):
        await step()


def _succeeded(future: concurrent.futures.Future[Any]) -> bool:
    return future.done() and not future.cancelled() and future.exception() is None
