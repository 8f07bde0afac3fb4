from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import pytest

from labsvc.checks import run_check
from labsvc.checks.engine import exercise
from labsvc.checks.leftovers import RESTART, slowing
from labsvc.checks.verdict import solved
from labsvc.lab import Lab
from tests.cell import written

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.checks.verdict import Verdict

TASK = "1 task that your function started still runs. Who ends them?"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab, as a learner's notebook does."""
    with Lab() as running:
        yield running


@pytest.fixture
def served(double: str) -> str:
    """Register an exercise whose answer is a handler on the lab's loop."""

    @exercise("98-served", title="Called by a server", kind="coroutine")
    def on_the_loop(answer: Submission, sandbox: Sandbox) -> Verdict:
        sandbox.lab.loop.run(answer.handler()(4))
        return solved("it was called")

    return "98-served"


def test_thread_that_keeps_the_kernel_busy(double: str) -> None:
    """A thread that works on without an end is a note, and the learner is told to restart."""
    source = """
    import threading
    over = threading.Event()
    def work():
        while not over.is_set(): pass
    def answer(n):
        threading.Thread(target=work, daemon=True).start()
        return n * 2
    """
    busy = written(source)
    try:
        verdict = run_check(double, busy)
    finally:
        busy.__globals__["over"].set()
    assert verdict.state == "solved"
    assert verdict.notes == (
        "1 thread that your function started still runs. Who ends them?",
        RESTART,
    )
    assert "Restart the kernel" in RESTART


def test_call_that_swallows_its_end_and_works_on(double: str) -> None:
    """A call that catches everything is named with its line, and the kernel is to be restarted."""
    source = """
    over = []
    def spin():
        while not over: pass
    def answer(n):
        while not over:
            try:
                spin()  # from 3.13 on, a loop's own way back is in no try
            except BaseException:
                pass
    """
    stubborn = written(source)
    try:
        verdict = run_check(double, stubborn)
    finally:
        stubborn.__globals__["over"].append(True)
    assert verdict.state == "not solved"
    assert "did not return in time" in verdict.guarantee
    assert "your function still runs, in line " in verdict.notes[0]
    assert verdict.notes[-1] == RESTART


def test_task_on_the_lab_s_loop_is_a_note(lab: Lab, served: str) -> None:
    """A task that a handler left is told; one that ends with it, or is of the lab, is not."""
    leaves = """
    import asyncio
    tasks = []
    async def for_ever(): await asyncio.sleep(100)
    async def answer(n): tasks.append(asyncio.create_task(for_ever()))
    """
    function = written(leaves)
    verdict = run_check(served, function)
    assert verdict.state == "solved"
    assert verdict.notes == (TASK,)
    assert run_check(served, written("async def answer(n): return n")).notes == ()

    async def cancel() -> None:
        for task in function.__globals__["tasks"]:
            task.cancel()

    lab.loop.run(cancel())


def test_process_that_goes_on_is_a_note(double: str) -> None:
    """A process that the answer started and left is told."""
    source = """
    import multiprocessing, time
    made = []
    def answer(n):
        made.append(multiprocessing.get_context("spawn").Process(target=time.sleep, args=(30,)))
        made[0].start()
        return n * 2
    """
    function = written(source)
    verdict = run_check(double, function)
    process = function.__globals__["made"][0]
    process.terminate()
    process.join(10)
    assert verdict.state == "solved"
    assert verdict.notes[0] == "1 process that your function started still runs. Who ends them?"


def test_what_only_waits_slows_nothing() -> None:
    """A thread that sleeps is no reason to restart; one that counts is."""
    over = threading.Event()
    sleeper = threading.Thread(target=over.wait, daemon=True)
    sleeper.start()
    assert not slowing()

    def count() -> None:
        while not over.is_set():
            pass

    counter = threading.Thread(target=count, daemon=True)
    counter.start()
    try:
        assert any(slowing() for _ in range(50))  # on a busy machine its turn may come late
    finally:
        over.set()
    sleeper.join()
    counter.join()


def test_the_deadline_holds_before_the_scenario_begins(double: str) -> None:
    """An object that hangs when it is asked what it is takes no longer than its check may."""
    source = """
    import threading
    class Slow:
        over = threading.Event()
        def __getattr__(self, name):
            self.over.wait(60)
            raise AttributeError(name)
        def __call__(self, n): return n * 2
    def make(): return Slow()
    """
    made = written(source)()

    @exercise("98-plainly", title="Asks for its kind first", kind="function", deadline=0.5)
    def plainly(answer: Submission, sandbox: Sandbox) -> Verdict:
        return solved(f"it returned {answer(4)}")

    for asked in (double, "98-plainly"):
        began = time.monotonic()
        verdict = run_check(asked, made)
        assert time.monotonic() - began < 8
        assert verdict.state == "not solved", verdict
        assert "did not return in time, in line 5: self.over.wait(60)" in verdict.guarantee
        assert "cannot be ended from outside" in verdict.notes[0]
    type(made).over.set()


def test_object_that_fails_when_it_is_asked(double: str) -> None:
    """What an object raises when it is asked what it is is the answer's fault, with its line."""
    source = """
    class Odd:
        @property
        def __signature__(self): return {}[2]
        def __call__(self, n): return n * 2
    def make(): return Odd()
    """
    verdict = run_check(double, written(source)())
    assert verdict.state == "not solved"
    assert verdict.guarantee == (
        "your function raised KeyError: 2, in line 3: def __signature__(self): return {}[2]"
    )


def test_function_that_wraps_itself(double: str) -> None:
    """A function whose `__wrapped__` leads in a circle is checked like any other."""
    function = written("def answer(n): return n * 2")
    function.__wrapped__ = function  # type: ignore[attr-defined]
    assert run_check(double, function).state == "solved"
