"""The broker as its users meet it: through aio-pika and through pika."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import aio_pika
import pika
import pika.exceptions
import pytest
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelPreconditionFailed,
    DeliveryError,
    ProbableAuthenticationError,
)
from aiormq.exceptions import ChannelNotFoundEntity

from labsvc.amqp import Broker, QueueStats
from labsvc.errors import LabError, PortInUseError
from tests.amqp.tools import channel_of, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aio_pika.abc import AbstractIncomingMessage
    from pika.adapters.blocking_connection import BlockingChannel

    from labsvc.loop import Loop


@pytest.fixture
def broker(loop: Loop) -> Iterator[Broker]:
    """Run a broker."""
    broker = Broker("learner", "p@ss/word")
    loop.run(broker.start())
    yield broker
    loop.run(broker.stop())
    assert broker.stats.connections == 0


async def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, on an event loop."""
    while not condition():  # noqa: ASYNC110  # the broker changes on another thread
        await asyncio.sleep(0.005)


def text(body: str, **properties: Any) -> aio_pika.Message:
    """Return a message."""
    return aio_pika.Message(body.encode(), **properties)


# aio-pika


def test_publish_consume_and_ack_with_aio_pika(broker: Broker) -> None:
    """Messages arrive in order with their properties, and are gone after the ack."""

    async def main() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("orders", durable=True)
            exchange = await channel.declare_exchange("shop", aio_pika.ExchangeType.TOPIC)
            await queue.bind(exchange, "order.*")
            for number in range(20):
                headers = {"number": number, "nested": {"list": [1, "two", None]}}
                placed = text(str(number), headers=headers, correlation_id=f"c{number}")
                await exchange.publish(placed, "order.placed")
            got: list[AbstractIncomingMessage] = []
            async with queue.iterator() as messages:
                async for message in messages:
                    got.append(message)
                    await message.ack()
                    if len(got) == 20:
                        break
            assert [message.body.decode() for message in got] == [str(n) for n in range(20)]
            assert [message.correlation_id for message in got] == [f"c{n}" for n in range(20)]
            assert got[7].headers == {"number": 7, "nested": {"list": [1, "two", None]}}
            assert {message.routing_key for message in got} == {"order.placed"}
            assert not any(message.redelivered for message in got)

    asyncio.run(main())
    stats = broker.stats
    assert (stats.published, stats.confirmed, stats.delivered, stats.acked) == (20, 20, 20, 20)
    assert stats.queues == {"orders": QueueStats(ready=0, unacked=0, consumers=0)}


@pytest.mark.parametrize(("limit", "consumers"), [(1, 1), (3, 1), (3, 2)])
def test_prefetch_limits_what_a_consumer_holds(broker: Broker, limit: int, consumers: int) -> None:
    """A consumer never has more than its prefetch count of messages unacked."""
    total = 60

    async def main() -> None:
        held: dict[int, int] = {}
        most: dict[int, int] = {}
        done = 0
        release = asyncio.Event()

        async def work(who: int, message: AbstractIncomingMessage) -> None:
            nonlocal done
            held[who] = held.get(who, 0) + 1
            most[who] = max(most.get(who, 0), held[who])
            assert broker.stats.queues["work"].unacked <= limit * consumers
            await release.wait()
            await asyncio.sleep(0)
            held[who] -= 1
            done += 1
            await message.ack()

        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=limit)
            queue = await channel.declare_queue("work")
            for number in range(total):
                await channel.default_exchange.publish(text(str(number)), "work")
            for who in range(consumers):
                await queue.consume(partial(work, who))
            await until(lambda: sum(held.values()) == limit * consumers)
            stats = broker.stats.queues["work"]
            assert stats.unacked == limit * consumers
            assert stats.ready == total - limit * consumers
            release.set()
            await until(lambda: done == total)
            assert set(most.values()) == {limit}
            await until(lambda: broker.stats.acked == total)

    asyncio.run(main())


def test_a_global_prefetch_limits_the_channel(broker: Broker) -> None:
    """With global qos the consumers of a channel share one limit."""

    async def main() -> None:
        got: list[AbstractIncomingMessage] = []

        async def keep(message: AbstractIncomingMessage) -> None:
            got.append(message)

        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=4, global_=True)
            queue = await channel.declare_queue("work")
            for number in range(10):
                await channel.default_exchange.publish(text(str(number)), "work")
            for _ in range(3):
                await queue.consume(keep)
            await until(lambda: len(got) == 4)
            assert broker.stats.queues["work"] == QueueStats(ready=6, unacked=4, consumers=3)
            await got[3].ack(multiple=True)
            await until(lambda: len(got) == 8)
            assert broker.stats.acked == 4

    asyncio.run(main())


