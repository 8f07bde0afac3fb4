"""The stage of notebook 62: a log with events of four orders, and a database for their effects."""

from __future__ import annotations

import sqlite3
import traceback
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labsvc.checks.learner_code import chain
from labsvc.checks.queue_sandbox import database, file_of, names
from labsvc.checks.submission import SubmissionError, summary
from labsvc.hosts.log import LogService

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

TABLES = """
CREATE TABLE effects (order_id TEXT, what TEXT);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next INTEGER);
"""
WHATS = ("one more", "one less")
PARTITIONS = 2
MANY = 30  # pairs of an order: some two hundred events, more than one transaction should take
LOG_BYTES = 5_300_000  # one message more than a partition of the mock cluster keeps
MESSAGE_BYTES = 8_000_000


class EventLog:
    """A log of the check's own, with events of two orders in each partition.

    `events` are those of each order, as texts; `ends` are the offsets at which each partition goes
    on.
    """

    def __init__(self, service: LogService) -> None:
        self.bootstrap = service.bootstrap
        self.topic = service.new_topic("events", PARTITIONS)
        self.events: dict[str, list[str]] = {name: [] for name in names("o", 2 * PARTITIONS)}
        self.ends = Counter(dict.fromkeys(range(PARTITIONS), 0))

    @property
    def written(self) -> int:
        """How many events there were."""
        return sum(map(len, self.events.values()))

    def write(self, pairs: int = 2) -> None:
        """Write events of each order, in turns; more in the second partition; two say the same."""
        with self._producer() as producer:
            for partition in range(PARTITIONS):
                for what in WHATS[: 1 + pairs // 2] * (pairs + partition):
                    for order in list(self.events)[partition::PARTITIONS]:
                        producer.produce(self.topic, key=order, value=what, partition=partition)
                        self.events[order].append(what)
                        self.ends[partition] += 1

    def delete_all(self) -> None:
        """Let it delete what it holds, as a log does with what is old: offsets go on from there."""
        for value in (bytes(LOG_BYTES), b"last"):
            with self._producer() as producer:
                for partition in range(PARTITIONS):
                    producer.produce(self.topic, value=value, partition=partition)
                    self.ends[partition] += 1

    @contextmanager
    def _producer(self) -> Iterator[Any]:
        from confluent_kafka import Producer

        settings = {"bootstrap.servers": self.bootstrap, "message.max.bytes": MESSAGE_BYTES}
        producer = Producer({**settings, "log_level": 0})
        yield producer
        if producer.flush(5):
            msg = "the log took no events"
            raise TimeoutError(msg)


class Stage:
    """The answer, between its log and its database; `path` is where the database lies."""

    def __init__(self, answer: Submission, room: Sandbox) -> None:
        self._answer = answer
        self._room = room
        self.log = room.enter(_log())
        self.new_database()

    def new_database(self) -> None:
        """Go on with an empty database."""
        self._open(self._room.enter(database(TABLES)))

    def database_at(self, path: Path) -> None:
        """Go on with the database that a crash has left in a file."""
        db = sqlite3.connect(path, check_same_thread=False)
        self._open(self._room.enter(closing(db)))

    def call(self) -> None:
        """Call the answer where nothing goes wrong.

        Raises:
            SubmissionError: whatever is wrong with any answer, and its errors.

        """
        error = self._attempt()
        if error is None:
            return
        if "positions.partition" not in str(error):
            raise self._answer.fault(error)
        said = f"your function raised {summary(error)}"
        raise SubmissionError(
            said, "positions has one row for each partition. INSERT adds another."
        )

    def fails(self) -> BaseException | None:
        """Call the answer where its database fails; return the error that left it."""
        error = self._attempt()
        if error is not None and not any(isinstance(one, sqlite3.Error) for one in chain(error)):
            raise self._answer.fault(error)
        return error

    def undo(self) -> None:
        """Roll back what the answer has left open on its connection."""
        self._db.rollback()

    def script(self, sql: str) -> None:
        """Change the database, on a connection of its own."""
        with closing(sqlite3.connect(self.path)) as other:
            other.executescript(sql)

    def rows(self, table: str) -> list[tuple[Any, ...]]:
        """Return what another connection sees of a table: what is committed, in its order."""
        with closing(sqlite3.connect(self.path)) as other:
            return other.execute(f"SELECT * FROM {table} ORDER BY rowid").fetchall()  # noqa: S608

    def is_open(self) -> bool:
        """Whether a transaction is open, on whatever connection: nobody else can write then."""
        with closing(sqlite3.connect(self.path, timeout=0, isolation_level=None)) as other:
            try:
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return True
        return False

    def is_right(self) -> bool:
        """Whether each order has its effects, in order."""
        found = self.rows("effects")
        return len(found) == self.log.written and all(
            [what for order, what in found if order == each] == events
            for each, events in self.log.events.items()
        )

    def _open(self, db: sqlite3.Connection) -> None:
        db.execute("PRAGMA foreign_keys=ON")  # so that a commit can be made to fail
        db.execute("PRAGMA synchronous=OFF")  # the machine stays on: only processes die here
        self._db = db
        self.path = Path(file_of(db))

    def _attempt(self) -> BaseException | None:
        """Call the answer; what its frames hold on to is gone when an error has left it."""
        args = self._db, self.log.bootstrap, self.log.topic
        error = self._answer.attempt(*args, allow=Exception).error
        if error is not None:
            traceback.clear_frames(error.__traceback__)
        return error


@contextmanager
def _log() -> Iterator[EventLog]:
    """Run a log."""
    service = LogService("check-log")
    service.start()
    try:
        yield EventLog(service)
    finally:
        service.release()
