from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import Message

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    Issue = Callable[[sqlite3.Connection, Any], None]
    Relay = Callable[[sqlite3.Connection, str, str], Awaitable[None]]

SEEN: set[str] = set()
"""What a wrong answer keeps in memory."""


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Forget what wrong answers remember; no thread of an answer runs on."""
    SEEN.clear()
    yield
    give_up_at = time.monotonic() + 10
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def add(db: sqlite3.Connection, message: Any) -> None:
    """Insert the coupon."""
    db.execute("INSERT INTO coupons VALUES (?)", (message.body.decode(),))


def note(db: sqlite3.Connection, message: Any) -> bool:
    """Insert the note; return whether it was new."""
    new = db.execute("INSERT OR IGNORE INTO processed VALUES (?)", (message.message_id,))
    return bool(new.rowcount)


def issue_coupon(db: sqlite3.Connection, message: Any) -> None:
    """Solve the exercise."""
    with db:
        if note(db, message):
            add(db, message)


def by_the_error(db: sqlite3.Connection, message: Any) -> None:
    """Solve it with the error of the unique key."""
    try:
        with db:
            db.execute("INSERT INTO processed VALUES (?)", (message.message_id,))
            add(db, message)
    except sqlite3.IntegrityError:
        pass


def no_note(db: sqlite3.Connection, message: Any) -> None:
    """Issue a coupon for each delivery."""
    with db:
        add(db, message)


def skips_redelivered(db: sqlite3.Connection, message: Any) -> None:
    """Take the broker's flag for a note."""
    if not message.redelivered:
        no_note(db, message)


def notes_first(db: sqlite3.Connection, message: Any) -> None:
    """Commit the note, then the coupon."""
    with db:
        new = note(db, message)
    if new:
        no_note(db, message)


def notes_last(db: sqlite3.Connection, message: Any) -> None:
    """Commit the coupon, then the note."""
    found = db.execute("SELECT 1 FROM processed WHERE message_id = ?", (message.message_id,))
    if not found.fetchone():
        no_note(db, message)
        with db:
            note(db, message)


def in_memory(db: sqlite3.Connection, message: Any) -> None:
    """Keep the ids in a variable."""
    if message.message_id not in SEEN:
        no_note(db, message)
        SEEN.add(message.message_id)


def in_memory_first(db: sqlite3.Connection, message: Any) -> None:
    """Keep the ids in a variable, and note them before the work."""
    if message.message_id not in SEEN:
        SEEN.add(message.message_id)
        no_note(db, message)


def swallows(db: sqlite3.Connection, message: Any) -> None:
    """Hide every error of the database."""
    with contextlib.suppress(sqlite3.Error):
        issue_coupon(db, message)


def never_commits(db: sqlite3.Connection, message: Any) -> None:
    """Leave the transaction open."""
    if note(db, message):
        add(db, message)


def does_nothing(db: sqlite3.Connection, message: Any) -> None:
    """Write nothing."""


@pytest.mark.parametrize("answer", [issue_coupon, by_the_error])
def test_idempotent_solved(answer: Issue) -> None:
    """A note in the transaction of the coupon solves the exercise."""
    verdict = run_check("13-idempotent", answer)
    assert str(verdict) == (
        "solved\n  every order has one coupon\n  counts: orders 3, deliveries 6, coupons 3"
    )


