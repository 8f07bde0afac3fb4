"""Tests of paced streams and of handlers that end with their call, on real servers."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc.stream import (
    aio_companion,
    aio_paced,
    aio_read_paced,
    caller_gone,
    paced,
    read_paced,
)
from labsvc.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Iterator

ALL = 40
TIMEOUT = 20


def ask(credit: int) -> order_pb2.StreamOrdersRequest:
    """Return a request for more."""
    return order_pb2.StreamOrdersRequest(user_id="u-1", credit=credit)


def credit_of(request: order_pb2.StreamOrdersRequest) -> int:
    """Return what a request gives credit for."""
    return request.credit


def order(number: int) -> order_pb2.StreamOrdersResponse:
    """Return one message."""
    return order_pb2.StreamOrdersResponse(order=order_pb2.Order(order_id=str(number)))


class AnySender(order_pb2_grpc.OrderServiceServicer):
    """Sends numbered orders for credit, and counts."""

    workers: int | None = None

    def __init__(self) -> None:
        self.sent = 0
        self.closed = threading.Event()
        self.asked: list[int] = []

    def start(self, request: order_pb2.StreamOrdersRequest) -> Any:
        """Make the messages, and keep them: they must not be closed by garbage collection."""
        self.messages = self.orders(request)
        return self.messages

    def orders(self, request: order_pb2.StreamOrdersRequest) -> Any:
        """Make the messages."""
        raise NotImplementedError

    def credit(self, request: order_pb2.StreamOrdersRequest) -> int:
        """Note a request."""
        self.asked.append(request.credit)
        return request.credit


class AioSender(AnySender):
    """For grpc.aio."""

    async def orders(self, request: Any) -> AsyncGenerator[Any, None]:
        """Make the messages."""
        try:
            for number in range(ALL):
                self.sent += 1
                yield order(number)
        finally:
            self.closed.set()

    async def StreamOrders(self, requests: Any, context: Any) -> AsyncGenerator[Any, None]:
        """Send with credit."""
        async with aclosing(aio_paced(requests, self.start, self.credit)) as messages:
            async for message in messages:
                yield message


class Sender(AnySender):
    """For grpc.server."""

    workers = 4

    def orders(self, request: Any) -> Generator[Any, None, None]:
        """Make the messages."""
        try:
            for number in range(ALL):
                self.sent += 1
                yield order(number)
        finally:
            self.closed.set()

    def StreamOrders(self, requests: Any, context: Any) -> Generator[Any, None, None]:
        """Send with credit."""
        yield from paced(requests, self.start, self.credit)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


@pytest.fixture(params=["aio", "threads"])
def sender(request: pytest.FixtureRequest, lab: Lab) -> Iterator[tuple[AnySender, Any]]:
    """Serve a sender, of either kind; yield it and a stub."""
    made: AnySender = AioSender() if request.param == "aio" else Sender()
    service = lab.serve_grpc(made, name="sender", workers=made.workers)
    with grpc.insecure_channel(service.target) as channel:
        yield made, order_pb2_grpc.OrderServiceStub(channel)


class Kept:
    """A method of a stub whose call is kept: it must not be cancelled by garbage collection."""

    def __init__(self, method: Any) -> None:
        self.method = method

    def __call__(self, *args: Any, **settings: Any) -> Any:
        """Call the method."""
        self.call = self.method(*args, **settings)
        return self.call


def until(what: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + TIMEOUT
    while not what():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


@pytest.mark.parametrize("window", [1, 2, 5, 100])
def test_sender_keeps_to_the_window(sender: tuple[AnySender, Any], window: int) -> None:
    """All messages arrive in order, and the sender is never more than the window ahead."""
    served, stub = sender
    got: list[Any] = []
    for message in read_paced(stub.StreamOrders, ask, window=window, timeout=TIMEOUT):
        assert served.sent - len(got) <= window
        got.append(message.order.order_id)
    assert got == [str(number) for number in range(ALL)]


def test_reader_that_stands_still_stops_the_sender(sender: tuple[AnySender, Any]) -> None:
    """Without further credit the sender waits at the window; with it, it goes on."""
    served, stub = sender
    messages = read_paced(stub.StreamOrders, ask, window=4, timeout=TIMEOUT)
    next(messages)
    until(lambda: served.sent == 4)
    time.sleep(0.1)
    assert served.sent == 4
    next(messages)
    next(messages)
    until(lambda: served.sent == 6)
    messages.close()
    assert served.asked == [4, 2]


def test_aio_reader_that_stands_still_stops_the_sender(
    sender: tuple[AnySender, Any], lab: Lab
) -> None:
    """The asynchronous reader pays for a message only when the next one is asked for."""
    served, _ = sender
    target = lab.serve_grpc(served, name="sender", workers=served.workers).target

    async def read() -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = order_pb2_grpc.OrderServiceStub(channel)
            reading = aio_read_paced(stub.StreamOrders, ask, window=4, timeout=TIMEOUT)
            async with aclosing(reading) as messages:
                await anext(messages)
                await asyncio.to_thread(until, lambda: served.sent == 4)
                await asyncio.sleep(0.1)
                assert served.sent == 4
                await anext(messages)
                await anext(messages)
                await asyncio.to_thread(until, lambda: served.sent >= 6)

    asyncio.run(read())
    assert served.asked == [4, 2]


def test_reader_that_leaves_ends_the_sender(sender: tuple[AnySender, Any]) -> None:
    """Closing the reader cancels the call, and the messages behind it are closed too."""
    served, stub = sender
    kept = Kept(stub.StreamOrders)
    messages = read_paced(kept, ask, window=2, timeout=TIMEOUT)
    next(messages)
    messages.close()
    assert kept.call.code() is grpc.StatusCode.CANCELLED
    assert served.closed.wait(TIMEOUT)
    assert served.sent <= 2


@pytest.mark.parametrize("early", [True, False])
def test_reader_leaves_no_thread_behind(sender: tuple[AnySender, Any], early: bool) -> None:  # noqa: FBT001
    """The thread in which gRPC waits for the next request ends with the reader."""
    _, stub = sender
    threads = []

    def asks(credit: int) -> order_pb2.StreamOrdersRequest:
        threads.append(threading.current_thread())
        return ask(credit)

    messages = read_paced(stub.StreamOrders, asks, window=2, timeout=TIMEOUT)
    next(messages)
    assert threads[0].is_alive()
    if early:
        messages.close()
    else:
        list(messages)
    until(lambda: not threads[0].is_alive())


def test_caller_who_closes_its_half_gets_what_it_paid_for(sender: tuple[AnySender, Any]) -> None:
    """When no more requests come, the stream ends after the last credit."""
    served, stub = sender
    assert len(list(stub.StreamOrders(iter([ask(3), ask(4)]), timeout=TIMEOUT))) == 7
    assert served.closed.wait(TIMEOUT)
    assert list(stub.StreamOrders(iter([]), timeout=TIMEOUT)) == []


def test_read_paced_on_asyncio(sender: tuple[AnySender, Any], lab: Lab) -> None:
    """The asynchronous reader holds the same window, and cancels when it is closed early."""
    served, _ = sender
    target = lab.serve_grpc(served, name="sender", workers=served.workers).target

    async def read(limit: int) -> list[str]:
        got: list[str] = []
        async with grpc.aio.insecure_channel(target) as channel:
            stub = order_pb2_grpc.OrderServiceStub(channel)
            kept = Kept(stub.StreamOrders)
            paced_messages = aio_read_paced(kept, ask, window=5, timeout=TIMEOUT)
            async with aclosing(paced_messages) as messages:
                async for message in messages:
                    assert served.sent - len(got) <= 5
                    got.append(message.order.order_id)
                    if len(got) == limit:
                        break
            assert kept.call.cancelled() == (limit < ALL)
        return got

    assert asyncio.run(read(ALL + 1)) == [str(number) for number in range(ALL)]
    served.sent = 0
    served.closed.clear()
    assert len(asyncio.run(read(3))) == 3
    assert served.closed.wait(TIMEOUT)
    assert served.sent <= 8


def test_late_credit_does_not_replace_the_status(sender: tuple[AnySender, Any], lab: Lab) -> None:
    """Credit that is under way when the sender ends leaves its OK alone (grpc/grpc#36066)."""
    served, _ = sender
    target = lab.serve_grpc(served, name="sender", workers=served.workers).target

    async def read(times: int) -> list[int]:
        got = []
        async with grpc.aio.insecure_channel(target) as channel:
            stub = order_pb2_grpc.OrderServiceStub(channel)
            for _ in range(times):
                messages = aio_read_paced(stub.StreamOrders, ask, window=5, timeout=TIMEOUT)
                got.append(len([message async for message in messages]))
        return got

    assert asyncio.run(read(60)) == 60 * [ALL]


def test_reader_gets_the_status(lab: Lab) -> None:
    """A failed call raises its status, in both readers."""

    class Refuses(order_pb2_grpc.OrderServiceServicer):
        async def StreamOrders(self, requests: Any, context: Any) -> AsyncGenerator[Any, None]:
            yield order(0)
            await context.abort(grpc.StatusCode.DATA_LOSS, "gone")

    service = lab.serve_grpc(Refuses(), name="refuses")
    with grpc.insecure_channel(service.target) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        with pytest.raises(grpc.RpcError) as caught:
            list(read_paced(stub.StreamOrders, ask, window=1, timeout=TIMEOUT))
    assert caught.value.code() is grpc.StatusCode.DATA_LOSS

    async def read() -> None:
        async with grpc.aio.insecure_channel(service.target) as channel:
            aio_stub = order_pb2_grpc.OrderServiceStub(channel)
            async for _ in aio_read_paced(aio_stub.StreamOrders, ask, window=1, timeout=TIMEOUT):
                pass

    with pytest.raises(grpc.aio.AioRpcError) as aio_caught:
        asyncio.run(read())
    assert aio_caught.value.code() is grpc.StatusCode.DATA_LOSS


class Endless:
    """A call that always has the next message, and keeps what it is asked for."""

    def __init__(self, requests: Iterator[int] | None = None) -> None:
        self.requests = requests
        self.written: list[int] = []

    def __iter__(self) -> Iterator[int]:
        """Return the messages."""
        return itertools.count()

    async def __aiter__(self) -> AsyncGenerator[int, None]:
        """Return the messages."""
        for number in itertools.count():
            yield number

    async def write(self, request: int) -> None:
        """Keep a request."""
        self.written.append(request)

    def add_done_callback(self, _: object) -> None:
        """Never call back: the call does not end by itself."""

    def cancel(self) -> None:
        """End."""


COUNTED = pytest.mark.parametrize(
    ("window", "handled", "asked"),
    [
        (1, 0, [1]),
        (1, 3, [1, 1, 1, 1]),
        (4, 1, [4]),
        (4, 2, [4, 2]),
        (4, 3, [4, 2]),
        (4, 4, [4, 2, 2]),
        (5, 2, [5]),
        (5, 5, [5, 3]),
        (5, 6, [5, 3, 3]),
    ],
)


@COUNTED
def test_credit_is_asked_for_handled_messages_only(
    window: int, handled: int, asked: list[int]
) -> None:
    """The window comes first, then one half of it whenever so many messages were handled."""
    calls: list[Endless] = []

    def method(requests: Iterator[int]) -> Endless:
        calls.append(Endless(requests))
        return calls[0]

    messages = read_paced(method, lambda credit: credit, window=window)
    for _ in range(handled + 1):  # the last one is in hand, not handled
        next(messages)
    messages.close()
    assert list(calls[0].requests or ()) == asked


@COUNTED
def test_aio_credit_is_asked_for_handled_messages_only(
    window: int, handled: int, asked: list[int]
) -> None:
    """The asynchronous reader asks for the same."""
    call = Endless()

    async def read() -> None:
        reading = aio_read_paced(lambda: call, lambda credit: credit, window=window)
        async with aclosing(reading) as messages:
            for _ in range(handled + 1):
                await anext(messages)
            for _ in range(2 * handled + 2):  # turns of the loop, enough to write everything
                await asyncio.sleep(0)

    asyncio.run(read())
    assert call.written == asked


@pytest.mark.parametrize("window", [0, -1])
def test_window_must_be_positive(window: int) -> None:
    """A window that would never let a message through is refused."""
    with pytest.raises(ValueError, match="1 message or more"):
        next(read_paced(lambda: None, ask, window=window))
    with pytest.raises(ValueError, match="1 message or more"):
        asyncio.run(anext(aio_read_paced(lambda: None, ask, window=window)))


class Watcher(inventory_pb2_grpc.InventoryServiceServicer):
    """Watches stock that never changes: after the first message nothing is sent."""

    def __init__(self) -> None:
        self.looks = 0
        self.left = threading.Event()

    def WatchStock(self, request: Any, context: Any) -> Generator[Any, None, None]:
        """Look until the caller has gone."""
        gone = caller_gone(context)
        yield inventory_pb2.WatchStockResponse()
        give_up_at = time.monotonic() + TIMEOUT
        while not gone.wait(0.005) and time.monotonic() < give_up_at:
            self.looks += 1
        if gone.is_set():
            self.left.set()


@pytest.mark.parametrize("how", ["cancel", "deadline"])
def test_thread_is_told_that_its_caller_has_gone(lab: Lab, how: str) -> None:
    """A handler that waits for `gone` ends soon after a cancel and after the deadline."""
    watcher = Watcher()
    service = lab.serve_grpc(watcher, name="watcher", workers=1)
    with grpc.insecure_channel(service.target) as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        timeout = TIMEOUT if how == "cancel" else 0.3
        call = stub.WatchStock(inventory_pb2.WatchStockRequest(), timeout=timeout)
        next(call)
        until(lambda: watcher.looks > 2)
        if how == "cancel":
            call.cancel()
        assert watcher.left.wait(TIMEOUT / 2)
        looks = watcher.looks
        time.sleep(0.05)
        assert watcher.looks == looks


def test_gone_is_set_when_the_call_was_over_before() -> None:
    """A handler that asks too late is told at once."""

    class Over:
        def add_callback(self, callback: Callable[[], None]) -> bool:
            return False

    assert caller_gone(Over()).is_set()  # type: ignore[arg-type]


async def tick(done: list[str]) -> None:
    """Work for ever, and note the end."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)
        done.append("ended")


def test_companion_ends_with_its_block() -> None:
    """The work is cancelled, and has ended, after the block: also after an error."""

    async def main() -> list[str]:
        done: list[str] = []
        for error in (None, ZeroDivisionError):
            with suppress(ZeroDivisionError):
                async with aio_companion(tick(done)):
                    await asyncio.sleep(0)
                    if error is not None:
                        raise error
        return done

    assert asyncio.run(main()) == ["ended", "ended"]


def test_companion_hands_on_its_failure() -> None:
    """Work that fails by itself is heard of at the end of the block."""

    async def fail() -> None:
        raise ZeroDivisionError

    async def main() -> None:
        async with aio_companion(fail()):
            await asyncio.sleep(0.01)

    with pytest.raises(ZeroDivisionError):
        asyncio.run(main())


def test_companion_ends_when_the_caller_leaves(lab: Lab) -> None:
    """What a handler started is gone after its call was cancelled."""
    done: list[str] = []

    class Watches(inventory_pb2_grpc.InventoryServiceServicer):
        async def WatchStock(self, request: Any, context: Any) -> AsyncGenerator[Any, None]:
            async with aio_companion(tick(done)):
                while True:
                    yield inventory_pb2.WatchStockResponse()
                    await asyncio.sleep(0.005)

    service = lab.serve_grpc(Watches(), name="watches")
    with grpc.insecure_channel(service.target) as channel:
        stub = inventory_pb2_grpc.InventoryServiceStub(channel)
        calls = [
            stub.WatchStock(inventory_pb2.WatchStockRequest(), timeout=TIMEOUT) for _ in range(3)
        ]
        for call in calls:
            next(call)
            call.cancel()
        until(lambda: len(done) == 3)
