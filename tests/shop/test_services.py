"""Tests of the shop over gRPC, bad input above all."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc.lab import Lab
from labsvc.loop import Loop
from labsvc.rpc import decode
from labsvc.shop.errors import ShopError, from_code
from labsvc.shop.orders import LocalInventory, Orders
from labsvc.shop.services import AioInventoryService, AioOrderService, AioUserService, UserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.shop.model import OrderLine

OPTIONS = (("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0))
TIMEOUT = 20
CLEAR = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "ALREADY_EXISTS"}
PACKAGE = "/labsvc.shop.v1."
METHODS = {
    f"{PACKAGE}{service.name}/{method.name}": method.input_type
    for file in (user_pb2, inventory_pb2, order_pb2)
    for service in file.DESCRIPTOR.services_by_name.values()
    for method in service.methods
    if not (method.client_streaming or method.server_streaming)
}
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


class Shop:
    """The whole shop on one grpc.aio server in a background loop."""

    def __init__(self) -> None:
        self.loop = Loop.start()
        self.store = Store.seeded()
        self.inventory = LocalInventory(self.store)
        self.port = self.loop.run(self._start())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{self.port}", OPTIONS)
        self.users = user_pb2_grpc.UserServiceStub(self.channel)
        self.stock = inventory_pb2_grpc.InventoryServiceStub(self.channel)
        self.orders = order_pb2_grpc.OrderServiceStub(self.channel)

    async def _start(self) -> int:
        self.server = grpc.aio.server(options=OPTIONS, interceptors=[decode.aio_server()])
        orders = Orders(self.store, inventory=self.inventory)
        user_pb2_grpc.add_UserServiceServicer_to_server(AioUserService(self.store), self.server)
        inventory_pb2_grpc.add_InventoryServiceServicer_to_server(
            AioInventoryService(self.store), self.server
        )
        order_pb2_grpc.add_OrderServiceServicer_to_server(AioOrderService(orders), self.server)
        port = self.server.add_insecure_port("127.0.0.1:0")
        await self.server.start()
        return port

    def close(self) -> None:
        """Stop everything."""
        self.channel.close()
        self.loop.run(self.server.stop(0))
        self.loop.stop()
        self.store.close()

    def send(self, method: str, body: bytes) -> str:
        """Send bytes to a method, whatever they are, and return the name of the status."""
        raw: Any = self.channel.unary_unary(method)
        call = raw.future(body, timeout=TIMEOUT)
        code = call.code()
        assert "Traceback" not in (call.details() or "")
        return str(code.name)

    def works(self) -> bool:
        """Say whether the service still answers."""
        request = user_pb2.GetUserRequest(user_id="u-1")
        return bool(self.users.GetUser(request, timeout=TIMEOUT).user.name == "First Customer")


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Serve one shop to all tests of this module."""
    made = Shop()
    yield made
    made.close()


def place(shop: Shop, order_id: str, user_id: str = "u-1", **lines: int) -> order_pb2.Order:
    """Place an order over gRPC (with _ for - in the SKU)."""
    request = order_pb2.PlaceOrderRequest(
        order_id=order_id,
        user_id=user_id,
        lines=[
            order_pb2.OrderLine(sku=sku.replace("_", "-"), quantity=quantity)
            for sku, quantity in lines.items()
        ],
    )
    return shop.orders.PlaceOrder(request, timeout=TIMEOUT).order


def code_of(call: Any, request: Any) -> str:
    """Return the name of the status that a call ends with."""
    try:
        call(request, timeout=TIMEOUT)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


class Broken(Store):
    """A store with a bug."""

    def user(self, user_id: str) -> Any:
        """Fail as no user of the shop expects."""
        raise KeyError(user_id)


def test_a_bug_is_not_hidden() -> None:
    """The shop answers its own errors only; where else something is wrong, the log says it."""
    with Lab() as lab, Broken.seeded() as store:
        for name, servicer, workers in (
            ("aio", AioUserService(store), None),
            ("threads", UserService(store), 2),
        ):
            service = lab.serve_grpc(servicer, name=name, workers=workers)
            with grpc.insecure_channel(service.target, OPTIONS) as channel:
                stub = user_pb2_grpc.UserServiceStub(channel)
                assert code_of(stub.GetUser, user_pb2.GetUserRequest(user_id="u-1")) == "UNKNOWN"
            assert "KeyError: 'u-1'" in service.log


