"""Tests of the check of notebook 62: a reader of a log that dies between its commits."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Consumer, TopicPartition

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    CatchUp = Callable[[sqlite3.Connection, str, str], None]

EXERCISE = "62-each-once"
SCRIPT = """
BEGIN;
INSERT INTO effects VALUES ('{key}', '{value}');
INSERT INTO positions VALUES ({partition}, {next}) ON CONFLICT DO UPDATE SET next = excluded.next;
COMMIT;
"""
MEMORY: dict[str, dict[int, int]] = {}  # what a process knows


def read_log(bootstrap: str, name: str, starts: dict[int, int]) -> Iterator[Any]:
    """Yield what the log has now, each partition from its offset in `starts`, as the notebook."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "-", "log_level": 0}
    settings |= {"fetch.wait.max.ms": 5, "auto.offset.reset": "earliest"}
    settings |= {"enable.auto.commit": False, "enable.partition.eof": True}
    reader: Any = Consumer(settings)
    with closing(reader):
        for number in reader.list_topics(name, timeout=5).topics[name].partitions:
            reader.assign([TopicPartition(name, number, starts.get(number, 0))])
            while not (event := reader.poll(10)).error():
                yield event


def known(db: sqlite3.Connection) -> dict[int, int]:
    """Return the positions."""
    return dict(db.execute("SELECT partition, next FROM positions").fetchall())


def add(db: sqlite3.Connection, event: Any) -> None:
    """Insert an effect."""
    effect = (event.key().decode(), event.value().decode())
    db.execute("INSERT INTO effects VALUES (?, ?)", effect)


def note(db: sqlite3.Connection, event: Any, more: int = 1) -> None:
    """Put the position forward."""
    place = (event.partition(), event.offset() + more)
    db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", place)


