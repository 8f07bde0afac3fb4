"""Exercise of notebook 62: each event of a log has one effect, wherever its reader dies (C22)."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import live
from labsvc.checks.queue_sandbox import database, file_of, names
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.hosts.log import LogService
from labsvc.sweep import Database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

TABLES = """
CREATE TABLE effects (order_id TEXT, what TEXT);
CREATE TABLE positions (partition INTEGER PRIMARY KEY, next INTEGER);
"""
FAILS = """
CREATE TRIGGER added BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END;
CREATE TRIGGER changed BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, 'disk full'); END;
"""
FAILS_LATE = """
CREATE TRIGGER late BEFORE INSERT ON effects WHEN (SELECT count(*) FROM effects) >= {after}
BEGIN SELECT RAISE(ABORT, 'disk full'); END;
"""
LATE = 150
MANY = 30  # pairs of an order: more events than LATE
PARTITIONS = 2
KILLED_SECONDS = 8.0

Event = tuple[str, str]


@exercise("62-each-once", title="Apply each event once, whatever happens", deadline=30)
def each_once(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`catch_up(db, bootstrap, topic)`: one effect for each event, in order, at every crash."""
    cases = Cases(answer, sandbox)
    ways = (_called_again, _failed_at_first, _failed_late, _on_another_database)
    return (
        next(filter(None, map(cases.broken, ways)), None)
        or cases.broken(_is_killed, only=("killed",), within=KILLED_SECONDS)
        or solved("each event has one effect, in the order of its order", cases=cases.count)
    )


