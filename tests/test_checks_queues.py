from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    Work = Callable[[bytes], Awaitable[None]]
    Send = Callable[[str, str, Iterable[str]], Awaitable[None]]
    Run = Callable[[str, str, Work], Awaitable[None]]


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left(lab: Lab) -> Iterator[None]:
    """No thread of an answer and no service of a check runs on after a test."""
    yield
    give_up_at = time.monotonic() + 10
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)
    assert "check-" not in repr(lab)


def order(order_id: str, **changes: Any) -> Message:
    """Return the message that the exercise asks for, with changes."""
    right = {"message_id": order_id, "delivery_mode": DeliveryMode.PERSISTENT}
    return Message(order_id.encode(), **(right | changes))


def sender(
    tries: int = 20, *, confirms: bool = True, swallow: bool = False, **changes: Any
) -> Send:
    """Return an answer to 12-confirms: the right one without arguments."""

    async def send_orders(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
        async with connection:
            channel = await connection.channel(publisher_confirms=confirms)
            exchange = channel.default_exchange
            for order_id in order_ids:
                for left in reversed(range(tries)):
                    message = order(order_id, **changes)
                    try:
                        await exchange.publish(message, routing_key=queue_name, timeout=0.4)
                        break
                    except CONNECTION_EXCEPTIONS:
                        if not left and not swallow:
                            raise
                        await asyncio.sleep(0.1)

    return send_orders


async def tries_for_ever(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Send again and again on a plain connection, which never comes back."""
    async with await aio_pika.connect(url) as connection:
        exchange = (await connection.channel()).default_exchange
        for order_id in order_ids:
            while True:
                try:
                    await exchange.publish(order(order_id), routing_key=queue_name, timeout=0.4)
                    break
                except CONNECTION_EXCEPTIONS:
                    await asyncio.sleep(0.05)


async def sends_nothing(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Send no order."""


def test_confirms_solved(lab: Lab) -> None:
    """Confirms, a time limit and a bounded retry solve the exercise; the lab's broker goes on."""
    mine = lab.serve_queue(name="mine")
    verdict = run_check("12-confirms", sender())
    assert str(verdict) == (
        "solved\n"
        "  every order arrived through the outage, marked with its id\n"
        "  counts: orders 10, lost 0"
    )
    assert mine.running


def test_confirms_stub() -> None:
    """The stub is not attempted."""

    async def stub(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        raise NotImplementedError

    assert run_check("12-confirms", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (sender(confirms=False), "returned as if all was well", "Which answer of the broker"),
        (sender(tries=1), "orders were never sent", "send the same order again"),
        (sender(tries=1, swallow=True), "orders are lost", "what if that answer does not come"),
        (sender(message_id=None), "ids are not the order ids", "order's id as message_id"),
        (sender(delivery_mode=None), "not survive a restart", "delivery_mode by default"),
        (tries_for_ever, "your function did not return", "repeats without an end"),
        (sends_nothing, "10 orders are lost", "Which answer of the broker"),
    ],
    ids=["unconfirmed", "once", "swallows", "no-id", "transient", "for-ever", "nothing"],
)
def test_confirms_wrong(answer: Send, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("12-confirms", answer, guarantee, hint)


def test_confirms_own_error_is_shown() -> None:
    """An error that has nothing to do with the network is shown as the learner's own."""

    async def mistaken(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        raise KeyError(queue_name.partition("-")[0])

    verdict = run_check("12-confirms", mistaken)
    assert verdict.state == "not solved"
    assert "your function raised KeyError" in verdict.guarantee


def worker(prefetch: int = 5, *, ack: str = "after", late_qos: bool = False) -> Run:
    """Return an answer to 12-prefetch: the right one without arguments."""

    async def run_worker(url: str, queue_name: str, work: Work) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            if not late_qos:
                await channel.set_qos(prefetch_count=prefetch)
            queue = await channel.get_queue(queue_name)

            async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
                if ack == "before":
                    await message.ack()
                try:
                    await work(message.body)
                except Exception:  # noqa: BLE001  # whatever a job raises
                    await (message.ack() if ack == "whatever" else message.nack(requeue=True))
                else:
                    if ack in ("after", "whatever"):
                        await message.ack()

            await queue.consume(on_job)
            if late_qos:
                await channel.set_qos(prefetch_count=prefetch)
            await asyncio.Future()

    return run_worker


async def takes_no_ack(url: str, queue_name: str, work: Work) -> None:
    """Let the broker forget a job when it is sent."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(queue_name)
        async with queue.iterator(no_ack=True) as messages:
            async for message in messages:
                await work(message.body)


async def one_at_a_time(url: str, queue_name: str, work: Work) -> None:
    """Solve the exercise with an iterator, one job after the other."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        async with (await channel.get_queue(queue_name)).iterator() as messages:
            async for message in messages:
                try:
                    async with message.process(requeue=True):
                        await work(message.body)
                except RuntimeError:
                    pass


async def greedy_iterator(url: str, queue_name: str, work: Work) -> None:
    """Work on one job at a time, with all the others in memory."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(queue_name)
        async with queue.iterator() as messages:
            async for message in messages:
                await work(message.body)
                await message.ack()


async def process_without_requeue(url: str, queue_name: str, work: Work) -> None:
    """Let message.process() throw away a job that failed."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)
        async with (await channel.get_queue(queue_name)).iterator() as messages:
            async for message in messages:
                try:
                    async with message.process():
                        await work(message.body)
                except RuntimeError:
                    pass


async def does_not_wait(url: str, queue_name: str, work: Work) -> None:
    """Start the consumer and return."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            await work(message.body)

        await (await channel.get_queue(queue_name)).consume(on_job)


async def never_begins(url: str, queue_name: str, work: Work) -> None:
    """Wait without consuming."""
    await asyncio.Future()


@pytest.mark.parametrize("answer", [worker(), one_at_a_time], ids=["callback", "iterator"])
def test_prefetch_solved(answer: Run) -> None:
    """A bound, an ack after the work and a requeue of what failed solve the exercise."""
    verdict = run_check("12-prefetch", answer)
    assert str(verdict) == (
        "solved\n"
        "  at most five jobs were unfinished, and none was lost\n"
        "  counts: jobs 20, done 20, lost 0"
    )


def test_prefetch_stub() -> None:
    """The stub is not attempted."""

    async def stub(url: str, queue_name: str, work: Work) -> None:
        raise NotImplementedError

    assert run_check("12-prefetch", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (worker(0), "20 jobs were taken before", "start after it is set"),
        (worker(50), "20 jobs were taken before", "start after it is set"),
        (worker(late_qos=True), "20 jobs were taken before", "start after it is set"),
        (greedy_iterator, "20 jobs were taken before", "start after it is set"),
        (takes_no_ack, "20 of 20 jobs are gone", "no_ack=True"),
        (worker(ack="before"), "jobs are gone", "that is acknowledged"),
        (worker(ack="whatever"), "this job was never done", "has to go back to the queue"),
        (
            process_without_requeue,
            "1 of 20 jobs are gone",
            "process() does when its block ends early",
        ),
        (worker(ack="never"), "only 5 of 20 jobs were done", "acknowledge each one"),
        (does_not_wait, "your worker returned", "while the event loop runs"),
        (never_begins, "began none", "await work(message.body)"),
    ],
    ids=[
        "no-bound",
        "high-bound",
        "bound-too-late",
        "greedy-iterator",
        "no-ack",
        "ack-first",
        "ack-whatever-happens",
        "process-without-requeue",
        "never-acks",
        "does-not-wait",
        "never-begins",
    ],
)
def test_prefetch_wrong(answer: Run, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("12-prefetch", answer, guarantee, hint)
