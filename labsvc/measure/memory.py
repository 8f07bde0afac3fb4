"""What a piece of work costs in memory: how much the peak of a process of its own grows.

    with peak_growth(serve, folder) as server:
        with peak_growth(upload, server.value) as client: ...
    print(server.bytes, client.bytes)

In a process that has done other things before, the allocator has memory to spare, and the work
seems to cost nothing. So each function gets a new process, and what its start costs is taken off.
"""

from __future__ import annotations

import inspect
import multiprocessing
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil

from labsvc.errors import LabError
from labsvc.worker import begin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

END_SECONDS = 10.0


@dataclass
class PeakGrowth:
    """A function in a process of its own.

    Attributes:
        value: what it returned, or the first value that it yielded.
        bytes: by how much the peak of the resident memory of its process grew from the call of the
            function to its end. 0 as long as the `with` block runs.

    """

    value: Any = None
    bytes: int = 0


@contextmanager
def peak_growth(function: Callable[..., Any], *args: Any) -> Iterator[PeakGrowth]:
    """Run a function in a new process, and tell by how much its peak of memory grows.

    A function that serves is a generator: it yields its address, and goes on at the end of the
    block. What it does before the yield is its start, and not counted. Function, arguments and
    value travel by cloudpickle. In a script, the call stands under `if __name__ == "__main__":`, as
    with any new process of `multiprocessing`.

    Raises:
        LabError: the function raised an error, or its process ended without a word.

    """
    parent, theirs = multiprocessing.Pipe()
    work = cloudpickle.dumps((function, args))
    # A new interpreter: a fork starts with the memory of this one.
    process = multiprocessing.get_context("spawn").Process(
        target=_main, args=(theirs, work), daemon=True
    )
    process.start()
    theirs.close()
    try:
        told = PeakGrowth(_heard(parent))
        yield told
        parent.send("end")
        told.bytes = _heard(parent)
        process.join(END_SECONDS)
    finally:
        process.kill()
        process.join(END_SECONDS)
        parent.close()


def _heard(parent: Connection) -> Any:
    """Return what the child has to say next, or raise its error."""
    try:
        went_well, said = parent.recv()
    except (EOFError, OSError):
        went_well, said = False, "its process ended without a word"
    if went_well:
        return cloudpickle.loads(said)
    msg = f"the function that was to be measured failed: {said}"
    raise LabError(msg)


def _main(parent: Connection, work: bytes) -> None:
    """Do the work, in the child."""
    begin()
    try:
        function, args = cloudpickle.loads(work)
        before = _start()
        value = function(*args)
        running = value if inspect.isgenerator(value) else None
        if running is not None:
            value, before = next(running), _start()
        parent.send((True, cloudpickle.dumps(value)))
        parent.recv()
        for _ in running or ():
            pass
        parent.send((True, cloudpickle.dumps(_peak() - before)))
    except Exception as error:  # noqa: BLE001  # whatever it is, the parent is told
        parent.send((False, f"{type(error).__name__}: {error}"))


def _start() -> int:
    """Begin to measure: forget earlier peaks where the system can, and return the peak of now."""
    with suppress(OSError):  # Linux only, and not in every container
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _peak()


def _peak() -> int:
    """Return the most resident memory that this process has had, in bytes."""
    if sys.platform == "linux":
        # Not ru_maxrss, which begins at the peak of the process that started this one.
        status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
        return int(status.partition("VmHWM:")[2].split(maxsplit=1)[0]) * 1024
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
