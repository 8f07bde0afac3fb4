from __future__ import annotations

import asyncio
import itertools
import math
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.measure import (
    Load,
    aio_closed_loop,
    aio_open_loop,
    closed_loop,
    open_loop,
)
from labsvc.measure.record import label

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

STALL = 0.4
SLOW = STALL / 2


class Stalling:
    """A service that takes one call at a time and stalls once, at call number 50."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._one_at_a_time = threading.Lock()

    def __call__(self) -> None:
        """Serve one call."""
        with self._one_at_a_time:
            if next(self._numbers) == 50:
                time.sleep(STALL)


class StallingAsync:
    """The same for coroutines."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._one_at_a_time = asyncio.Lock()

    async def __call__(self) -> None:
        """Serve one call."""
        async with self._one_at_a_time:
            if next(self._numbers) == 50:
                await asyncio.sleep(STALL)


def load_threads() -> list[str]:
    """Name the threads of a load that still run."""
    return [t.name for t in threading.enumerate() if t.name.startswith("labsvc-load")]


def test_a_closed_loop_hides_a_stall_and_an_open_loop_counts_it() -> None:
    """One stall is one slow call in a closed loop, and one for every waiting user in an open."""
    closed = closed_loop(Stalling(), calls=150, warmup=0)
    opened = open_loop(Stalling(), rate=200, seconds=0.75, warmup=0)
    assert closed.calls == opened.calls == 150
    assert 1 <= closed.over(SLOW) <= 3
    assert opened.over(SLOW) >= 20


def test_coroutines_see_the_same_difference() -> None:
    """Coordinated omission is the same with tasks as with threads."""

    async def main() -> None:
        closed = await aio_closed_loop(StallingAsync(), calls=150, warmup=0)
        opened = await aio_open_loop(StallingAsync(), rate=200, seconds=0.75, warmup=0)
        assert closed.calls == opened.calls == 150
        assert 1 <= closed.over(SLOW) <= 3
        assert opened.over(SLOW) >= 20

    asyncio.run(main())


def test_service_time_hides_the_wait_that_latency_shows() -> None:
    """With one call in flight the wait is spent before the call, where service time is blind."""
    load = open_loop(Stalling(), rate=200, seconds=0.75, max_in_flight=1, warmup=0)
    assert load.service.over(SLOW) <= 3
    assert load.latency.over(SLOW) >= 20
    assert load.service.count == load.latency.count == 150


def test_in_a_closed_loop_service_time_is_latency() -> None:
    """Nothing waits in a closed loop, so there is one set of times."""
    load = closed_loop(lambda: None, calls=5)
    assert load.service is load.latency


@pytest.mark.parametrize("workers", [1, 3, 8])
def test_every_call_is_made_once(workers: int) -> None:
    """The workers share the calls between them, also when these do not divide evenly."""
    made = itertools.count()
    load = closed_loop(lambda: next(made), calls=20, workers=workers, warmup=2)
    assert load.calls == load.latency.count == 20
    assert next(made) == 22


def test_workers_of_a_closed_loop_overlap_and_no_more_than_asked() -> None:
    """Four workers have four calls in flight, and never five."""

    async def main() -> None:
        now, most = 0, 0

        async def call() -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

        await aio_closed_loop(call, calls=40, workers=4)
        assert most == 4

    asyncio.run(main())


def test_an_open_loop_bounds_what_is_in_flight() -> None:
    """A service that answers nothing gets no more calls at once than the bound."""

    async def main() -> None:
        now, most = 0, 0

        async def call() -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1

        load = await aio_open_loop(call, rate=2000, seconds=0.05, max_in_flight=7, warmup=0)
        assert load.calls == 100
        assert most == 7

    asyncio.run(main())


def test_calls_start_on_schedule_and_not_before() -> None:
    """No call starts before its intended start, so no latency is flattered."""
    starts: list[int] = []
    began = time.perf_counter_ns()
    load = open_loop(lambda: starts.append(time.perf_counter_ns()), rate=100, seconds=0.2, warmup=0)
    assert load.calls == 20
    starts.sort()
    assert all(at - began >= number * 10_000_000 for number, at in enumerate(starts))
    assert all(
        latency >= service
        for latency, service in zip(load.latency.ns, load.service.ns, strict=True)
    )


def test_ten_calls_warm_up_if_nothing_is_said() -> None:
    """They are made one after another, and not counted, in each kind of load."""
    made: list[str] = []

    async def call() -> None:
        made.append(threading.current_thread().name)

    here = threading.current_thread().name
    loads = [
        closed_loop(lambda: made.append(threading.current_thread().name), calls=3, workers=3),
        open_loop(lambda: made.append(threading.current_thread().name), rate=300, seconds=0.01),
        asyncio.run(aio_closed_loop(call, calls=3)),
        asyncio.run(aio_open_loop(call, rate=300, seconds=0.01)),
    ]
    assert [load.calls for load in loads] == [3] * 4
    assert len(made) == 4 * 13
    assert made[:10] == made[13:23] == [here] * 10


