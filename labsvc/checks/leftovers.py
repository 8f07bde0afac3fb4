"""What an answer leaves behind: threads, tasks on the lab's loop and processes that still run."""

from __future__ import annotations

import asyncio
import multiprocessing
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from labsvc.errors import LabError

if TYPE_CHECKING:
    from labsvc.checks.learner_code import LearnerCode

GRACE_SECONDS = 0.5  # for what is about to end
GLANCE_SECONDS = 0.1
GLANCES = 5
LOOP_SECONDS = 0.5  # for the lab's loop to say what is under way on it
SLOWING = 0.2  # of a core

RESTART = (
    "what still runs keeps this kernel busy. Restart the kernel:"
    " until then, cells and checks are slower, and what they measure is wrong."
)


class Leftovers:
    """Tells what an answer has started from what ran before."""

    def __init__(self, code: LearnerCode) -> None:
        self._code = code
        self._threads_before = set(threading.enumerate())
        self._tasks_before = _tasks()
        self._processes_before = set(multiprocessing.active_children())

    def threads(self, seconds: float = GRACE_SECONDS) -> list[threading.Thread]:
        """Return the threads that the answer started and that still run in `seconds`."""
        give_up_at = time.monotonic() + seconds
        while left := [thread for thread in threading.enumerate() if self._is_left(thread)]:
            if time.monotonic() >= give_up_at:
                break
            time.sleep(0.01)
        return left

    def notes(self) -> list[str]:
        """Return what to tell a learner: a sentence or two for each kind of thing that is left."""
        left = {
            "thread": len(self.threads()),
            "task": sum(self._code.awaits(task) for task in _tasks() - self._tasks_before),
            "process": len(set(multiprocessing.active_children()) - self._processes_before),
        }
        return [
            f"{_counted(number, kind)} that your function started still"
            f" {'runs' if number == 1 else 'run'}. Who ends them?"
            for kind, number in left.items()
            if number
        ]

    def _is_left(self, thread: threading.Thread) -> bool:
        old = thread in self._threads_before or thread.name.startswith("labsvc")
        return not old and self._code.runs(thread)


def slowing() -> bool:
    """Return whether this process works while nothing but what is left has work to do.

    Where other programs take the cores, its turn may be over for as long as a glance.
    """
    return any(_works() for _ in range(GLANCES))


def _works() -> bool:
    began = time.monotonic(), time.process_time()
    time.sleep(GLANCE_SECONDS)
    return time.process_time() - began[1] > SLOWING * (time.monotonic() - began[0])


def _tasks() -> set[asyncio.Task[Any]]:
    """Return what is under way on the lab's loop, where handlers of a scenario run."""
    module: Any = sys.modules.get("labsvc.lab")  # without it, there is no lab
    lab = None if module is None else module.Lab.current()

    async def under_way() -> set[asyncio.Task[Any]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    if lab is None:
        return set()
    try:
        tasks: set[asyncio.Task[Any]] = lab.loop.run(under_way(), timeout=LOOP_SECONDS)
    except LabError:  # it has ended, or is held up: other words are for that
        return set()
    return tasks


def _counted(number: int, kind: str) -> str:
    plural = {"process": "processes"}.get(kind, f"{kind}s")
    return f"1 {kind}" if number == 1 else f"{number} {plural}"
