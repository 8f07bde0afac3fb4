from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

import aio_pika
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aio_pika.abc import AbstractIncomingMessage

    Save = Callable[[str], Awaitable[None]]
    Serve = Callable[[str, str, Save], Awaitable[None]]
    Handle = Callable[[AbstractIncomingMessage, Save], Awaitable[None]]


def server(handle: Handle) -> Serve:
    """Return the exercise's function with this in its loop."""

    async def serve_orders(url: str, queue_name: str, save: Save) -> None:
        async with await aio_pika.connect(url) as connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=1)
            orders = await channel.get_queue(queue_name)
            async with orders.iterator() as messages:
                async for message in messages:
                    await handle(message, save)

    return serve_orders


def order_id(message: AbstractIncomingMessage) -> str:
    """Read the order's id."""
    found: str = json.loads(message.body)["order_id"]
    return found


def answers(*passing: type[Exception], dead: type[Exception] | tuple[Any, ...]) -> Handle:
    """Requeue on some errors, and reject on others."""

    async def handle(message: AbstractIncomingMessage, save: Save) -> None:
        try:
            await save(order_id(message))
        except passing:
            await message.reject(requeue=True)
        except dead:
            await message.reject(requeue=False)
        else:
            await message.ack()

    return handle


async def by_process(message: AbstractIncomingMessage, save: Save) -> None:
    """Solve it with the library's block, which rejects what raises."""
    try:
        async with message.process(ignore_processed=True):
            try:
                await save(order_id(message))
            except ConnectionError:
                await message.nack(requeue=True)
    except Exception:  # noqa: BLE001, S110  # the block has rejected it
        pass


async def tries_in_place(message: AbstractIncomingMessage, save: Save) -> None:
    """Solve it by trying again before the answer."""
    for _ in range(4):
        try:
            await save(order_id(message))
        except ConnectionError:
            await asyncio.sleep(0.02)
        except Exception:  # noqa: BLE001  # whatever is wrong with it
            return await message.reject(requeue=False)
        else:
            return await message.ack()
    return await message.reject(requeue=True)


async def goes_on(message: AbstractIncomingMessage, save: Save) -> None:
    """Take a cancel for a body that is odd."""
    try:
        await save(order_id(message))
    except ConnectionError:
        await message.reject(requeue=True)
    except BaseException:  # noqa: BLE001  # whatever is wrong with it
        await message.reject(requeue=False)
    else:
        await message.ack()


async def acks_first(message: AbstractIncomingMessage, save: Save) -> None:
    """Take a delivery for a success."""
    await message.ack()
    with contextlib.suppress(Exception):
        await save(order_id(message))


async def acks_the_bad(message: AbstractIncomingMessage, save: Save) -> None:
    """Throw away what cannot be read."""
    try:
        order_id(message)
    except Exception:  # noqa: BLE001  # whatever is wrong with it
        return await message.ack()
    return await answers(ConnectionError, dead=ValueError)(message, save)


async def never_acks(message: AbstractIncomingMessage, save: Save) -> None:
    """Save an order and say nothing."""
    try:
        await save(order_id(message))
    except ConnectionError:
        await message.reject(requeue=True)
    except Exception:  # noqa: BLE001  # whatever is wrong with it
        await message.reject(requeue=False)


async def saves_the_body(message: AbstractIncomingMessage, save: Save) -> None:
    """Pass on what was not read."""
    await save(message.body.decode())
    await message.ack()


async def drops_the_refused(message: AbstractIncomingMessage, save: Save) -> None:
    """Take a refusal for a success."""
    try:
        found = order_id(message)
    except Exception:  # noqa: BLE001  # whatever is wrong with it
        return await message.reject(requeue=False)
    try:
        await save(found)
    except ValueError:
        return await message.ack()
    except ConnectionError:
        return await message.reject(requeue=True)
    return await message.ack()


async def forgets_the_encoding(message: AbstractIncomingMessage, save: Save) -> None:
    """Expect every body to be UTF-8."""
    try:
        found = order_id(message)
    except (KeyError, TypeError, json.JSONDecodeError):
        return await message.reject(requeue=False)
    try:
        await save(found)
    except ConnectionError:
        return await message.reject(requeue=True)
    except ValueError:
        return await message.reject(requeue=False)
    return await message.ack()


async def slips(message: AbstractIncomingMessage, save: Save) -> None:
    """Slip at the first message."""
    await save(message.boddy)  # type: ignore[attr-defined]


