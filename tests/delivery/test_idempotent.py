from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import Message

from labsvc.amqp import Broker
from labsvc.delivery.idempotent import AioIdempotent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
def db() -> Any:
    """Make the consumer's database."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE coupons (order_id TEXT)")
    yield connection
    connection.close()


@asynccontextmanager
async def inbox(*messages: Message) -> AsyncIterator[Any]:
    """Run a broker with a queue that holds the messages."""
    broker = Broker("lab", "secret")
    await broker.start()
    try:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("inbox")
            for message in messages:
                await channel.default_exchange.publish(message, routing_key="inbox")
            yield queue
    finally:
        await broker.stop()


def add_coupon(db: sqlite3.Connection, message: Any) -> None:
    """Issue a coupon."""
    db.execute("INSERT INTO coupons VALUES (?)", (message.body.decode(),))


def coupons(db: sqlite3.Connection) -> list[str]:
    """Return the orders that have a coupon."""
    return [row[0] for row in db.execute("SELECT order_id FROM coupons ORDER BY rowid")]


def copies(*ids: str | None) -> list[Message]:
    """Return a message for each id; the body is the id without its last character."""
    return [Message((each or "nobody ")[:-1].encode(), message_id=each) for each in ids]


@pytest.mark.parametrize("isolation", ["", None], ids=["implicit", "autocommit"])
def test_an_effect_happens_once_for_each_id(db: sqlite3.Connection, isolation: Any) -> None:
    """Copies are acknowledged without a second effect, whatever the connection's mode."""
    db.isolation_level = isolation

    async def main() -> None:
        async with inbox(*copies("o-1.", "o-2.", "o-1.")) as queue:
            issue = AioIdempotent(db, add_coupon, consumer="coupons")
            for _ in range(3):
                await issue(await queue.get())
            assert await queue.get(fail=False) is None

    asyncio.run(main())
    assert coupons(db) == ["o-1", "o-2"]
    assert not db.in_transaction


@pytest.mark.parametrize("isolation", ["", None], ids=["implicit", "autocommit"])
def test_a_failed_effect_is_tried_again(db: sqlite3.Connection, isolation: Any) -> None:
    """What the effect raises is raised on; it leaves nothing, and the message returns."""
    db.isolation_level = isolation
    tries = []

    def fails_once(db: sqlite3.Connection, message: Any) -> None:
        add_coupon(db, message)
        tries.append(message.redelivered)
        if len(tries) == 1:
            msg = "the mail server is away"
            raise OSError(msg)

    async def main() -> None:
        async with inbox(*copies("o-1.")) as queue:
            issue = AioIdempotent(db, fails_once, consumer="coupons")
            with pytest.raises(OSError, match="away"):
                await issue(await queue.get())
            assert coupons(db) == []
            await issue(await queue.get())

    asyncio.run(main())
    assert tries == [False, True]
    assert coupons(db) == ["o-1"]


def test_a_consumer_that_died_before_its_ack(db: sqlite3.Connection) -> None:
    """After a commit without an ack the message comes again, and nothing is done twice."""

    async def main() -> None:
        async with inbox(*copies("o-1.")) as queue:
            issue = AioIdempotent(db, add_coupon, consumer="coupons")
            message = await queue.get()
            assert issue.apply(message)
            await message.nack(requeue=True)
            again = await queue.get()
            assert again.redelivered
            assert not issue.apply(again)

    asyncio.run(main())
    assert coupons(db) == ["o-1"]


def test_consumers_are_counted_apart(db: sqlite3.Connection) -> None:
    """Two consumers of one event on one database each do their part."""

    async def main() -> None:
        async with inbox(*copies("o-1.")) as queue:
            message = await queue.get()
            for consumer in ("coupons", "points"):
                assert AioIdempotent(db, add_coupon, consumer=consumer).apply(message)

    asyncio.run(main())
    assert coupons(db) == ["o-1", "o-1"]


def test_a_message_without_an_id_is_rejected(db: sqlite3.Connection) -> None:
    """What cannot be told from its copy has no effect and does not come back."""
    # aio-pika's own publish always adds an id; pika's does not.
    received: list[bool] = []

    class WithoutId:
        message_id = None

        async def reject(self, *, requeue: bool) -> None:
            received.append(requeue)

    issue = AioIdempotent(db, add_coupon, consumer="coupons")
    asyncio.run(issue(WithoutId()))  # type: ignore[arg-type]
    assert received == [False]
    assert coupons(db) == []