def _called_again(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Call it for an empty log, for events, for none, and for more of them."""
    shelf = _Shelf(answer, room)
    for count in (0, 1, 0, 1):
        if count:
            shelf.write()
        shelf.call()
        if verdict := shelf.is_wrong("your function was called again"):
            return verdict
    return None


def _failed_at_first(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the write to each table fail once, and call it again."""
    for table in ("effects", "positions"):
        shelf = _Shelf(answer, room)
        shelf.write()
        shelf.db.executescript(FAILS.format(table=table))
        outcome = answer.attempt(shelf.db, shelf.bootstrap, shelf.topic, allow=sqlite3.Error)
        if outcome.error is None and not shelf.is_right():
            return broken(
                (
                    f"the table {table} could not be written, and your function returned as if all"
                    " was well"
                ),
                "Let the error out: who calls has to know, and to call again.",
            )
        if shelf.db.in_transaction and outcome.error is not None:
            return broken(
                (
                    "an error of the database left your function, and a transaction is still open:"
                    " the next commit keeps what is in it"
                ),
                "`with db:` undoes everything when its block raises. Who does it here?",
            )
        shelf.db.executescript("DROP TRIGGER added; DROP TRIGGER changed")
        shelf.call()
        if verdict := shelf.is_wrong(f"the table {table} failed once, and it was called again"):
            return verdict
    return None


def _failed_late(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the write fail once after many events, and call it again."""
    shelf = _Shelf(answer, room)
    shelf.write(MANY)
    shelf.db.executescript(FAILS_LATE.format(after=LATE))
    answer.attempt(shelf.db, shelf.bootstrap, shelf.topic, allow=sqlite3.Error)
    shelf.db.rollback()  # as a crash does
    shelf.db.executescript("DROP TRIGGER late")
    shelf.call()
    return shelf.is_wrong(f"it failed behind {LATE} effects, and it was called again")


def _on_another_database(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let a second database start at the beginning of a log that the first one has read."""
    shelf = _Shelf(answer, room)
    shelf.write()
    shelf.call()
    shelf.db = room.enter(database(TABLES))
    shelf.call()
    missing = shelf.written - len(shelf.effects())
    return first_broken(
        (
            missing > 0,
            (
                f"a new database got {shelf.written - missing} of {shelf.written} effects: how far"
                " you have read is noted outside of it"
            ),
            (
                "A variable dies with its process, and a group's offset is in the log. Keep the"
                " position where the effects are."
            ),
        ),
        events=shelf.written,
    ) or shelf.is_wrong("a new database started at the beginning")


def _is_killed(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Kill the reader before and after each of its commits, and call it again."""
    shelf = _Shelf(answer, room)
    shelf.write(pairs=1)
    args = Database(Path(file_of(shelf.db))), shelf.bootstrap, shelf.topic
    if verdict := live(run, answer.function, answer.function, *args):
        return verdict
    if run.struck:
        shelf.call()
    return shelf.is_wrong("it was called again")


class _Shelf:
    """A log with events of four orders, two in each partition, and a database for their effects."""

    def __init__(self, answer: Submission, room: Sandbox) -> None:
        self._answer = answer
        self._log = room.enter(_log())
        self.topic = self._log.new_topic("events", PARTITIONS)
        self.bootstrap = self._log.bootstrap
        self.db = room.enter(database(TABLES))
        self._orders = names("o", 2 * PARTITIONS)
        self._events: dict[str, list[str]] = {order: [] for order in self._orders}

    @property
    def written(self) -> int:
        """How many events the log has."""
        return sum(map(len, self._events.values()))

    def write(self, pairs: int = 2) -> None:
        """Write events of each order, in turns; more in the second partition; two say the same."""
        from confluent_kafka import Producer

        producer = Producer({"bootstrap.servers": self.bootstrap, "log_level": 0})
        for partition in range(PARTITIONS):
            for what in ("one more", "one less")[: 1 + pairs // 2] * (pairs + partition):
                for order in self._orders[partition::PARTITIONS]:
                    producer.produce(self.topic, key=order, value=what, partition=partition)
                    self._events[order].append(what)
        if producer.flush(5):
            msg = "the log took no events"
            raise TimeoutError(msg)

    def call(self) -> None:
        """Call the answer; what it leaves in an open transaction is gone, as after a crash."""
        self._answer(self.db, self.bootstrap, self.topic)

    def effects(self) -> list[Event]:
        """Return what another connection sees: what is committed."""
        with closing(sqlite3.connect(file_of(self.db))) as other:
            return other.execute("SELECT order_id, what FROM effects ORDER BY rowid").fetchall()

    def is_right(self) -> bool:
        """Whether each order has its effects, in order."""
        found = self.effects()
        return len(found) == self.written and all(
            [what for order, what in found if order == each] == events
            for each, events in self._events.items()
        )

    def is_wrong(self, after: str) -> Verdict | None:
        """Return what is wrong with the effects; `after` says what happened before."""
        found = self.effects()
        orders = {order for order, _ in found}
        strange = orders - set(self._orders)
        counts = {"events": self.written, "effects": len(found)}
        return first_broken(
            (
                self.db.in_transaction,
                "your function returned in the middle of a transaction, and a crash would undo it",
                "`with db:` commits at its end.",
            ),
            (
                bool(strange),
                (
                    f"an effect has the order {next(iter(strange), None)!r}, which no event has as"
                    " its key"
                ),
                "`event.key()` is bytes: decode() makes text of it.",
            ),
            (
                len(found) > self.written,
                f"{after}, and {self.written} events have {len(found)} effects",
                (
                    "Effect and position in one `with db:` block: the position goes on when the"
                    " effect is there. It is the offset after the event's."
                ),
            ),
            (
                not found and bool(self.written),
                f"{self.written} events are in the log, and the database has no effect",
                "Insert key and value of each event into effects.",
            ),
            (
                len(found) < self.written,
                f"{after}, and {self.written} events have {len(found)} effects",
                (
                    "Effect and position in one `with db:` block: the position goes on only when"
                    " the effect is there. Each partition has its own, and equal events count too."
                ),
            ),
            (
                not self.is_right(),
                "the effects of one order are not those of its events, in their order",
                "Insert in the order in which read_log gives the events, key and value as text.",
            ),
            **counts,
        )


@contextmanager
def _log() -> Iterator[LogService]:
    """Run a log of the check's own."""
    service = LogService("check-log")
    service.start()
    try:
        yield service
    finally:
        service.release()
