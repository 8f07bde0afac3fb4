from __future__ import annotations

import asyncio

import pytest

from labsvc.measure import record
from labsvc.measure.record import Recorder


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a clock in place that goes on by 10 at each look: only so are the times exact."""
    times = iter(range(1_000, 9_000, 10))
    monkeypatch.setattr(record, "clock", lambda: next(times))


def answer() -> int:
    """Answer at once."""
    return 7


def refuse() -> None:
    """Fail at once."""
    raise OSError


async def aio_answer() -> None:
    """Answer at once, asynchronously."""


async def aio_refuse() -> None:
    """Fail at once, asynchronously."""
    raise OSError


async def aio_give_up() -> None:
    """Cancel itself."""
    raise asyncio.CancelledError


def contents(recorder: Recorder) -> tuple[list[int], list[int], list[int], dict[str, int]]:
    """Return latencies, service times, times of failures, and errors."""
    times = (recorder.latency, recorder.service, recorder.failed)
    latency, service, failed = map(list, times)
    return latency, service, failed, dict(recorder.errors)


def test_a_call_takes_from_its_start_to_its_end() -> None:
    """Without an intended start there is one time: how long the call took."""
    recorder = Recorder()
    recorder.call(answer)
    recorder.call(refuse)
    assert contents(recorder) == ([10], [], [10], {"OSError": 1})


def test_a_late_call_counts_from_its_intended_start() -> None:
    """The wait before the call is in its latency, and in a failure's time, not in the service."""
    recorder = Recorder()
    recorder.call(answer, intended=900)  # 1000 to 1010
    recorder.call(refuse, intended=900)  # 1020 to 1030
    assert contents(recorder) == ([110], [10], [130], {"OSError": 1})


def test_coroutines_are_timed_alike() -> None:
    """What is awaited has the same times as what returns at once; so have plain functions."""

    async def main() -> None:
        recorder = Recorder()
        await recorder.call_async(aio_answer)
        await recorder.call_async(answer)
        await recorder.call_async(aio_refuse)
        await recorder.call_async(aio_give_up)
        errors = {"OSError": 1, "CancelledError": 1}
        assert contents(recorder) == ([10, 10], [], [10, 10], errors)
        recorder = Recorder()
        await recorder.call_async(aio_answer, intended=1_070)  # 1080 to 1090
        await recorder.call_async(aio_refuse, intended=1_070)  # 1100 to 1110
        await recorder.call_async(aio_give_up, intended=1_070)  # 1120 to 1130
        assert contents(recorder) == ([20], [10], [40, 60], errors)

    asyncio.run(main())


def test_a_worker_that_is_cancelled_ends() -> None:
    """Who stops the load cancels its workers: that is no call's failure, and none goes on."""

    async def main() -> None:
        recorder = Recorder()
        worker = asyncio.create_task(recorder.call_async(asyncio.Event().wait))
        await asyncio.sleep(0)
        worker.cancel()
        with pytest.raises(asyncio.CancelledError):
            await worker
        assert contents(recorder) == ([], [], [], {})

    asyncio.run(main())


def test_a_recorder_takes_over_all_of_another() -> None:
    """Nothing is lost, and errors of one kind add up."""
    one, two = Recorder(), Recorder()
    for recorder in (one, two):
        recorder.call(answer, intended=1_000)
        recorder.call(refuse)
    one.add(two)
    assert contents(one) == ([10, 50], [10, 10], [10, 10], {"OSError": 2})
    assert contents(two) == ([50], [10], [10], {"OSError": 1})
