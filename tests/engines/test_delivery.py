from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections import Counter
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import Message
from aio_pika.exceptions import ChannelPreconditionFailed

from labsvc.delivery.deadletter import Death, aio_declare_with_dead_letters, deaths
from labsvc.delivery.idempotent import AioIdempotent
from labsvc.delivery.outbox import AioOutbox

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue


async def take(queue: AbstractQueue) -> AbstractIncomingMessage:
    """Take the next message, ten seconds at most."""
    async with asyncio.timeout(10):
        while (message := await queue.get(fail=False)) is None:  # noqa: ASYNC110  # it polls
            await asyncio.sleep(0.01)
    return message


@pytest.mark.parametrize("deliveries", [1, 3])
def test_a_poison_message_ends_in_the_dead_letter_queue(broker_url: str, deliveries: int) -> None:
    """A message that always fails is delivered as often as declared, then put aside."""
    name = f"limited-{uuid.uuid4().hex}"

    async def tries(channel: AbstractChannel) -> None:
        queue, dead = await aio_declare_with_dead_letters(channel, name, deliveries=deliveries)
        for body in (b"bad", b"good"):
            await channel.default_exchange.publish(Message(body), routing_key=name)
        delivered: Counter[bytes] = Counter()
        while not delivered[b"good"]:
            message = await take(queue)
            delivered[message.body] += 1
            await (message.ack() if message.body == b"good" else message.nack(requeue=True))
        assert delivered[b"bad"] == deliveries
        found = await take(dead)
        assert found.body == b"bad"
        assert deaths(found) == [Death("delivery_limit", name, 1, "", (name,))]

    asyncio.run(on_channel(broker_url, tries, name))


def test_a_rejected_message_ends_there_at_once(broker_url: str) -> None:
    """A reject without requeue gives its own reason; a fresh message has none."""
    name = f"limited-{uuid.uuid4().hex}"

    async def rejects(channel: AbstractChannel) -> None:
        queue, dead = await aio_declare_with_dead_letters(channel, name)
        await channel.default_exchange.publish(Message(b"bad"), routing_key=name)
        message = await take(queue)
        assert deaths(message) == []
        await message.reject(requeue=False)
        assert [death.reason for death in deaths(await take(dead))] == ["rejected"]

    asyncio.run(on_channel(broker_url, rejects, name))


def test_a_queue_with_other_arguments_is_not_replaced(broker_url: str) -> None:
    """A queue that exists without a limit is an error; the same declaration again is none."""
    name = f"limited-{uuid.uuid4().hex}"

    async def declares(channel: AbstractChannel) -> None:
        await aio_declare_with_dead_letters(channel, name)
        await aio_declare_with_dead_letters(channel, name)
        with pytest.raises(ChannelPreconditionFailed):
            await aio_declare_with_dead_letters(channel, name, deliveries=9)

    asyncio.run(on_channel(broker_url, declares, name))


def test_deliveries_must_be_one_or_more() -> None:
    """A limit that lets nothing through is refused before the broker is asked."""
    channel: Any = None
    with pytest.raises(ValueError, match="1 or more"):
        asyncio.run(aio_declare_with_dead_letters(channel, "name", deliveries=0))


def test_outbox_to_idempotent_consumer(broker_url: str) -> None:
    """Events of an outbox, one of them sent twice, have one effect each."""
    name = f"events-{uuid.uuid4().hex}"

    async def sends(channel: AbstractChannel) -> None:
        db = sqlite3.connect(":memory:")
        db.execute("CREATE TABLE orders (order_id TEXT)")
        db.execute("CREATE TABLE coupons (order_id TEXT)")
        outbox = AioOutbox(db)
        queue = await channel.declare_queue(name, durable=True)
        for order_id in ("o-1", "o-2", "o-3"):
            with db:
                db.execute("INSERT INTO orders VALUES (?)", (order_id,))
                outbox.add(order_id.encode(), routing_key=name, message_id=order_id)
        assert await outbox.relay(channel.default_exchange) == 3
        with db:
            db.execute("UPDATE outbox SET sent = 0 WHERE message_id = 'o-2'")
        assert await outbox.relay(channel.default_exchange) == 1
        issue = AioIdempotent(
            db,
            lambda db, m: db.execute("INSERT INTO coupons VALUES (?)", (m.body.decode(),)) and None,
            consumer="coupons",
        )
        for _ in range(4):
            await issue(await take(queue))
        found = db.execute("SELECT order_id FROM coupons").fetchall()
        db.close()
        assert found == [("o-1",), ("o-2",), ("o-3",)]

    asyncio.run(on_channel(broker_url, sends, name))


async def on_channel(url: str, test: Any, name: str) -> None:
    """Run a coroutine function on a channel, then delete the queues it made."""
    async with await aio_pika.connect(url) as connection:
        try:
            await test(await connection.channel())
        finally:
            channel = await connection.channel()
            for queue in (name, f"{name}.dead"):
                await channel.queue_delete(queue)
