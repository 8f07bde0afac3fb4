"""Exercises of notebook 13: an idempotent effect, and the relay of an outbox (C30, C31)."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from collections import Counter
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks.desk import Desk
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aio_pika.abc import AbstractIncomingMessage

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

COUPONS = """
CREATE TABLE coupons (order_id TEXT);
CREATE TABLE processed (message_id TEXT PRIMARY KEY);
"""
OUTBOX = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, message_id TEXT, body TEXT, sent INTEGER DEFAULT 0
);
"""
EVENTS = [f"e-{number}" for number in range(1, 7)]
DELAY = 0.1  # seconds, each way, so that the break meets what is on its way
RUN_SECONDS = 6.0
MOST_COPIES = 2  # the event on its way when the link broke may come twice
WAIT_SECONDS = 5.0


@exercise("13-idempotent", title="Issue one coupon, whatever happens")
def idempotent(answer: Answer, bench: Bench) -> Verdict:
    """`issue_coupon(db, message)`: one coupon for each order, at every kind of second delivery."""
    with Desk(bench) as desk, desk.quiet(), _database(COUPONS) as db:
        for case in (_delivered_twice, _seen_before, _failed_at_first):
            if verdict := case(answer, desk, db):
                return verdict
        with _database(COUPONS) as other:
            if verdict := _on_another_database(answer, desk, other):
                return verdict
    return solved("every order has one coupon", orders=3, deliveries=6, coupons=3)


def _delivered_twice(answer: Answer, desk: Desk, db: sqlite3.Connection) -> Verdict | None:
    """Deliver a message, lose its ack, and deliver it again."""
    desk.publish("o-1")
    with _commits(db) as commits:
        first = desk.take(requeue=True)
        answer(db, first)
    if db.in_transaction:
        return broken(
            "your function returned in the middle of a transaction, and a crash would undo it",
            "`with db:` commits at its end.",
            orders=1,
            coupons=0,
        )
    if not _coupons(db, "o-1"):
        return broken(
            "order o-1 was delivered, and there is no coupon for it",
            "Insert the order's id, message.body.decode(), into coupons.",
            orders=1,
            coupons=0,
        )
    answer(db, desk.take())
    coupons = _coupons(db, "o-1")
    counts = {"orders": 1, "deliveries": 2, "coupons": coupons}
    if coupons != 1:
        return broken(
            f"the worker died before its ack, order o-1 came again, and has {coupons} coupons",
            "What tells the second delivery from the first? Note message.message_id.",
            **counts,
        )
    if len(commits) > 1:
        return broken(
            f"one delivery was committed in {len(commits)} steps: a crash between them leaves the"
            " coupon without its note, or the note without its coupon",
            "Put both inserts into one `with db:` block.",
            **counts,
            commits=len(commits),
        )
    return None


def _failed_at_first(answer: Answer, desk: Desk, db: sqlite3.Connection) -> Verdict | None:
    """Let the effect fail, repair the database, and deliver the message again."""
    desk.publish("o-2")
    db.execute("ALTER TABLE coupons RENAME TO broken")
    failed = answer.attempt(db, desk.take(requeue=True), within=WAIT_SECONDS)
    if db.in_transaction:
        db.rollback()
    db.execute("ALTER TABLE broken RENAME TO coupons")
    if failed.error is None:
        return broken(
            "the coupon could not be written, and your function returned as if all was well",
            "Let the error out: a message whose function returns is acknowledged and gone.",
            orders=1,
            coupons=0,
        )
    answer(db, desk.take())
    coupons = _coupons(db, "o-2")
    if coupons != 1:
        return broken(
            f"the first try for order o-2 failed, the second found it done, and it has {coupons}"
            " coupons",
            "The note must go when the effect fails: one transaction for both, not a note first.",
            orders=1,
            deliveries=2,
            coupons=coupons,
        )
    return None


def _seen_before(answer: Answer, desk: Desk, db: sqlite3.Connection) -> Verdict | None:
    """Redeliver a message that was never worked on, then send a copy that is no redelivery."""
    desk.publish("o-3")
    desk.take(requeue=True)  # another worker had it, and died before it began
    answer(db, desk.take())
    if not (coupons := _coupons(db, "o-3")):
        return broken(
            "another worker died before it began with order o-3, and it has no coupon",
            "message.redelivered says that somebody has seen the message, not that it is done.",
            orders=1,
            deliveries=2,
            coupons=coupons,
        )
    desk.publish("o-3")  # the producer's retry
    answer(db, desk.take())
    coupons = _coupons(db, "o-3")
    if coupons != 1:
        return broken(
            f"the producer sent order o-3 again, with the same id, and it has {coupons} coupons",
            "A copy by the producer is not marked as redelivered. Only the id is the same.",
            orders=1,
            deliveries=3,
            coupons=coupons,
        )
    return None


