"""Child processes and temporary folders that end with the kernel, however it ends.

Each stands behind a guard (`labsvc/guard.py`), a process in a session of its own:
the stop button does not reach it, and it cleans up when the kernel's end of a pipe
closes, which happens even when the kernel is killed with SIGKILL.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.errors import EngineError, LabError

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

GUARD = Path(__file__).with_name("guard.py")
GUARD_END_SECONDS = 3.0
PROBE_SECONDS = 0.005
LAST_LINES = 5

# Engines take settings from the environment; ours stand on the command line.
_FOREIGN = ("ETCD_", "RCLONE_", "PG")


class Child:
    """A program that runs until `stop()`, or until the kernel ends.

    Args:
        command: the program and its arguments; no shell takes part.
        log: where its output goes, line by line.
        env: environment variables beside the kernel's own.
        user: the account that it runs with, "" for the kernel's own.
        end: the signal that `stop()` sends first.

    Raises:
        EngineError: the program does not exist.

    """

    def __init__(
        self,
        command: Sequence[str],
        log: deque[str],
        env: dict[str, str] | None = None,
        *,
        user: str = "",
        end: signal.Signals = signal.SIGTERM,
    ) -> None:
        if shutil.which(command[0]) is None:
            msg = f"{command[0]} is not there or cannot be run; run `labsvc doctor`"
            raise EngineError(msg)
        self._program = Path(command[0]).name
        self._log = log
        self._ended = threading.Event()
        self._guard = _guard("", command, env or {}, user, end)
        threading.Thread(target=self._read, name="labsvc-child", daemon=True).start()

    @property
    def alive(self) -> bool:
        """Whether the program still runs."""
        return not self._ended.is_set()

    def wait_until(self, ready: Callable[[], bool], timeout: float = 30.0) -> None:
        """Wait until `ready()` is true; stop the program if that never comes.

        Raises:
            EngineError: the program ended, or was not ready within `timeout` seconds.

        """
        give_up = time.monotonic() + timeout
        try:
            while self.alive and time.monotonic() < give_up and not ready():
                self._ended.wait(PROBE_SECONDS)
            if self.alive and time.monotonic() < give_up:
                return
            why = f"was not ready after {timeout:g} s" if self.alive else "ended at once"
            last = "; ".join(list(self._log)[-LAST_LINES:]) or "nothing"
            msg = f"{self._program} {why}; it said: {last}. Run `labsvc doctor`"
            raise EngineError(msg)  # noqa: TRY301  # the stop below is for every way out
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """Kill the program (SIGKILL), as a crash would, and wait until it is gone."""
        with suppress(OSError, ValueError):
            assert self._guard.stdin is not None
            self._guard.stdin.write(b"k")
            self._guard.stdin.flush()
        self._ended.wait(GUARD_END_SECONDS)

    def stop(self) -> None:
        """End the program (`end`, after a second SIGKILL). A second call does nothing."""
        _end(self._guard)
        self._ended.wait(GUARD_END_SECONDS)

    def _read(self) -> None:
        assert self._guard.stdout is not None
        with self._guard.stdout as lines:
            for line in lines:
                self._log.append(line.decode(errors="replace").rstrip())
        self._ended.set()


class TempFolder:
    """A temporary folder that is removed by `remove()`, or when the kernel ends."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="labsvc-"))
        self._guard = _guard(str(self.path), (), {})

    def empty(self, name: str) -> Path:
        """Return a new, empty folder inside; the same name again empties it.

        Raises:
            ValueError: `name` is not the plain name of a folder.
            LabError: what is in the folder cannot be removed.

        """
        folder = self.path / name
        if folder.name != name or folder.parent != self.path or name == "..":
            msg = f"a folder needs a plain name such as 'orders', not {name!r}"
            raise ValueError(msg)
        try:
            if folder.exists():
                shutil.rmtree(folder)
            folder.mkdir()
        except OSError as error:
            msg = f"the folder {name!r} cannot be emptied ({error}); close what is open in it"
            raise LabError(msg) from error
        return folder

    def remove(self) -> None:
        """Remove the folder with all that is in it. A second call does nothing."""
        _end(self._guard)
        if self._guard.stdout is not None:
            self._guard.stdout.close()
        shutil.rmtree(self.path, ignore_errors=True)


def environment(own: dict[str, str]) -> dict[str, str]:
    """Return the kernel's environment without settings of engines, and with these."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_FOREIGN)} | own


def _guard(
    folder: str,
    command: Sequence[str],
    env: dict[str, str],
    user: str = "",
    end: signal.Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    what = (folder, user, str(int(end)), *command)
    return subprocess.Popen(  # noqa: S603  # our own interpreter, no shell
        [sys.executable, "-I", "-S", str(GUARD), str(os.getpid()), *what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment(env),
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _end(guard: subprocess.Popen[bytes]) -> None:
    assert guard.stdin is not None
    with suppress(OSError):
        guard.stdin.close()
    try:
        guard.wait(GUARD_END_SECONDS)
    except subprocess.TimeoutExpired:
        guard.kill()
        guard.wait()
