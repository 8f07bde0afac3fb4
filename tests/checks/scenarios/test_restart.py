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
STATE = "INSERT OR REPLACE INTO orders VALUES (?, ?, ?, ?)"
KNOWN = "SELECT state, sku, units FROM orders WHERE order_id = ?"
TAKE = "UPDATE stock SET units = units - ? WHERE sku = ? AND units >= ?"
GIVE = "UPDATE stock SET units = units + ? WHERE sku = ?"
ODD = (ValueError, LookupError, TypeError, RecursionError)
HELD: list[Any] = [sqlite3.connect(":memory:")]
SEEN: set[str] = set()

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


def reader(
    *,
    most: Any = 1000,
    least: float = 1,
    number: Any = lambda units: type(units) is int,
    kinds: Any = ("order", "cancel"),
    text: Callable[[Any], Any] = lambda text: isinstance(text, str) and text.encode() != b"",
    decoded: Callable[[bytes], Any] = bytes.decode,
    tidied: Callable[[Any], Any] = lambda value: value,
) -> Callable[[bytes], list[Any]]:
    """Return what reads a body, right but for what is said here."""

    def read(body: bytes) -> list[Any]:
        found = json.loads(decoded(body))
        keys = ("order_id",) if found["kind"] == "cancel" else ("order_id", "sku", "units")
        kind, texts = found["kind"], [found[key] for key in keys[:2]]
        if kind not in kinds or not all(map(text, texts)):
            raise ValueError(texts)
        if kind == "cancel":
            return [kind, tidied(texts[0]), None, None]
        units = found["units"]
        if not number(units) or not least <= units <= most:
            raise ValueError(units)
        return [kind, *map(tidied, texts), units]

    return read


read = reader()


def order_of(db: sqlite3.Connection, order: str) -> tuple[Any, Any, Any]:
    """Return state, sku and units of an order; each is None if it is not known."""
    return db.execute(KNOWN, (order,)).fetchone() or (None, None, None)


def state_of(db: sqlite3.Connection, order: str) -> Any:
    """Return the state of an order, None of one that is not known."""
    return order_of(db, order)[0]


def apply(
    db: sqlite3.Connection, kind: str, order: str, sku: str, units: int, *, most: int = 1000
) -> str:
    """Write what a message is about, and return its outcome; `most` units are given back."""
    (before, of, held), outcome = order_of(db, order), "cancelled"
    if kind == "cancel" and before == "taken":
        db.execute(GIVE, (min(held, most), of))
    if kind == "order":
        is_taken = before is None and db.execute(TAKE, (units, sku, units)).rowcount
        outcome = "taken" if is_taken else "refused"
    db.execute(STATE, (order, outcome, sku, units))
    return outcome


def handle(db: sqlite3.Connection, message: Any, fields: list[Any], apply: Any = apply) -> None:
    """Do all of one message in one transaction."""
    with db:
        if db.execute(NOTE, (message.message_id,)).rowcount:
            told = {"order_id": fields[1], "outcome": apply(db, *fields)}
            db.execute(ROW, (message.message_id, json.dumps(told)))


def sender(
    rows: str = WAITING,
    marks: str = "after",
    made: Callable[[str], bytes] = str.encode,
    timeout: float | None = 5,
    **changes: Any,
) -> Callable[..., Any]:
    """Return what sends the rows that wait, and marks them."""
    done = "DELETE FROM outbox WHERE seq = ?" if marks == "deletes" else MARK

    async def send(db: sqlite3.Connection, channel: Any, events: str) -> None:
        found = db.execute(rows).fetchall()
        for seq, message_id, body in found:
            settings = {"message_id": message_id, "delivery_mode": 2} | changes
            event = Message(made(body), **settings)
            if marks == "before":
                with db:
                    db.execute(done, (seq,))
            await channel.default_exchange.publish(event, events, timeout=timeout)
            if marks in ("after", "deletes"):
                with db:
                    db.execute(done, (seq,))
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
                await channel.default_exchange.publish(event, events, timeout=5)
                with db:
                    db.execute(MARK, (seq,))

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
    for left in (1, 0):
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
            before, of, held = order_of(db, order)
            sku, outcome = of if kind == "cancel" else sku, "cancelled"
            has = db.execute("SELECT units FROM stock WHERE sku = ?", (sku,)).fetchone()
            if kind == "order":
                fits = before is None and has is not None and has[0] >= units
                outcome = "taken" if fits else "refused"
            change = {"taken": -(units or 0)}.get(outcome, 0)
            if kind == "cancel":
                change = held if before == "taken" else 0
            if change and has:
                set_units = "UPDATE stock SET units = ? WHERE sku = ?"
                db.execute(set_units, (has[0] + change, sku))
            db.execute(STATE, (order, outcome, sku, units))
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
        db.execute(STATE, (order, outcome, sku, units))
        return outcome

    handle(db, message, fields, late)


