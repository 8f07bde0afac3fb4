"""Exercise of notebook 51: an idempotent effect (C30)."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import live
from labsvc.checks.queue_sandbox import QueueSandbox, database, file_of, names
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.sweep import Database

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

COUPONS = """
CREATE TABLE coupons (order_id TEXT);
CREATE TABLE processed (message_id TEXT PRIMARY KEY);
"""
KILLED_SECONDS = 8.0
WRITTEN = "SELECT (SELECT count(*) FROM coupons), (SELECT count(*) FROM processed)"


@exercise("51-idempotent", title="Issue one coupon, whatever happens", kind="function", deadline=30)
def idempotent(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`issue_coupon(db, message)`: one coupon for each order, at every kind of second delivery."""
    cases = Cases(answer, sandbox)
    ways = (_delivered_twice, _seen_before, _failed_at_first, _on_another_database)
    return (
        next(filter(None, map(cases.broken, ways)), None)
        or cases.broken(_is_killed, only=("killed",), within=KILLED_SECONDS)
        or solved("every order has one coupon", cases=cases.count)
    )


def _is_killed(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Kill the worker at its delivery, its commits and its ack, and deliver the message again."""
    desk, db = _desk(room)
    [order] = names("o", 1)
    desk.publish(order)
    args = Database(Path(file_of(db))), run.door(desk.broker).url, desk.queue
    if verdict := live(run, answer.function, _worker(answer.function), *args):
        return verdict
    if run.struck:
        answer(db, desk.take())
    coupons = _coupons(db, order)
    return first_broken(
        (
            coupons > 1,
            f"order {order} came again, and has {coupons} coupons",
            "One `with db:` block for both: the note is there when the coupon is.",
        ),
        (
            not coupons,
            f"order {order} came again, found itself done, and has no coupon",
            "One `with db:` block for both: the note is there only when the coupon is.",
        ),
        orders=1,
        deliveries=2,
        coupons=coupons,
    )


def _worker(issue: Callable[[sqlite3.Connection, Any], None]) -> Callable[..., Any]:
    """Return a worker that handles one message; it travels with what it calls."""

    async def work(db: sqlite3.Connection, url: str, queue: str) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            message = await (await channel.get_queue(queue)).get(timeout=5)
            issue(db, message)
            await message.ack()

    return work


def _desk(room: Sandbox) -> tuple[QueueSandbox, sqlite3.Connection]:
    """Make a queue, and a database for the coupons."""
    return room.enter(QueueSandbox(room)), room.enter(database(COUPONS))


def _delivered_twice(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Deliver a message, lose its ack, and deliver it again."""
    desk, db = _desk(room)
    [order] = names("o", 1)
    desk.publish(order)
    answer(db, desk.take(requeue=True))
    if verdict := first_broken(
        (
            db.in_transaction,
            "your function returned in the middle of a transaction, and a crash would undo it",
            "`with db:` commits at its end.",
        ),
        (
            not _coupons(db, order),
            f"order {order} was delivered, and there is no coupon for it",
            "Insert the order's id, message.body.decode(), into coupons.",
        ),
        orders=1,
        coupons=0,
    ):
        return verdict
    answer(db, desk.take())
    coupons = _coupons(db, order)
    return first_broken(
        (
            coupons != 1,
            f"the worker died before its ack, order {order} came again, and has {coupons} coupons",
            "What tells the second delivery from the first? Note message.message_id.",
        ),
        orders=1,
        deliveries=2,
        coupons=coupons,
    )


def _seen_before(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Redeliver a message that was never worked on, then send a copy that is no redelivery."""
    desk, db = _desk(room)
    [order] = names("o", 1)
    desk.publish(order)
    desk.take(requeue=True)  # another worker had it, and died before it began
    answer(db, desk.take())
    if not (coupons := _coupons(db, order)):
        return broken(
            f"another worker died before it began with order {order}, and it has no coupon",
            "message.redelivered says that somebody has seen the message, not that it is done.",
            orders=1,
            deliveries=2,
            coupons=coupons,
        )
    desk.publish(order)  # the producer's retry
    answer(db, desk.take())
    coupons = _coupons(db, order)
    if coupons != 1:
        return broken(
            f"the producer sent order {order} again, with the same id, and it has {coupons}"
            " coupons",
            "A copy by the producer is not marked as redelivered. Only the id is the same.",
            orders=1,
            deliveries=3,
            coupons=coupons,
        )
    return None


def _failed_at_first(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the write to each table fail once."""
    desk, db = _desk(room)
    for table in ("coupons", "processed"):
        if verdict := _without(table, answer, desk, db):
            return verdict
    return None


def _without(
    table: str, answer: Submission, desk: QueueSandbox, db: sqlite3.Connection
) -> Verdict | None:
    """Let the write to a table fail, repair the table, and deliver the message again.

    The worker goes on with its connection, so a transaction that the answer left open stays open.
    """
    [order] = names("o", 1)
    desk.publish(order)
    before = db.execute(WRITTEN).fetchone()
    db.execute(f"ALTER TABLE {table} RENAME TO broken")
    failed = answer.attempt(db, desk.take(requeue=True), allow=sqlite3.Error)
    db.execute(f"ALTER TABLE broken RENAME TO {table}")
    if failed.error is None and not _coupons(db, order):
        return broken(
            "the coupon could not be written, and your function returned as if all was well",
            "Let the error out: a message whose function returns is acknowledged and gone.",
            orders=1,
            coupons=0,
        )
    if db.in_transaction and db.execute(WRITTEN).fetchone() != before:
        return broken(
            f"an error of the database left your function, and what it wrote of order {order} is"
            " in a transaction that is still open: the next commit keeps it",
            "`with db:` undoes everything when its block raises. Who does it here?",
            orders=1,
            deliveries=1,
        )
    answer(db, desk.take())
    coupons = _coupons(db, order)
    if coupons != 1:
        return broken(
            f"the first try for order {order} failed, the second found it done, and it has"
            f" {coupons} coupons",
            "The note must go when the effect fails: one transaction for both, not a note first.",
            orders=1,
            deliveries=2,
            coupons=coupons,
        )
    return None


def _on_another_database(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Deliver an order to a second database, which has not seen it: memory must not decide."""
    desk, first = _desk(room)
    db = room.enter(database(COUPONS))
    [order] = names("o", 1)
    for each in (first, db):
        desk.publish(order)
        answer(each, desk.take())
    if _coupons(db, order) != 1:
        return broken(
            f"on a new database order {order} got no coupon: what is done is noted outside of it",
            "A variable is empty after a restart. Keep the note where the coupon is.",
            orders=1,
            coupons=_coupons(db, order),
        )
    return None


def _coupons(db: sqlite3.Connection, order_id: str) -> int:
    found: int = db.execute(
        "SELECT count(*) FROM coupons WHERE order_id = ?", (order_id,)
    ).fetchone()[0]
    return found
