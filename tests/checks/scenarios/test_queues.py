from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest
from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from labsvc.lab import Lab

    Work = Callable[[bytes], Awaitable[None]]
    Send = Callable[[str, str, Iterable[str]], Awaitable[None]]
    Run = Callable[[str, str, Work], Awaitable[None]]


pytestmark = pytest.mark.usefixtures("answers_have_ended")


@pytest.fixture(autouse=True)
def nothing_is_left(lab: Lab) -> Iterator[None]:
    """No service of a check runs on after a test."""
    yield
    assert "check-" not in repr(lab)


def sender(tries: int = 20, *, confirms: bool = True, swallow: bool = False, **more: Any) -> Send:
    """Return an answer to 50-confirms: the right one without arguments."""
    limit = more.pop("limit", 0.4)
    fresh_id = more.pop("fresh_id", False)

    async def send_orders(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
        async with connection:
            channel = await connection.channel(publisher_confirms=confirms)
            exchange = channel.default_exchange
            for order_id in order_ids:
                for left in reversed(range(tries)):
                    message = Message(order_id.encode(), **settings(order_id))
                    try:
                        await exchange.publish(message, routing_key=queue_name, timeout=limit)
                        break
                    except CONNECTION_EXCEPTIONS:
                        if not left and not swallow:
                            raise
                        await asyncio.sleep(0.1)

    def settings(order_id: str) -> dict[str, Any]:
        right = {"message_id": order_id, "delivery_mode": DeliveryMode.PERSISTENT}
        return right | more | ({"message_id": uuid.uuid4().hex} if fresh_id else {})

    return send_orders


def order(order_id: str) -> Message:
    """Return the message that the exercise asks for."""
    return Message(order_id.encode(), message_id=order_id, delivery_mode=DeliveryMode.PERSISTENT)


async def connects_anew(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Solve it with a plain connection, made anew after each failure."""
    waiting = list(order_ids)
    give_up_at = time.monotonic() + 8
    while waiting:
        try:
            async with await aio_pika.connect(url, timeout=1) as connection:
                exchange = (await connection.channel()).default_exchange
                while waiting:
                    await exchange.publish(order(waiting[0]), queue_name, timeout=0.4)
                    waiting.pop(0)
        except CONNECTION_EXCEPTIONS:
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(0.05)


async def all_at_once(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Solve it with all orders under way together."""
    waiting = list(order_ids)
    for _ in range(10):
        try:
            async with await aio_pika.connect(url, timeout=1) as connection:
                exchange = (await connection.channel()).default_exchange
                tries = [exchange.publish(order(each), queue_name, timeout=1) for each in waiting]
                results = await asyncio.gather(*tries, return_exceptions=True)
        except CONNECTION_EXCEPTIONS:
            results = [ConnectionError()] * len(waiting)
        pairs = zip(waiting, results, strict=True)
        waiting = [each for each, result in pairs if isinstance(result, BaseException)]
        if not waiting:
            return
        await asyncio.sleep(0.1)
    msg = f"never confirmed: {waiting}"
    raise ConnectionError(msg)


async def a_connection_each(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Solve it with a new connection for each try."""
    for order_id in order_ids:
        for pause in (0.05, 0.1, 0.2, 0.4, 0.8, None):
            try:
                async with await aio_pika.connect(url, timeout=2) as connection:
                    exchange = (await connection.channel()).default_exchange
                    await exchange.publish(order(order_id), queue_name, timeout=0.5)
                break
            except CONNECTION_EXCEPTIONS:
                if pause is None:
                    raise
                await asyncio.sleep(pause)


async def gives_up_the_first(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Try again after each failure but that of the first order."""
    orders = iter(order_ids)
    with contextlib.suppress(*CONNECTION_EXCEPTIONS):
        await sender(tries=1)(url, queue_name, [next(orders)])
    await sender()(url, queue_name, orders)


async def repeats_the_one_before(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Go back two orders after a failure, not one."""
    orders, at, give_up_at = list(order_ids), 0, time.monotonic() + 8
    while at < len(orders):
        try:
            async with await aio_pika.connect(url, timeout=1) as connection:
                exchange = (await connection.channel()).default_exchange
                while at < len(orders):
                    await exchange.publish(order(orders[at]), queue_name, timeout=0.5)
                    at += 1
        except CONNECTION_EXCEPTIONS:
            at = max(0, at - 1)
            if time.monotonic() > give_up_at:
                raise
            await asyncio.sleep(0.05)


async def takes_it_for_there(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Connect again after a failure, and go on with the next order."""
    for order_id in order_ids:
        for _ in range(20):
            with contextlib.suppress(*CONNECTION_EXCEPTIONS):
                async with await aio_pika.connect(url, timeout=1) as connection:
                    exchange = (await connection.channel()).default_exchange
                    with contextlib.suppress(*CONNECTION_EXCEPTIONS):
                        await exchange.publish(order(order_id), queue_name, timeout=0.5)
                break
            await asyncio.sleep(0.1)


async def robust_as_it_comes(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Leave the pause between two connections as it is."""
    async with await aio_pika.connect_robust(url) as connection:
        exchange = (await connection.channel()).default_exchange
        for order_id in order_ids:
            for _ in range(100):
                try:
                    await exchange.publish(order(order_id), queue_name, timeout=0.5)
                    break
                except CONNECTION_EXCEPTIONS:
                    await asyncio.sleep(0.1)


async def starts_over(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Send all orders again when one of them fails."""
    all_orders = list(order_ids)
    while True:
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            async with await aio_pika.connect(url, timeout=1) as connection:
                exchange = (await connection.channel()).default_exchange
                for order_id in all_orders:
                    await exchange.publish(order(order_id), queue_name, timeout=0.4)
                return
        await asyncio.sleep(0.05)


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


async def sleeps_first(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Wait for the network to be well again instead of sending again."""
    connection = await aio_pika.connect_robust(url, reconnect_interval=0.1)
    async with connection:
        exchange = (await connection.channel()).default_exchange
        for order_id in order_ids:
            await asyncio.sleep(0.8)
            await exchange.publish(order(order_id), routing_key=queue_name)


async def sends_nothing(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Send no order."""


async def sleeps_long(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Do nothing for a long time."""
    await asyncio.sleep(1000)


async def slips(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Repeat a slip of the pen for ever."""
    async with await aio_pika.connect(url) as connection:
        channel: Any = await connection.channel()
        for order_id in order_ids:
            while True:
                try:
                    await channel.default_exchange.publsh(order(order_id), queue_name)
                    break
                except Exception:  # noqa: BLE001  # as learners do
                    await asyncio.sleep(0.05)


async def closes_by_hand(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Send all orders, and fail at the end."""
    await sender()(url, queue_name, order_ids)
    msg = "closed already"
    raise ConnectionError(msg)


def says(body: str) -> Send:
    """Return an answer that sends this for each order."""

    async def send_orders(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        await sender()(url, queue_name, [body for _ in order_ids])

    return send_orders


async def skips(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Go on with the next order after an error."""
    rest = iter(order_ids)
    while True:
        with contextlib.suppress(*CONNECTION_EXCEPTIONS):
            async with asyncio.timeout(2), await aio_pika.connect(url) as connection:
                exchange = (await connection.channel()).default_exchange
                for order_id in rest:
                    await exchange.publish(order(order_id), queue_name, timeout=0.5)
            return
        await asyncio.sleep(0.1)


async def declares_otherwise(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
    """Declare the queue with other settings than it has."""
    async with await aio_pika.connect_robust(url) as connection:
        await (await connection.channel()).declare_queue(queue_name)


def test_confirms_solved(lab: Lab) -> None:
    """Confirms, a time limit and a bounded retry solve the exercise; the lab's broker goes on."""
    mine = lab.serve_queue(name="mine")
    verdict = run_check("50-confirms", sender())
    assert str(verdict) == (
        "solved\n"
        "  every order arrived, whatever was lost, marked with its id\n"
        "  counts: cases 21, lost 0"
    )
    assert mine.running


@pytest.mark.parametrize(
    "answer",
    [sender(limit=None), sender(limit=0.2), connects_anew, all_at_once, a_connection_each],
    ids=["no-limit", "short-limit", "connects-anew", "all-at-once", "a-connection-each"],
)
def test_confirms_solved_otherwise(answer: Send) -> None:
    """A reset ends a publish without a limit too, and a new connection is as good as a robust.

    Orders that are under way together may all come twice.
    """
    assert_solved("50-confirms", answer)


def test_confirms_stub() -> None:
    """The stub is not attempted."""

    async def stub(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        raise NotImplementedError

    assert_not_attempted("50-confirms", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (sender(confirms=False), "returned as if all was well", "Which answer of the broker"),
        (sender(tries=1), "orders were never sent", "send the same order again"),
        (sender(tries=2), "orders were never sent", "a few times at most"),
        (sender(tries=1, swallow=True), "orders are lost", "what if that answer does not come"),
        (sleeps_first, "orders were never sent", "send the same order again"),
        (sender(message_id=None), "ids are not the order ids", "order's id as message_id"),
        (sender(fresh_id=True), "ids are not the order ids", "the same one on every try"),
        (sender(delivery_mode=None), "not survive a restart", "delivery_mode by default"),
        (starts_over, "orders were sent again that were confirmed", "the order that has none"),
        (tries_for_ever, "your function did not return", "plain connection never comes back"),
        (sends_nothing, "all 3 orders are lost", "Await each publish"),
        (sleeps_long, "did not return in time", "waits for what never comes"),
        (slips, "did not return in time, in line", "a loop without an end"),
        (says("tea"), "messages that are no orders", "nothing else"),
        (skips, "orders are lost", "what if that answer does not come"),
        (sender(100, limit=0.05), "orders were sent again", "up to .2 seconds"),
        (declares_otherwise, "your function raised ChannelPreconditionFailed", "Try that line"),
        (gives_up_the_first, "publish 1 was lost: your function returned as if", "wait for"),
        (repeats_the_one_before, "were sent again that were confirmed", "the order that has none"),
        (takes_it_for_there, "orders are lost", "does not come"),
        (robust_as_it_comes, "your function did not return", "unless you set reconnect_interval"),
        (closes_by_hand, "raised an error all the same", "after the last publish"),
    ],
    ids=[
        "unconfirmed",
        "once",
        "two-quick-tries",
        "swallows",
        "sleeps-through-it",
        "no-id",
        "new-id",
        "transient",
        "starts-over",
        "for-ever",
        "nothing",
        "sleeps-long",
        "slip",
        "other-body",
        "skips",
        "impatient",
        "declares-otherwise",
        "gives-up-the-first",
        "repeats-the-one-before",
        "takes-it-for-there",
        "robust-as-it-comes",
        "fails-at-the-end",
    ],
)
def test_confirms_wrong(answer: Send, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("50-confirms", answer, guarantee, hint)


def test_confirms_own_error_is_shown() -> None:
    """An error that has nothing to do with the network is shown as the learner's own."""

    async def mistaken(url: str, queue_name: str, order_ids: Iterable[str]) -> None:
        raise KeyError(queue_name.partition("-")[0])

    assert_wrong("50-confirms", mistaken, "your function raised KeyError", "Try that line")


def worker(prefetch: int = 5, *, ack: str = "after", late_qos: bool = False) -> Run:
    """Return an answer to 50-prefetch: the right one without arguments."""

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


async def acks_several(url: str, queue_name: str, work: Work) -> None:
    """Acknowledge with a job all that came before it."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            try:
                await work(message.body)
            except RuntimeError:
                await message.nack(requeue=True)
            else:
                await message.ack(multiple=True)

        await (await channel.get_queue(queue_name)).consume(on_job)
        await asyncio.Future()


async def passes_the_message(url: str, queue_name: str, work: Any) -> None:
    """Hand out the message in place of its body."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process(requeue=True):
                await work(message)

        await (await channel.get_queue(queue_name)).consume(on_job)
        await asyncio.Future()


async def groups(url: str, queue_name: str, work: Work) -> None:
    """Let the error of one job end the group, and so the worker."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def one(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process(requeue=True):
                await work(message.body)

        queue = await channel.get_queue(queue_name)
        async with asyncio.TaskGroup() as group, queue.iterator() as messages:
            async for message in messages:
                group.create_task(one(message))


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


def never_ends(*swallowed: type[BaseException]) -> Run:
    """Return an answer that puts a job back when it is cancelled, and goes on with the next."""

    async def run_worker(url: str, queue_name: str, work: Work) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)
            async with (await channel.get_queue(queue_name)).iterator() as messages:
                async for message in messages:
                    try:
                        await work(message.body)
                    except swallowed:
                        await message.nack(requeue=True)
                    else:
                        await message.ack()

    return run_worker


async def never_ends_when_idle(url: str, queue_name: str, work: Work) -> None:
    """Take a cancel for one more error of the network."""
    while True:
        with contextlib.suppress(asyncio.CancelledError):
            await worker()(url, queue_name, work)


async def ends_with_an_error(url: str, queue_name: str, work: Work) -> None:
    """Solve it, and put the job back at a cancel before it goes on its way."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        async with (await channel.get_queue(queue_name)).iterator() as messages:
            async for message in messages:
                try:
                    await work(message.body)
                except BaseException as error:
                    await message.nack(requeue=True)
                    if not isinstance(error, Exception):
                        raise
                else:
                    await message.ack()


async def never_begins(url: str, queue_name: str, work: Work) -> None:
    """Wait without consuming."""
    await asyncio.Future()


async def processes(url: str, queue_name: str, work: Work) -> None:
    """Solve it with the library's own block, which lets an error into asyncio's hands."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=5)

        async def on_job(message: aio_pika.abc.AbstractIncomingMessage) -> None:
            async with message.process(requeue=True):
                await work(message.body)

        await (await channel.get_queue(queue_name)).consume(on_job)
        await asyncio.Future()


async def polls(url: str, queue_name: str, work: Work) -> None:
    """Solve it by asking for one job after the other."""
    async with await aio_pika.connect(url) as connection:
        queue = await (await connection.channel()).get_queue(queue_name)
        while True:
            message = await queue.get(fail=False)
            if message is None:
                await asyncio.sleep(0.02)
                continue
            with contextlib.suppress(Exception):
                async with message.process(requeue=True):
                    await work(message.body)


async def slowly(url: str, queue_name: str, work: Work) -> None:
    """Solve it with a pause before each job: all of them take three seconds."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        async with (await channel.get_queue(queue_name)).iterator() as messages:
            async for message in messages:
                await asyncio.sleep(0.15)
                with contextlib.suppress(RuntimeError):
                    async with message.process(requeue=True):
                        await work(message.body)


async def five_channels(url: str, queue_name: str, work: Work) -> None:
    """Solve it with five workers that ask for one job after the other."""

    async def one(connection: aio_pika.abc.AbstractConnection) -> None:
        queue = await (await connection.channel()).get_queue(queue_name)
        while True:
            message = await queue.get(fail=False)
            if message is None:
                await asyncio.sleep(0.05)
                continue
            try:
                await work(message.body)
            except Exception:  # noqa: BLE001  # whatever a job raises
                await message.nack()
            else:
                await message.ack()

    async with await aio_pika.connect(url) as connection:
        await asyncio.gather(*(one(connection) for _ in range(5)))


def test_prefetch_solved() -> None:
    """A bound, an ack after the work and a requeue of what failed solve the exercise."""
    assert str(run_check("50-prefetch", worker())) == (
        "solved\n  at most five jobs were unfinished, and none was lost\n  counts: jobs 20, lost 0"
    )


@pytest.mark.parametrize(
    "answer", [one_at_a_time, polls, slowly, five_channels, ends_with_an_error]
)
def test_prefetch_solved_otherwise(answer: Run) -> None:
    """An iterator, or a get at a time, is as good as a callback."""
    assert_solved("50-prefetch", answer)


def test_prefetch_solved_without_noise(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """An error that the library leaves to asyncio makes no stack trace beside the verdict."""
    assert run_check("50-prefetch", processes).state == "solved"
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])


def test_prefetch_stub() -> None:
    """The stub is not attempted; it has connected already when it says so."""

    async def stub(url: str, queue_name: str, work: Work) -> None:
        async with await aio_pika.connect(url) as connection:
            await connection.channel()
            raise NotImplementedError

    assert_not_attempted("50-prefetch", stub)


async def ends_with_a_job(url: str, queue_name: str, work: Work) -> None:
    """Let the error of one job end the worker."""
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=1)
        async with (await channel.get_queue(queue_name)).iterator() as messages:
            async for message in messages:
                async with message.process(requeue=True):
                    await work(message.body)


def plain(url: str, queue_name: str, work: Work) -> None:
    """Be no coroutine function."""


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (worker(0), "20 jobs were taken before", "start after it is set"),
        (worker(50), "20 jobs were taken before", "start after it is set"),
        (worker(late_qos=True), "20 jobs were taken before", "start after it is set"),
        (greedy_iterator, "20 jobs were taken before", "start after it is set"),
        (takes_no_ack, "19 of 20 jobs are gone", "no_ack=True"),
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
        (ends_with_a_job, "your worker ended with it", "put the job back"),
        (acks_several, "4 of 20 jobs are gone", "multiple=True"),
        (passes_the_message, "work was called with an IncomingMessage", "message.body"),
        (groups, "your worker ended with it", "put the job back"),
        (plain, "has to be an `async def`", "awaited"),
        (never_ends(BaseException), "was cancelled, and did not end", "`except Exception` does"),
        (
            never_ends(RuntimeError, asyncio.CancelledError),
            "was cancelled, and did not end",
            "as asyncio.CancelledError",
        ),
        (never_ends_when_idle, "was cancelled, and did not end", "raise it again"),
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
        "ends-with-a-job",
        "acks-several",
        "passes-the-message",
        "groups",
        "plain",
        "swallows-all",
        "swallows-the-cancel",
        "begins-again",
    ],
)
def test_prefetch_wrong(answer: Run, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("50-prefetch", answer, guarantee, hint)