def checks_first(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Read whether enough is there, and take it with no other condition."""
    found = db.execute("SELECT units FROM stock WHERE sku = ?", (fields[2],)).fetchone()

    def late(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
        if kind == "order" and (found is None or found[0] < units):
            db.execute(STATE, (order, "refused", sku, units))
            return "refused"
        if kind == "order" and state_of(db, order) is None:
            db.execute(TAKE, (units, sku, -100))
            db.execute(STATE, (order, "taken", sku, units))
            return "taken"
        return apply(db, kind, order, sku, units)

    handle(db, message, fields, late)


def with_no_condition(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Take what is not there."""
    if kind == "order" and state_of(db, order) is None:
        db.execute(TAKE, (units, sku, -100))
        db.execute(STATE, (order, "taken", sku, units))
        return "taken"
    return apply(db, kind, order, sku, units)


def gives_back_always(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Give back what was never taken."""
    if kind == "cancel" and state_of(db, order) != "taken":
        db.execute(GIVE, (2, "tea-100"))
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
    state, of, held = order_of(db, order)
    if kind == "cancel" and state == "refused":
        db.execute(GIVE, (held, of))
    return apply(db, kind, order, sku, units)


def keeps_the_units(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Cancel, and give nothing back."""
    return apply(db, kind, order, sku, units, most=0)


def by(change: Callable[..., str]) -> Callable[..., Any]:
    """Return an answer that applies messages in another way."""
    return worker(serve(handle=lambda db, message, fields: handle(db, message, fields, change)))


def gives_five(db: sqlite3.Connection, kind: str, order: str, sku: str, units: int) -> str:
    """Give back five units at most."""
    return apply(db, kind, order, sku, units, most=5)


def lasting(text: Any) -> Any:
    """Take each text that JSON can write."""
    return isinstance(text, str) and text


def last_five(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Keep a short memory."""
    handle(db, message, fields)
    with db:
        db.execute("DELETE FROM handled WHERE rowid <= (SELECT max(rowid) FROM handled) - 5")


def with_the_units(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Tell more in an event than was asked for."""
    handle(db, message, fields)
    with db:
        db.execute("UPDATE outbox SET body = json_set(body, '$.units', 2) WHERE NOT sent")


def swallowed(db: sqlite3.Connection, message: Any, fields: list[Any]) -> None:
    """Go on as if nothing was when the database fails."""
    with contextlib.suppress(sqlite3.OperationalError):
        handle(db, message, fields)


async def by_itself(message: Any) -> None:
    """Publish to the dead letters by hand."""
    dead = f"{message.routing_key}.dead"
    await message.channel.basic_publish(message.body, routing_key=dead)
    await message.ack()


async def never_ends(db: sqlite3.Connection, url: str, inbox: str, events: str) -> None:
    """Connect without a limit."""
    connection = await aio_pika.connect(url)
    await connection.close()
    await worker()(db, url, inbox, events)


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
        (by(gives_back_always), "units of", "what its order took"),
        (by(forgets_the_cancel), "a cancel came before its order: an event", "Notebook 53"),
        (by(refuses_the_cancel), "a cancel came before its order: an event", "Notebook 53"),
        (by(gives_back_a_refusal), "an order was cancelled: ", "Notebook 53"),
        (worker(acknowledges_inside), "have no row in the outbox", "then the ack"),
        (by(keeps_the_units), "an order was cancelled: ", "Notebook 53"),
        (worker(serve(odd=Exception)), "its error did not leave your function", "Notebook 51"),
        (worker(serve(odd=ValueError)), "Error", "Try that line"),
        *(
            (worker(serve(read=reader(**odd))), "not in the dead-letter queue", "Reject it")
            for odd in (
                {"kinds": ("order", "cancel", "gift")},
                {"least": 0},
                {"least": -5},
                {"most": 2**40},
                {"number": lambda units: isinstance(units, int)},
                {"number": lambda units: isinstance(units, int | float) and units is not True},
                {"decoded": lambda body: body},
                {"text": lambda text: isinstance(text, str) and text.encode() is not None},
            )
        ),
        (
            worker(serve(read=reader(kinds={"order", "cancel"}, text=lasting))),
            "Encode",
            "that line",
        ),
        (
            worker(serve(odd=(ValueError, LookupError, TypeError))),
            "with a RecursionError",
            "reject what raises it",
        ),
        (worker(serve(odd=(ValueError, LookupError, RecursionError))), "TypeError", "that line"),
        (worker(serve(put_aside=by_itself)), "says nowhere why it came there", "Notebook 51"),
        (worker(serve(read=reader(tidied=str.lower))), "one letter's case", "without lower()"),
        (
            worker(serve(read=reader(tidied=lambda text: text.strip()))),
            "one letter's case",
            "without strip()",
        ),
        (by(gives_five), "units of", "what its order took"),
        (worker(serve(handle=last_five)), "came again, and has 2 rows", "for good"),
        (worker(serve(handle=with_the_units)), "the body of a row is", "and nothing else"),
        (worker(serve(handle=swallowed)), "its error did not leave", "Notebook 51"),
        (never_ends, "fell silent, and your function waited", "A timeout for each wait"),
        (worker(send=sender(timeout=None)), "fell silent, and your function waited", "Notebook 50"),
        (worker(send=sender(expiration=20)), "goes away before it is read", "`expiration`"),
        (
            worker(send=sender(made=lambda body: json.dumps(json.loads(body)).encode())),
            "another body than its row",
            "not made anew",
        ),
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