def catch_up(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it as the course does."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            note(db, event)


def all_at_once(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it in one transaction."""
    with db:
        for event in read_log(bootstrap, topic, known(db)):
            add(db, event)
            note(db, event)


def by_hand(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with transactions of one's own."""
    db.isolation_level = None
    for event in list(read_log(bootstrap, topic, known(db))):
        db.execute("BEGIN IMMEDIATE")
        try:
            note(db, event)
            add(db, event)
            db.execute("COMMIT")
        except sqlite3.Error:
            db.execute("ROLLBACK")
            raise


def partition_by_partition(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with a transaction for each partition, the last one first."""
    events = defaultdict(list)
    for event in read_log(bootstrap, topic, known(db)):
        events[event.partition()].append(event)
    for number in sorted(events, reverse=True):
        with db:
            for event in events[number]:
                add(db, event)
            note(db, event)


def skips_what_is_known(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it by reading all, and leaving out what lies before the position."""
    for event in read_log(bootstrap, topic, {}):
        if event.offset() >= known(db).get(event.partition(), 0):
            with db:
                add(db, event)
                note(db, event)


def by_savepoint(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with a savepoint for each event."""
    for event in read_log(bootstrap, topic, known(db)):
        db.execute("SAVEPOINT event")
        try:
            add(db, event)
            note(db, event)
        except sqlite3.Error:
            db.execute("ROLLBACK TO event")
            raise
        finally:
            db.execute("RELEASE event")


def by_script(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with a script for each event."""
    for event in read_log(bootstrap, topic, known(db)):
        try:
            db.executescript(
                SCRIPT.format(
                    key=event.key().decode(),
                    value=event.value().decode(),
                    partition=event.partition(),
                    next=event.offset() + 1,
                )
            )
        except sqlite3.Error:
            db.rollback()
            raise


def on_its_own(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it on another connection, in transactions of a hundred."""
    with closing(sqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2])) as own:
        for number, event in enumerate(read_log(bootstrap, topic, known(own)), 1):
            add(own, event)
            note(own, event)
            if number % 100 == 0:
                own.commit()
        own.commit()


def checkpoints(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it, and ask for all of it to be moved into the database at once."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            note(db, event)
        db.execute("PRAGMA wal_checkpoint")


def by_a_table_of_its_own(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with a row for each event that was applied."""
    with db:
        db.execute("CREATE TABLE IF NOT EXISTS applied (place INTEGER, at INTEGER)")
    for event in read_log(bootstrap, topic, {}):
        place = (event.partition(), event.offset())
        if not db.execute("SELECT 1 FROM applied WHERE (place, at) = (?, ?)", place).fetchone():
            with db:
                add(db, event)
                db.execute("INSERT INTO applied VALUES (?, ?)", place)


def by_update(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Solve it with rows that are there before."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            db.execute("INSERT OR IGNORE INTO positions VALUES (?, 0)", (event.partition(),))
            place = (event.offset() + 1, event.partition())
            db.execute("UPDATE positions SET next = ? WHERE partition = ?", place)


def never_notes(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Start at the beginning each time."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)


def never_looks(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Note the position, and start at the beginning all the same."""
    for event in read_log(bootstrap, topic, {}):
        with db:
            add(db, event)
            note(db, event)


def notes_first(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Commit the position, then the effect."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            note(db, event)
        with db:
            add(db, event)


def notes_last(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Commit the effect, then the position."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
        with db:
            note(db, event)


def notes_at_the_end(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Commit each effect, and the positions when all is done."""
    last = {}
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
        last[event.partition()] = event
    with db:
        for event in last.values():
            note(db, event)


def notes_the_event(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Note the offset of the event, not of the next one."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            note(db, event, more=0)


def skips_one(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Note an offset too far."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            note(db, event, more=2)


def one_position(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Keep one position for all partitions."""
    far = max(known(db).values(), default=0)
    for event in read_log(bootstrap, topic, {0: far, 1: far}):
        with db:
            add(db, event)
            note(db, event)


def in_memory(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Keep the positions in the process."""
    positions = MEMORY.setdefault(topic, {})
    for event in read_log(bootstrap, topic, positions):
        with db:
            add(db, event)
        positions[event.partition()] = event.offset() + 1


def by_the_group(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Let the log keep the offsets."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "shop", "log_level": 0}
    with closing(Consumer(settings | {"enable.auto.commit": False})) as reader:
        places = [TopicPartition(topic, number) for number in (0, 1)]
        starts = {p.partition: max(p.offset, 0) for p in reader.committed(places, timeout=5)}
        for event in read_log(bootstrap, topic, starts):
            with db:
                add(db, event)
            reader.commit(message=event, asynchronous=False)


def equal_is_known(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Take an event that says the same for one that came before."""
    for event in read_log(bootstrap, topic, {}):
        effect = (event.key().decode(), event.value().decode())
        found = db.execute("SELECT 1 FROM effects WHERE order_id = ? AND what = ?", effect)
        if not found.fetchone():
            with db:
                add(db, event)


def counts_effects(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Skip as many events as there are effects, whatever their partition."""
    done = db.execute("SELECT count(*) FROM effects").fetchone()[0]
    for number, event in enumerate(read_log(bootstrap, topic, {})):
        if number >= done:
            with db:
                add(db, event)


def swallows(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Go on after an error."""
    for event in read_log(bootstrap, topic, known(db)):
        with suppress(sqlite3.Error), db:
            add(db, event)
            note(db, event)


def never_commits(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Leave the transaction open."""
    for event in read_log(bootstrap, topic, known(db)):
        add(db, event)
        note(db, event)


def never_undoes(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Leave it open after an error."""
    never_commits(db, bootstrap, topic)
    db.commit()


def leaves_its_own_open(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Leave it open on a connection that nobody closes."""
    own = sqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2])
    never_commits(own, bootstrap, topic)
    own.commit()


def does_nothing(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Write nothing."""


def newest_first(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Turn the order around."""
    with db:
        for event in reversed(list(read_log(bootstrap, topic, known(db)))):
            add(db, event)
        for event in read_log(bootstrap, topic, known(db)):
            note(db, event)


def keeps_bytes(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Forget that a key is bytes."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            db.execute("INSERT INTO effects VALUES (?, ?)", (event.key(), event.value()))
            note(db, event)


def suppresses(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Go on after an error of one class."""
    with suppress(sqlite3.OperationalError):
        catch_up(db, bootstrap, topic)


def takes_it_for_known(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Take a refused row for one that is there."""
    for event in read_log(bootstrap, topic, known(db)):
        with suppress(sqlite3.IntegrityError), db:
            add(db, event)
            note(db, event)


def reads_nothing(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Start at the beginning where the positions cannot be read."""
    starts: dict[int, int] = {}
    with suppress(sqlite3.Error):
        starts = known(db)
    for event in read_log(bootstrap, topic, starts):
        with db:
            add(db, event)
            note(db, event)


def counts_on(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Count events, where offsets are asked for."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            place = (event.partition(), known(db).get(event.partition(), 0) + 1)
            db.execute("INSERT OR REPLACE INTO positions VALUES (?, ?)", place)


def commits_or_not(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Go on where a commit failed."""
    for event in read_log(bootstrap, topic, known(db)):
        try:
            add(db, event)
            note(db, event)
        except sqlite3.Error:
            db.rollback()
            raise
        with suppress(sqlite3.Error):
            db.commit()


def gives_up(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Undo what failed, and say nothing."""
    try:
        all_at_once(db, bootstrap, topic)
    except sqlite3.Error:
        db.rollback()


def wraps(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Raise another error."""
    try:
        catch_up(db, bootstrap, topic)
    except sqlite3.Error as error:
        msg = "no database"
        raise RuntimeError(msg) from error


def moves_on_finally(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Note the position, whatever became of the effect."""
    for event in read_log(bootstrap, topic, known(db)):
        try:
            add(db, event)
        finally:
            note(db, event)
            db.commit()


def by_a_script_between(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Overlook that a script commits what is open before it begins."""
    for event in read_log(bootstrap, topic, known(db)):
        try:
            add(db, event)
            db.executescript("SELECT 'and now the position'")
            note(db, event)
            db.commit()
        except sqlite3.Error:
            db.rollback()
            raise


def each_by_itself(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Let each statement commit, the position first, and take it back after an error."""
    db.isolation_level = None
    for event in read_log(bootstrap, topic, known(db)):
        note(db, event)
        try:
            add(db, event)
        except sqlite3.Error:
            note(db, event, more=0)
            raise


def own_and_given(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Write effects on the connection that is given, and positions on another one."""
    with closing(sqlite3.connect(db.execute("PRAGMA database_list").fetchone()[2])) as own:
        for event in read_log(bootstrap, topic, known(db)):
            with db:
                add(db, event)
            with own:
                note(own, event)


def forgets_in_the_loop(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Commit each hundred, and note the positions with the last of them only."""
    last: dict[int, Any] = {}
    with db:
        for number, event in enumerate(read_log(bootstrap, topic, known(db)), 1):
            add(db, event)
            last[event.partition()] = event
            if number % 100 == 0:
                db.commit()
        for event in last.values():
            note(db, event)


def begins_anew(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Make all effects anew each time."""
    with db:
        db.execute("DELETE FROM effects")
        for event in read_log(bootstrap, topic, {}):
            add(db, event)


def counts_each_order(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Skip as many events of an order as it has effects."""
    done = dict(db.execute("SELECT order_id, count(*) FROM effects GROUP BY 1").fetchall())
    for event in read_log(bootstrap, topic, {}):
        order = event.key().decode()
        done[order] = done.get(order, 0) - 1
        if done[order] < 0:
            with db:
                add(db, event)


def in_memory_by_file(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Keep the positions in the process, for each database."""
    positions = MEMORY.setdefault(db.execute("PRAGMA database_list").fetchone()[2], {})
    for event in read_log(bootstrap, topic, positions):
        with db:
            add(db, event)
        positions[event.partition()] = event.offset() + 1


def swaps_the_effect(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Insert the value as the order."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            effect = (event.value().decode(), event.key().decode())
            db.execute("INSERT INTO effects VALUES (?, ?)", effect)
            note(db, event)


def keeps_the_value(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Forget that a value is bytes."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            effect = (event.key().decode(), event.value())
            db.execute("INSERT INTO effects VALUES (?, ?)", effect)
            note(db, event)


def shows_bytes(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Make text of bytes as Python shows them."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            effect = (str(event.key()), str(event.value()))
            db.execute("INSERT INTO effects VALUES (?, ?)", effect)
            note(db, event)


def adds_more(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Insert more than the value."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            effect = (event.key().decode(), f"{event.value().decode()} done")
            db.execute("INSERT INTO effects VALUES (?, ?)", effect)
            note(db, event)


def noted_by(statement: str, *, swap: bool = False) -> CatchUp:
    """Return an answer that notes positions by a statement of its own."""

    def answer(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
        for event in read_log(bootstrap, topic, known(db)):
            with db:
                add(db, event)
                place = (event.partition(), event.offset() + 1)
                db.execute(statement, place[::-1] if swap else place)

    return answer


plain_insert = noted_by("INSERT INTO positions VALUES (?, ?)")
or_ignore = noted_by("INSERT OR IGNORE INTO positions VALUES (?, ?)")
swapped = noted_by("INSERT OR REPLACE INTO positions VALUES (?, ?)", swap=True)
update_of_no_row = noted_by("UPDATE positions SET next = ? WHERE partition = ?", swap=True)
slip_of_sql = noted_by("INSERT INTO position VALUES (?, ?)")


def swaps_an_update(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Give the values of an UPDATE in the order of the columns."""
    for event in read_log(bootstrap, topic, known(db)):
        with db:
            add(db, event)
            db.execute("INSERT OR IGNORE INTO positions VALUES (?, 0)", (event.partition(),))
            place = (event.partition(), event.offset() + 1)
            db.execute("UPDATE positions SET next = ? WHERE partition = ?", place)


def closes_it(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Close what belongs to whoever called."""
    catch_up(db, bootstrap, topic)
    db.close()


def test_each_once_solved() -> None:
    """The position in the transaction of the effect solves the exercise."""
    verdict = run_check(EXERCISE, catch_up)
    assert verdict.state == "solved", verdict
    assert verdict.guarantee == "each event has one effect, in the order of its order"


@pytest.mark.parametrize(
    "answer",
    [
        all_at_once,
        by_hand,
        by_savepoint,
        by_script,
        by_a_table_of_its_own,
        by_update,
        checkpoints,
        on_its_own,
        partition_by_partition,
        skips_what_is_known,
    ],
)
def test_each_once_solved_otherwise(answer: CatchUp) -> None:
    """Any transaction is as good, however it is made, and on whatever connection."""
    assert_solved("62-each-once", answer)


def test_each_once_stub() -> None:
    """The stub is not attempted."""

    def stub(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
        raise NotImplementedError

    assert_not_attempted("62-each-once", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (never_notes, "called again, and", "positions is empty"),
        (never_looks, "called again, and", "reading began elsewhere"),
        (notes_first, "could not be written once, it was called", "when, and only when"),
        (notes_last, "could not be written once, it was called", "when, and only when"),
        (notes_at_the_end, "could not be written once, it was called", "when, and only when"),
        (notes_the_event, "called again, and", "the offset after the event's"),
        (skips_one, "called again, and", "went past an event"),
        (one_position, "called again, and", "each partition has its own"),
        (in_memory, "a new database got 0 of", "A variable dies with its process"),
        (in_memory_by_file, "killed after commit 1 of", "positions is empty"),
        (by_the_group, "a new database got 0 of", "a group's offset is in the log"),
        (equal_is_known, "events have", "equal events count too"),
        (counts_effects, "are not those of its events", "in which read_log gives"),
        (swallows, "returned as if all was well", "Let the error out"),
        (suppresses, "returned as if all was well", "Let the error out"),
        (takes_it_for_known, "returned as if all was well", "Let the error out"),
        (gives_up, "returned as if all was well", "Let the error out"),
        (reads_nothing, "could not be read, and your function returned", "Let the error out"),
        (commits_or_not, "a commit failed, and your function returned", "Let the error out"),
        (wraps, "RuntimeError left your function", "as it is"),
        (moves_on_finally, "could not be written once, it was called", "when, and only when"),
        (by_a_script_between, "could not be written once, it was called", "when, and only when"),
        (each_by_itself, "killed after commit 1 of 12", "when, and only when"),
        (own_and_given, "could not be written once, it was called", "when, and only when"),
        (forgets_in_the_loop, "failed behind 150 effects once", "when, and only when"),
        (counts_on, "has deleted its old events", "a count is no offset"),
        (begins_anew, "has deleted its old events", "positions is empty"),
        (counts_each_order, "has deleted its old events", "positions is empty"),
        (never_commits, "in the middle of a transaction", "Who commits here"),
        (never_undoes, "a transaction is still open", "Who does it here"),
        (leaves_its_own_open, "a transaction is still open", "Who does it here"),
        (does_nothing, "the database has no effect", "Insert key and value"),
        (newest_first, "are not those of its events", "in the order in which"),
        (keeps_bytes, "which is no text", "are bytes"),
        (keeps_the_value, "an effect has b'one more', which is no text", "are bytes"),
        (shows_bytes, "an effect has the text \"b'o-", "str() shows bytes"),
        (swaps_the_effect, "has 'one more' as its order", "order_id comes first"),
        (adds_more, "no event has this key and value", "and nothing else"),
        (plain_insert, "UNIQUE constraint failed", "one row for each partition"),
        (or_ignore, "called again, and", "INSERT OR IGNORE keeps the old row"),
        (swapped, "called again, and", "the partition first, then `next`"),
        (update_of_no_row, "called again, and", "An UPDATE changes no row"),
        (swaps_an_update, "called again, and", "takes its values from left to right"),
        (slip_of_sql, "no such table: position", "Try that line"),
        (closes_it, "closed the database that it was given", "Whoever opened it closes it"),
    ],
)
def test_each_once_wrong(answer: CatchUp, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    MEMORY.clear()
    assert_wrong("62-each-once", answer, guarantee, hint)