def test_a_dropped_consumer_gives_its_messages_back_in_order(broker: Broker) -> None:
    """Another consumer gets them first, in order, marked as redelivered."""

    async def main() -> None:
        first: list[AbstractIncomingMessage] = []
        second: list[AbstractIncomingMessage] = []

        async def keep_first(message: AbstractIncomingMessage) -> None:
            first.append(message)

        async def keep_second(message: AbstractIncomingMessage) -> None:
            second.append(message)

        async with await aio_pika.connect(broker.url) as publisher:
            channel = await publisher.channel()
            queue = await channel.declare_queue("work")
            for number in range(8):
                await channel.default_exchange.publish(text(str(number)), "work")
            dropped = await aio_pika.connect(broker.url)
            dropped_channel = await dropped.channel()
            await dropped_channel.set_qos(prefetch_count=5)
            await (await dropped_channel.get_queue("work")).consume(keep_first)
            await until(lambda: len(first) == 5)
            await first[1].ack()
            await until(lambda: len(first) == 6)
            await dropped.close()
            await queue.consume(keep_second)
            await until(lambda: len(second) == 7)
            assert [(message.body, message.redelivered) for message in second] == [
                (b"0", True),
                (b"2", True),
                (b"3", True),
                (b"4", True),
                (b"5", True),
                (b"6", False),
                (b"7", False),
            ]

    asyncio.run(main())
    assert broker.stats.redelivered == 5


def test_an_unroutable_mandatory_message_comes_back(broker: Broker) -> None:
    """aio-pika publishes with mandatory and raises when the message is returned."""

    async def main() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel(on_return_raises=True)
            with pytest.raises(DeliveryError) as caught:
                await channel.default_exchange.publish(text("lost"), "nowhere")
            assert caught.value.message is not None
            assert caught.value.message.body == b"lost"
            await channel.declare_queue("somewhere")
            await channel.default_exchange.publish(text("found"), "somewhere")

    asyncio.run(main())


def test_a_wrong_password_is_an_error_for_aio_pika(broker: Broker) -> None:
    """The error says that access was refused."""
    url = f"amqp://learner:wrong@127.0.0.1:{broker.port}/"
    with pytest.raises((ProbableAuthenticationError, AMQPConnectionError), match="ACCESS_REFUSED"):
        asyncio.run(aio_pika.connect(url))


def test_errors_close_the_channel_not_the_connection(broker: Broker) -> None:
    """After 404 and 406 a new channel of the same connection works."""

    async def main() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            await (await connection.channel()).declare_queue("q", durable=True)
            with pytest.raises(ChannelNotFoundEntity, match="no queue 'missing' in vhost '/'"):
                await (await connection.channel()).declare_queue("missing", passive=True)
            with pytest.raises(ChannelPreconditionFailed, match="inequivalent arg 'durable'"):
                await (await connection.channel()).declare_queue("q", durable=False)
            queue = await (await connection.channel()).declare_queue("q", durable=True)
            assert (await queue.delete()).message_count == 0

    asyncio.run(main())


def test_a_robust_connection_finds_a_restarted_broker(broker: Broker, loop: Loop) -> None:
    """stop() tells the clients; after start() on the same port they are back."""

    async def main() -> None:
        connection = await aio_pika.connect_robust(broker.url, reconnect_interval=0.05)
        async with connection:
            channel = await connection.channel()
            await channel.declare_queue("q", auto_delete=True)
            port = broker.port
            await asyncio.to_thread(loop.run, broker.stop())
            assert await asyncio.to_thread(loop.run, broker.start(port=port)) == port
            await until(lambda: "q" in broker.stats.queues)
            await channel.default_exchange.publish(text("again"), "q")
            assert broker.stats.queues["q"].ready == 1

    asyncio.run(main())


def test_cancelled_consumers_are_told(broker: Broker) -> None:
    """Deleting a queue under a consumer ends its iterator, as with RabbitMQ."""

    async def main() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("q")

            async def nothing(message: AbstractIncomingMessage) -> None:
                raise AssertionError(message)

            underlay: Any = await channel.get_underlay_channel()
            tag = await queue.consume(nothing)
            assert tag in underlay.consumers
            other = await connection.channel()
            await other.queue_delete("q")
            await until(lambda: tag not in underlay.consumers)

    asyncio.run(main())


# pika


