"""A function in a process of its own, which can be killed at any point.

The parent decides at each point whether the child goes on: the child asks through a pipe and
waits. On systems that can fork, children come from a server that has imported what they need. It
listens in the temporary folder: where the path of that is too long for a socket, each child starts
anew.
"""

from __future__ import annotations

import asyncio
import inspect
import io
import logging
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from multiprocessing.util import get_temp_dir
from typing import TYPE_CHECKING, Any, Literal

import cloudpickle

from labsvc.errors import LabError
from labsvc.sweep.commits import watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from pathlib import Path

    from labsvc.sweep.points import Fault, Kind

    Reach = Callable[[Kind], tuple[int, Fault | None]]

GONE_SECONDS = 5.0  # for a process that was killed to end
SOCKET_PATH = 103  # bytes that fit into a sockaddr_un everywhere (104 on macOS with its end)
SOCKET_NAME = len("/listener-12345678")
NEEDED = ["__main__", "labsvc.sweep.child", "aio_pika", "asyncio"]  # imported once for all children


class SweepError(LabError):
    """A sweep cannot be run as it is."""


@dataclass(frozen=True)
class Database:
    """A SQLite file, for an argument of `Run.child`: opened there, and each commit is a point."""

    path: Path


@dataclass(frozen=True)
class Ended:
    """How a child ended: its function returned, or raised `error`, or the process was killed."""

    how: Literal["returned", "raised", "killed"]
    error: str = ""


class Child:
    """A child process at work.

    Raises:
        SweepError: the function or an argument cannot go into another process.

    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], reach: Reach) -> None:
        try:
            work = _packed((function, args))
        except Exception as error:
            msg = (
                f"the function cannot go into another process ({error}): give it what it needs as"
                " arguments, such as a URL or a path"
            )
            raise SweepError(msg) from error
        self._reach = reach
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
                self._reach(said)
                self._parent.send("go on")
        except (EOFError, OSError):
            return Ended("killed")
        finally:
            self.kill()
            self._process.join(GONE_SECONDS)
            self._parent.close()

    def kill(self) -> None:
        """Kill the process (SIGKILL)."""
        self._process.kill()


class _Packer(cloudpickle.Pickler):  # type: ignore[misc]  # it has no types
    """Packs what goes into another process; a lock is a new one there, as after a restart."""

    def reducer_override(self, thing: Any) -> Any:
        make = _LOCKS.get(type(thing))
        return (make, ()) if make is not None else super().reducer_override(thing)


_LOCKS: dict[type, Callable[[], Any]] = {
    type(make()): make for make in (threading.Lock, threading.RLock)
}


def _packed(work: Any) -> bytes:
    with io.BytesIO() as file:
        _Packer(file).dump(work)
        return file.getvalue()


def can_travel(thing: Any) -> bool:
    """Return whether a thing can go into another process."""
    try:
        _packed(thing)
    except Exception:  # noqa: BLE001  # whatever it is, it stays here
        return False
    return True


def finish(value: Any) -> None:
    """Await what a function returned, if it can be awaited, on a loop of its own."""

    async def main() -> None:
        await value

    if inspect.isawaitable(value):
        asyncio.run(main())


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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the stop button is the parent's
    logging.disable(logging.CRITICAL)  # what is broken here is broken on purpose
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function, args = cloudpickle.loads(work)
    points = _Points(parent)
    opened = [watched(arg.path, points.reach) if isinstance(arg, Database) else arg for arg in args]
    try:
        finish(function(*opened))
    except BaseException as error:  # noqa: BLE001  # whatever it is, the parent is told
        parent.send(("ended", ("raised", f"{type(error).__name__}: {error}")))
    else:
        parent.send(("ended", ("returned",)))
    parent.recv_bytes()  # the end comes from the parent, before any clean-up here


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
    os._exit(1)


class _Points:
    """Asks the parent at each point whether this process goes on."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._lock = threading.Lock()

    def reach(self, kind: Kind) -> None:
        with self._lock:
            self._parent.send(("point", kind))
            self._parent.recv()
