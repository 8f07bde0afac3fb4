"""Let threads meet a race that is in a function: they take turns after each of its steps."""

from __future__ import annotations

import contextlib
import functools
import random
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType

STEP_SECONDS = 0.0002  # at most: in lockstep, all would overwrite what they then all read
GATHER_SECONDS = 1.0
_NOT_STEPPED = {"labsvc", "grpc"}


def racing(function: Callable[..., Any], runners: int) -> Callable[..., Any]:
    """Return the function for so many threads: they start together, and no step is safe alone.

    Threads may switch between any two steps of the interpreter, and rarely do. Here each of them
    gives its turn away after every step, in `function` and in what it calls; in Python's library
    only after every line, or a queue that is made under a lock would take seconds. A lock that is
    held stays held, so what is right stays right.
    """
    gathered = threading.Barrier(runners)

    @functools.wraps(function)
    def run(*args: Any) -> Any:
        _gather(gathered)
        with _traced_by(_step):
            return function(*args)

    return run


def ending_together(function: Callable[..., Any], runners: int) -> Callable[..., Any]:
    """Return the function for so many threads, which come back from it at the same moment.

    Inside it nobody steps.
    """
    gathered = threading.Barrier(runners)

    def run(*args: Any) -> Any:
        with _traced_by(None):
            value = function(*args)
            _gather(gathered)
            return value

    return run


def _gather(barrier: threading.Barrier) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait(GATHER_SECONDS)


@contextlib.contextmanager
def _traced_by(trace: Any) -> Iterator[None]:
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)


def _step(frame: FrameType, event: str, _value: object) -> Any:
    module = frame.f_globals.get("__name__", "").partition(".")[0]
    if module in _NOT_STEPPED:
        return None
    frame.f_trace_opcodes = module not in sys.stdlib_module_names
    if event in ("opcode", "line"):
        time.sleep(random.uniform(0, STEP_SECONDS))
    return _step