def test_idempotent_stub() -> None:
    """The stub is not attempted."""

    def stub(db: sqlite3.Connection, message: Any) -> None:
        raise NotImplementedError

    assert run_check("13-idempotent", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (no_note, "came again, and has 2 coupons", "Note message.message_id"),
        (skips_redelivered, "died before it began", "not that it is done"),
        (notes_first, "committed in 2 steps", "one `with db:` block"),
        (notes_last, "committed in 2 steps", "one `with db:` block"),
        (in_memory, "on a new database", "empty after a restart"),
        (in_memory_first, "it has 0 coupons", "note must go when the effect fails"),
        (swallows, "returned as if all was well", "Let the error out"),
        (never_commits, "in the middle of a transaction", "commits at its end"),
        (does_nothing, "there is no coupon", "message.body.decode()"),
    ],
)
def test_idempotent_wrong(answer: Issue, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("13-idempotent", answer, guarantee, hint)


def relay(
    *, mark: str = "after", confirms: bool = True, order: str = "seq", ids: bool = True
) -> Relay:
    """Return an answer to 13-outbox: the right one without arguments."""

    def marked(db: sqlite3.Connection, seq: int) -> None:
        with db:
            db.execute("UPDATE outbox SET sent = 1 WHERE seq = ?", (seq,))

    async def send_outbox(db: sqlite3.Connection, url: str, queue_name: str) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel(publisher_confirms=confirms)
            waiting = f"SELECT seq, message_id, body FROM outbox WHERE NOT sent ORDER BY {order}"  # noqa: S608
            for seq, message_id, body in db.execute(waiting).fetchall():
                if mark == "before":
                    marked(db, seq)
                event = Message(body.encode(), message_id=message_id if ids else None)
                await channel.default_exchange.publish(event, routing_key=queue_name, timeout=2)
                if mark == "after":
                    marked(db, seq)

    return send_outbox


async def hides_the_break(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Mark a row whether its event went out or not."""
    connection = await aio_pika.connect(url)
    exchange = (await connection.channel()).default_exchange
    rows = db.execute("SELECT seq, message_id, body FROM outbox WHERE NOT sent ORDER BY seq")
    for seq, message_id, body in rows.fetchall():
        try:
            event = Message(body.encode(), message_id=message_id)
            await exchange.publish(event, routing_key=queue_name, timeout=2)
        except (aio_pika.exceptions.AMQPError, RuntimeError, OSError):
            pass
        with db:
            db.execute("UPDATE outbox SET sent = 1 WHERE seq = ?", (seq,))


async def repeats_for_ever(db: sqlite3.Connection, url: str, queue_name: str) -> None:
    """Try again on a connection that does not come back."""
    connection = await aio_pika.connect(url)
    exchange = (await connection.channel()).default_exchange
    rows = db.execute("SELECT seq, message_id, body FROM outbox WHERE NOT sent ORDER BY seq")
    for seq, message_id, body in rows.fetchall():
        while True:
            try:
                event = Message(body.encode(), message_id=message_id)
                await exchange.publish(event, routing_key=queue_name, timeout=2)
                break
            except (aio_pika.exceptions.AMQPError, RuntimeError, OSError):
                await asyncio.sleep(0.05)
        with db:
            db.execute("UPDATE outbox SET sent = 1 WHERE seq = ?", (seq,))


def test_outbox_solved() -> None:
    """A mark after each confirm solves the exercise."""
    verdict = run_check("13-outbox", relay())
    assert str(verdict) == (
        "solved\n  every event arrived, in order, and is marked\n  counts: events 6, lost 0"
    )


def test_outbox_stub() -> None:
    """The stub is not attempted."""

    async def stub(db: sqlite3.Connection, url: str, queue_name: str) -> None:
        raise NotImplementedError

    assert run_check("13-outbox", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (relay(mark="before"), "1 events are marked as sent that never", "publish has returned"),
        (relay(confirms=False), "marked as sent that never arrived", "channel with confirms"),
        (hides_the_break, "marked as sent that never arrived", "publish has returned"),
        (relay(mark="never"), "each run sends them again", "UPDATE the row after"),
        (relay(order="seq DESC"), "in another order", "ORDER BY seq"),
        (relay(ids=False), "came without their ids", "message_id of its row"),
        (repeats_for_ever, "did not return", "bound what repeats"),
    ],
    ids=["mark-first", "unconfirmed", "hides", "no-mark", "backwards", "no-id", "for-ever"],
)
def test_outbox_wrong(answer: Relay, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("13-outbox", answer, guarantee, hint)