async def by_a_callback(url: str, queue_name: str, save: Save) -> None:
    """Solve it with a callback, and several messages at once."""
    async with await aio_pika.connect_robust(url) as connection:
        channel = await connection.channel()
        await channel.set_qos(prefetch_count=10)

        async def on_order(message: AbstractIncomingMessage) -> None:
            await answers(ConnectionError, dead=Exception)(message, save)

        await (await channel.get_queue(queue_name)).consume(on_order)
        await asyncio.Future()


class Polls:
    """Solve it with an object that asks for one message at a time, with pauses."""

    def __init__(self, pause: float) -> None:
        self.pause = pause

    async def __call__(self, url: str, queue_name: str, save: Save) -> None:
        """Serve."""
        async with await aio_pika.connect(url) as connection:
            orders = await (await connection.channel()).get_queue(queue_name)
            while True:
                message = await orders.get(fail=False)
                if message is None:
                    await asyncio.sleep(self.pause)
                elif not await self.saved(message, save):
                    await asyncio.sleep(self.pause)
                    await message.nack(requeue=True)

    async def saved(self, message: AbstractIncomingMessage, save: Save) -> bool:
        """Answer a message, unless it has to come again."""
        try:
            await save(order_id(message))
        except ConnectionError:
            return False
        except Exception:  # noqa: BLE001  # whatever is wrong with it
            await message.reject()
        else:
            await message.ack()
        return True


async def returns_at_once(url: str, queue_name: str, save: Save) -> None:
    """Serve nothing."""


def test_poison_solved() -> None:
    """A requeue for what passes and a reject for the rest solve the exercise."""
    right = server(answers(ConnectionError, dead=Exception))
    assert str(run_check("51-poison", right)) == (
        "solved\n"
        "  what can pass came back, and what cannot was put aside at once\n"
        "  counts: saved 5, dead letters 6"
    )


@pytest.mark.parametrize(
    "answer", [server(by_process), server(tries_in_place), by_a_callback, Polls(0.5)]
)
def test_poison_solved_otherwise(answer: Serve) -> None:
    """`process` around it, tries in place, a callback and pauses are as good."""
    assert_solved("51-poison", answer)


def test_poison_stub() -> None:
    """The stub, which receives a message before it says so, is not attempted."""

    async def stub(message: AbstractIncomingMessage, save: Save) -> None:
        raise NotImplementedError

    assert_not_attempted("51-poison", server(stub))


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (
            server(answers(Exception, dead=())),
            "by the limit, after 5 deliveries",
            "rejected at once",
        ),
        (
            server(answers(ConnectionError, ValueError, dead=Exception)),
            "by the limit, after 5 deliveries",
            "which parameter of reject",
        ),
        (server(answers(dead=Exception)), "away for a moment sent an order", "put this message"),
        (server(acks_first), "the order was lost", "put this message back"),
        (server(acks_the_bad), "bodies that cannot be read are not in", "reject it without"),
        (server(never_acks), "messages are still in the queue", "ack or reject"),
        (server(saves_the_body), "save was called with what is no order id", "under order_id"),
        (server(drops_the_refused), "refused with ValueError is not in", "A refusal is not"),
        (
            server(answers(ConnectionError, dead=ValueError)),
            "your loop ended with",
            "which bodies raise it",
        ),
        (
            server(
                answers(
                    ConnectionError,
                    dead=(KeyError, TypeError, json.JSONDecodeError, UnicodeDecodeError),
                )
            ),
            "save raised ValueError for one order",
            "go on with the next",
        ),
        (
            server(forgets_the_encoding),
            "your loop ended with UnicodeDecodeError",
            "go on with the next",
        ),
        (server(slips), "your function raised AttributeError", "print what"),
        (returns_at_once, "your function returned", "stay in the loop"),
        (server(goes_on), "was cancelled, and did not end", "raise it again"),
    ],
    ids=[
        "all-come-back",
        "values-come-back",
        "nothing-comes-back",
        "acks-first",
        "acks-the-bad",
        "never-acks",
        "saves-the-body",
        "acks-the-refused",
        "reads-only-broken-json",
        "ends-with-a-refusal",
        "forgets-the-encoding",
        "slips",
        "returns",
        "goes-on",
    ],
)
def test_poison_wrong(answer: Serve, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("51-poison", answer, guarantee, hint)