def test_publish_get_and_confirm_with_pika(broker: Broker) -> None:
    """A confirmed publish is in the queue at once; get counts what is left."""
    with channel_of(broker) as channel:
        channel.confirm_delivery()
        channel.queue_declare("q")
        for number in range(3):
            channel.basic_publish("", "q", str(number).encode(), mandatory=True)
        assert broker.stats.queues["q"].ready == 3
        method, _, body = channel.basic_get("q")
        assert (method.message_count, body) == (2, b"0")
        channel.basic_ack(method.delivery_tag)
        with pytest.raises(pika.exceptions.UnroutableError) as caught:
            channel.basic_publish("", "nowhere", b"lost", mandatory=True)
        assert caught.value.messages[0].body == b"lost"
        assert channel.queue_purge("q").method.message_count == 2
        assert channel.basic_get("q") == (None, None, None)


def test_every_size_of_message_passes(broker: Broker) -> None:
    """Empty, as large as a frame, and several frames long: the body is the same."""
    with channel_of(broker) as channel:
        channel.queue_declare("q")
        for size in (0, 1, 131064, 131065, 1_000_000):
            body = bytes(size % 251 for _ in range(size))
            channel.basic_publish("", "q", body)
            assert channel.basic_get("q", auto_ack=True)[2] == body


@pytest.mark.parametrize(
    ("answer", "left"),
    [
        (lambda channel, tag: channel.basic_reject(tag, requeue=True), [b"0", b"1", b"2"]),
        (lambda channel, tag: channel.basic_reject(tag, requeue=False), [b"1", b"2"]),
        (lambda channel, tag: channel.basic_nack(tag, requeue=True), [b"0", b"1", b"2"]),
        (lambda channel, tag: channel.basic_nack(tag, requeue=False), [b"1", b"2"]),
        (lambda channel, tag: channel.basic_ack(tag), [b"1", b"2"]),
        (lambda channel, _: channel.basic_recover(requeue=True), [b"0", b"1", b"2"]),
    ],
    ids=["reject-requeue", "reject", "nack-requeue", "nack", "ack", "recover"],
)
def test_answers_to_a_delivery(
    broker: Broker, answer: Callable[[BlockingChannel, int], None], left: list[bytes]
) -> None:
    """What is requeued keeps its place and is marked; the rest is gone."""
    with channel_of(broker) as channel:
        channel.queue_declare("q")
        for number in range(3):
            channel.basic_publish("", "q", str(number).encode())
        method, _, body = channel.basic_get("q")
        assert (body, method.redelivered) == (b"0", False)
        answer(channel, method.delivery_tag)
        got = [channel.basic_get("q", auto_ack=True) for _ in left]
        assert [body for _, _, body in got] == left
        assert [method.redelivered for method, _, _ in got] == [b == b"0" for b in left]
        assert channel.basic_get("q") == (None, None, None)


def test_multiple_answers_and_unknown_tags(broker: Broker) -> None:
    """`multiple` settles all up to the tag; a tag that was never given out is 406."""
    with channel_of(broker) as channel:
        channel.queue_declare("q")
        for number in range(6):
            channel.basic_publish("", "q", str(number).encode())
        tags = [channel.basic_get("q")[0].delivery_tag for _ in range(6)]
        channel.basic_ack(tags[1], multiple=True)
        channel.basic_nack(tags[4], multiple=True, requeue=True)
        assert [channel.basic_get("q", auto_ack=True)[2] for _ in range(3)] == [b"2", b"3", b"4"]
        assert broker.stats.queues["q"].unacked == 1
        channel.basic_ack(0, multiple=True)
        channel.basic_ack(tags[5])
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            channel.basic_get("q")
        assert caught.value.reply_code == 406
        assert broker.stats.queues["q"].unacked == 0


def test_an_exclusive_queue_belongs_to_one_connection(broker: Broker) -> None:
    """Others are refused with 405; it is deleted when its connection closes."""
    with channel_of(broker) as other:
        with channel_of(broker) as owner:
            name = owner.queue_declare("", exclusive=True).method.queue
            assert name.startswith("amq.gen-")
            with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
                other.queue_declare(name, passive=True)
            assert caught.value.reply_code == 405
        wait_for(lambda: name not in broker.stats.queues)


def test_an_auto_delete_queue_goes_with_its_last_consumer(broker: Broker) -> None:
    """It outlives declaration and the first of two consumers."""
    with channel_of(broker) as channel:
        channel.queue_declare("q", auto_delete=True)
        tags = [channel.basic_consume("q", lambda *_: None) for _ in range(2)]
        channel.basic_cancel(tags[0])
        assert "q" in broker.stats.queues
        channel.basic_cancel(tags[1])
        assert "q" not in broker.stats.queues


