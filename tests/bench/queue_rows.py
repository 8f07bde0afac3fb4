"""The queue's promises, with RabbitMQ beside it where that is installed."""

from __future__ import annotations

import asyncio
import gc
import json
import math
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import aio_pika
import psutil
from aio_pika import DeliveryMode

from labsvc import Lab, aio_compare
from tests.bench.bench_row import Row
from tests.bench.queue_client import BODY, CALLS, publisher
from tests.engines.rabbit import RabbitMQ, missing

if TYPE_CHECKING:
    from collections.abc import Iterator

WAITING = 200_000


@contextmanager
def brokers() -> Iterator[dict[str, str]]:
    """Run our broker, and RabbitMQ if it is installed; yield the address of each."""
    with Lab() as lab, rabbitmq() as theirs:
        yield {"labsvc": lab.serve_queue().url} | theirs


@contextmanager
def rabbitmq() -> Iterator[dict[str, str]]:
    """Run RabbitMQ, if it is installed; yield its address by its name."""
    if missing():
        yield {}
        return
    server = RabbitMQ()
    server.start()
    try:
        yield {"rabbitmq": server.url()}
    finally:
        server.stop()


@contextmanager
def standalone(*options: str) -> Iterator[str]:
    """Run `labsvc broker` with a folder of its own; yield its address."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "labsvc", "broker", "--data", folder, *options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip()
            finally:
                process.terminate()


def client(what: str, urls: dict[str, str]) -> dict[str, dict[str, float]]:
    """Run the client in a process of its own; return what it measured."""
    command = [sys.executable, "-m", "tests.bench.queue_client", what]
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


def against(what: str, found: dict[str, float], goal: float) -> Row:
    """Return the row for ours over RabbitMQ's; without a RabbitMQ the ratio is unknown."""
    ours, theirs = found["labsvc"] * 1e3, found.get("rabbitmq", math.nan) * 1e3
    detail = f"{ours:.3g} ms against {theirs:.3g} ms for RabbitMQ"
    return Row(what, ours / theirs, goal, "x", detail)


def transient() -> Iterator[Row]:
    """Publish, deliver and consume with the client in another process."""
    with brokers() as urls:
        found = client("transient", urls)
    yield against("confirmed publish, transient, other process", found["confirmed"], 1.3)
    yield against("publish to deliver, transient", found["delivered"], 1.5)
    rate = found["consumed"]
    detail = f"RabbitMQ {rate.get('rabbitmq', math.nan):,.0f} with the same client"
    yield Row("consume and ack, 256 bytes", rate["labsvc"], 6000, "/s", detail, at_least=True)


def persistent() -> Iterator[Row]:
    """Publish what is stored, in both settings of ours and to both types of queue.

    RabbitMQ 3.10 flushes to the disk before it confirms, in a classic queue as in a quorum queue,
    so ours with `--flush` promises the same. Without it, ours promises less: what is confirmed
    survives a kill, and a power cut may take the last of it. The goals are parity, with room for a
    noisy disk: a Python broker that flushes is not promised to be faster than RabbitMQ.
    """
    with rabbitmq() as theirs, standalone() as plain, standalone("--flush") as flushed:
        found = client("persistent", {"unflushed": plain, "flushed": flushed} | theirs)
    confirmed, rate, slow = found["confirmed"], found["bare"], found["aio-pika"]
    for kind in ("quorum", "classic"):
        what = f"confirmed publish, persistent, flushed, {kind}"
        theirs_ms = confirmed.get(f"rabbitmq {kind}", math.nan) * 1e3
        flushed_ms, plain_ms = (confirmed[f"{n} {kind}"] * 1e3 for n in ("flushed", "unflushed"))
        detail = (
            f"{flushed_ms:.3g} ms against {theirs_ms:.3g} ms for RabbitMQ; without a flush, which"
            f" promises less, {plain_ms:.3g} ms"
        )
        yield Row(what, flushed_ms / theirs_ms, 1.25, "x", detail)
    for kind in ("quorum", "classic"):
        name = f"rabbitmq {kind}"
        value = rate[f"flushed {kind}"] / rate.get(name, math.nan)
        detail = (
            f"{rate[f'flushed {kind}']:,.0f} a second against {rate.get(name, math.nan):,.0f} for"
            f" RabbitMQ, bare socket; without a flush {rate[f'unflushed {kind}']:,.0f}. With"
            f" aio-pika, which is slower than all of them, {slow[f'flushed {kind}']:,.0f} against"
            f" {slow.get(name, math.nan):,.0f}"
        )
        what = f"persistent, 64 in flight, flushed, {kind}"
        yield Row(what, value, 0.75, "x", detail, at_least=True)


async def _same_kernel(urls: dict[str, str]) -> dict[str, float]:
    connections = {name: await aio_pika.connect(url) for name, url in urls.items()}
    variants: Any = {}
    for name, connection in connections.items():
        channel = await connection.channel()
        variants[name] = await publisher(channel, "bench-same", DeliveryMode.NOT_PERSISTENT)
    measured = await aio_compare(variants, calls=CALLS, rounds=20)
    for connection in connections.values():
        await connection.close()
    return {name: q.p50 for name, q in measured.quantiles.items()}


def same_kernel() -> Iterator[Row]:
    """Publish with the client in the broker's own process, on another loop."""
    with brokers() as urls:
        found = asyncio.run(_same_kernel(urls))
    yield against("confirmed publish, transient, same kernel", found, 2.0)


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

    measured = await aio_compare({"full": full, "empty": empty}, calls=CALLS, rounds=20)
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


PARTS = [ready, transient, persistent, same_kernel, waiting]
