"""A small process between the kernel and a child, which outlives the kernel by a moment.

    python -I -S guard.py KERNEL FOLDER USER SIGNAL [COMMAND ...]

It runs the command and waits for end-of-file on its standard input, which comes when
the kernel (its process id: KERNEL) ends, however it ends: even SIGKILL closes a pipe. Then it ends
the command by SIGNAL, a number, and removes FOLDER ("" for none). The command runs with the account
USER ("" for the kernel's own). A byte on standard input kills the command (SIGKILL). The guard runs
without site-packages, so it imports nothing of labsvc.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time

PARENT_CHECK_SECONDS = 0.5
TERMINATE_SECONDS = 1.0
REMOVE_TRIES = 40


def main(kernel: int, folder: str, user: str, end: int, command: list[str]) -> int:
    """Run `command` until standard input ends; return its exit code, 0 without one."""
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), lambda *_: sys.exit(1))
    child = _start(command, user) if command else None
    _hang_up_output()
    try:
        _wait_for_the_kernel(kernel, child)
    finally:
        code = _end(child, end) if child is not None else 0
        if folder:
            _remove(folder)
    return code


def _start(command: list[str], user: str) -> subprocess.Popen[bytes]:
    child = subprocess.Popen(  # noqa: S603
        command,
        stdin=subprocess.DEVNULL,
        user=user or None,
        group=group_of(user),
        extra_groups=[] if user else None,
    )
    threading.Thread(target=child.wait, daemon=True).start()  # or it stays a zombie
    return child


def _hang_up_output() -> None:
    # Only the child holds the output pipe now: its end tells the kernel that the child ended.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _wait_for_the_kernel(kernel: int, child: subprocess.Popen[bytes] | None) -> None:
    over = threading.Event()

    def read() -> None:
        while os.read(0, 1):
            if child is not None:
                child.kill()
        over.set()

    threading.Thread(target=read, daemon=True).start()
    # A process forked from the kernel may hold the pipe open after the kernel's death, which may
    # come before this line. Windows knows no fork, and there a launcher may stand in between.
    while not over.wait(PARENT_CHECK_SECONDS) and (os.name == "nt" or os.getppid() == kernel):
        pass


def group_of(user: str) -> int | None:
    """Return the group of an account, None for "", which is the kernel's own."""
    if not user:
        return None
    import pwd  # not on Windows

    return pwd.getpwnam(user).pw_gid


def _end(child: subprocess.Popen[bytes], how: int) -> int:
    child.send_signal(how)
    try:
        return child.wait(TERMINATE_SECONDS)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()


def _remove(folder: str) -> None:
    # Other guards may still be ending programs that write there.
    for _ in range(REMOVE_TRIES):
        shutil.rmtree(folder, ignore_errors=True)
        if not os.path.exists(folder):  # noqa: PTH110  # pathlib would double the start time
            return
        time.sleep(0.05)


if __name__ == "__main__":
    owner, its_folder, account, number, *program = sys.argv[1:]
    sys.exit(main(int(owner), its_folder, account, int(number), program))