def _on_another_database(answer: Answer, desk: Desk, db: sqlite3.Connection) -> Verdict | None:
    """Deliver an order to a database that has not seen it: memory must not decide."""
    desk.publish("o-1")
    answer(db, desk.take())
    if _coupons(db, "o-1") != 1:
        return broken(
            "on a new database order o-1 got no coupon: what is done is noted outside of it",
            "A variable is empty after a restart. Keep the note where the coupon is.",
            orders=1,
            coupons=_coupons(db, "o-1"),
        )
    return None


@exercise("13-outbox", title="Relay an outbox without losing an event", deadline=30)
def outbox(answer: Answer, bench: Bench) -> Verdict:
    """`send_outbox(db, url, queue_name)`: every event arrives, through a link that breaks."""
    with Desk(bench) as desk, desk.quiet(), _database(OUTBOX) as db:
        with db:
            rows = [(event, f"body of {event}") for event in EVENTS]
            db.executemany("INSERT INTO outbox (message_id, body) VALUES (?, ?)", rows)
        if verdict := _broken_link(answer, desk, db):
            return verdict
        for _ in range(2):  # the second one finds nothing to do
            answer(db, desk.url, desk.queue)
        time.sleep(0.1)
        return _relayed(desk.take_all(), db)


def _broken_link(answer: Answer, desk: Desk, db: sqlite3.Connection) -> Verdict | None:
    """Break the link at the first mark; the relay may raise."""
    marks: list[str] = []

    def break_at_first_mark(sql: str) -> None:
        if sql.lstrip().upper().startswith("UPDATE"):
            if not marks:
                desk.proxy.cut()
            marks.append(sql)

    desk.proxy.set(delay=DELAY)
    db.set_trace_callback(break_at_first_mark)
    attempt = answer.start(db, desk.url, desk.queue, within=RUN_SECONDS)
    outcome = attempt.outcome()
    db.set_trace_callback(None)
    desk.proxy.cut()
    desk.proxy.clear()
    attempt.stop()
    if db.in_transaction:
        db.rollback()
    if outcome.hung:
        return broken(
            "six events waited, the link broke, and your function did not return",
            "Let the error out, or bound what repeats: publish takes a timeout.",
            events=len(EVENTS),
        )
    if outcome.error is not None and not isinstance(outcome.error, CONNECTION_EXCEPTIONS):
        raise answer.fault(outcome.error)
    return None


def _relayed(messages: list[AbstractIncomingMessage], db: sqlite3.Connection) -> Verdict:
    """Return the verdict on what the queue and the table hold in the end."""
    bodies = [message.body.decode(errors="replace") for message in messages]
    copies = Counter(bodies)
    lost = [event for event in EVENTS if f"body of {event}" not in copies]
    unsent = db.execute("SELECT count(*) FROM outbox WHERE NOT sent").fetchone()[0]
    counts = {"events": len(EVENTS), "lost": len(lost), "copies": len(bodies), "unsent": unsent}
    if lost:
        return broken(
            f"the link broke, and {len(lost)} events are marked as sent that never arrived",
            "Mark a row when its publish has returned, on a channel with confirms, and not before.",
            **counts,
        )
    if any(f"body of {message.message_id}" != message.body.decode() for message in messages):
        return broken(
            "the events came without their ids, so a copy looks like a second event",
            "Give each Message the message_id of its row.",
            **counts,
        )
    if unsent or max(copies.values()) > MOST_COPIES:
        return broken(
            f"{unsent} events arrived and are still marked as waiting: each run sends them again",
            "UPDATE the row after its publish, and commit.",
            **counts,
        )
    if list(dict.fromkeys(bodies)) != [f"body of {event}" for event in EVENTS]:
        return broken(
            "the events arrived in another order than they were written",
            "Read the rows ORDER BY seq, and wait for each confirm before the next publish.",
            **counts,
        )
    return solved("every event arrived, in order, and is marked", events=len(EVENTS), lost=0)


def _coupons(db: sqlite3.Connection, order_id: str) -> int:
    found: int = db.execute(
        "SELECT count(*) FROM coupons WHERE order_id = ?", (order_id,)
    ).fetchone()[0]
    return found


@contextmanager
def _database(schema: str) -> Iterator[sqlite3.Connection]:
    """Make a database in a file, as after a restart; the answer runs in a thread of its own."""
    with (
        tempfile.TemporaryDirectory(prefix="labsvc-check-") as folder,
        closing(sqlite3.connect(Path(folder, "check.db"), check_same_thread=False)) as db,
    ):
        db.executescript(schema)
        yield db


@contextmanager
def _commits(db: sqlite3.Connection) -> Iterator[list[str]]:
    """Collect the commits of transactions that changed something."""
    found: list[str] = []
    db.set_trace_callback(lambda sql: found.append(sql) if sql == "COMMIT" else None)
    try:
        yield found
    finally:
        db.set_trace_callback(None)
