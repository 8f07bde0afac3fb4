"""Tests of placing orders, with users and stock near and far."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import grpc
import pytest

from labsvc.shop.errors import (
    AlreadyExists,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    OutOfStock,
    ShopError,
    Unavailable,
)
from labsvc.shop.model import NewOrder, Order, OrderLine, OrderStatus
from labsvc.shop.orders import LocalInventory, Orders
from labsvc.shop.remote import RemoteInventory, RemoteUsers
from labsvc.shop.services import AioInventoryService, AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import inventory_pb2_grpc, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AbstractAsyncContextManager

OPTIONS = (("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0))


def wanted(order_id: str = "o-1", user_id: str = "u-1", **lines: int) -> NewOrder:
    """Return an order, of one lamp unless lines are given (with _ for - in the SKU)."""
    goods = lines or {"lamp_1": 1}
    return NewOrder(
        order_id, user_id, tuple(OrderLine(k.replace("_", "-"), n) for k, n in goods.items())
    )


@asynccontextmanager
async def near(store: Store) -> AsyncIterator[Orders]:
    """Users and stock from the order service's own store."""
    yield Orders(store)


@asynccontextmanager
async def far(store: Store) -> AsyncIterator[Orders]:
    """Users and stock from another service; the order service keeps only prices and orders."""
    server = grpc.aio.server(options=OPTIONS)
    user_pb2_grpc.add_UserServiceServicer_to_server(AioUserService(store), server)
    inventory_pb2_grpc.add_InventoryServiceServicer_to_server(AioInventoryService(store), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
            users = RemoteUsers(user_pb2_grpc.UserServiceStub(channel), timeout=20)
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            with Store.seeded() as own:
                yield Orders(own, users, RemoteInventory(stub, timeout=20))
    finally:
        await server.stop(0)


@pytest.fixture(params=[near, far])
def shop(request: pytest.FixtureRequest, store: Store) -> AbstractAsyncContextManager[Orders]:
    """Offer the same orders with users and stock near and far; `store` has the stock."""
    made: AbstractAsyncContextManager[Orders] = request.param(store)
    return made


@pytest.fixture
def store() -> Iterator[Store]:
    """Open a fresh seeded store."""
    with Store.seeded() as opened:
        yield opened


def test_order_is_placed_and_found(shop: AbstractAsyncContextManager[Orders], store: Store) -> None:
    """An order takes its goods, costs today's prices and can be read again."""

    async def main() -> None:
        async with shop as orders:
            order = await orders.place(wanted(lamp_1=2, book_1=3))
            assert order.total_cents == 2 * 4900 + 3 * 1250
            assert await orders.get("o-1") == order
            assert await orders.list_for_user("u-1") == [order]
            assert store.stock("lamp-1") == 3

    asyncio.run(main())


def test_same_order_again_changes_nothing(
    shop: AbstractAsyncContextManager[Orders], store: Store
) -> None:
    """A retry answers with the stored order; other content under the same id is refused."""

    async def main() -> None:
        async with shop as orders:
            first = await orders.place(wanted(lamp_1=2, book_1=1))
            assert await orders.place(wanted(book_1=1, lamp_1=2)) == first
            for other in (wanted(lamp_1=1), wanted(user_id="u-2", lamp_1=2, book_1=1)):
                with pytest.raises(AlreadyExists):
                    await orders.place(other)
            assert store.stock("lamp-1") == 3

    asyncio.run(main())


def test_refused_order_leaves_nothing(
    shop: AbstractAsyncContextManager[Orders], store: Store
) -> None:
    """Unknown users, unknown goods and too few goods take no stock and write no order."""

    async def main() -> None:
        async with shop as orders:
            for error, order in (
                (NotFound, wanted(user_id="u-9")),
                (NotFound, wanted(lamp_1=1, no_such=1)),
                (OutOfStock, wanted(lamp_1=1, chair_1=1)),
            ):
                with pytest.raises(error):
                    await orders.place(order)
                with pytest.raises(NotFound):
                    await orders.get("o-1")
            for ask in (orders.get, orders.list_for_user, orders.users.get, orders.inventory.stock):
                with pytest.raises(InvalidArgument):
                    await ask("not an id")
            assert store.stock("lamp-1") == 5

    asyncio.run(main())


def test_same_order_many_times_at_once_is_one_order(
    shop: AbstractAsyncContextManager[Orders], store: Store
) -> None:
    """Ten tries of one order at the same time take its goods once."""

    async def main() -> None:
        async with shop as orders:
            placed = await asyncio.gather(*(orders.place(wanted(lamp_1=3)) for _ in range(10)))
            assert len({one.order_id for one in placed}) == 1
            assert store.stock("lamp-1") == 2

    asyncio.run(main())


class Hesitant(LocalInventory):
    """Takes the goods, then fails or waits before it says so."""

    def __init__(self, store: Store, error: ShopError | None = None) -> None:
        super().__init__(store)
        self.error = error
        self.taken = asyncio.Event()
        self.release_may_end = asyncio.Event()
        self.release_may_end.set()
        self.releasing = asyncio.Event()

    async def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Take the goods, then fail, or wait for ever."""
        await super().reserve(order_id, lines)
        self.taken.set()
        if self.error is not None:
            raise self.error
        await asyncio.Event().wait()

    async def release(self, order_id: str) -> None:
        """Put the goods back when it is allowed to."""
        self.releasing.set()
        await self.release_may_end.wait()
        await super().release(order_id)


@pytest.mark.parametrize("error", [Unavailable("gone"), DeadlineExceeded("late")])
def test_goods_go_back_after_an_indefinite_error(store: Store, error: ShopError) -> None:
    """A reservation whose answer is lost is undone, and the caller hears what happened."""

    async def main() -> None:
        orders = Orders(store, inventory=Hesitant(store, error))
        with pytest.raises(type(error)):
            await orders.place(wanted())
        assert store.stock("lamp-1") == 5

    asyncio.run(main())


def test_goods_of_another_try_stay_put_after_a_definite_refusal(store: Store) -> None:
    """AlreadyExists from the inventory does not free the goods that the id holds."""

    async def main() -> None:
        store.reserve("o-1", (OrderLine("lamp-1", 2),))
        with pytest.raises(AlreadyExists):
            await Orders(store).place(wanted(lamp_1=1))
        assert store.stock("lamp-1") == 3

    asyncio.run(main())


def test_goods_go_back_when_the_caller_leaves(store: Store) -> None:
    """A cancelled order is nowhere, even if it is cancelled again while goods go back."""

    async def main() -> None:
        inventory = Hesitant(store)
        inventory.release_may_end.clear()
        task = asyncio.create_task(Orders(store, inventory=inventory).place(wanted()))
        await inventory.taken.wait()
        task.cancel()
        await inventory.releasing.wait()
        task.cancel()
        await asyncio.sleep(0)
        assert not task.done()
        inventory.release_may_end.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert store.stock("lamp-1") == 5
        assert store.find_order("o-1") is None

    asyncio.run(main())


def test_goods_go_back_when_the_order_cannot_be_written(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reservation is released when the step after it fails."""

    def full(_: Order) -> None:
        raise OSError(28, "no space left on device")

    monkeypatch.setattr(store, "add_order", full)
    with pytest.raises(OSError, match="no space"):
        asyncio.run(Orders(store).place(wanted()))
    assert store.stock("lamp-1") == 5


def test_service_behind_that_is_down_is_unavailable(store: Store) -> None:
    """Nobody listens where the users should be: Unavailable, not UNKNOWN, and no goods taken."""

    async def main() -> None:
        async with far(store) as orders:
            order = await orders.place(wanted("o-0"))
            assert order.status is OrderStatus.PLACED
        async with grpc.aio.insecure_channel("127.0.0.1:1", OPTIONS) as channel:
            users = RemoteUsers(user_pb2_grpc.UserServiceStub(channel), timeout=20)
            with pytest.raises(Unavailable, match="send the same request again"):
                await Orders(store, users).place(wanted())
        assert store.stock("lamp-1") == 4

    asyncio.run(main())


def test_service_behind_that_is_slow_exceeds_its_deadline(store: Store) -> None:
    """The remote call carries its own timeout, so a hanging service is DeadlineExceeded."""

    class Hanging(user_pb2_grpc.UserServiceServicer):
        async def GetUser(self, request: object, context: object) -> None:  # type: ignore[override]
            await asyncio.Event().wait()

    async def main() -> None:
        server = grpc.aio.server(options=OPTIONS)
        user_pb2_grpc.add_UserServiceServicer_to_server(Hanging(), server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
            users = RemoteUsers(user_pb2_grpc.UserServiceStub(channel), timeout=0.2)
            with pytest.raises(DeadlineExceeded):
                await Orders(store, users).place(wanted())
        await server.stop(0)

    asyncio.run(main())
