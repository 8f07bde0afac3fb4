from __future__ import annotations

import asyncio
import sqlite3
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import DeliveryMode
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic

from labsvc.amqp import Broker
from labsvc.delivery.outbox import AioOutbox
from labsvc.hosts.proxy import Proxy
from labsvc.loop import Loop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Iterator


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """Make the database of a shop."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE orders (order_id TEXT)")
    yield connection
    connection.close()


def place(db: sqlite3.Connection, outbox: AioOutbox, *order_ids: str, key: str = "events") -> None:
    """Write orders with their events."""
    for order_id in order_ids:
        with db:
            db.execute("INSERT INTO orders VALUES (?)", (order_id,))
            outbox.add(order_id.encode(), routing_key=key, message_id=order_id)


@asynccontextmanager
async def broker_with_queue(**channel: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Run a broker; yield the default exchange of a channel, and the queue "events"."""
    broker = Broker("lab", "secret")
    await broker.start()
    try:
        async with await aio_pika.connect(broker.url) as connection:
            opened = await connection.channel(**channel)
            yield opened.default_exchange, await opened.declare_queue("events")
    finally:
        await broker.stop()


def with_broker(test: Callable[[Any, Any], Coroutine[Any, Any, None]], **channel: Any) -> None:
    """Run a coroutine function on exchange and queue."""

    async def main() -> None:
        async with broker_with_queue(**channel) as (exchange, queue):
            await test(exchange, queue)

    asyncio.run(main())


async def ids(queue: Any) -> list[str]:
    """Take everything out of a queue; return the message ids."""
    taken = []
    while (message := await queue.get(no_ack=True, fail=False)) is not None:
        assert message.body.decode() == message.message_id
        assert message.delivery_mode is DeliveryMode.PERSISTENT
        taken.append(message.message_id)
    return taken


def test_events_are_sent_in_order_and_once(db: sqlite3.Connection) -> None:
    """A relay sends what waits, oldest first, and the next one finds nothing."""
    outbox = AioOutbox(db)
    place(db, outbox, "o-1", "o-2", "o-3")
    assert outbox.waiting == 3

    async def test(exchange: Any, queue: Any) -> None:
        assert await outbox.relay(exchange) == 3
        assert await outbox.relay(exchange) == 0
        assert await ids(queue) == ["o-1", "o-2", "o-3"]

    with_broker(test)
    assert outbox.waiting == 0


def test_a_transaction_that_is_rolled_back_has_no_event(db: sqlite3.Connection) -> None:
    """Neither the order nor its event is there after an error."""
    outbox = AioOutbox(db)

    def fails() -> None:
        with db:
            db.execute("INSERT INTO orders VALUES ('o-1')")
            outbox.add(b"o-1", routing_key="events")
            msg = "out of stock"
            raise ValueError(msg)

    with pytest.raises(ValueError, match="out of stock"):
        fails()
    assert outbox.waiting == 0
    assert db.execute("SELECT count(*) FROM orders").fetchone() == (0,)


def test_an_event_without_a_transaction_is_refused(db: sqlite3.Connection) -> None:
    """An event that would be committed alone is an error that says what to do."""
    with pytest.raises(RuntimeError, match="write the order first"):
        AioOutbox(db).add(b"o-1", routing_key="events")


def test_an_id_of_its_own(db: sqlite3.Connection) -> None:
    """Without an id the event gets one, which is returned; an id is taken once."""
    outbox = AioOutbox(db)
    with db:
        db.execute("INSERT INTO orders VALUES ('o-1')")
        first = outbox.add(b"1", routing_key="events")
        second = outbox.add(b"2", routing_key="events")
        assert first != second
        with pytest.raises(sqlite3.IntegrityError):
            outbox.add(b"3", routing_key="events", message_id=first)


def test_a_relay_that_dies_before_its_mark_repeats_one_event(db: sqlite3.Connection) -> None:
    """Nothing is lost: the event whose mark failed is sent again with the same id."""
    outbox = AioOutbox(db)
    place(db, outbox, "o-1", "o-2")
    db.execute(
        "CREATE TEMP TRIGGER dies BEFORE UPDATE ON outbox BEGIN SELECT RAISE(ABORT, 'died'); END"
    )

    async def test(exchange: Any, queue: Any) -> None:
        with pytest.raises(sqlite3.IntegrityError, match="died"):
            await outbox.relay(exchange)
        db.execute("DROP TRIGGER dies")
        assert await outbox.relay(exchange) == 2
        assert await ids(queue) == ["o-1", "o-1", "o-2"]

    with_broker(test)


@pytest.mark.parametrize("raises", [False, True])
def test_an_event_that_no_queue_takes_stays(db: sqlite3.Connection, *, raises: bool) -> None:
    """A returned event is an error, on a channel that raises returns and on one that does not."""
    outbox = AioOutbox(db)
    place(db, outbox, "o-1")
    place(db, outbox, "o-2", key="nowhere")
    place(db, outbox, "o-3")

    async def test(exchange: Any, queue: Any) -> None:
        with pytest.raises(DeliveryError) as caught:
            await outbox.relay(exchange)
        message, frame = caught.value.message, caught.value.frame
        assert message is not None
        assert message.header.properties.message_id == "o-2"
        assert isinstance(frame, Basic.Return)
        assert (frame.reply_code, frame.routing_key) == (312, "nowhere")
        assert await ids(queue) == ["o-1"]

    with_broker(test, on_return_raises=raises)
    assert outbox.waiting == 2


def test_a_channel_without_confirms_is_refused(db: sqlite3.Connection) -> None:
    """Without a confirm no event is marked."""
    outbox = AioOutbox(db)
    place(db, outbox, "o-1")

    async def test(exchange: Any, queue: Any) -> None:
        with pytest.raises(RuntimeError, match="publisher_confirms=True"):
            await outbox.relay(exchange)

    with_broker(test, publisher_confirms=False)
    assert outbox.waiting == 1


def test_an_event_whose_confirm_does_not_come_stays(db: sqlite3.Connection) -> None:
    """The relay waits so long and no longer; the event goes out over the next connection."""
    outbox = AioOutbox(db)
    place(db, outbox, "o-1")
    loop = Loop.start()
    broker = Broker("lab", "secret")
    loop.run(broker.start())
    wire = Proxy(loop, "wire", f"127.0.0.1:{broker.port}").start()
    url = broker.url.replace(str(broker.port), wire.target.rpartition(":")[2])

    async def test() -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.declare_queue("events", durable=True)
            wire.set(blackhole=True)
            relay = asyncio.create_task(outbox.relay(channel.default_exchange, publish_timeout=0.1))
            await asyncio.wait([relay], timeout=10)
            wire.clear()
            with pytest.raises(TimeoutError):
                await relay
            assert outbox.waiting == 1
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            assert await outbox.relay(channel.default_exchange) == 1
            assert await ids(await channel.get_queue("events")) == ["o-1"]

    try:
        asyncio.run(test())
    finally:
        wire.release()
        loop.run(broker.stop())
        loop.stop()