@pytest.mark.parametrize(
    ("exchange", "bindings", "key", "reached"),
    [
        ("amq.direct", {"a": "x", "b": "y", "c": "x"}, "x", {"a", "c"}),
        ("amq.fanout", {"a": "x", "b": "y", "c": ""}, "z", {"a", "b", "c"}),
        ("amq.topic", {"a": "order.*", "b": "order.#", "c": "*.paid"}, "order", {"b"}),
        ("amq.topic", {"a": "order.*", "b": "order.#", "c": "*.paid"}, "order.paid", {*"abc"}),
        ("amq.topic", {"a": "#.eu", "b": "order.*.eu", "c": "*"}, "order.paid.eu", {"a", "b"}),
    ],
)
def test_exchanges_route_by_their_type(
    broker: Broker, exchange: str, bindings: dict[str, str], key: str, reached: set[str]
) -> None:
    """Direct compares the key, fanout ignores it, topic matches words."""
    with channel_of(broker) as channel:
        for queue, pattern in bindings.items():
            channel.queue_declare(queue)
            channel.queue_bind(queue, exchange, pattern)
        channel.confirm_delivery()
        channel.basic_publish(exchange, key, b"message")
        ready = {name for name, stats in broker.stats.queues.items() if stats.ready}
        assert ready == reached
        channel.queue_unbind("b", exchange, bindings["b"])
        channel.basic_publish(exchange, key, b"message")
        assert broker.stats.queues["b"].ready == ("b" in reached)


def test_channels_of_a_connection_are_apart(broker: Broker) -> None:
    """An error on one channel leaves the other's consumers and deliveries alone."""
    with channel_of(broker) as channel:
        other = channel.connection.channel()
        channel.queue_declare("q")
        got: list[bytes] = []

        def on_message(channel: BlockingChannel, method: Any, _: object, body: bytes) -> None:
            got.append(body)
            channel.basic_ack(method.delivery_tag)

        channel.basic_consume("q", on_message)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker):
            other.queue_bind("q", "missing", "k")
        wait_for(lambda: broker.stats.channels == 1)
        channel.connection.channel().basic_publish("", "q", b"still here")
        while not got:
            channel.connection.process_data_events(time_limit=0.1)
        assert got == [b"still here"]


def test_a_delivery_tag_belongs_to_its_channel(broker: Broker) -> None:
    """Another channel of the connection cannot ack it: 406, and the message stays unacked."""
    with channel_of(broker) as channel:
        other = channel.connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"mine")
        tag = channel.basic_get("q")[0].delivery_tag
        other.basic_ack(tag)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker) as caught:
            other.queue_declare("q", passive=True)
        assert caught.value.reply_code == 406
        assert broker.stats.queues["q"].unacked == 1
        channel.basic_ack(tag)
        channel.queue_declare("q", passive=True)
        assert broker.stats.queues["q"].unacked == 0


def test_a_wrong_password_is_an_error_for_pika(broker: Broker) -> None:
    """With pika a refused login has an error of its own."""
    url = f"amqp://learner:wrong@127.0.0.1:{broker.port}/"
    with pytest.raises(pika.exceptions.ProbableAuthenticationError):
        pika.BlockingConnection(pika.URLParameters(url))


# The broker itself


def test_many_threads_publish_at_once(broker: Broker) -> None:
    """Concurrent clients lose nothing and each keeps its own order."""

    def publish(name: str) -> None:
        with channel_of(broker) as channel:
            channel.confirm_delivery()
            for number in range(50):
                channel.basic_publish("", "q", f"{name}{number}".encode())

    with channel_of(broker) as channel:
        channel.queue_declare("q")
        threads = [threading.Thread(target=publish, args=(name,)) for name in "abcd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        bodies = [channel.basic_get("q", auto_ack=True)[2].decode() for _ in range(200)]
    for name in "abcd":
        mine = [body for body in bodies if body.startswith(name)]
        assert mine == [f"{name}{number}" for number in range(50)]


def test_stopping_tells_the_clients(broker: Broker, loop: Loop) -> None:
    """A client learns 320 CONNECTION_FORCED; stopping twice is no error."""
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    stopping = loop.submit(broker.stop())
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker) as caught:
        connection.process_data_events(time_limit=5)
    assert caught.value.reply_code == 320
    stopping.result(5)
    loop.run(broker.stop())
    with pytest.raises(pika.exceptions.AMQPConnectionError):
        pika.BlockingConnection(pika.URLParameters(broker.url))


def test_a_port_in_use_is_told_plainly(broker: Broker, loop: Loop) -> None:
    """A second broker on the port, or a second start, says what to do."""
    with pytest.raises(PortInUseError, match="use port=0"):
        loop.run(Broker("u", "p").start(port=broker.port))
    with pytest.raises(LabError, match="await stop"):
        loop.run(broker.start())


