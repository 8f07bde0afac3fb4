"""The queue's promises, with RabbitMQ beside it where that is installed."""

from __future__ import annotations

import asyncio
import gc
import json
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import psutil
from aio_pika import DeliveryMode
from bench_row import Row

from labsvc import Lab, compare_async

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "engines"))

from queue_client import BODY, CALLS, publisher  # noqa: E402
from rabbit import RabbitMQ, missing  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING = 200_000


@contextmanager
def brokers() -> Iterator[dict[str, str]]:
    """Run our broker, and RabbitMQ if it is installed; yield the address of each."""
    with Lab() as lab:
        urls = {"labsvc": lab.serve_queue().url}
        if missing():
            yield urls
            return
        rabbit = RabbitMQ()
        rabbit.start()
        try:
            yield urls | {"rabbitmq": rabbit.url()}
        finally:
            rabbit.stop()


def client(what: str, urls: dict[str, str]) -> dict[str, dict[str, float]]:
    """Run the client in a process of its own; return what it measured."""
    command = [sys.executable, str(HERE / "queue_client.py"), what]
    command += [f"{name}={url}" for name, url in urls.items()]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, dict[str, float]] = json.loads(done.stdout)
    return found


def ready() -> Iterator[Row]:
    """Start the broker in a running lab."""
    times = []
    with Lab() as lab:
        for number in range(9):
            start = time.perf_counter()
            lab.serve_queue(name=f"queue-{number}")
            times.append((time.perf_counter() - start) * 1e3)
    detail = f"median of {len(times)}, {min(times):.1f} to {max(times):.1f} ms"
    yield Row("queue ready for connections", statistics.median(times), 10, "ms", detail)


def against(what: str, found: dict[str, float], goal: float, scale: float, unit: str) -> Row:
    """Return the row for ours over RabbitMQ's; without a RabbitMQ the ratio is unknown."""
    ours, theirs = found["labsvc"] * scale, found.get("rabbitmq", float("nan")) * scale
    detail = f"{ours:.3g} {unit} against {theirs:.3g} {unit} for RabbitMQ"
    return Row(what, ours / theirs, goal, "x", detail)


def other_process() -> Iterator[Row]:
    """Publish, deliver and consume with the client in another process."""
    with brokers() as urls:
        found = client("latency", urls)
        rates = client("rates", urls)
    yield against("confirmed publish, transient, other process", found["transient"], 1.3, 1e3, "ms")
    yield against("confirmed publish, persistent, quorum", found["persistent"], 1.0, 1e3, "ms")
    yield against("publish to deliver, transient", found["delivered"], 1.5, 1e3, "ms")
    rate, slow = rates["bare"], rates["aio-pika"]
    ours, theirs = rate["labsvc"], rate.get("rabbitmq", float("nan"))
    detail = (
        f"{ours:,.0f} a second against {theirs:,.0f} for RabbitMQ's quorum queue, bare socket; with"
        f" aio-pika, which is slower than both, {slow['labsvc']:,.0f} against "
        f"{slow.get('rabbitmq', float('nan')):,.0f}"
    )
    yield Row("persistent, 64 in flight", ours / theirs, 1.0, "x", detail, at_least=True)
    rate = rates["consume"]
    detail = f"RabbitMQ {rate.get('rabbitmq', float('nan')):,.0f} with the same client"
    yield Row("consume and ack, 256 bytes", rate["labsvc"], 6000, "/s", detail, at_least=True)


async def _same_kernel(urls: dict[str, str]) -> dict[str, float]:
    connections = {name: await aio_pika.connect(url) for name, url in urls.items()}
    variants: Any = {}
    for name, connection in connections.items():
        channel = await connection.channel()
        variants[name] = await publisher(channel, "bench-same", DeliveryMode.NOT_PERSISTENT)
    measured = await compare_async(variants, calls=CALLS, rounds=20)
    for connection in connections.values():
        await connection.close()
    return {name: q.p50 for name, q in measured.quantiles.items()}


def same_kernel() -> Iterator[Row]:
    """Publish with the client in the broker's own process, on another loop."""
    with brokers() as urls:
        found = asyncio.run(_same_kernel(urls))
    yield against("confirmed publish, transient, same kernel", found, 2.0, 1e3, "ms")


async def _fill(url: str, count: int) -> tuple[float, float]:
    """Return the bytes that one waiting message takes, and full over empty publish p50."""
    connection = await aio_pika.connect(url)
    plain = await connection.channel(publisher_confirms=False)
    await plain.declare_queue("bench-full")
    gc.collect()
    before = psutil.Process().memory_info().rss
    for number in range(count):
        await plain.default_exchange.publish(aio_pika.Message(BODY), routing_key="bench-full")
        if number % 1000 == 0:
            await plain.declare_queue("bench-full", passive=True)  # the broker has caught up
    waiting = 0
    while waiting < count:
        await asyncio.sleep(0.01)
        waiting = (await plain.declare_queue("bench-full")).declaration_result.message_count or 0
    gc.collect()
    size = (psutil.Process().memory_info().rss - before) / count
    channel = await connection.channel()
    await channel.declare_queue("bench-empty")

    async def full() -> None:
        await channel.default_exchange.publish(aio_pika.Message(BODY), routing_key="bench-full")

    async def empty() -> None:
        await channel.default_exchange.publish(aio_pika.Message(BODY), routing_key="bench-empty")

    measured = await compare_async({"full": full, "empty": empty}, calls=CALLS, rounds=20)
    ratio = measured.ratio("full", "empty").value
    await connection.close()
    return size, ratio


def waiting() -> Iterator[Row]:
    """Let 200,000 messages wait, weigh them, and publish behind them."""
    with Lab() as lab:
        size, ratio = asyncio.run(_fill(lab.serve_queue().url, WAITING))
    detail = f"{CALLS} calls each, {WAITING:,} messages waiting in one of the queues"
    yield Row("publish p50, full over empty queue", ratio, 1.2, "x", detail)
    detail = f"growth of the process over {WAITING:,} messages"
    yield Row("memory for a waiting 256-byte message", size, 1000, "bytes", detail)


PARTS = [ready, other_process, same_kernel, waiting]
