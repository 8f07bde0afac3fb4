"""Tests of the check of notebook 62: a reader of a log that dies between its commits."""

from __future__ import annotations

import os
import sqlite3
import sys
from collections import defaultdict
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest
from confluent_kafka import Consumer, TopicPartition

from labsvc import Lab
from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    CatchUp = Callable[[sqlite3.Connection, str, str], None]

EXERCISE = "62-each-once"
HELD: list[Lab] = []
MEMORY: dict[str, dict[int, int]] = {}

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def read_log(bootstrap: str, name: str, starts: dict[int, int]) -> Iterator[Any]:
    """Yield what the log has now, each partition from its offset in `starts`, as the notebook."""
    settings = {"bootstrap.servers": bootstrap, "group.id": "-", "fetch.wait.max.ms": 10}
    with closing(Consumer(settings | {"enable.auto.commit": False})) as reader:
        for number in reader.list_topics(name, timeout=5).topics[name].partitions:
            place = TopicPartition(name, number, starts.get(number, 0))
            reader.assign([place])
            for _ in range(place.offset, reader.get_watermark_offsets(place)[1]):
                yield reader.poll(10)


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
        except sqlite3.Error:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")


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


def holds_on(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """Keep something that only lives in this process."""
    assert len(HELD) == 1
    catch_up(db, bootstrap, topic)


def ends_the_process(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
    """End the process, where it is not the kernel's."""
    if Lab.current() is None:
        os._exit(0)
    catch_up(db, bootstrap, topic)


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
    "answer", [all_at_once, by_hand, partition_by_partition, skips_what_is_known]
)
def test_each_once_solved_otherwise(answer: CatchUp) -> None:
    """Larger transactions, and those by hand, are as good."""
    assert_solved("62-each-once", answer)


def test_each_once_stub() -> None:
    """The stub is not attempted."""

    def stub(db: sqlite3.Connection, bootstrap: str, topic: str) -> None:
        raise NotImplementedError

    assert_not_attempted("62-each-once", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (never_notes, "called again, and", "the offset after the event's"),
        (never_looks, "called again, and", "the offset after the event's"),
        (notes_first, "failed once, and it was called again", "only when the effect is there"),
        (notes_last, "failed once, and it was called again", "goes on when the effect is there"),
        (notes_at_the_end, "failed once, and it", "goes on when the effect is there"),
        (notes_the_event, "called again, and", "the offset after the event's"),
        (skips_one, "called again, and", "Each partition has its own"),
        (one_position, "called again, and", "Each partition has its own"),
        (in_memory, "a new database got 0 of", "A variable dies with its process"),
        (by_the_group, "a new database got 0 of", "a group's offset is in the log"),
        (equal_is_known, "events have", "equal events count too"),
        (counts_effects, "are not those of its events", "in which read_log gives"),
        (swallows, "returned as if all was well", "Let the error out"),
        (never_commits, "in the middle of a transaction", "commits at its end"),
        (never_undoes, "a transaction is still open", "Who does it here"),
        (does_nothing, "the database has no effect", "Insert key and value"),
        (newest_first, "are not those of its events", "in the order in which"),
        (keeps_bytes, "which no event has as its key", "is bytes"),
        (holds_on, "`HELD` cannot go into another process", "nothing of the notebook"),
        (ends_the_process, "there it ended without a word", "ends the process"),
        (closes_it, "closed the database that it was given", "Whoever opened it closes it"),
    ],
)
def test_each_once_wrong(lab: Lab, answer: CatchUp, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    HELD[:] = [lab]
    MEMORY.clear()
    assert_wrong("62-each-once", answer, guarantee, hint)