def test_errors_are_counted_by_class_and_the_run_goes_on() -> None:
    """A call that raises is counted, kept out of the latency, and ends nothing."""
    numbers = itertools.count()

    def call() -> None:
        if next(numbers) % 4 == 0:
            msg = "no"
            raise ConnectionResetError(msg)

    load = closed_loop(call, calls=20, warmup=0)
    assert load.errors == {"ConnectionResetError": 5}
    assert (load.latency.count, load.failed.count, load.calls) == (15, 5, 20)
    assert repr(load) == "Load(20 calls, errors={'ConnectionResetError': 5})"


def test_grpc_errors_are_counted_by_status_code() -> None:
    """A call to a port where nobody listens is counted as UNAVAILABLE."""
    with grpc.insecure_channel("127.0.0.1:1", [("grpc.enable_http_proxy", 0)]) as channel:
        call: Any = channel.unary_unary("/labsvc.Nothing/Call")
        load = closed_loop(lambda: call(b"", timeout=5), calls=3, workers=2, warmup=1)
    assert load.errors == {"UNAVAILABLE": 3}


def test_grpc_aio_errors_are_counted_by_status_code() -> None:
    """The asynchronous stub's call objects are awaited and their errors have the same label."""

    async def main() -> None:
        async with grpc.aio.insecure_channel(
            "127.0.0.1:1", [("grpc.enable_http_proxy", 0)]
        ) as channel:
            call: Any = channel.unary_unary("/labsvc.Nothing/Call")
            load = await aio_open_loop(lambda: call(b"", timeout=5), rate=100, seconds=0.03)
        assert load.errors == {"UNAVAILABLE": 3}

    asyncio.run(main())


def test_a_call_that_cancels_itself_is_an_error_of_that_call() -> None:
    """A CancelledError that nobody sent is counted and does not end the run."""

    async def main() -> None:
        async def call() -> None:
            raise asyncio.CancelledError

        load = await aio_closed_loop(call, calls=4, workers=2)
        assert load.errors == {"CancelledError": 4}

    asyncio.run(main())


def test_a_slow_failure_is_over_the_threshold_too() -> None:
    """A caller who waited for an error waited all the same."""

    def call() -> None:
        time.sleep(0.01)
        raise TimeoutError

    assert closed_loop(call, calls=3, warmup=0).over(0.005) == 3


def test_label_of_an_error_without_a_status_is_its_class() -> None:
    """A `code` that is a number or nothing, as in other libraries, is no gRPC status."""

    class WithNumber(Exception):  # noqa: N818  the name is what is tested
        code = 404

    class WithNothing(Exception):  # noqa: N818
        def code(self) -> None:
            return None

    assert [label(WithNumber()), label(WithNothing())] == ["WithNumber", "WithNothing"]


def test_throughput_counts_answers_only() -> None:
    """Failed calls take part in the duration, not in the throughput."""

    def refuse() -> None:
        raise OSError

    assert closed_loop(refuse, calls=5).throughput == 0
    load = closed_loop(lambda: None, calls=5)
    assert load.throughput == pytest.approx(5 / load.duration)


def test_an_interrupt_in_the_callers_call_stops_every_worker() -> None:
    """KeyboardInterrupt reaches the caller and no thread is left."""
    numbers = itertools.count()

    def call() -> None:
        time.sleep(0.001)
        if next(numbers) > 20 and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        closed_loop(call, calls=100_000, workers=4)
    assert load_threads() == []


def test_an_interrupt_does_not_wait_for_a_worker_that_is_stuck() -> None:
    """The caller gets the notebook back; the worker ends when its call returns."""
    stuck, released = threading.Event(), threading.Event()

    def call() -> None:
        if threading.current_thread() is threading.main_thread():
            stuck.wait()
            raise KeyboardInterrupt
        stuck.set()
        released.wait(60)

    with pytest.raises(KeyboardInterrupt):
        closed_loop(call, calls=4, workers=2, warmup=0)
    (worker,) = (t for t in threading.enumerate() if t.name.startswith("labsvc-load"))
    released.set()
    worker.join()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no signal to a thread")
def test_the_stop_button_ends_an_open_loop_that_waits_for_its_schedule() -> None:
    """SIGINT while every worker sleeps until its slot ends the run and its threads."""
    main = threading.main_thread().ident
    assert main is not None
    interrupted = threading.Event()

    def call() -> None:
        if threading.get_ident() != main and not interrupted.is_set():
            interrupted.set()
            signal.pthread_kill(main, signal.SIGINT)

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        open_loop(call, rate=5, seconds=1000, max_in_flight=8, warmup=0)
    assert time.monotonic() - began < 60
    assert load_threads() == []


