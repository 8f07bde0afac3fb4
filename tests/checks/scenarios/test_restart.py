from __future__ import annotations

import contextlib
import json
import sqlite3
import sys
from typing import TYPE_CHECKING, Any

import aio_pika
import cloudpickle
import pytest
from aio_pika import Message
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.delivery.idempotent import AioIdempotent
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "T5-restart"
WAITING = "SELECT seq, message_id, body FROM outbox WHERE NOT sent ORDER BY seq"
MARK = "UPDATE outbox SET sent = 1 WHERE seq = ?"
ROW = "INSERT INTO outbox (message_id, body) VALUES (?, ?)"
NOTE = "INSERT OR IGNORE INTO handled VALUES (?)"
STATE = "INSERT OR REPLACE INTO orders VALUES (?, ?)"
TAKE = "UPDATE stock SET units = units - ? WHERE sku = ? AND units >= ?"
GIVE = "UPDATE stock SET units = units + ? WHERE sku = ?"
ODD = (ValueError, LookupError, TypeError)
HELD: list[Any] = [sqlite3.connect(":memory:")]
SEEN: set[str] = set()

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def read(body: bytes) -> list[Any]:
    """Return the fields of a message."""
    found = json.loads(body)
    fields = [found[each] for each in ("kind", "order_id", "sku", "units")]
    if fields[0] not in ("order", "cancel"):
        raise ValueError(fields)
    return fields


def state_of(db: sqlite3.Connection, order: str) -> Any:
    """Return the state of an order, None of one that is not known."""
    found = db.execute("SELECT state FROM orders WHERE order_id = ?", (order,)).fetchone()
    return found and found[0]


