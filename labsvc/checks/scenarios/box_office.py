"""The stage of exercise 52: seats in PostgreSQL, and two processes that sell them."""

from __future__ import annotations

import itertools
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.hosts.rows import RowsService
    from labsvc.sweep import Run

SEATS = ("A1", "A2", "B1", "B2")
LOOK_SECONDS = 0.005
LOOKS_AT_LEAVERS = 150  # a second, for PostgreSQL to notice that a client has gone
SCHEMA = "CREATE TABLE seats (seat text PRIMARY KEY, buyer text)"
CREATE = sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY")  # half the time, where nothing is flushed
LEAVE = """
SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database()
AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
SCHEMAS = "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^information_schema$'"
DROP_SCHEMA = sql.SQL("DROP SCHEMA {} CASCADE")
SESSIONS = """
SELECT wait_event_type, query_start FROM pg_stat_activity WHERE datname = current_database()
AND backend_type = 'client backend' AND pid <> ALL(%s)
"""
# Of all others: not what every transaction has, and not what keeps nobody from writing.
LOCKS = """
SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> ALL(%s)
AND locktype <> 'virtualxid' AND mode NOT IN ('AccessShareLock', 'SIReadLock')
"""
# What is lost in a crash of the machine does not matter here.
HASTE = (
    "ALTER SYSTEM SET fsync = off",
    "ALTER SYSTEM SET deadlock_timeout = '100ms'",
    "SELECT pg_reload_conf()",
)


def looks(most: int) -> Iterator[None]:
    """Yield so many times, with a pause after each."""
    for _ in range(most):
        yield
        time.sleep(LOOK_SECONDS)


class BoxOffice:
    """One PostgreSQL for all cases of a check, with a database for each that runs beside others.

    To make a database takes over ten times as long as to empty one.
    """

    def __init__(self) -> None:
        self._rows: RowsService | None = None
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._free: list[str] = []

    def rows(self, sandbox: Sandbox) -> RowsService:
        """Return the PostgreSQL, started in this sandbox if none runs, as in a replay."""
        with self._lock:
            if self._rows is None or not self._rows.running:
                self._rows = sandbox.serve_rows()
                self._free = []
                with psycopg.connect(self._rows.dsn, autocommit=True) as db:
                    for setting in HASTE:
                        db.execute(setting)
            return self._rows

    @contextmanager
    def hall(self, sandbox: Sandbox) -> Iterator[Hall]:
        """Return free seats, in a database that no other case has meanwhile."""
        rows = self.rows(sandbox)
        with self._lock:
            name = self._free.pop() if self._free else ""
        name = name or self._new(rows)
        dsn = rows.dsn.rpartition("/")[0] + "/" + name
        with psycopg.connect(dsn, autocommit=True) as db:
            db.execute(SCHEMA)
            db.cursor().executemany("INSERT INTO seats VALUES (%s)", [(seat,) for seat in SEATS])
            db.execute("ANALYZE seats")  # as PostgreSQL does by itself: a small table is read whole
            yield Hall(rows, dsn, db)
        with suppress(psycopg.Error):  # one that cannot be emptied is not used again
            _empty(dsn)
            self._free.append(name)

    def _new(self, rows: RowsService) -> str:
        name = f"hall{next(self._numbers)}"
        with psycopg.connect(rows.dsn, autocommit=True) as db:
            db.execute(CREATE.format(sql.Identifier(name)))
        return name


def _empty(dsn: str) -> None:
    """Send away who is still connected to a database, and drop all that is in it."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute("SET lock_timeout = '5s'")
        db.execute(LEAVE)
        for (schema,) in db.execute(SCHEMAS).fetchall():
            db.execute(DROP_SCHEMA.format(sql.Identifier(schema)))
        db.execute("CREATE SCHEMA public")


class Hall:
    """The seats of one case. `dsn` is for who sells them; what is asked here is not one of them."""

    def __init__(self, rows: RowsService, dsn: str, db: psycopg.Connection[Any]) -> None:
        self.rows = rows
        self.dsn = dsn
        self._db = db
        self._own = [db.info.backend_pid]

    def door(self, run: Run) -> str:
        """Return an address at which faults strike."""
        return self.dsn.replace(self.rows.target, run.door(self.rows).target)

    def buyers(self) -> dict[str, str | None]:
        """Return who has which seat."""
        return dict(self._db.execute("SELECT seat, buyer FROM seats").fetchall())

    def sessions(self) -> int:
        """Return how many connections there are, of those who sell."""
        return len(self._sessions())

    def waiting(self) -> int:
        """Return how many statements wait for a lock."""
        return [waits_for for waits_for, _ in self._sessions()].count("Lock")

    def is_locked(self) -> bool:
        """Return whether one of those who sell has a lock that another one could wait for."""
        return bool(self._db.execute(LOCKS, (self._own,)).fetchall()[0][0])

    def last_statement(self) -> Any:
        """Return when the newest statement of those who sell began."""
        return max((began for _, began in self._sessions() if began), default=None)

    def is_left(self) -> bool:
        """Return whether the connections of all who sold are closed by now, or soon."""
        return any(not self.sessions() for _ in looks(LOOKS_AT_LEAVERS))

    @contextmanager
    def held(self, seat: str) -> Iterator[None]:
        """Hold a seat meanwhile as one who buys it does, and undo that."""
        with psycopg.connect(self.dsn) as db:
            self._own.append(db.info.backend_pid)
            db.execute("UPDATE seats SET buyer = 'nobody' WHERE seat = %s", (seat,))
            yield
            db.rollback()

    def _sessions(self) -> list[tuple[Any, ...]]:
        """Return what each connection of a seller waits for, and when its last statement began."""
        return self._db.execute(SESSIONS, (self._own,)).fetchall()
