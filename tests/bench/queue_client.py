"""The client side of the queue benchmarks, in a process of its own: aio-pika, and a bare socket.

    python -m tests.bench.queue_client transient NAME=URL [NAME=URL ...]
    python -m tests.bench.queue_client persistent NAME=URL [NAME=URL ...]

The bare socket is for the throughput of confirms: with 64 in flight aio-pika is the slowest part of
the chain, so that it would be measured and not the broker.

Brokers take turns. Prints one JSON object: numbers by measurement and broker, for persistent
messages by broker and type of queue ("rabbitmq quorum"); seconds for latencies and messages a
second for rates.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from typing import TYPE_CHECKING, Any

import aio_pika
from aio_pika import DeliveryMode, Message
from pamqp import frame
from pamqp.commands import Basic, Confirm, Queue

from labsvc import aio_compare
from tests.engines.raw import Raw, publish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

BODY = b"x" * 256
CALLS = 2000
BATCH = 6000
IN_FLIGHT = 64
TURNS = 5
TYPES = ("classic", "quorum")


def message(mode: DeliveryMode) -> Message:
    """Return a message of 256 bytes."""
    return Message(BODY, delivery_mode=mode)


async def publisher(
    channel: AbstractChannel, name: str, mode: DeliveryMode, kind: str = "classic"
) -> Callable[[], Awaitable[object]]:
    """Return a coroutine function that publishes to an emptied queue and waits for the confirm."""
    await channel.queue_delete(name)
    await channel.declare_queue(name, durable=True, arguments={"x-queue-type": kind})

    async def publish() -> None:
        await channel.default_exchange.publish(message(mode), routing_key=name)

    return publish


async def round_trip(channel: AbstractChannel) -> Callable[[], Awaitable[object]]:
    """Return a coroutine function that publishes and waits until the message is delivered."""
    queue = await channel.declare_queue(exclusive=True)
    arrived = asyncio.Event()

    async def on_message(_: AbstractIncomingMessage) -> None:
        arrived.set()

    await queue.consume(on_message, no_ack=True)

    async def publish() -> None:
        arrived.clear()
        await channel.default_exchange.publish(
            message(DeliveryMode.NOT_PERSISTENT), routing_key=queue.name
        )
        await arrived.wait()

    return publish


async def medians(variants: dict[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Measure the median of one publish at a time, variants taking turns."""
    measured = await aio_compare(variants, calls=CALLS, rounds=20)
    return {name: q.p50 for name, q in measured.quantiles.items()}


async def publish_many(send: Callable[[], Awaitable[object]], count: int) -> float:
    """Publish with 64 confirms outstanding; return messages a second."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await send()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - start)


def publish_bare(url: str, count: int, kind: str) -> float:
    """Publish persistent messages with 64 confirms outstanding; return messages a second."""
    name = "bench-bare"
    with Raw(url) as client:
        client.log_in()
        client.open_channel()
        client.ask(Queue.Delete(queue=name), Queue.DeleteOk)
        arguments: Any = {"x-queue-type": kind}
        client.ask(Queue.Declare(queue=name, durable=True, arguments=arguments), Queue.DeclareOk)
        client.ask(Confirm.Select(), Confirm.SelectOk)
        one = b"".join(frame.marshal(part, 1) for part in publish("", name, BODY, delivery_mode=2))
        sent, waiting = 0, set[int]()
        start = time.perf_counter()
        while sent < count or waiting:
            more = min(IN_FLIGHT - len(waiting), count - sent)
            if more:
                client.send(one * more)
                waiting |= set(range(sent + 1, sent + more + 1))
                sent += more
            ack = client.expect(Basic.Ack)
            tag = ack.delivery_tag
            waiting -= {each for each in waiting if each <= tag} if ack.multiple else {tag}
        return count / (time.perf_counter() - start)


async def consume_all(channel: AbstractChannel, name: str, count: int) -> float:
    """Consume and ack `count` messages with a prefetch of 500; return messages a second."""
    done: asyncio.Future[None] = asyncio.Future()
    seen = 0

    async def on_message(incoming: AbstractIncomingMessage) -> None:
        nonlocal seen
        await incoming.ack()
        seen += 1
        if seen == count:
            done.set_result(None)

    await channel.set_qos(prefetch_count=500)
    queue = await channel.get_queue(name)
    start = time.perf_counter()
    tag = await queue.consume(on_message)
    await done
    rate = count / (time.perf_counter() - start)
    await queue.cancel(tag)
    return rate


async def transient(
    channels: dict[str, AbstractChannel], urls: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Publish, deliver and consume messages that nobody stores."""
    mode = DeliveryMode.NOT_PERSISTENT
    consumed: dict[str, list[float]] = {name: [] for name in urls}
    for _ in range(TURNS):
        for name, channel in channels.items():
            send = await publisher(channel, "bench-flow", mode)
            await publish_many(send, BATCH)
            consumed[name].append(await consume_all(channel, "bench-flow", BATCH))
    variants = {name: await publisher(c, "bench-transient", mode) for name, c in channels.items()}
    trips = {name: await round_trip(channel) for name, channel in channels.items()}
    return {
        "confirmed": await medians(variants),
        "delivered": await medians(trips),
        "consumed": {name: statistics.median(values) for name, values in consumed.items()},
    }


async def persistent(
    channels: dict[str, AbstractChannel], urls: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Publish messages that are stored: one at a time, and with 64 in flight."""
    mode = DeliveryMode.PERSISTENT
    variants = {
        f"{name} {kind}": await publisher(channel, f"bench-{kind}", mode, kind)
        for name, channel in channels.items()
        for kind in TYPES
    }
    rates: dict[str, list[float]] = {name: [] for name in variants}
    through_library: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(TURNS):
        for name, send in variants.items():
            broker, kind = name.split()
            rates[name].append(publish_bare(urls[broker], BATCH, kind))
            through_library[name].append(await publish_many(send, BATCH // 3))
    return {
        "confirmed": await medians(variants),
        "bare": {name: statistics.median(values) for name, values in rates.items()},
        "aio-pika": {name: statistics.median(values) for name, values in through_library.items()},
    }


async def main(what: str, targets: list[str]) -> None:
    """Connect to every broker, measure, print."""
    urls = dict(target.split("=", 1) for target in targets)
    connections = {name: await aio_pika.connect(url) for name, url in urls.items()}
    channels = {name: await connection.channel() for name, connection in connections.items()}
    measure = {"transient": transient, "persistent": persistent}[what]
    found = await measure(channels, urls)
    print(json.dumps(found))
    for connection in connections.values():
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
