"""Tests of orders from a queue, on the broker of the lab."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aio_pika
import pytest
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]

from labsvc.amqp import Broker
from labsvc.shop.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfStock,
    ShopError,
    Unavailable,
)
from labsvc.shop.events import CONTENT_TYPE, aio_place_order, aio_serve_orders
from labsvc.shop.messages import order_message
from labsvc.shop.orders import LocalInventory, Orders
from labsvc.shop.store import Store
from labsvc.shop.v1 import order_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from aio_pika.abc import AbstractChannel, AbstractIncomingMessage

    from labsvc.shop.model import OrderLine

TIMEOUT = 20


@pytest.fixture
def store() -> Iterator[Store]:
    """Open a fresh seeded store."""
    with Store.seeded() as opened:
        yield opened


@asynccontextmanager
async def channels() -> AsyncIterator[tuple[AbstractChannel, AbstractChannel]]:
    """Start a broker, connect twice, and give a channel for the shop and one for a client."""
    broker = Broker("shop", "secret")
    await broker.start()
    try:
        async with (
            await aio_pika.connect(broker.url) as shop,
            await aio_pika.connect(broker.url) as client,
        ):
            yield await shop.channel(), await client.channel()
    finally:
        await broker.stop()


def wanted(
    order_id: str = "q-1", sku: str = "lamp-1", quantity: int = 1, user_id: str = "u-1"
) -> order_pb2.PlaceOrderRequest:
    """Return the request for one order of one line."""
    line = order_pb2.OrderLine(sku=sku, quantity=quantity)
    return order_pb2.PlaceOrderRequest(order_id=order_id, user_id=user_id, lines=[line])


def test_order_over_a_queue(store: Store) -> None:
    """The answer is the stored order; the same again is the same, and takes nothing."""

    async def main() -> None:
        async with channels() as (shop, client):
            orders = Orders(store)
            await aio_serve_orders(shop, orders)
            placed = (await aio_place_order(client, wanted(), timeout=TIMEOUT)).order
            assert placed == order_message(await orders.get("q-1"))
            assert (await aio_place_order(client, wanted(), timeout=TIMEOUT)).order == placed
            assert store.stock("lamp-1") == 4

    asyncio.run(main())


def test_many_orders_at_once_find_their_callers(store: Store) -> None:
    """Forty orders on one channel: each caller gets the answer to its own."""

    async def main() -> None:
        async with channels() as (shop, client):
            await aio_serve_orders(shop, Orders(store), prefetch=4)
            requests = [wanted(f"q-{n}", "book-1", n) for n in range(1, 41)]
            answers = await asyncio.gather(
                *(aio_place_order(client, request, timeout=TIMEOUT) for request in requests)
            )
            assert [one.order.order_id for one in answers] == [one.order_id for one in requests]
            assert [one.order.lines[0].quantity for one in answers] == list(range(1, 41))

    asyncio.run(main())


@pytest.mark.parametrize(
    ("error", "request_message"),
    [
        (InvalidArgument, wanted(quantity=-1)),
        (InvalidArgument, wanted("not an id")),
        (NotFound, wanted(user_id="u-9")),
        (NotFound, wanted(sku="no-such")),
        (OutOfStock, wanted(quantity=6)),
        (AlreadyExists, wanted("q-0")),
    ],
)
def test_refusal_reaches_the_caller(
    store: Store, error: type[ShopError], request_message: order_pb2.PlaceOrderRequest
) -> None:
    """A refused order raises the shop's own error where it was sent, and the queue is empty."""

    async def main() -> None:
        async with channels() as (shop, client):
            consumer = await aio_serve_orders(shop, Orders(store))
            await aio_place_order(client, wanted("q-0", quantity=2), timeout=TIMEOUT)
            with pytest.raises(error):
                await aio_place_order(client, request_message, timeout=TIMEOUT)
            await consumer.cancel()
            assert store.stock("lamp-1") == 3

    asyncio.run(main())
    assert [one.order_id for one in store.orders_of("u-1")] == ["q-0"]


async def ask(
    client: AbstractChannel, message: aio_pika.Message, queue: str = "orders"
) -> AbstractIncomingMessage:
    """Publish any message and return what comes back."""
    replies = await client.declare_queue(exclusive=True)
    message.reply_to, message.correlation_id = replies.name, "7"
    await client.default_exchange.publish(message, routing_key=queue)
    async with asyncio.timeout(TIMEOUT), replies.iterator(no_ack=True) as incoming:
        return await anext(incoming)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"\xff\xff\xff", CONTENT_TYPE),
        (b'{"order_id": "q-1"}', CONTENT_TYPE),
        (wanted().SerializeToString(), "application/json"),
        (wanted().SerializeToString(), None),
        (b"", CONTENT_TYPE),
    ],
)
def test_message_that_is_no_order(store: Store, body: bytes, content_type: str | None) -> None:
    """Garbage is answered with INVALID_ARGUMENT, not delivered again, and the next order works."""

    async def main() -> None:
        async with channels() as (shop, client):
            await aio_serve_orders(shop, Orders(store), prefetch=1)
            reply = await ask(client, aio_pika.Message(body, content_type=content_type))
            assert reply.type == "google.rpc.Status"
            assert reply.correlation_id == "7"
            assert Status.FromString(reply.body).code == 3
            await client.default_exchange.publish(aio_pika.Message(body), routing_key="orders")
            assert await aio_place_order(client, wanted(), timeout=TIMEOUT)
            left = await client.declare_queue("orders", passive=True)
            assert left.declaration_result.message_count == 0

    asyncio.run(main())
    assert len(store.orders_of("u-1")) == 1


class Failing(LocalInventory):
    """Cannot be reached for the first `failures` reservations."""

    def __init__(self, store: Store, failures: int) -> None:
        super().__init__(store)
        self.failures = failures
        self.tries = 0

    async def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Fail, or take the goods."""
        self.tries += 1
        if self.tries <= self.failures:
            msg = "no route to the inventory"
            raise Unavailable(msg)
        await super().reserve(order_id, lines)


@pytest.mark.parametrize("failures", [1, 99])
def test_indefinite_failure_is_tried_once_more(store: Store, failures: int) -> None:
    """A service that is away for a moment is no failure; one that stays away is told."""

    async def main() -> None:
        async with channels() as (shop, client):
            inventory = Failing(store, failures)
            await aio_serve_orders(shop, Orders(store, inventory=inventory))
            if failures == 1:
                assert (await aio_place_order(client, wanted(), timeout=TIMEOUT)).order
            else:
                with pytest.raises(Unavailable):
                    await aio_place_order(client, wanted(), timeout=TIMEOUT)
            assert inventory.tries == 2

    asyncio.run(main())


def test_nobody_serves_the_queue(store: Store) -> None:
    """Without a queue the order is Unavailable at once; without a consumer the time runs out."""

    async def main() -> None:
        async with channels() as (shop, client):
            with pytest.raises(Unavailable, match="start aio_serve_orders"):
                await aio_place_order(client, wanted(), timeout=TIMEOUT)
            consumer = await aio_serve_orders(shop, Orders(store))
            await consumer.cancel()
            with pytest.raises(DeadlineExceeded, match="send the same order again"):
                await aio_place_order(client, wanted(), timeout=0.2)

    asyncio.run(main())
    assert store.find_order("q-1") is None