def test_order_over_grpc(shop: Shop) -> None:
    """An order is placed, found, listed, and the same again is the same order."""
    order = place(shop, "g-1", "u-2", book_1=2, pen_1=1)
    assert order.status == order_pb2.ORDER_STATUS_PLACED
    assert order.total_cents == 2 * 1250 + 199
    assert place(shop, "g-1", "u-2", book_1=2, pen_1=1) == order
    found = shop.orders.GetOrder(order_pb2.GetOrderRequest(order_id="g-1"), timeout=TIMEOUT)
    listed = shop.orders.ListOrders(order_pb2.ListOrdersRequest(user_id="u-2"), timeout=TIMEOUT)
    assert found.order == order
    assert list(listed.orders) == [order]


def test_stock_is_reserved_and_released(shop: Shop) -> None:
    """The inventory's three methods fit together."""
    ask = inventory_pb2.GetStockRequest(sku="lamp-1")
    line = order_pb2.OrderLine(sku="lamp-1", quantity=2)
    reserve = inventory_pb2.ReserveStockRequest(order_id="g-r", lines=[line])
    before = shop.stock.GetStock(ask, timeout=TIMEOUT).available
    shop.stock.ReserveStock(reserve, timeout=TIMEOUT)
    assert shop.stock.GetStock(ask, timeout=TIMEOUT).available == before - 2
    release = inventory_pb2.ReleaseStockRequest(order_id="g-r")
    shop.stock.ReleaseStock(release, timeout=TIMEOUT)
    assert shop.stock.GetStock(ask, timeout=TIMEOUT).available == before


@pytest.mark.parametrize(
    ("status", "order_id", "user_id", "lines"),
    [
        ("INVALID_ARGUMENT", "", "u-1", {"book_1": 1}),
        ("INVALID_ARGUMENT", "b-1", "u 1", {"book_1": 1}),
        ("INVALID_ARGUMENT", "b-1", "u-1", {}),
        ("INVALID_ARGUMENT", "b-1", "u-1", {"book_1": 0}),
        ("INVALID_ARGUMENT", "b-1", "u-1", {"book_1": -1}),
        ("INVALID_ARGUMENT", "b-1", "u-1", {"book_1": 2**31 - 1}),
        ("NOT_FOUND", "b-1", "u-9", {"book_1": 1}),
        ("NOT_FOUND", "b-1", "u-1", {"book_1": 1, "no_such": 1}),
        ("FAILED_PRECONDITION", "b-1", "u-1", {"chair_1": 1}),
    ],
)
def test_refused_order_has_a_clear_status(
    shop: Shop, status: str, order_id: str, user_id: str, lines: dict[str, int]
) -> None:
    """Each mistake has its own status and writes nothing."""
    with pytest.raises(grpc.RpcError) as caught:
        place(shop, order_id, user_id, **lines)
    assert caught.value.code().name == status
    if order_id:
        request = order_pb2.GetOrderRequest(order_id=order_id)
        assert code_of(shop.orders.GetOrder, request) == "NOT_FOUND"


def test_id_used_for_another_order(shop: Shop) -> None:
    """The same id with other content is ALREADY_EXISTS."""
    place(shop, "g-2", book_1=1)
    with pytest.raises(grpc.RpcError) as caught:
        place(shop, "g-2", book_1=2)
    assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS


ids = st.one_of(st.text(max_size=70), st.sampled_from(["u-1", "u-9", "book-1", "g-1", "x" * 65]))
quantities = st.one_of(st.integers(-(2**31), 2**31 - 1), st.integers(-1, 1001))
lines = st.lists(st.builds(order_pb2.OrderLine, sku=ids, quantity=quantities), max_size=4)
requests = st.one_of(
    st.builds(user_pb2.GetUserRequest, user_id=ids),
    st.builds(inventory_pb2.GetStockRequest, sku=ids),
    st.builds(inventory_pb2.ReserveStockRequest, order_id=ids, lines=lines),
    st.builds(inventory_pb2.ReleaseStockRequest, order_id=ids),
    st.builds(order_pb2.PlaceOrderRequest, order_id=ids, user_id=ids, lines=lines),
    st.builds(order_pb2.GetOrderRequest, order_id=ids),
    st.builds(order_pb2.ListOrdersRequest, user_id=ids),
)


@MANY
@given(request_message=requests)
def test_any_message_gets_a_clear_status(shop: Shop, request_message: Any) -> None:
    """Whatever the fields hold, the answer is OK or one of the shop's own statuses."""
    type_name = request_message.DESCRIPTOR.full_name
    method = next(name for name, wanted in METHODS.items() if wanted.full_name == type_name)
    assert shop.send(method, request_message.SerializeToString()) in CLEAR


@MANY
@given(method=st.sampled_from(sorted(METHODS)), body=st.binary(max_size=200))
def test_any_bytes_get_a_clear_status(shop: Shop, method: str, body: bytes) -> None:
    """Bytes that are no message are INVALID_ARGUMENT, never UNKNOWN or INTERNAL."""
    assert shop.send(method, body) in CLEAR