def test_cancelling_an_open_loop_leaves_no_task_and_no_thread() -> None:
    """The stop button in an `await` cancels what is in flight."""

    async def main() -> None:
        started = asyncio.Event()

        async def call() -> None:
            started.set()
            await asyncio.Event().wait()

        run = asyncio.create_task(aio_open_loop(call, rate=500, seconds=100, warmup=0))
        await started.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        assert asyncio.all_tasks() == {asyncio.current_task()}
        assert load_threads() == []

    asyncio.run(main())


def test_an_exit_in_a_workers_thread_reaches_the_caller() -> None:
    """What is not an Exception is not counted: it ends the run of all where the caller sees it."""
    made: list[None] = []

    def call() -> None:
        time.sleep(0.001)
        if threading.current_thread() is not threading.main_thread():
            raise SystemExit
        made.append(None)

    with pytest.raises(SystemExit):
        closed_loop(call, calls=10_000, workers=2, warmup=0)
    assert len(made) < 5_000
    assert load_threads() == []


async def coroutine_function() -> None:
    """Do nothing, asynchronously."""


def hidden_coroutine() -> Awaitable[None]:
    """Return a coroutine, as a lambda around a stub does."""
    return coroutine_function()


@pytest.mark.parametrize(
    "run",
    [
        lambda fn: closed_loop(fn, calls=3),
        lambda fn: closed_loop(fn, calls=8, workers=4, warmup=0),
        lambda fn: open_loop(fn, rate=100, seconds=0.1),
    ],
)
@pytest.mark.parametrize("fn", [coroutine_function, hidden_coroutine])
def test_a_coroutine_function_in_a_sync_loop_is_a_clear_error(
    run: Callable[[Any], Load], fn: Callable[[], Awaitable[None]]
) -> None:
    """Measuring the making of a coroutine would look wonderfully fast; it is refused."""
    start = "fn is a coroutine function: " if fn is coroutine_function else "the function returned"
    with pytest.raises(TypeError, match=f"^{start}.*aio_closed_loop"):
        run(fn)
    assert load_threads() == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"calls": 0}, "calls must be at least 1, not 0"),
        ({"calls": -3}, "calls must be at least 1, not -3"),
        ({"calls": 1, "workers": 0}, "workers must be at least 1"),
        ({"calls": 1, "warmup": -1}, "warmup must be at least 0"),
    ],
)
def test_impossible_counts_are_refused(settings: dict[str, int], message: str) -> None:
    """Counts that make no sense are named before any call is made."""
    made: list[None] = []
    with pytest.raises(ValueError, match=message):
        closed_loop(lambda: made.append(None), **settings)
    assert made == []


@pytest.mark.parametrize("settings", [{"calls": 2.5}, {"calls": True}, {"calls": "7"}])
def test_a_count_is_a_whole_number(settings: dict[str, Any]) -> None:
    """Half a call cannot be made."""
    with pytest.raises(TypeError, match="calls must be a whole number"):
        closed_loop(lambda: None, **settings)


@pytest.mark.parametrize(
    ("rate", "seconds", "message"),
    [
        (0, 1, "rate must be a positive number, not 0"),
        (-5, 1, "rate must be a positive number, not -5"),
        (10, 0, "seconds must be a positive number, not 0"),
        (math.nan, 1, "rate must be a positive number, not nan"),
        (10, math.inf, "seconds must be a positive number, not inf"),
        (1, 0.1, "rate x seconds must be at least 1, not 0"),
    ],
)
def test_an_impossible_schedule_is_refused(rate: float, seconds: float, message: str) -> None:
    """A schedule without a single call, or without an end, is refused."""
    with pytest.raises(ValueError, match=message):
        open_loop(lambda: None, rate=rate, seconds=seconds)


@pytest.mark.parametrize("settings", [{"max_in_flight": 0}, {"warmup": -1}])
def test_impossible_settings_of_an_open_loop_are_refused(settings: dict[str, int]) -> None:
    """Settings that make no sense are named before any call is made."""
    (name,) = settings
    with pytest.raises(ValueError, match=f"^{name} must be at least"):
        open_loop(lambda: None, rate=100, seconds=0.1, **settings)


def test_what_cannot_be_called_is_refused() -> None:
    """Passing the result of a call in place of the function is a common slip."""
    message = "^fn must be a function without arguments, not NoneType: pass it without calling it"
    with pytest.raises(TypeError, match=message):
        closed_loop(None, calls=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=message):
        open_loop(None, rate=1, seconds=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=message):
        asyncio.run(aio_closed_loop(None, calls=1))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=message):
        asyncio.run(aio_open_loop(None, rate=1, seconds=1))  # type: ignore[arg-type]