def test_a_frozen_client_does_not_delay_the_stop(broker: Broker, loop: Loop) -> None:
    """A client that never answers, and one that never spoke, are dropped."""
    with socket.create_connection(("127.0.0.1", broker.port)):
        connection = pika.BlockingConnection(pika.URLParameters(broker.url))
        loop.run(broker.stop(), timeout=5)
        assert broker.stats.connections == 0
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
            connection.process_data_events(time_limit=5)


# What a channel may ask for


def test_a_transaction_takes_effect_at_its_commit(broker: Broker) -> None:
    """Publishes and answers wait for tx.commit; tx.rollback forgets them."""
    with channel_of(broker) as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"first")
        channel.tx_select()
        tag = channel.basic_get("q")[0].delivery_tag
        for end, ready, unacked in ((channel.tx_rollback, 0, 1), (channel.tx_commit, 1, 0)):
            channel.basic_publish("", "q", b"second")
            channel.basic_ack(tag)
            assert channel.queue_declare("q", passive=True).method.message_count == 0
            end()
            assert broker.stats.queues["q"] == QueueStats(ready, unacked, consumers=0)
        assert channel.basic_get("q", auto_ack=True)[2] == b"second"


def test_a_commit_says_that_a_queue_was_full(broker: Broker) -> None:
    """406 when a message was rejected; those that found room are there."""
    with channel_of(broker) as channel:
        channel.queue_declare("q", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        channel.tx_select()
        for body in (b"1", b"2"):
            channel.basic_publish("", "q", body)
        with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="partial tx completion"):
            channel.tx_commit()
        assert broker.stats.queues["q"].ready == 1


def test_a_lost_transaction_gives_back_what_it_answered(broker: Broker) -> None:
    """Acks that were not committed count for nothing when the channel closes."""
    with channel_of(broker) as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"1")
        other = channel.connection.channel()
        other.tx_select()
        other.basic_ack(other.basic_get("q")[0].delivery_tag)
        other.close()
        method, _, body = channel.basic_get("q", auto_ack=True)
        assert (method.redelivered, body) == (True, b"1")


def test_a_full_queue_rejects_only_what_finds_no_room(broker: Broker) -> None:
    """Of many publishes in flight, each gets the answer that is its own."""

    async def main() -> None:
        async with await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            limits: Any = {"x-max-length": 3, "x-overflow": "reject-publish"}
            await channel.declare_queue("small", arguments=limits)
            await channel.declare_queue("large")
            keys = ["small", "large"] * 5
            publishes = [channel.default_exchange.publish(text("m"), key) for key in keys]
            answers = await asyncio.gather(*publishes, return_exceptions=True)
            assert sum(isinstance(answer, DeliveryError) for answer in answers) == 2
            assert not any(isinstance(answer, DeliveryError) for answer in answers[1::2])

    asyncio.run(main())
    stats = broker.stats
    assert (stats.queues["small"].ready, stats.queues["large"].ready) == (3, 5)
    assert stats.confirmed == 8


def test_copies_go_to_the_queues_that_the_sender_names(broker: Broker) -> None:
    """CC and BCC are more routing keys, and nobody sees BCC."""
    with channel_of(broker) as channel:
        headers = {"CC": ["open"], "BCC": ["secret"], "mine": 1}
        for name in ("q", "open", "secret"):
            channel.queue_declare(name)
        channel.basic_publish("", "q", b"1", pika.BasicProperties(headers=headers))
        for name in ("q", "open", "secret"):
            method, properties, body = channel.basic_get(name, auto_ack=True)
            assert (method.routing_key, body) == ("q", b"1")
            assert properties.headers == {"CC": ["open"], "mine": 1}


def test_virtual_hosts_share_nothing(loop: Loop) -> None:
    """A queue is known in its own virtual host only; one that is not there is refused."""
    broker = Broker("learner", "secret", vhosts=("/", "blue"))
    loop.run(broker.start())
    try:
        blue = pika.BlockingConnection(pika.URLParameters(f"{broker.url}blue"))
        with closing(blue), channel_of(broker) as channel:
            blue.channel().queue_declare("q")
            blue.channel().basic_publish("amq.direct", "q", b"lost")
            with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="vhost '/'"):
                channel.queue_declare("q", passive=True)
            assert set(broker.stats.queues) == {"blue/q"}
        with pytest.raises(pika.exceptions.ProbableAccessDeniedError, match="vhost red not found"):
            pika.BlockingConnection(pika.URLParameters(f"{broker.url}red"))
    finally:
        loop.run(broker.stop())
