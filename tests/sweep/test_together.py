"""A function in several processes, and threads, that meet in it."""

from __future__ import annotations

import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

from labsvc.sweep import Meeting, SweepError, together
from tests.patience import patience

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def doubled(number: int) -> int:
    """Return twice a number."""
    return 2 * number


def in_turns(meet: Meeting, times: int) -> int:
    """Meet so often, and return in which process that was."""
    for _ in range(times):
        meet()
    return os.getpid()


def fails(number: int) -> None:
    """Raise, or end the process."""
    if number:
        msg = "no"
        raise ValueError(msg)
    os._exit(0)


def counts(lock: threading.Lock) -> bool:
    """Return whether a lock is free here, which is held where it comes from."""
    return lock.acquire(blocking=False)


def a_function(_: int) -> object:
    """Return what stays where it is."""
    return doubled


async def awaited(number: int) -> int:
    """Return twice a number, to be awaited."""
    return 2 * number


def test_values_come_back_in_order() -> None:
    """Each call has its own; what is no plain value stays there."""
    assert together(doubled, (1,), (2,), (3,)) == [2, 4, 6]
    assert together(awaited, (1,), (2,)) == [2, 4]
    assert together(a_function, (1,)) == [None]


def test_processes_meet() -> None:
    """As often as they like, each of them in a process of its own."""
    meet = Meeting(2, patience(30))
    pids = together(in_turns, (meet, 3), (meet, 3))
    assert len({*pids, os.getpid()}) == 3


def test_threads_meet() -> None:
    """The same object, without any process."""
    meet = Meeting(3, patience(10))
    with ThreadPoolExecutor(3) as pool:
        assert {*pool.map(in_turns, [meet] * 3, [2] * 3)} == {os.getpid()}


def test_nobody_waits_after_one_has_waited_in_vain() -> None:
    """Who comes when the others do not is let go, and the next one at once."""
    meet = Meeting(2, 0.05)
    meet()
    began = time.monotonic()
    for _ in range(1000):
        meet()
    assert time.monotonic() - began < patience(5)


def test_a_lock_is_another_one_in_another_process() -> None:
    """As after a restart."""
    lock = threading.Lock()
    with lock:
        assert together(counts, (lock,), (lock,)) == [True, True]


@pytest.mark.parametrize(
    ("number", "said"),
    [(1, "in another process it raised ValueError: no"), (0, "in another process it was killed")],
)
def test_what_fails_there_is_raised_here(number: int, said: str) -> None:
    """With its error, or as the end of the process."""
    with pytest.raises(SweepError, match=said):
        together(fails, (number,))


def test_what_cannot_go_there_is_refused() -> None:
    """Such as something that is open here."""
    with pytest.raises(SweepError, match="cannot go into another process"):
        together(doubled, (sys.stdout,))
