from __future__ import annotations

import asyncio
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from labsvc.errors import LabError, LoopDeadError
from labsvc.loop import THREAD_NAME, Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def loop() -> Iterator[Loop]:
    """Start a loop, and stop it after the test."""
    running = Loop.start()
    yield running
    running.stop()


async def where() -> str:
    """Name the thread that runs this."""
    return threading.current_thread().name


async def forever() -> None:
    """Wait for what never comes."""
    await asyncio.Event().wait()


async def die() -> None:
    """End the loop's thread, as a handler does that calls sys.exit."""
    sys.exit(3)


def test_run_uses_the_background_thread(loop: Loop) -> None:
    """A coroutine runs on the daemon thread and its result comes back."""
    assert loop.run(where()) == THREAD_NAME
    thread = next(t for t in threading.enumerate() if t.name == THREAD_NAME)
    assert thread.daemon


def test_plain_asyncio_whatever_the_policy(loop: Loop) -> None:
    """The loop is asyncio's own selector loop."""

    async def kind() -> type:
        return type(asyncio.get_running_loop())

    assert loop.run(kind()) is asyncio.SelectorEventLoop


def test_exception_reaches_the_caller(loop: Loop) -> None:
    """What a coroutine raises is raised by run."""

    async def fail() -> None:
        msg = "no such thing"
        raise KeyError(msg)

    with pytest.raises(KeyError, match="no such thing"):
        loop.run(fail())


def test_submit_returns_at_once(loop: Loop) -> None:
    """Submit gives a future that can be waited for later."""
    assert loop.submit(where()).result(10) == THREAD_NAME


def test_timeout_is_an_error_and_cancels(loop: Loop) -> None:
    """A coroutine that is not done in time is cancelled, and the error says so."""
    cancelled = threading.Event()

    async def slow() -> None:
        try:
            await forever()
        finally:
            cancelled.set()

    with pytest.raises(LabError, match="longer timeout"):
        loop.run(slow(), timeout=0.05)
    assert cancelled.wait(10)


def test_run_on_its_own_thread_is_refused(loop: Loop) -> None:
    """Run from the loop's thread would wait for itself, so it raises."""

    async def nested() -> None:
        loop.run(where())

    with pytest.raises(LabError, match="use `await`"):
        loop.run(nested())


def test_stop_from_its_own_thread_is_refused(loop: Loop) -> None:
    """The loop cannot join itself, so stop raises there."""

    async def suicide() -> None:
        loop.stop()

    with pytest.raises(LabError, match="from a cell"):
        loop.run(suicide())
    assert loop.alive


@pytest.mark.parametrize("wrong", [where, 3, None])
def test_not_a_coroutine(loop: Loop, wrong: object) -> None:
    """What is no coroutine is a TypeError that says how to make one."""
    for take in (loop.submit, loop.run):
        with pytest.raises(TypeError, match="call the async function"):
            take(wrong)  # type: ignore[arg-type]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs POSIX signals")
def test_interrupt_cancels_the_coroutine(loop: Loop) -> None:
    """KeyboardInterrupt in run ends the wait and cancels what ran."""
    started, cancelled = threading.Event(), threading.Event()

    async def slow() -> None:
        started.set()
        try:
            await forever()
        finally:
            cancelled.set()

    def press_stop() -> None:
        started.wait(10)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press_stop)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        loop.run(slow())
    presser.join()
    assert cancelled.wait(10)
    assert loop.run(where()) == THREAD_NAME


def test_death_reaches_who_waits(loop: Loop) -> None:
    """When the thread dies, a caller that waits already gets the error at once."""

    async def die_while_others_wait() -> None:
        asyncio.get_running_loop().call_later(0.05, sys.exit, 3)
        await forever()

    before = time.monotonic()
    with pytest.raises(LoopDeadError, match=r"SystemExit.*lab = Lab\(\)"):
        loop.run(die_while_others_wait(), timeout=60)
    assert time.monotonic() - before < 30


def test_death_by_the_awaited_coroutine_itself(loop: Loop) -> None:
    """SystemExit of the coroutine kills the loop, not the caller."""
    with pytest.raises(LoopDeadError):
        loop.run(die())


def test_dead_loop_refuses_work(loop: Loop) -> None:
    """Work for a dead thread raises, and the log has the traceback."""
    with pytest.raises(LoopDeadError):
        loop.run(die())
    with pytest.raises(LoopDeadError, match="make a new lab"):
        loop.run(where())
    loop.stop()
    assert not loop.alive
    assert any("SystemExit" in line for line in loop.log)


def test_submitted_work_of_a_dead_loop_is_cancelled(loop: Loop) -> None:
    """A future of submit does not stay pending for ever."""
    future = loop.submit(forever())
    with pytest.raises(LoopDeadError):
        loop.run(die())
    loop.stop()
    assert future.cancelled()


def test_farewell_runs_when_the_loop_dies() -> None:
    """What was registered for the end is awaited, even after a death."""
    loop = Loop.start()
    said = threading.Event()

    async def farewell() -> None:
        said.set()

    loop.on_end(farewell)
    with pytest.raises(LoopDeadError):
        loop.run(die())
    assert said.wait(10)
    loop.stop()


def test_stop_of_a_loop_that_stands_still() -> None:
    """Who knows that it stands still need not wait for its end."""
    loop = Loop.start()
    gate = threading.Event()

    async def block() -> None:
        gate.wait(10)

    loop.submit(block())
    began = time.monotonic()
    loop.stop(within=0)
    assert time.monotonic() - began < 1
    gate.set()
    loop.stop()
    assert not loop.alive


def test_stop_twice_cancels_what_runs() -> None:
    """Stop ends the tasks, closes the loop, and may be called again."""
    loop = Loop.start()
    future = loop.submit(forever())
    loop.stop()
    loop.stop()
    assert future.cancelled()
    assert not loop.alive


def test_unheard_errors_go_to_the_log(loop: Loop, capfd: pytest.CaptureFixture[str]) -> None:
    """A callback that raises writes to the ring buffer and prints nothing."""

    async def plant() -> None:
        asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        await asyncio.sleep(0)

    loop.run(plant())
    loop.run(where())
    assert any("ZeroDivisionError" in line for line in loop.log)
    assert capfd.readouterr() == ("", "")
