"""A function in a process of its own, which can be killed at any point.

The parent decides at each point whether the child goes on: the child asks through a pipe and
waits. On systems that can fork, children come from a server that has imported what they need. It
listens in the temporary folder: where the path of that is too long for a socket, each child starts
anew.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import threading
from dataclasses import dataclass
from multiprocessing.util import get_temp_dir
from typing import TYPE_CHECKING, Any, Literal

import cloudpickle

from labsvc.errors import LabError
from labsvc.sweep.commits import watched
from labsvc.sweep.meeting import FarMeeting, Meeting
from labsvc.sweep.packing import packed
from labsvc.worker import begin

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from labsvc.sweep.points import Fault, Kind

    Reach = Callable[[Kind], tuple[int, Fault | None]]

GONE_SECONDS = 5.0  # for a process that was killed to end
SOCKET_PATH = 103  # bytes that fit into a sockaddr_un everywhere (104 on macOS with its end)
SOCKET_NAME = len("/listener-12345678")
NEEDED = [  # imported once for all children
    "__main__",
    "labsvc.sweep.child",
    "aio_pika",
    "asyncio",
    "psycopg",
]
PLAIN = (bool, int, float, str, bytes)  # what comes back from another process


class SweepError(LabError):
    """A sweep cannot be run as it is."""


@dataclass(frozen=True)
class Database:
    """A SQLite file, for an argument of `Run.child`: opened there, and each commit is a point."""

    path: Path


@dataclass(frozen=True)
class Ended:
    """How a child ended: its function returned, or raised `error`, or the process was killed.

    `value` is what it returned, if that is a number, a string or a truth value.
    """

    how: Literal["returned", "raised", "killed"]
    error: str = ""
    value: bool | float | str | bytes | None = None


def _nothing_strikes(_: Kind) -> tuple[int, None]:
    return 0, None


class Child:
    """A child process at work.

    Raises:
        SweepError: the function or an argument cannot go into another process.

    """

    def __init__(
        self, function: Callable[..., Any], args: tuple[Any, ...], reach: Reach = _nothing_strikes
    ) -> None:
        try:
            work = packed((function, args))
        except Exception as error:
            msg = (
                f"the function cannot go into another process ({error}): give it what it needs as"
                " arguments, such as a URL or a path"
            )
            raise SweepError(msg) from error
        self._reach = reach
        self._meeting = next((arg for arg in args if isinstance(arg, Meeting)), None)
        self._parent, theirs = multiprocessing.Pipe()
        self._process = _context().Process(target=_main, args=(theirs, work), daemon=True)
        self._process.start()
        theirs.close()

    def wait(self) -> Ended:
        """Let it go on at its points until it ends."""
        try:
            while True:
                what, said = self._parent.recv()
                if what == "ended":
                    return Ended(*said)
                if what == "meeting" and self._meeting is not None:
                    self._meeting()
                else:
                    self._reach(said)
                self._parent.send("go on")
        except (EOFError, OSError):
            return Ended("killed")
        finally:
            self.kill()
            self._process.join(GONE_SECONDS)
            self._parent.close()

    def has_ended(self) -> bool:
        """Return whether there is an end to `wait` for, in a child that reaches no points."""
        try:
            return self._parent.poll()
        except OSError:  # it was waited for
            return True

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._process.kill()


def finish(value: Any) -> Any:
    """Return what a function returned; await it on a loop of its own, if it can be awaited."""

    async def main() -> Any:
        return await value

    return asyncio.run(main()) if inspect.isawaitable(value) else value


def _context() -> Any:
    """Return the way to start processes: never a fork of this one, which has threads."""
    if "forkserver" not in multiprocessing.get_all_start_methods():  # Windows
        return multiprocessing.get_context("spawn")
    if len(os.fsencode(get_temp_dir())) + SOCKET_NAME > SOCKET_PATH:  # the server has one there
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(NEEDED)
    return context


def _main(parent: Connection, work: bytes) -> None:
    """Do the work, in the child."""
    begin()
    function, args = cloudpickle.loads(work)
    points = _Points(parent)
    try:
        value = finish(function(*[_opened(arg, points) for arg in args]))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is told
        parent.send(("ended", ("raised", f"{type(error).__name__}: {error}")))
    else:
        parent.send(("ended", ("returned", "", value if isinstance(value, PLAIN) else None)))
    parent.recv_bytes()  # the end comes from the parent, before any clean-up here


def _opened(arg: Any, points: _Points) -> Any:
    if isinstance(arg, Database):
        return watched(arg.path, points.reach)
    return points.meet if isinstance(arg, FarMeeting) else arg


class _Points:
    """Asks the parent at each point whether this process goes on."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._lock = threading.Lock()

    def reach(self, kind: Kind) -> None:
        self._ask("point", kind)

    def meet(self) -> None:
        self._ask("meeting", None)

    def _ask(self, what: str, said: Kind | None) -> None:
        with self._lock:
            self._parent.send((what, said))
            self._parent.recv()