def apply(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Write what a message is about, and return its outcome."""
    before, outcome = state_of(db, order), "cancelled"
    if kind == "cancel" and before == "taken":
        db.execute(GIVE, (units, sku))
    if kind == "order":
        is_taken = before is None and db.execute(TAKE, (units, sku, units)).rowcount
        outcome = "taken" if is_taken else "refused"
    db.execute(STATE, (order, outcome))
    return outcome


def handle(db: sqlite3.Connection, message: Any, fields: list[Any], apply: Any = apply) -> None:
    """Do all of one message in one transaction."""
    with db:
        if db.execute(NOTE, (message.message_id,)).rowcount:
            told = {"order_id": fields[1], "outcome": apply(db, *fields)}
            db.execute(ROW, (message.message_id, json.dumps(told)))


def sender(rows: str = WAITING, marks: str = "after", **changes: Any) -> Callable[..., Any]:
    """Return what sends the rows that wait, and marks them."""
    done = "DELETE FROM outbox WHERE seq = ?" if marks == "deletes" else MARK

    async def send(db: sqlite3.Connection, channel: Any, events: str) -> None:
        found = db.execute(rows).fetchall()
        for seq, message_id, body in found:
            settings = {"message_id": message_id, "delivery_mode": 2} | changes
            event = Message(body.encode(), **settings)
            if marks == "before":
                db.execute(done, (seq,))
                db.commit()
            await channel.default_exchange.publish(event, events, timeout=5)
            if marks in ("after", "deletes"):
                db.execute(done, (seq,))
                db.commit()
        if marks == "at the end":
            with db:
                db.executemany(done, [row[:1] for row in found])

    return send


async def marks_all(db: sqlite3.Connection, channel: Any, events: str) -> None:
    """Mark all that waits when one is sent."""
    for _, message_id, body in db.execute(WAITING).fetchall():
        event = Message(body.encode(), message_id=message_id, delivery_mode=2)
        await channel.default_exchange.publish(event, events, timeout=5)
        with db:
            db.execute("UPDATE outbox SET sent = 1")


def serve(
    read: Callable[[bytes], list[Any]] = read,
    handle: Callable[..., Any] = handle,
    odd: Any = ODD,
    ack: str = "last",
    put_aside: Callable[[Any], Any] = lambda message: message.reject(requeue=False),
) -> Callable[..., Any]:
    """Return what handles one message."""

    async def serve_one(db: sqlite3.Connection, message: Any) -> None:
        try:
            fields = read(message.body)
            if ack == "first":
                await message.ack()
            if odd is Exception:
                handle(db, message, fields)
        except odd:
            await put_aside(message)
            return
        if odd is not Exception:
            handle(db, message, fields)
        if ack == "last":
            await message.ack()

    return serve_one


def worker(
    serve: Callable[..., Any] = serve(),  # noqa: B008  # a function without a state
    send: Callable[..., Any] = sender(),  # noqa: B008
    sends: str = "always",
    *,
    confirms: bool = True,
    at_once: int = 1,
) -> Callable[..., Any]:
    """Return an answer, right but for what is said here."""

    async def catch_up(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
        async with await aio_pika.connect(url, timeout=5) as connection:
            channel = await connection.channel(publisher_confirms=confirms)
            queue = await channel.get_queue(inbox)
            if sends in ("always", "at the start"):
                await send(db, channel, events)
            while taken := await some(queue, at_once):
                for message in taken:
                    await serve(db, message)
                if sends == "always":
                    await send(db, channel, events)
            if sends == "at the end":
                await send(db, channel, events)

    return catch_up


async def some(queue: Any, most: int) -> list[Any]:
    """Take so many messages at most."""
    taken: list[Any] = []
    while len(taken) < most and (message := await queue.get(fail=False)):
        taken.append(message)
    return taken


async def with_an_iterator(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Solve it with a consumer, five at most, until nothing comes for a while."""
    async with await aio_pika.connect(url, timeout=5) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def send() -> None:
            for seq, message_id, body in db.execute(WAITING).fetchall():
                event = Message(body.encode(), message_id=message_id, delivery_mode=2)
                await channel.default_exchange.publish(event, events)
                db.execute(MARK, (seq,))
                db.commit()

        await send()
        queue = await channel.get_queue(inbox)
        with contextlib.suppress(TimeoutError):
            async with queue.iterator(timeout=0.5) as messages:
                async for message in messages:
                    try:
                        fields = read(message.body)
                    except ODD:
                        await message.nack(requeue=False)
                        continue
                    handle(db, message, fields)
                    await message.ack()
                    await send()


async def by_hand(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Solve it with transactions that are begun by hand, by SELECTs, and tries of its own."""
    for left in (2, 1, 0):
        try:
            await worker(serve(handle=immediately))(db, url, inbox, events)
        except CONNECTION_EXCEPTIONS:
            if not left:
                raise
        else:
            return


def immediately(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Look first, in a transaction that keeps others out."""
    kind, order, sku, units = fields
    db.execute("BEGIN IMMEDIATE")
    try:
        known = "SELECT 1 FROM handled WHERE message_id = ?"
        if not db.execute(known, (message.message_id,)).fetchone():
            has = db.execute("SELECT units FROM stock WHERE sku = ?", (sku,)).fetchone()
            before, outcome = state_of(db, order), "cancelled"
            if kind == "order":
                fits = before is None and has is not None and has[0] >= units
                outcome = "taken" if fits else "refused"
            change = {"taken": -units}.get(outcome, units if before == outcome else 0)
            if kind == "cancel":
                change = units if before == "taken" else 0
            if change and has:
                set_units = "UPDATE stock SET units = ? WHERE sku = ?"
                db.execute(set_units, (has[0] + min(change, units), sku))
            db.execute(STATE, (order, outcome))
            told = {"outcome": outcome, "order_id": order}
            db.execute(ROW, (message.message_id, json.dumps(told, indent=1)))
            db.execute("INSERT INTO handled VALUES (?)", (message.message_id,))
        db.execute("COMMIT")
    except BaseException:
        db.rollback()
        raise


async def with_the_package(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Solve it with a module of the course."""

    def effect(db: sqlite3.Connection, message: Any) -> None:
        fields = read(message.body)
        told = {"order_id": fields[1], "outcome": apply(db, *fields)}
        db.execute(ROW, (message.message_id, json.dumps(told)))

    once = AioIdempotent(db, effect, consumer="catch_up")

    def handle_once(_: Any, message: Any, __: Any) -> None:
        once.apply(message)

    await worker(serve(handle=handle_once))(db, url, inbox, events)


def without_a_note(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Take each message for a new one."""
    with db:
        told = {"order_id": fields[1], "outcome": apply(db, *fields)}
        db.execute(ROW, (message.message_id, json.dumps(told)))


def note_first(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Commit the note before the effect."""
    with db:
        is_new = db.execute(NOTE, (message.message_id,)).rowcount
    if is_new:
        without_a_note(db, message, fields)


def note_last(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Commit the note behind the effect."""
    known = "SELECT 1 FROM handled WHERE message_id = ?"
    if not db.execute(known, (message.message_id,)).fetchone():
        without_a_note(db, message, fields)
        with db:
            db.execute(NOTE, (message.message_id,))


def in_memory(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Note what was done in a variable."""
    if message.message_id not in SEEN:
        without_a_note(db, message, fields)
        SEEN.add(message.message_id)


def if_redelivered(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Take what comes again for done."""
    if not message.redelivered:
        handle(db, message, fields)


def row_last(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Commit the row of the outbox behind the effect."""
    with db:
        is_new = db.execute(NOTE, (message.message_id,)).rowcount
        outcome = apply(db, *fields) if is_new else ""
    if is_new:
        with db:
            told = {"order_id": fields[1], "outcome": outcome}
            db.execute(ROW, (message.message_id, json.dumps(told)))


def open_ended(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Commit, and leave the block without one when it raises."""
    if db.execute(NOTE, (message.message_id,)).rowcount:
        told = {"order_id": fields[1], "outcome": apply(db, *fields)}
        db.execute(ROW, (message.message_id, json.dumps(told)))
    db.commit()


def looks_first(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Read the stock, and write what is left."""
    found = db.execute("SELECT units FROM stock WHERE sku = ?", (fields[2],)).fetchone()

    def late(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
        if kind == "cancel":
            return apply(db, kind, order, sku, units)
        fits = state_of(db, order) is None and found is not None and found[0] >= units
        if fits:
            db.execute("UPDATE stock SET units = ? WHERE sku = ?", (found[0] - units, sku))
        outcome = "taken" if fits else "refused"
        db.execute(STATE, (order, outcome))
        return outcome

    handle(db, message, fields, late)


def checks_first(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Read whether enough is there, and take it with no other condition."""
    found = db.execute("SELECT units FROM stock WHERE sku = ?", (fields[2],)).fetchone()

    def late(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
        if kind == "order" and (found is None or found[0] < units):
            db.execute(STATE, (order, "refused"))
            return "refused"
        if kind == "order" and state_of(db, order) is None:
            db.execute(TAKE, (units, sku, -100))
            db.execute(STATE, (order, "taken"))
            return "taken"
        return apply(db, kind, order, sku, units)

    handle(db, message, fields, late)


def with_no_condition(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Take what is not there."""
    if kind == "order" and state_of(db, order) is None:
        db.execute(TAKE, (units, sku, -100))
        db.execute(STATE, (order, "taken"))
        return "taken"
    return apply(db, kind, order, sku, units)


def gives_back_always(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Give back what was never taken."""
    if kind == "cancel" and state_of(db, order) != "taken":
        db.execute(GIVE, (units, sku))
    return apply(db, kind, order, sku, units)


def forgets_the_cancel(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Leave nothing behind of a cancel without an order."""
    if kind == "cancel" and state_of(db, order) is None:
        return "cancelled"
    return apply(db, kind, order, sku, units)


def refuses_the_cancel(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Call a cancel without an order refused."""
    new = kind == "cancel" and state_of(db, order) is None
    outcome = apply(db, kind, order, sku, units)
    return "refused" if new else outcome


def gives_back_a_refusal(
    db: sqlite3.Connection, kind: str, order: str, sku: str, units: int
) -> str:
    """Give back what was refused."""
    if kind == "cancel" and state_of(db, order) == "refused":
        db.execute(GIVE, (units, sku))
    return apply(db, kind, order, sku, units)


def keeps_the_units(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Cancel, and give nothing back."""
    return apply(db, kind, order, sku, 0 if kind == "cancel" else units)


def by(change: Callable[..., str]) -> Callable[..., Any]:
    """Return an answer that applies messages in another way."""
    return worker(serve(handle=lambda db, message, fields: handle(db, message, fields, change)))


def anything(body: bytes) -> list[Any]:
    """Take any kind for one."""
    found = json.loads(body)
    return [found[each] for each in ("kind", "order_id", "sku", "units")]


async def without_an_outbox(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Publish behind the commit, and keep no row."""
    async with await aio_pika.connect(url, timeout=5) as connection:
        channel = await connection.channel()
        queue = await channel.get_queue(inbox)
        while message := await queue.get(fail=False):
            try:
                fields = read(message.body)
            except ODD:
                await message.reject(requeue=False)
                continue
            with db:
                db.execute("UPDATE outbox SET sent = 1")
                outcome = apply(db, *fields)
            told = json.dumps({"order_id": fields[1], "outcome": outcome}).encode()
            event = Message(told, message_id=message.message_id, delivery_mode=2)
            await channel.default_exchange.publish(event, events)
            await message.ack()


async def acknowledges_inside(db: sqlite3.Connection, message: Any) -> None:
    """Acknowledge before the transaction is committed."""
    try:
        fields = read(message.body)
    except ODD:
        await message.reject(requeue=False)
        return
    with db:
        if db.execute(NOTE, (message.message_id,)).rowcount:
            told = {"order_id": fields[1], "outcome": apply(db, *fields)}
            db.execute(ROW, (message.message_id, json.dumps(told)))
        await message.ack()


async def swallows(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Say nothing of a broken link."""
    with contextlib.suppress(*CONNECTION_EXCEPTIONS):
        await worker()(db, url, inbox, events)


async def of_the_notebook(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Hold on to what is in another process."""
    assert HELD
    await worker()(db, url, inbox, events)


async def does_nothing(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Return."""


async def misspelt(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Use a name that does not exist."""
    await aio_pika.connect(ulr)  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "answer",
    [worker(), worker(at_once=5), with_an_iterator, by_hand, with_the_package],
    ids=["plain", "five", "iterator", "by_hand", "package"],
)
def test_restart_solved(answer: Callable[..., Any]) -> None:
    """Whatever keeps the six points solves it."""
    assert_solved(EXERCISE, answer)


def test_restart_stub() -> None:
    """The stub is not attempted."""

    async def stub(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (worker(serve(ack="first")), "have no row in the outbox", "then the ack"),
        (worker(serve(ack="never")), "messages are in the queue", "Acknowledge each message"),
        (worker(serve(handle=without_a_note)), "came again, and has 3 rows", "`handled`"),
        (worker(serve(handle=note_first)), "have no row in the outbox", "one transaction"),
        (worker(serve(handle=note_last)), "came again, and has 2 rows", "in the transaction"),
        (worker(serve(handle=in_memory)), "came again, and has 2 rows", "in the transaction"),
        (worker(serve(handle=if_redelivered)), "have no row in the outbox", "one transaction"),
        (worker(serve(handle=row_last)), "have no row in the outbox", "one transaction"),
        (worker(serve(handle=open_ended)), "its transaction is still open", "Notebook 51"),
        (worker(serve(handle=looks_first)), "another process sold 1 of 10 units", "Notebook 52"),
        (worker(serve(handle=checks_first)), "another process sold 1 of 10 units", "Notebook 52"),
        (by(with_no_condition), "an event says", "Which messages of this order"),
        (by(gives_back_always), ": 19 units are in stock, not 8", "what its order took, once"),
        (by(forgets_the_cancel), "a cancel came before its order: an event", "Notebook 53"),
        (by(refuses_the_cancel), "a cancel came before its order: an event", "Notebook 53"),
        (by(gives_back_a_refusal), "an order was cancelled: ", "Notebook 53"),
        (worker(acknowledges_inside), "have no row in the outbox", "then the ack"),
        (by(keeps_the_units), "an order was cancelled: ", "Notebook 53"),
        (worker(serve(odd=Exception)), "its error did not leave your function", "Notebook 51"),
        (worker(serve(odd=ValueError)), "Error", "Try that line"),
        (worker(serve(read=anything)), "not in the dead-letter queue", "Reject it"),
        (
            worker(serve(put_aside=lambda message: message.reject(requeue=True))),
            "by the limit",
            "which parameter of reject",
        ),
        (
            worker(serve(put_aside=lambda message: message.ack())),
            "not in the dead-letter queue",
            "Reject it",
        ),
        (worker(at_once=50), "taken before the first one was done", "Notebook 50"),
        (worker(sends="at the start"), "events wait in the outbox", "after each message"),
        (worker(sends="never"), "events wait in the outbox", "after each message"),
        (worker(send=sender(marks="before")), "marked as sent, and never arrived", "Notebook 51"),
        (
            worker(send=sender(marks="at the end"), sends="at the end"),
            "went out a second time",
            "Mark each row",
        ),
        (worker(send=sender(marks="deletes")), "have no row in the outbox", "No row goes"),
        (
            worker(send=sender(rows=WAITING.replace("ORDER BY seq", ""))),
            "another order",
            "ORDER BY",
        ),
        (worker(send=marks_all), "marked as sent, and never arrived", "its publish has returned"),
        (worker(confirms=False), "marked as sent, and never arrived", "confirms"),
        (worker(send=sender(message_id=None)), "another message_id than its row", "makes one up"),
        (worker(send=sender(delivery_mode=1)), "restart of the broker", "Notebook 50"),
        (without_an_outbox, "have no row in the outbox", "Notebook 51"),
        (swallows, "wait in the outbox", "Notebook 51"),
        (of_the_notebook, "cannot go into another process", "outlives it"),
        (does_nothing, "events wait in the outbox", "Notebook 51"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_restart_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
