from __future__ import annotations

import queue
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from labsvc.shop.v1 import order_pb2
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import grpc


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab."""
    with Lab() as running:
        yield running


def watch(read_stock: Callable[[], int], context: grpc.ServicerContext) -> Iterator[int]:
    """Solve the exercise."""
    gone = threading.Event()
    context.add_callback(gone.set)
    sent = None
    while not gone.wait(0.02):
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


def asks_the_context(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Solve it by asking at each look."""
    sent = None
    while context.is_active():
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        time.sleep(0.02)


def never_notices(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Loop for ever."""
    sent = None
    while True:
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        time.sleep(0.02)


def asks_when_it_sends(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Ask the context only where something was sent."""
    sent = None
    while True:
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
            if not context.is_active():
                return
        time.sleep(0.02)


def sends_every_look(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Send what has not changed."""
    while context.is_active():
        yield read_stock()
        time.sleep(0.02)


def spins(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Look without a pause."""
    sent = None
    while context.is_active():
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


def sends_once(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """End after the first value."""
    yield read_stock()


def sends_the_first_only(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Stay, and send no change."""
    yield read_stock()
    while context.is_active():
        time.sleep(0.02)
        read_stock()


def fails(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Call what a context does not have."""
    yield read_stock()
    context.done()


@pytest.mark.parametrize("answer", [watch, asks_the_context])
def test_stop_solved(answer: Callable[..., Any]) -> None:
    """An event and a look at the context both solve the exercise."""
    assert str(run_check("06-stop", answer)) == (
        "solved\n"
        "  each change was sent once, and the handler ended with its caller\n"
        "  counts: changes 2, handlers at work 0"
    )


def test_stop_stub() -> None:
    """The stub is not attempted."""

    def stub(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
        raise NotImplementedError

    assert run_check("06-stop", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (never_notices, "your handler was still at work", "call you back"),
        (asks_when_it_sends, "your handler was still at work", "call you back"),
        (sends_every_look, "had not changed", "compare"),
        (spins, "without a pause", "never waits"),
        (sends_once, "the caller was still there", "no other reason"),
        (sends_the_first_only, "the stock was 4", "differs from the last"),
        (fails, "AttributeError", "cell of its own"),
    ],
)
def test_stop_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("06-stop", answer, guarantee, hint)


def test_stop_leaves_no_thread() -> None:
    """The loop of a wrong answer is ended when the check is over."""
    run_check("06-stop", never_notices)
    give_up_at = time.monotonic() + 10
    while any("watched" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def ask(credit: int) -> order_pb2.StreamOrdersRequest:
    """Return a request."""
    return order_pb2.StreamOrdersRequest(user_id="u-1", credit=credit)


def receive(
    stub: Any,
    handle: Callable[[Any], None],
    window: int,
    *,
    timeout: float | None = 10,
    back: int = 1,
    first: int | None = None,
) -> None:
    """Solve the exercise."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(ask(window if first is None else first))
    call = stub.StreamOrders(iter(asks.get, None), timeout=timeout)
    try:
        for reply in call:
            handle(reply.order)
            if back:
                asks.put(ask(back))
    finally:
        asks.put(None)
        call.cancel()


async def receive_async(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Solve it as a coroutine function."""
    receive(stub, handle, window)


def grants_all(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Give credit for everything at once."""
    receive(stub, handle, window, first=1000, back=0)


def grants_too_early(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Give the next credit before the order is handled."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(ask(window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    for reply in call:
        asks.put(ask(1))
        handle(reply.order)
    asks.put(None)


def never_pays_back(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Give the first credit only."""
    receive(stub, handle, window, timeout=1, back=0)


def asks_for_nothing(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Leave the credit at zero."""
    receive(stub, handle, window, timeout=1, first=0)


def pays_once_in_a_while(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Give one credit for two orders."""
    seen = []

    def requests() -> Iterator[Any]:
        yield ask(window)
        paid = 0
        while paid < 8:
            if len(seen) // 2 > paid:
                paid += 1
                yield ask(1)
            time.sleep(0.01)
        time.sleep(3)

    for reply in stub.StreamOrders(requests(), timeout=2):
        handle(reply.order)
        seen.append(reply)


def closes_its_half(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Send one request and close."""
    for reply in stub.StreamOrders(iter([ask(window)]), timeout=10):
        handle(reply.order)


def no_deadline(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Set no timeout."""
    receive(stub, handle, window, timeout=None)


def swallows(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Hide what `handle` raises."""
    with suppress(Exception):
        receive(stub, handle, window)


def cancels_on_the_last_line(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Cancel where an error does not come by, and keep the call in a global name."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(ask(window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    OPEN.append((call, asks))
    for reply in call:
        handle(reply.order)
        asks.put(ask(1))
    asks.put(None)
    call.cancel()


def handles_twice(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Handle each order twice."""

    def twice(order: Any) -> None:
        handle(order)
        handle(order)

    receive(stub, twice, window)


def no_call(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Do nothing."""


OPEN: list[Any] = []
"""What wrong answers leave open."""


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """End the calls of wrong answers."""
    yield
    while OPEN:
        call, asks = OPEN.pop()
        asks.put(None)
        call.cancel()


@pytest.mark.parametrize("answer", [receive, receive_async])
def test_credit_solved(answer: Callable[..., Any]) -> None:
    """Paying back each handled order solves the exercise."""
    assert str(run_check("06-credit", answer)) == (
        "solved\n"
        "  the sender kept to your window, and a failure ended the call\n"
        "  counts: orders 30, handled 30, most ahead 4, calls left open 0"
    )


def test_credit_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, handle: Callable[[Any], None], window: int) -> None:
        raise NotImplementedError

    assert run_check("06-credit", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (grants_all, "orders ahead of you", "when an order is handled"),
        (grants_too_early, "5 orders ahead of you, 4 were allowed", "not when it has arrived"),
        (never_pays_back, "after 4 orders both sides waited", "Who gives it more"),
        (asks_for_nothing, "asked for no orders at all", "1 or more"),
        (pays_once_in_a_while, "then both sides waited", "give one credit back"),
        (closes_its_half, "returned after 4 of 30", "until the server ends"),
        (no_deadline, "the call had no deadline", "takes a timeout"),
        (swallows, "your caller did not learn of it", "Let its error out"),
        (cancels_on_the_last_line, "the call stayed open", "after an error"),
        (handles_twice, "not handled one by one", "once for each reply"),
        (no_call, "did not call StreamOrders", "Use the stub"),
    ],
)
def test_credit_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("06-credit", answer, guarantee, hint)
