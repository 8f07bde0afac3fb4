"""A queue with dead letters as the broker knows it, and the events that a broker returned."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika.exceptions import ChannelPreconditionFailed

from labsvc.amqp import Broker
from labsvc.delivery.deadletter import Death, aio_declare_with_dead_letters, deaths

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

QUORUM = {"x-queue-type": "quorum"}
DEAD_LETTERS = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders.dead"}


def on_broker(test: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
    """Run a coroutine function on a connection to a broker."""

    async def main() -> None:
        broker = Broker("lab", "secret")
        await broker.start()
        try:
            async with await aio_pika.connect(broker.url) as connection:
                await test(connection)
        finally:
            await broker.stop()

    asyncio.run(main())


@pytest.mark.parametrize("deliveries", [1, 3])
def test_a_message_is_delivered_so_often_and_then_put_aside(deliveries: int) -> None:
    """Exactly so many deliveries come; then the message is a dead letter that tells why."""

    async def test(connection: Any) -> None:
        channel = await connection.channel()
        queue, dead = await aio_declare_with_dead_letters(channel, "orders", deliveries=deliveries)
        assert (queue.name, dead.name) == ("orders", "orders.dead")
        await channel.default_exchange.publish(aio_pika.Message(b"bad"), routing_key="orders")
        for _ in range(deliveries):
            message = await queue.get()
            assert deaths(message) == []
            await message.nack(requeue=True)
        assert await queue.get(fail=False) is None
        letter = await dead.get()
        assert letter.body == b"bad"
        assert deaths(letter) == [Death("delivery_limit", "orders", 1, "", ("orders",))]

    on_broker(test)


def test_three_deliveries_by_default() -> None:
    """Who says no number gets three deliveries."""

    async def test(connection: Any) -> None:
        channel = await connection.channel()
        await aio_declare_with_dead_letters(channel, "orders")
        await aio_declare_with_dead_letters(channel, "orders", deliveries=3)

    on_broker(test)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("orders", QUORUM | DEAD_LETTERS | {"x-delivery-limit": 2}),
        ("orders.dead", QUORUM),
    ],
)
def test_the_broker_knows_both_queues_as_durable_quorum_queues(
    name: str, arguments: dict[str, Any]
) -> None:
    """The broker takes the same declaration again, and no other."""
    others = [{}, QUORUM if len(arguments) > 1 else QUORUM | {"x-delivery-limit": 2}]

    async def test(connection: Any) -> None:
        await aio_declare_with_dead_letters(await connection.channel(), "orders", deliveries=3)
        same = await connection.channel()
        await same.declare_queue(name, durable=True, arguments=arguments)
        for other in others:
            channel = await connection.channel()
            with pytest.raises(ChannelPreconditionFailed):
                await channel.declare_queue(name, durable=True, arguments=other)

    on_broker(test)


@pytest.mark.parametrize("deliveries", [0, -1])
def test_less_than_one_delivery_is_refused(deliveries: int) -> None:
    """The error says what the number means, and nothing is declared."""

    async def test(connection: Any) -> None:
        channel = await connection.channel()
        with pytest.raises(ValueError, match=f"1 or more, not {deliveries}: 3 gives two more"):
            await aio_declare_with_dead_letters(channel, "orders", deliveries=deliveries)
        for name in ("orders", "orders.dead"):  # a name that is taken would refuse this
            await channel.declare_queue(name)

    on_broker(test)


def test_a_text_that_is_no_utf_8_is_told_all_the_same() -> None:
    """A name is any bytes to the broker: what is no text is replaced, the rest is kept."""
    message: Any = SimpleNamespace(
        headers={"x-death": [{"queue": b"caf\xe9", "reason": b"\xc3\xa9"}]}
    )
    assert deaths(message) == [Death("\u00e9", "caf\ufffd", 1, "", ())]
