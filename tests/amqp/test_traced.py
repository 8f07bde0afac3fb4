"""What a timeline records of queues: the life of each message at the broker."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from labsvc import Lab, aio_until
from labsvc.timeline import record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from labsvc.timeline import Timeline

    Work = Callable[[Any], Awaitable[None]]


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab for each test."""
    with Lab() as running:
        yield running


def recorded(lab: Lab, work: Work) -> Timeline:
    """Run `work(channel)` under a timeline, on a connection made in it."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def main() -> None:
        async with await aio_pika.connect(queue.url) as connection:
            await work(await connection.channel())

    with lab.timeline() as seen:
        asyncio.run(main())
    return seen


def lives(seen: Timeline) -> list[list[str]]:
    """Return what happened to each message, in the order of their publishes."""
    flows: dict[int, list[str]] = {}
    for event in seen.events:
        flows.setdefault(event.flow, []).append(event.kind)
    return [*flows.values()]


async def publish(channel: Any, body: bytes = b"a", to: str = "orders", **more: Any) -> None:
    """Publish to a queue, and wait for the confirm."""
    await channel.default_exchange.publish(aio_pika.Message(body, **more), to)


def test_a_message_that_is_done(lab: Lab) -> None:
    """Published, confirmed, delivered, acked: by whom, from where."""

    async def work(channel: Any) -> None:
        orders = await channel.declare_queue("orders")
        await publish(channel)
        message = await orders.get()
        await message.ack()

    seen = recorded(lab, work)
    assert lives(seen) == [["published", "confirmed", "delivered", "acked"]]
    assert {event.party for event in seen.events} == {"broker"}
    assert [event.what for event in seen.events] == ["orders", "", "orders", "orders"]
    assert {event.target for event in seen.events} == {"publisher"}
    assert str(seen).splitlines() == [
        "publisher  publishes to orders",
        "broker     confirms it",
        "broker       delivers it to publisher",
        "publisher    acks it",
    ]


def test_clients_have_names(lab: Lab) -> None:
    """Their own, or what they did first."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def consume(url: str) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            message = await (await channel.get_queue("orders")).get()
            await message.ack()

    async def main() -> None:
        properties: Any = {"connection_name": "shop"}
        async with await aio_pika.connect(queue.url, client_properties=properties) as connection:
            channel = await connection.channel()
            await channel.declare_queue("orders")
            for _ in range(2):
                await publish(channel)
        await consume(queue.url)
        await consume(queue.url)

    with lab.timeline() as seen:
        asyncio.run(main())
    named = [(event.kind, event.target) for event in seen.events if event.kind != "confirmed"]
    assert named == [
        ("published", "shop"),
        ("published", "shop"),
        ("delivered", "consumer"),
        ("acked", "consumer"),
        ("delivered", "consumer 2"),
        ("acked", "consumer 2"),
    ]


def test_a_client_is_called_by_what_it_did_first(lab: Lab) -> None:
    """A consumer that was sent nothing yet, and then publishes, is a consumer."""

    async def work(channel: Any) -> None:
        replies = await channel.declare_queue("replies")

        async def ignore(_message: Any) -> None: ...

        await replies.consume(ignore)
        await channel.declare_queue("requests")
        await publish(channel, to="requests")

    assert {event.target for event in recorded(lab, work).events} == {"consumer"}


def test_a_message_that_comes_again(lab: Lab) -> None:
    """Given back, and then lost with its channel: one number, and "redelivered"."""

    async def work(channel: Any) -> None:
        orders = await channel.declare_queue("orders")
        await publish(channel)
        await (await orders.get()).nack(requeue=True)
        await orders.get()
        await channel.close()

    seen = recorded(lab, work)
    assert lives(seen) == [
        ["published", "confirmed", "delivered", "requeued", "delivered", "requeued"]
    ]
    details = [event.detail for event in seen.events if event.kind in ("delivered", "requeued")]
    assert details == ["", "", "redelivered", "connection lost"]


def test_what_was_not_acked_is_recovered(lab: Lab) -> None:
    """Asked for with basic.recover, it comes again."""

    async def work(channel: Any) -> None:
        orders = await channel.declare_queue("orders")
        await publish(channel)
        await orders.get()
        underlying = await channel.get_underlay_channel()
        await underlying.basic_recover(requeue=True)
        await orders.get(no_ack=True)

    assert lives(recorded(lab, work)) == [
        ["published", "confirmed", "delivered", "requeued", "delivered"]
    ]


def test_a_message_whose_queue_has_gone_is_not_requeued(lab: Lab) -> None:
    """The queue ends with its only consumer, and with the channel."""

    async def work(channel: Any) -> None:
        orders = await channel.declare_queue("orders", auto_delete=True)
        got = asyncio.Event()

        async def hold(_message: Any) -> None:
            got.set()

        await orders.consume(hold)
        await publish(channel)
        await got.wait()
        await channel.close()

    [life] = lives(recorded(lab, work))
    assert sorted(life) == ["confirmed", "delivered", "published"]


def test_a_message_in_two_queues_is_one(lab: Lab) -> None:
    """It names both, and is acked in each."""

    async def work(channel: Any) -> None:
        both = [await channel.declare_queue(name) for name in ("mail", "ledger")]
        fanout = await channel.declare_exchange("placed", aio_pika.ExchangeType.FANOUT)
        for queue in both:
            await queue.bind(fanout)
        await fanout.publish(aio_pika.Message(b"a"), "")
        for queue in both:
            await (await queue.get()).ack()

    seen = recorded(lab, work)
    assert len({event.flow for event in seen.events}) == 1
    assert set(seen.events[0].what.split(", ")) == {"mail", "ledger"}
    assert [event.what for event in seen.events if event.kind == "acked"] == ["mail", "ledger"]