@pytest.mark.parametrize("body", [b"\xff\xff\xff", b"\x0a\x02\xff\xfe", b"\x0a\x7f"])
@pytest.mark.parametrize("method", sorted(METHODS))
def test_garbage_message_is_invalid(shop: Shop, method: str, body: bytes) -> None:
    """A broken tag, bad UTF-8 and a cut-off string are refused by every method."""
    assert shop.send(method, body) == "INVALID_ARGUMENT"


def test_oversized_message_is_refused(shop: Shop) -> None:
    """More than 4 MiB is RESOURCE_EXHAUSTED, 4 MiB is read."""
    method = f"{PACKAGE}UserService/GetUser"
    tag_and_length = b"\x0a\xfb\xff\xff\x01"
    largest = tag_and_length + b"x" * (4 * 1024 * 1024 - len(tag_and_length))
    assert user_pb2.GetUserRequest.FromString(largest).ByteSize() == 4 * 1024 * 1024
    assert shop.send(method, largest) == "INVALID_ARGUMENT"
    assert shop.send(method, largest + b"\0") == "RESOURCE_EXHAUSTED"


def test_method_that_is_not_there(shop: Shop) -> None:
    """An unknown method or service is UNIMPLEMENTED."""
    assert shop.send(f"{PACKAGE}UserService/Drop", b"") == "UNIMPLEMENTED"
    assert shop.send("/no.Such/Method", b"") == "UNIMPLEMENTED"


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(
    garbage=st.one_of(
        st.binary(max_size=500),
        st.binary(max_size=500).map(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".__add__),
        st.just(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"),
    )
)
def test_service_survives_garbage_on_its_port(shop: Shop, garbage: bytes) -> None:
    """Bytes that are no HTTP/2 end that connection only."""
    with socket.create_connection(("127.0.0.1", shop.port), timeout=TIMEOUT) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert shop.works()


def test_client_that_leaves_gets_all_or_nothing(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call cancelled while goods are put aside leaves neither goods missing nor an order."""
    taken = asyncio.Event()
    released = asyncio.Event()
    real_reserve, real_release = shop.inventory.reserve, shop.inventory.release

    async def reserve(order_id: str, lines: tuple[OrderLine, ...]) -> None:
        await real_reserve(order_id, lines)
        taken.set()
        await asyncio.Event().wait()

    async def release(order_id: str) -> None:
        await real_release(order_id)
        released.set()

    monkeypatch.setattr(shop.inventory, "reserve", reserve)
    monkeypatch.setattr(shop.inventory, "release", release)
    before = shop.store.stock("lamp-1")
    request = order_pb2.PlaceOrderRequest(
        order_id="g-left", user_id="u-1", lines=[order_pb2.OrderLine(sku="lamp-1", quantity=1)]
    )
    call = shop.orders.PlaceOrder.future(request, timeout=TIMEOUT)
    shop.loop.run(_wait(taken))
    assert shop.store.stock("lamp-1") == before - 1
    call.cancel()
    shop.loop.run(_wait(released))
    assert shop.store.stock("lamp-1") == before
    assert shop.store.find_order("g-left") is None
    monkeypatch.undo()
    assert place(shop, "g-left", book_1=1).order_id == "g-left"


async def _wait(event: asyncio.Event) -> None:
    await asyncio.wait_for(event.wait(), TIMEOUT)


def test_clients_that_leave_at_any_moment(shop: Shop) -> None:
    """Fifty calls cut off at random: stock and orders agree to the last piece."""
    before = shop.store.stock("pen-1")
    calls = []
    for number in range(50):
        request = order_pb2.PlaceOrderRequest(
            order_id=f"cut-{number}",
            user_id="u-3",
            lines=[order_pb2.OrderLine(sku="pen-1", quantity=1)],
        )
        calls.append(shop.orders.PlaceOrder.future(request, timeout=TIMEOUT))
    for call in calls[::2]:
        call.cancel()
    for call in calls[1::2]:
        assert call.result().order.total_cents == 199

    async def look() -> tuple[int, int]:
        """Count on the server's own loop, between two requests."""
        found = [shop.store.find_order(f"cut-{number}") for number in range(50)]
        return sum(one is not None for one in found), before - shop.store.stock("pen-1")

    placed, taken = shop.loop.run(look())
    assert placed >= 25
    assert taken == placed


def test_threaded_service_answers_the_same(shop: Shop) -> None:
    """UserService on threads: the same users, the same statuses, garbage included."""
    interceptors = [decode.server()]
    server = grpc.server(ThreadPoolExecutor(2), options=OPTIONS, interceptors=interceptors)
    user_pb2_grpc.add_UserServiceServicer_to_server(UserService(shop.store), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        for user_id in ("u-1", "u-9", "not an id"):
            request = user_pb2.GetUserRequest(user_id=user_id)
            assert code_of(stub.GetUser, request) == code_of(shop.users.GetUser, request)
        request = user_pb2.GetUserRequest(user_id="u-3")
        assert stub.GetUser(request, timeout=TIMEOUT).user.name == "第三位顾客"
        raw: Any = channel.unary_unary(f"{PACKAGE}UserService/GetUser")
        with pytest.raises(grpc.RpcError) as caught:
            raw(b"\xff", timeout=TIMEOUT)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    server.stop(0).wait()


def watch(sku: str) -> inventory_pb2.WatchStockRequest:
    """Return a request to watch one kind of goods."""
    return inventory_pb2.WatchStockRequest(sku=sku)


def stream_of(shop: Shop, *requests: tuple[str, int]) -> list[str]:
    """Ask for orders by (user, credit), close the caller's side, return the ids that came."""
    asked = (order_pb2.StreamOrdersRequest(user_id=user, credit=n) for user, n in requests)
    return [reply.order.order_id for reply in shop.orders.StreamOrders(asked, timeout=TIMEOUT)]


def test_stock_is_watched(shop: Shop) -> None:
    """A watch opens with the present stock and brings each new one, until it is cancelled."""
    before = shop.store.stock("lamp-1")
    call = shop.stock.WatchStock(watch("lamp-1"), timeout=TIMEOUT)
    assert next(call).available == before
    line = order_pb2.OrderLine(sku="lamp-1", quantity=1)
    shop.stock.ReserveStock(
        inventory_pb2.ReserveStockRequest(order_id="g-w", lines=[line]), timeout=TIMEOUT
    )
    assert next(call) == inventory_pb2.WatchStockResponse(sku="lamp-1", available=before - 1)
    call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED
    shop.stock.ReleaseStock(inventory_pb2.ReleaseStockRequest(order_id="g-w"), timeout=TIMEOUT)


@pytest.mark.parametrize(("sku", "code"), [("no-such", "NOT_FOUND"), ("a b", "INVALID_ARGUMENT")])
def test_watch_of_nothing_is_refused(shop: Shop, sku: str, code: str) -> None:
    """An unknown and a malformed SKU end the stream with the status that GetStock has."""
    assert code_of(lambda *a, **k: list(shop.stock.WatchStock(*a, **k)), watch(sku)) == code


def test_orders_come_as_credit_does(shop: Shop) -> None:
    """The stream holds to the credit, closes when the caller does, and ends after the last."""
    ids = [f"s-{number}" for number in range(5)]
    for order_id in ids:
        place(shop, order_id, "u-3", pen_1=1)
    newest = ids[::-1]
    assert stream_of(shop, ("u-3", 2)) == newest[:2]
    assert stream_of(shop, ("u-3", 1), ("", 3)) == newest[:4]
    everything = stream_of(shop, ("u-3", 1000))
    assert everything[:5] == newest
    listed = shop.orders.ListOrders(order_pb2.ListOrdersRequest(user_id="u-3"), timeout=TIMEOUT)
    assert everything == [order.order_id for order in listed.orders]


def test_orders_end_though_the_caller_keeps_its_side_open(shop: Shop) -> None:
    """After the last order the server ends the stream by itself."""
    place(shop, "s-last", "u-1", pen_1=1)
    asks: SimpleQueue[order_pb2.StreamOrdersRequest | None] = SimpleQueue()
    asks.put(order_pb2.StreamOrdersRequest(user_id="u-1", credit=1000))
    call = shop.orders.StreamOrders(iter(asks.get, None), timeout=TIMEOUT)
    assert "s-last" in [reply.order.order_id for reply in call]
    asks.put(None)


@pytest.mark.parametrize(
    ("user_id", "credit", "code"),
    [
        ("u-9", 1, "NOT_FOUND"),
        ("", 1, "INVALID_ARGUMENT"),
        ("u-1", 0, "INVALID_ARGUMENT"),
        ("u-1", -5, "INVALID_ARGUMENT"),
    ],
)
def test_wrong_stream_of_orders_is_refused(
    shop: Shop, user_id: str, credit: int, code: str
) -> None:
    """A wrong user and a credit that is none end the stream with their status."""
    with pytest.raises(grpc.RpcError) as caught:
        stream_of(shop, (user_id, credit))
    assert caught.value.code().name == code


def test_every_shop_error_survives_a_hop() -> None:
    """A code turned back into an error is the same error; any other code is Unavailable."""
    for kind in ShopError.__subclasses__():
        assert type(from_code(kind.code, "why")) is kind
    for code in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.CANCELLED):
        assert from_code(code, "why").code is grpc.StatusCode.UNAVAILABLE
