"""The client side of the queue benchmarks, in a process of its own: aio-pika, and a bare socket.

    python tests/bench/queue_client.py latency NAME=URL [NAME=URL]
    python tests/bench/queue_client.py rates NAME=URL [NAME=URL]

The bare socket is for the throughput of confirms: with 64 in flight aio-pika is the slowest part of
the chain, so that it would be measured and not the broker.

Brokers take turns. Prints one JSON object: numbers by measurement and broker, seconds for
latencies and messages a second for rates.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
from aio_pika import DeliveryMode, Message
from pamqp import frame
from pamqp.commands import Basic, Confirm, Queue

from labsvc import compare_async

sys.path.insert(0, str(Path(__file__).parents[1] / "engines"))

from raw import Raw, publish

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

BODY = b"x" * 256
CALLS = 2000
BATCH = 6000
IN_FLIGHT = 64
TURNS = 5
QUORUM: Any = {"x-queue-type": "quorum"}


def message(mode: DeliveryMode) -> Message:
    """Return a message of 256 bytes."""
    return Message(BODY, delivery_mode=mode)


async def publisher(
    channel: AbstractChannel, name: str, mode: DeliveryMode, arguments: Any = None
) -> Callable[[], Awaitable[object]]:
    """Return a coroutine function that publishes to an emptied queue and waits for the confirm."""
    await channel.queue_delete(name)
    await channel.declare_queue(name, durable=True, arguments=arguments)

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


async def latency(channels: dict[str, AbstractChannel]) -> dict[str, dict[str, float]]:
    """Measure the medians of one publish at a time."""
    found = {}
    for what, make in {
        "transient": lambda c: publisher(c, "bench-transient", DeliveryMode.NOT_PERSISTENT),
        "persistent": lambda c: publisher(c, "bench-quorum", DeliveryMode.PERSISTENT, QUORUM),
        "delivered": round_trip,
    }.items():
        variants = {name: await make(channel) for name, channel in channels.items()}
        measured = await compare_async(variants, calls=CALLS, rounds=20)
        found[what] = {name: q.p50 for name, q in measured.quantiles.items()}
    return found


async def publish_many(send: Callable[[], Awaitable[object]], count: int) -> float:
    """Publish with 64 confirms outstanding; return messages a second."""
    left = iter(range(count))

    async def worker() -> None:
        for _ in left:
            await send()

    start = time.perf_counter()
    await asyncio.gather(*(worker() for _ in range(IN_FLIGHT)))
    return count / (time.perf_counter() - start)


def publish_bare(url: str, count: int) -> float:
    """Publish persistent messages with 64 confirms outstanding; return messages a second."""
    name = "bench-bare"
    with Raw(url) as client:
        client.log_in()
        client.open_channel()
        client.ask(Queue.Delete(queue=name), Queue.DeleteOk)
        client.ask(Queue.Declare(queue=name, durable=True, arguments=QUORUM), Queue.DeclareOk)
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


async def rates(
    channels: dict[str, AbstractChannel], urls: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Measure throughput, brokers taking turns."""
    found: dict[str, dict[str, list[float]]] = {"bare": {}, "aio-pika": {}, "consume": {}}
    for _ in range(TURNS):
        for name, channel in channels.items():
            found["bare"].setdefault(name, []).append(publish_bare(urls[name], BATCH))
            send = await publisher(channel, "bench-rate", DeliveryMode.PERSISTENT, QUORUM)
            found["aio-pika"].setdefault(name, []).append(await publish_many(send, BATCH // 3))
            send = await publisher(channel, "bench-flow", DeliveryMode.NOT_PERSISTENT)
            await publish_many(send, BATCH)
            rate = await consume_all(channel, "bench-flow", BATCH)
            found["consume"].setdefault(name, []).append(rate)
    return {
        what: {name: statistics.median(values) for name, values in by_name.items()}
        for what, by_name in found.items()
    }


async def main(what: str, targets: list[str]) -> None:
    """Connect to every broker, measure, print."""
    urls = dict(target.split("=", 1) for target in targets)
    connections = {name: await aio_pika.connect(url) for name, url in urls.items()}
    channels = {name: await connection.channel() for name, connection in connections.items()}
    found = await (latency(channels) if what == "latency" else rates(channels, urls))
    print(json.dumps(found))
    for connection in connections.values():
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