def test_a_transaction_takes_effect(lab: Lab) -> None:
    """Nothing is noted before the commit, and nothing of an empty one."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def main() -> None:
        async with await aio_pika.connect(queue.url) as connection:
            channel = await connection.channel(publisher_confirms=False)
            await channel.declare_queue("orders")
            transaction: Any = channel.transaction()
            await transaction.select()
            await transaction.commit()
            await publish(channel)
            await transaction.rollback()
            await publish(channel)
            await transaction.commit()

    with lab.timeline() as seen:
        asyncio.run(main())
    noted = [(event.kind, event.party, event.target) for event in seen.events]
    assert noted == [
        ("published", "broker", "publisher"),
        ("committed", "broker", "publisher"),
    ]


@pytest.mark.parametrize("reason", ["rejected", "expired", "maxlen", "delivery_limit"])
def test_a_dead_letter_keeps_its_number(lab: Lab, reason: str) -> None:
    """It goes on in another queue, as the same message."""
    arguments: dict[str, Any] = {
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "dead",
    }
    if reason == "expired":
        arguments["x-message-ttl"] = 1
    if reason == "maxlen":
        arguments["x-max-length"] = 0

    if reason == "delivery_limit":
        arguments |= {"x-queue-type": "quorum", "x-delivery-limit": 0}

    async def work(channel: Any) -> None:
        durable = reason == "delivery_limit"
        orders = await channel.declare_queue("orders", durable=durable, arguments=arguments)
        dead = await channel.declare_queue("dead")
        await publish(channel)
        if reason in ("rejected", "delivery_limit"):
            await (await orders.get()).nack(requeue=durable)
        while (letter := await dead.get(fail=False)) is None:
            pass
        await letter.ack()

    seen = recorded(lab, work)
    [flow] = {event.flow for event in seen.events}
    assert flow
    [death] = [event for event in seen.events if event.kind == "dead-lettered"]
    assert (death.what, death.detail) == ("orders", reason)
    assert [event.what for event in seen.events if event.kind == "acked"] == ["dead"]


def test_messages_that_end_badly(lab: Lab) -> None:
    """No queue, no room, no time, and no dead letter exchange."""

    async def work(channel: Any) -> None:
        await publish(channel, to="nowhere")
        full = {"x-max-length": 0, "x-overflow": "reject-publish"}
        await channel.declare_queue("full", arguments=full)
        with pytest.raises(aio_pika.exceptions.DeliveryError):
            await publish(channel, to="full")
        orders = await channel.declare_queue("orders")
        await publish(channel, expiration=0)
        assert await orders.get(fail=False) is None
        await publish(channel)
        await (await orders.get()).reject()

    seen = recorded(lab, work)
    nowhere, full, late, unwanted = lives(seen)
    assert sorted(nowhere) == ["confirmed", "published", "returned"]
    assert full == ["published", "rejected"]
    assert unwanted == ["published", "confirmed", "delivered", "rejected"]
    assert sorted(late) == ["confirmed", "expired", "published"]


def test_a_thousand_messages_are_all_there(lab: Lab) -> None:
    """Counted against the broker's own counters."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def main() -> None:
        async with await aio_pika.connect(queue.url) as connection:
            channel = await connection.channel()
            orders = await channel.declare_queue("orders")
            await asyncio.gather(*(publish(channel) for _ in range(1000)))
            async with orders.iterator() as messages:
                for _ in range(1000):
                    await (await anext(messages)).ack()

    with lab.timeline() as seen:
        asyncio.run(main())
    stats = queue.stats
    assert stats is not None
    counted = {
        "published": stats.published,
        "confirmed": stats.confirmed,
        "delivered": stats.delivered,
        "acked": stats.acked,
    }
    assert {kind: seen.count(kind) for kind in counted} == counted  # type: ignore[arg-type]
    assert set(counted.values()) == {1000}
    assert len({event.flow for event in seen.events}) == 1000


def test_a_killed_broker_does_nothing_more(lab: Lab) -> None:
    """Its connections end, but no message is back in a queue; what was stored comes again."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def main() -> None:
        url, kept = queue.url, aio_pika.DeliveryMode.PERSISTENT
        connection = await aio_pika.connect(url)
        channel = await connection.channel()
        orders = await channel.declare_queue("orders", durable=True)
        await publish(channel, delivery_mode=kept)
        await orders.get()
        await asyncio.to_thread(queue.kill)
        await asyncio.to_thread(queue.start)
        async with await aio_pika.connect(url) as again:
            await (await (await again.channel()).get_queue("orders")).get(no_ack=True)

    with lab.timeline() as seen:
        asyncio.run(main())
    # It was read from the disk, and has a new number.
    before, _started, after = lives(seen)
    assert before == ["published", "confirmed", "delivered"]
    assert after == ["delivered"]
    assert seen.events[-1].detail == "redelivered"


def test_nothing_is_kept_when_nobody_records(lab: Lab) -> None:
    """What was published before has a number when it is first seen; who did it keeps its role."""
    queue = lab.serve_queue(name="broker", embedded=True)

    async def main() -> None:
        async with await aio_pika.connect(queue.url) as connection:
            channel = await connection.channel()
            orders = await channel.declare_queue("orders")
            await publish(channel)
            with lab.timeline() as seen:
                await (await orders.get()).ack()
                await aio_until(lambda: seen.count("acked") == 1)
            await publish(channel)
            await (await orders.get()).nack(requeue=True)
            await (await orders.get()).ack()
        assert lives(seen) == [["delivered", "acked"]]
        assert {event.target for event in seen.events} == {"publisher"}

    asyncio.run(main())
    assert record.current() is None
