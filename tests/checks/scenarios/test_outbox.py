from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import threading
import uuid
from typing import TYPE_CHECKING, Any

import aio_pika
import cloudpickle
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Awaitable, Callable

    Relay = Callable[[sqlite3.Connection, str, str], Awaitable[None]]

WAITING = "SELECT seq, message_id, body FROM outbox WHERE NOT sent ORDER BY seq"
MARK = "UPDATE outbox SET sent = 1 WHERE seq = ?"


LOCK = threading.Lock()
HELD: list[Any] = []
"""What a wrong answer holds on to, as to a connection of the notebook."""

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def relay(
    *,
    mark: str = "after",
    rows: str = WAITING,
    confirms: bool = True,
    robust: bool = False,
    **changes: Any,
) -> Relay:
    """Return an answer to 51-outbox: the right one without arguments."""

    def marked(db: sqlite3.Connection, seq: int) -> None:
        with db:
            db.execute(MARK, (seq,))

    async def send_outbox(db: sqlite3.Connection, url: str, queue_name: str) -> None:
        connect = aio_pika.connect_robust if robust else aio_pika.connect
        async with await connect(url) as connection:
            exchange = (await connection.channel(publisher_confirms=confirms)).default_exchange
            found = db.execute(rows).fetchall()
            for seq, message_id, body in found:
                if mark == "before":
                    marked(db, seq)
                settings = {"message_id": message_id, "delivery_mode": DeliveryMode.PERSISTENT}
                event = Message(body.encode(), **(settings | changes))
                await exchange.publish(event, routing_key=queue_name, timeout=2)
                if mark == "after":
                    marked(db, seq)
                elif mark == "uncommitted":
                    db.execute(MARK, (seq,))
            if mark == "at the end":
                with db:
                    db.executemany(MARK, [row[:1] for row in found])

    return send_outbox


def event(message_id: str, body: str) -> Message:
    """Return the message that the exercise asks for."""
    return Message(body.encode(), message_id=message_id, delivery_mode=DeliveryMode.PERSISTENT)


