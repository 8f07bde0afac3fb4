"""Closed and open loops: two ways to load a service, of which one can hide a stall."""

from __future__ import annotations

import asyncio
import itertools
import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.measure.histogram import Histogram
from labsvc.measure.record import (
    Recorder,
    clock,
    require_callable,
    require_count,
    require_sync,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Sequence

    from labsvc.measure.plots import Plot

_PATIENCE = 1.0
_COARSE = 0.002


@dataclass(frozen=True, repr=False)
class Load:
    """What a load met. Times are seconds.

    `latency` holds the calls that were answered, counted from their intended start in an open
    loop; `service` holds the same calls counted from the moment they really began (in a closed
    loop the two are the same). Calls that failed are in `failed`, and in `errors` by gRPC code
    or exception class.
    """

    latency: Histogram
    service: Histogram
    failed: Histogram
    errors: dict[str, int]
    duration: float

    @property
    def calls(self) -> int:
        """How many calls were made, failed ones too."""
        return self.latency.count + self.failed.count

    @property
    def throughput(self) -> float:
        """Answered calls per second."""
        return self.latency.count / self.duration

    def over(self, seconds: float) -> int:
        """Count the calls that kept their caller waiting longer than `seconds`, failed or not."""
        return self.latency.over(seconds) + self.failed.over(seconds)

    def plot(self, title: str | None = None) -> Plot:
        """Draw the latency; for an open loop, beside the service time that hides a stall."""
        from labsvc.measure.plots import plot_load

        return plot_load(self, title)

    def __repr__(self) -> str:
        """Give the counts, never a time, which would differ on every run."""
        return f"Load({self.calls} calls, errors={self.errors})"


def closed_loop(
    fn: Callable[[], object], *, calls: int, workers: int = 1, warmup: int = 10
) -> Load:
    """Make `calls` calls; each worker sends the next when its last has returned.

    A service that stalls also stops the workers from asking, so that the stall shows in at most
    `workers` calls: coordinated omission. The caller's thread is one of the workers. `warmup`
    calls are made first, one after another, and not counted. An exception of `fn` is counted
    and the run goes on. Raises TypeError or ValueError for arguments that make no sense.
    """
    require_sync("fn", fn)
    _check_closed(calls, workers, warmup)
    recorders = [Recorder() for _ in range(workers)]

    def worker(number: int, stop: threading.Event) -> None:
        record = recorders[number]
        for _ in range(_share(calls, workers, number)):
            if stop.is_set():
                return
            record.call(fn)

    _warm_up(fn, warmup)
    start = clock()
    _in_threads(worker, workers)
    return _load(recorders, start)


async def aio_closed_loop(
    fn: Callable[[], Awaitable[object]], *, calls: int, workers: int = 1, warmup: int = 10
) -> Load:
    """Do what `closed_loop` does for a coroutine function, with tasks in place of threads."""
    require_callable("fn", fn)
    _check_closed(calls, workers, warmup)
    record = Recorder()

    async def worker(number: int) -> None:
        for _ in range(_share(calls, workers, number)):
            await record.call_async(fn)

    await _warm_up_async(fn, warmup)
    start = clock()
    async with asyncio.TaskGroup() as group:
        for number in range(workers):
            group.create_task(worker(number))
    return _load([record], start)


def open_loop(
    fn: Callable[[], object],
    *,
    rate: float,
    seconds: float,
    max_in_flight: int = 64,
    warmup: int = 10,
) -> Load:
    """Start `rate` calls a second on a fixed schedule for `seconds`, whatever the service does.

    Latency counts from the start that the schedule intended, so that a call that had to wait
    because the service stalled shows how long its user waited. A timer's slack (about 0.1 ms)
    is part of it. At most `max_in_flight` calls run at once, each in its own thread; further
    ones wait, and their wait counts. Warm-up, errors and exceptions are those of `closed_loop`.
    """
    require_sync("fn", fn)
    due = _schedule(rate, seconds, max_in_flight, warmup)
    workers = min(max_in_flight, len(due))
    recorders = [Recorder() for _ in range(workers)]
    slots = itertools.count()
    _warm_up(fn, warmup)
    origin = clock()

    def worker(number: int, stop: threading.Event) -> None:
        record = recorders[number]
        while (slot := next(slots)) < len(due):
            intended = origin + due[slot]
            if stop.wait(max(0, intended - clock()) / 1e9):
                return
            record.call(fn, intended)

    _in_threads(worker, workers)
    return _load(recorders, origin)


async def aio_open_loop(
    fn: Callable[[], Awaitable[object]],
    *,
    rate: float,
    seconds: float,
    max_in_flight: int = 256,
    warmup: int = 10,
) -> Load:
    """Do what `open_loop` does for a coroutine function, with tasks in place of threads.

    Keep `max_in_flight` well under 1000: grpc.aio sheds calls when that many are pending.
    """
    require_callable("fn", fn)
    due = _schedule(rate, seconds, max_in_flight, warmup)
    record = Recorder()
    free = asyncio.Semaphore(max_in_flight)

    async def call(intended: int) -> None:
        try:
            await record.call_async(fn, intended)
        finally:
            free.release()

    await _warm_up_async(fn, warmup)
    with ThreadPoolExecutor(1, "labsvc-load-timer") as timer:
        origin = clock()
        async with asyncio.TaskGroup() as group:
            for offset in due:
                await _sleep_until(origin + offset, timer)
                await free.acquire()
                group.create_task(call(origin + offset))
        return _load([record], origin)


async def _sleep_until(due: int, timer: ThreadPoolExecutor) -> None:
    """Wake at `due`; the event loop's own timers are a millisecond coarse, a thread's are not."""
    await asyncio.sleep(max(0.0, (due - clock()) / 1e9 - _COARSE))
    rest = (due - clock()) / 1e9
    if rest > 0:
        await asyncio.get_running_loop().run_in_executor(timer, time.sleep, rest)


def _in_threads(worker: Callable[[int, threading.Event], None], workers: int) -> None:
    """Run the workers, number 0 in the caller's thread, and leave no thread when interrupted.

    A worker that is stuck in a call cannot be ended: it stops when that call returns.
    """
    stop = threading.Event()
    raised: list[BaseException] = []

    def run(number: int) -> None:
        try:
            worker(number, stop)
        except BaseException as error:  # noqa: BLE001  raised again in the caller's thread
            raised.append(error)
            stop.set()

    threads = [
        threading.Thread(target=run, args=(number,), name=f"labsvc-load-{number}", daemon=True)
        for number in range(1, workers)
    ]
    try:
        for thread in threads:
            thread.start()
        worker(0, stop)
        for thread in threads:
            thread.join()
    except BaseException:
        stop.set()
        deadline = time.monotonic() + _PATIENCE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        raise
    if raised:
        raise raised[0]


def _warm_up(fn: Callable[[], object], calls: int) -> None:
    unread = Recorder()
    for _ in range(calls):
        unread.call(fn)


async def _warm_up_async(fn: Callable[[], Awaitable[object]], calls: int) -> None:
    unread = Recorder()
    for _ in range(calls):
        await unread.call_async(fn)


def _share(calls: int, workers: int, number: int) -> int:
    return calls // workers + (number < calls % workers)


def _check_closed(calls: int, workers: int, warmup: int) -> None:
    require_count("calls", calls, 1)
    require_count("workers", workers, 1)
    require_count("warmup", warmup, 0)


def _schedule(rate: float, seconds: float, max_in_flight: int, warmup: int) -> Sequence[int]:
    """Return when each call is due, in nanoseconds after the first."""
    require_count("max_in_flight", max_in_flight, 1)
    require_count("warmup", warmup, 0)
    for name, value in (("rate", rate), ("seconds", seconds)):
        if not (math.isfinite(value) and value > 0):
            msg = (
                f"{name} must be a positive number, not {value!r}: give calls a second and seconds"
            )
            raise ValueError(msg)
    calls = round(rate * seconds)
    require_count("rate x seconds", calls, 1, why=", for there is no call to make")
    return [round(number * 1e9 / rate) for number in range(calls)]


def _load(recorders: Iterable[Recorder], start: int) -> Load:
    duration = (clock() - start) / 1e9
    total = Recorder()
    for recorder in recorders:
        total.add(recorder)
    latency = Histogram.from_ns(total.latency)
    service = Histogram.from_ns(total.service) if total.service else latency
    failed = Histogram.from_ns(total.failed)
    return Load(latency, service, failed, dict(sorted(total.errors.items())), duration)
