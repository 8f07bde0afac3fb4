"""PostgreSQL in a child process, or the one that LAB_POSTGRES_DSN names."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import partial
from typing import TYPE_CHECKING

from labsvc.child import LAST_LINES, environment
from labsvc.engines import find_postgres
from labsvc.errors import EngineError, LabError
from labsvc.guard import group_of
from labsvc.hosts.external import ExternalService
from labsvc.hosts.program import ProgramService
from labsvc.ports import HOST, free_port

if TYPE_CHECKING:
    from pathlib import Path

VARIABLE = "LAB_POSTGRES_DSN"
USER = "lab"
DATABASE = "postgres"
SECONDS = 60.0  # for initdb and pg_basebackup, which take less than one
SETTINGS = (
    "max_connections=60",
    "max_prepared_transactions=20",  # 0 by default, which refuses PREPARE TRANSACTION
    "shared_buffers=16MB",
    "unix_socket_directories=",
    "dynamic_shared_memory_type=mmap",  # in the data folder, so that it goes with it
)
# PostgreSQL's immediate shutdown. SIGTERM would wait until every client has left.
IMMEDIATE = getattr(signal, "SIGQUIT", signal.SIGTERM)


class RowsService(ProgramService):
    """A PostgreSQL server; `Lab.serve_rows` makes one.

    `stop` is PostgreSQL's immediate shutdown, to its data what a crash is: `start` recovers what
    was committed. All is kept until the lab stops.
    """

    def __init__(self, name: str, folder: Path, password: str) -> None:
        super().__init__(name)
        self._folder = folder
        self._password = password
        self._account = _Account(folder)

    @property
    def dsn(self) -> str:
        """The address as "postgresql://user:password@127.0.0.1:port/database"."""
        return f"postgresql://{USER}:{self._password}@{self.target}/{DATABASE}"

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _open(self, port: int) -> int:
        if not (self._data / "PG_VERSION").exists():
            try:
                self._fill()
            except BaseException:
                shutil.rmtree(self._data, ignore_errors=True)
                raise
        port = free_port(port)
        self.log.clear()  # of what the last run said when it was ready
        settings = [part for setting in SETTINGS for part in ("-c", setting)]
        address = ("-c", f"listen_addresses={HOST}", "-p", str(port))
        command = [self._account.program("postgres"), "-D", str(self._data), *settings, *address]
        ready = partial(self._said, "ready to accept")
        self._run(command, ready, user=self._account.name, end=IMMEDIATE)
        return port

    def _fill(self) -> None:
        """Make the data folder. The password goes through a file: a command line can be read."""
        password = self._folder / "password"
        password.touch(mode=0o600)
        password.write_text(self._password, encoding="utf-8")
        self._account.give(password)
        self._account.run(
            *("initdb", "-D", str(self._data), "-U", USER, "--pwfile", str(password)),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale", "--no-sync"),
        )
        password.unlink()


class ReplicaService(RowsService):
    """A PostgreSQL that follows another and takes reads alone; `Lab.serve_replica` makes one."""

    def __init__(self, name: str, folder: Path, primary: RowsService) -> None:
        super().__init__(name, folder, primary._password)  # noqa: SLF001  # the same accounts
        self._primary = primary

    def _fill(self) -> None:
        host, _, port = self._primary.target.rpartition(":")
        self._account.run(
            *("pg_basebackup", "-D", str(self._data), "-h", host, "-p", port, "-U", USER),
            *("--write-recovery-conf", "--checkpoint=fast", "--no-sync"),
            env={"PGPASSWORD": self._password},
        )


class ExternalRows(ExternalService):
    """A PostgreSQL that runs elsewhere."""

    def __init__(self, name: str, dsn: str) -> None:
        # Late, for most kernels need no PostgreSQL.
        from psycopg import ProgrammingError
        from psycopg.conninfo import conninfo_to_dict

        try:
            parts = conninfo_to_dict(dsn)
        except ProgrammingError as error:
            msg = f"{VARIABLE} is no address; write postgresql://user:password@host:5432/database"
            raise LabError(msg) from error
        super().__init__(name, f"{parts.get('host', HOST)}:{parts.get('port', 5432)}", VARIABLE)
        self.dsn = dsn


class _Account:
    """The account that PostgreSQL runs with: the kernel's own; for root, that of `nobody`.

    PostgreSQL refuses root. Then `nobody` gets the folder, and a copy of the programs if it cannot
    reach them where they are installed.
    """

    def __init__(self, folder: Path) -> None:
        self.name = "nobody" if hasattr(os, "geteuid") and os.geteuid() == 0 else ""
        self._folder = folder
        self._programs: Path | None = None

    def give(self, path: Path) -> None:
        """Make the account the owner of a file or folder."""
        if self.name:
            shutil.chown(path, self.name)

    def program(self, name: str) -> str:
        """Return the path of a program of PostgreSQL.

        Raises:
            EngineError: there is no PostgreSQL, or the account cannot run it.

        """
        if self._programs is None:
            self._programs = self._reachable(find_postgres().path.parent)
        return str(self._programs / name)

    def run(self, name: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        """Run a program of PostgreSQL to its end.

        Raises:
            EngineError: it failed.

        """
        done = self._run([self.program(name), *arguments], env or {})
        if done.returncode:
            last = "; ".join(done.stderr.strip().splitlines()[-LAST_LINES:])
            msg = f"{name} could not make the data folder: {last}. Run `labsvc doctor`"
            raise EngineError(msg)

    def _run(self, command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # noqa: S603  # a program of PostgreSQL, no shell
            command,
            env=environment(env),
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            start_new_session=True,  # the stop button does not reach it
            timeout=SECONDS,
            check=False,
            user=self.name or None,
            group=group_of(self.name),
            extra_groups=[] if self.name else None,
        )

    def _reachable(self, programs: Path) -> Path:
        if not self.name:
            return programs
        if not _open_to_all(self._folder.parents[1]):
            msg = (
                f"PostgreSQL refuses root, and {self.name} cannot reach {self._folder.parents[1]};"
                " set TMPDIR to a folder such as /tmp, or work as another user"
            )
            raise EngineError(msg)
        self._folder.parent.chmod(0o711)  # to pass through, not to read
        self.give(self._folder)
        return programs if _open_to_all(programs) else self._copied(programs.parent)

    def _copied(self, install: Path) -> Path:
        """Copy the programs, and the libraries that the wheel puts beside its package."""
        package = install.parent
        libraries = package.with_name(f"{package.name}.libs")
        copy = self._folder / package.name / install.name
        for name in ("bin", "lib", "share"):
            shutil.copytree(install / name, copy / name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, self._folder / libraries.name)
        return copy / "bin"


def _open_to_all(folder: Path) -> bool:
    return all(each.stat().st_mode & 0o001 for each in (folder, *folder.parents))