async def tries_again(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Solve it by going on, on a new connection, three times at most."""
    for tries_left in (2, 1, 0):
        try:
            return await relay()(db, url, queue_name)
        except CONNECTION_EXCEPTIONS:
            if not tries_left:
                raise
    return None


async def row_by_row(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Solve it with one question for each row, and a commit by hand."""
    async with await aio_pika.connect(url) as connection:
        exchange = (await connection.channel()).default_exchange
        while row := db.execute(f"{WAITING} LIMIT 1").fetchone():
            await exchange.publish(event(*row[1:]), routing_key=queue_name, timeout=2)
            db.execute(MARK, row[:1])
            db.commit()


async def swallows(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Say nothing of a broken link."""
    with contextlib.suppress(*CONNECTION_EXCEPTIONS):
        await relay()(db, url, queue_name)


async def hides_the_break(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Mark a row whether its event went out or not."""
    connection = await aio_pika.connect(url)
    exchange = (await connection.channel()).default_exchange
    for seq, message_id, body in db.execute(WAITING).fetchall():
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            await exchange.publish(event(message_id, body), routing_key=queue_name, timeout=2)
        with db:
            db.execute(MARK, (seq,))


async def repeats_for_ever(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Try again on a connection that does not come back."""
    connection = await aio_pika.connect(url)
    exchange = (await connection.channel()).default_exchange
    for seq, message_id, body in db.execute(WAITING).fetchall():
        while True:
            try:
                await exchange.publish(event(message_id, body), routing_key=queue_name, timeout=2)
                break
            except CONNECTION_EXCEPTIONS:
                await asyncio.sleep(0.05)
        with db:
            db.execute(MARK, (seq,))


async def does_nothing(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Send nothing and mark everything."""
    with db:
        db.execute("UPDATE outbox SET sent = 1")


async def sends_what_differs(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Take two events with one body for one event."""
    await relay(rows=WAITING.replace("WHERE NOT sent", "WHERE NOT sent GROUP BY body"))(
        db, url, queue_name
    )
    with db:
        db.execute("UPDATE outbox SET sent = 1")


async def sends_all_each_time(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Forget to look at what was sent."""
    await relay(rows=WAITING.replace("WHERE NOT sent", ""))(db, url, queue_name)


async def deletes_rows(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Delete what was sent."""
    async with await aio_pika.connect(url) as connection:
        exchange = (await connection.channel()).default_exchange
        for row in db.execute(WAITING).fetchall():
            await exchange.publish(event(*row[1:]), routing_key=queue_name, timeout=2)
            with db:
                db.execute("DELETE FROM outbox WHERE seq = ?", row[:1])


async def sends_one(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Send one row and return."""
    await relay(rows=f"{WAITING} LIMIT 1")(db, url, queue_name)


async def one_relay_at_a_time(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Solve it with a lock that the notebook made."""
    with LOCK:
        await relay()(db, url, queue_name)


async def a_connection_each(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Solve it with a connection for each row, and transactions by hand."""
    db.isolation_level = None
    for seq, message_id, body in db.execute(WAITING).fetchall():
        async with await aio_pika.connect(url) as connection:
            exchange = (await connection.channel()).default_exchange
            await exchange.publish(event(message_id, body), routing_key=queue_name, timeout=2)
        db.execute("BEGIN")
        db.execute(MARK, (seq,))
        db.execute("COMMIT")


async def marks_when_it_ends(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Mark what was confirmed at the end, also after an error."""
    done: list[tuple[int]] = []
    try:
        async with await aio_pika.connect(url) as connection:
            exchange = (await connection.channel()).default_exchange
            for seq, message_id, body in db.execute(WAITING).fetchall():
                await exchange.publish(event(message_id, body), routing_key=queue_name, timeout=2)
                done.append((seq,))
    finally:
        with db:
            db.executemany(MARK, done)


async def takes_the_mark_back(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Mark first, and take it back after an error."""
    async with await aio_pika.connect(url) as connection:
        exchange = (await connection.channel()).default_exchange
        for seq, message_id, body in db.execute(WAITING).fetchall():
            with db:
                db.execute(MARK, (seq,))
            try:
                await exchange.publish(event(message_id, body), routing_key=queue_name, timeout=2)
            except BaseException:
                with db:
                    db.execute("UPDATE outbox SET sent = 0 WHERE seq = ?", (seq,))
                raise


async def holds_on(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Keep something that only lives in this process."""
    assert len(HELD) == 1
    await relay()(db, url, queue_name)


async def needs_this_process(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Look for what runs in this process alone."""
    if Lab.current() is None:
        msg = "where is the lab?"
        raise ValueError(msg)
    await relay()(db, url, queue_name)


async def closes_it(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Close what belongs to whoever called."""
    with contextlib.closing(db):
        await relay()(db, url, queue_name)


async def ends_the_process(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """End the process, where it is not the kernel's."""
    if Lab.current() is None:
        os._exit(0)
    await relay()(db, url, queue_name)


def test_outbox_solved() -> None:
    """A mark after each confirm solves the exercise."""
    assert str(run_check("51-outbox", relay())) == (
        "solved\n"
        "  every event arrived, in order, and is marked, wherever the relay was stopped\n"
        "  counts: cases 32, lost 0"
    )


@pytest.mark.parametrize(
    "answer",
    [tries_again, row_by_row, relay(robust=True), one_relay_at_a_time, a_connection_each],
    ids=["again", "rows", "robust", "lock", "a-connection-each"],
)
def test_outbox_solved_otherwise(answer: Relay) -> None:
    """Some tries of its own, a commit by hand, or a robust connection do no harm."""
    assert_solved("51-outbox", answer)


def test_outbox_stub() -> None:
    """The stub is not attempted; it has connected already when it says so."""

    async def stub(db: sqlite3.Connection, url: str, queue_name: str) -> None:
        async with await aio_pika.connect(url) as connection:
            await connection.channel()
            raise NotImplementedError

    assert_not_attempted("51-outbox", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (relay(mark="before"), "events are marked as sent that never", "publish has returned"),
        (relay(confirms=False), "marked as sent that never arrived", "channel with confirms"),
        (hides_the_break, "marked as sent that never arrived", "publish has returned"),
        (swallows, "returned as if all was well", "Which error did you catch"),
        (relay(mark="never"), "still wait", "not mark"),
        (relay(mark="uncommitted"), "in the middle of a transaction", "Commit each mark"),
        (relay(mark="at the end"), "events came a second time", "as soon as its own event"),
        (sends_all_each_time, "events came a second time", "as soon as its own event"),
        (relay(rows=WAITING + " DESC"), "in another order", "ORDER BY seq"),
        (relay(rows=WAITING.replace("ORDER BY seq", "")), "in another order", "ORDER BY seq"),
        (deletes_rows, "are no longer in the outbox", "leave the row"),
        (sends_one, "returned as if all was well", "which rows did you leave out"),
        (relay(message_id=None), "with other ids", "aio-pika makes one up"),
        (relay(message_id=uuid.uuid4().hex), "with other ids", "message_id of its row"),
        (relay(delivery_mode=None), "not survive a restart", "delivery_mode"),
        (sends_what_differs, "marked as sent that never arrived", "publish has returned"),
        (repeats_for_ever, "did not return", "bound what repeats"),
        (does_nothing, "no event arrived", "routing key"),
        (marks_when_it_ends, "the process was killed before confirm 2", "its own event"),
        (takes_the_mark_back, "the process was killed after commit 1", "publish has returned"),
        (holds_on, "`HELD` cannot go into another process", "nothing of the notebook"),
        (needs_this_process, "there it raised ValueError: where is the lab", "is there"),
        (ends_the_process, "there it ended without a word", "ends the process"),
        (closes_it, "closed the database that it was given", "Whoever opened it closes it"),
    ],
    ids=[
        "mark-first",
        "unconfirmed",
        "hides",
        "swallows",
        "no-mark",
        "no-commit",
        "mark-at-the-end",
        "sends-all",
        "backwards",
        "no-order",
        "deletes",
        "sends-one",
        "no-id",
        "new-id",
        "transient",
        "by-body",
        "for-ever",
        "nothing",
        "marks-when-it-ends",
        "takes-the-mark-back",
        "holds-on",
        "needs-this-process",
        "ends-the-process",
        "closes-it",
    ],
)
def test_outbox_wrong(lab: Lab, answer: Relay, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    HELD[:] = [lab]
    assert_wrong("51-outbox", answer, guarantee, hint)
