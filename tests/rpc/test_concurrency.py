"""Tests of the limits, on real servers of both kinds, with unary calls and streams."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.lab import Lab
from labsvc.rpc import concurrency
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

GET = "/labsvc.shop.v1.InventoryService/GetStock"
WATCH = "/labsvc.shop.v1.InventoryService/WatchStock"
ASK = inventory_pb2.GetStockRequest(sku="tea-100")
TIMEOUT = 20


class AioStock(inventory_pb2_grpc.InventoryServiceServicer):
    """Holds every call until the gate is open; SKU "bad" raises, "free" does not wait."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = 0

    async def _wait(self, sku: str) -> None:
        self.entered += 1
        if sku == "bad":
            raise ZeroDivisionError
        while sku != "free" and not self.gate.is_set():  # noqa: ASYNC110  of both kinds of server
            await asyncio.sleep(0.005)

    async def GetStock(self, request: Any, context: Any) -> Any:
        """Wait, then answer."""
        await self._wait(request.sku)
        return inventory_pb2.GetStockResponse()

    async def WatchStock(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send, wait, then end."""
        yield inventory_pb2.WatchStockResponse()
        await self._wait(request.sku)


class Stock(AioStock):
    """The same on threads."""

    def _stay(self, sku: str, context: Any) -> None:
        self.entered += 1
        if sku == "bad":
            raise ZeroDivisionError
        while sku != "free" and context.is_active() and not self.gate.wait(0.005):
            pass

    def GetStock(self, request: Any, context: Any) -> Any:
        """Wait, then answer."""
        self._stay(request.sku, context)
        return inventory_pb2.GetStockResponse()

    def WatchStock(self, request: Any, context: Any) -> Any:
        """Send, wait, then end."""
        yield inventory_pb2.WatchStockResponse()
        self._stay(request.sku, context)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


class Place:
    """A limited server of one kind, and a stub of it."""

    def __init__(self, lab: Lab, kind: str, **limits: Any) -> None:
        limits.setdefault("methods", {})
        self.stock = AioStock() if kind == "aio" else Stock()
        make: Any = concurrency.aio_server if kind == "aio" else concurrency.server
        workers = None if kind == "aio" else 10
        self.service = lab.serve_grpc(
            self.stock, name="limited", workers=workers, interceptors=[make(**limits)]
        )
        self.channel = grpc.insecure_channel(self.service.target)
        self.stub = inventory_pb2_grpc.InventoryServiceStub(self.channel)

    def hold(self, calls: int) -> list[Any]:
        """Start calls that stay, and wait until their handlers run."""
        entered = self.stock.entered
        held = [self.stub.GetStock.future(ASK, timeout=TIMEOUT) for _ in range(calls)]
        until(lambda: self.stock.entered == entered + calls)
        return held

    def get(self, sku: str = "free") -> str:
        """Make one call and return its code."""
        request = inventory_pb2.GetStockRequest(sku=sku)
        call = self.stub.GetStock.future(request, timeout=TIMEOUT)
        return str(call.code().name)

    def watch(self, sku: str = "free") -> str:
        """Read one stream to its end and return its code."""
        request = inventory_pb2.WatchStockRequest(sku=sku)
        call = self.stub.WatchStock(request, timeout=TIMEOUT)
        with suppress(grpc.RpcError):
            list(call)
        return str(call.code().name)


@pytest.fixture(params=["aio", "threads"])
def serve(request: pytest.FixtureRequest, lab: Lab) -> Iterator[Callable[..., Place]]:
    """Return a function that serves with limits; open the gate afterwards."""
    places: list[Place] = []

    def make(**limits: Any) -> Place:
        places.append(Place(lab, request.param, **limits))
        return places[-1]

    yield make
    for place in places:
        place.stock.gate.set()
        place.channel.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def test_method_over_its_limit_is_refused(serve: Callable[..., Place]) -> None:
    """The third call of two is refused at once, its handler not run; other methods are served."""
    place = serve(methods={GET: 2})
    held = place.hold(2)
    entered = place.stock.entered
    with pytest.raises(grpc.RpcError) as caught:
        place.stub.GetStock(ASK, timeout=TIMEOUT)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert caught.value.details() == f"2 calls of {GET} run already"
    assert place.stock.entered == entered
    assert place.watch() == "OK"
    place.stock.gate.set()
    assert [call.code().name for call in held] == ["OK", "OK"]
    assert place.get() == "OK"


def test_total_counts_all_methods_but_health(serve: Callable[..., Place]) -> None:
    """A full server refuses every method, and still says that it is healthy."""
    place = serve(total=2)
    held = place.hold(2)
    assert place.watch() == "RESOURCE_EXHAUSTED"
    assert place.get() == "RESOURCE_EXHAUSTED"
    health = health_pb2_grpc.HealthStub(place.channel)
    reply = health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT)
    assert reply.status == health_pb2.HealthCheckResponse.SERVING
    place.stock.gate.set()
    assert [call.code().name for call in held] == ["OK", "OK"]


def test_open_stream_counts_until_it_ends(serve: Callable[..., Place]) -> None:
    """A stream holds its place while it is open; a reader who cancels gives it back."""
    place = serve(methods={WATCH: 1})
    call = place.stub.WatchStock(inventory_pb2.WatchStockRequest(), timeout=TIMEOUT)
    next(call)
    assert place.watch() == "RESOURCE_EXHAUSTED"
    call.cancel()
    until(lambda: place.watch() == "OK")


@pytest.mark.parametrize("method", ["get", "watch"])
def test_place_comes_back_after_a_failure(serve: Callable[..., Place], method: str) -> None:
    """Handlers that raise give their place back, as refused calls take none."""
    place = serve(total=1, methods={GET: 1, WATCH: 1})
    call = getattr(place, method)
    assert [call("bad") for _ in range(3)] == 3 * ["UNKNOWN"]
    assert call() == "OK"


def test_place_comes_back_after_a_cancelled_call(serve: Callable[..., Place]) -> None:
    """A caller who leaves frees the place as soon as the handler has ended."""
    place = serve(methods={GET: 1})
    held = place.hold(1)
    assert place.get() == "RESOURCE_EXHAUSTED"
    held[0].cancel()
    until(lambda: place.get() == "OK")


def test_unknown_method_stays_unimplemented(serve: Callable[..., Place]) -> None:
    """A method that the server lacks is UNIMPLEMENTED, limit or not."""
    place = serve(total=1, methods={"/no.Such/Method": 1})
    ask: Any = place.channel.unary_unary("/no.Such/Method")
    call = ask.future(b"", timeout=TIMEOUT)
    assert call.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("limits", [{"total": 0, "methods": {}}, {"methods": {GET: -1}}])
def test_limit_must_let_a_call_through(limits: dict[str, Any]) -> None:
    """A limit that refuses everything is refused itself."""
    for kind in (concurrency.aio_server, concurrency.server):
        with pytest.raises(ValueError, match="1 call or more"):
            kind(**limits)
