from __future__ import annotations

import itertools
import queue
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.shop.v1 import order_pb2
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def watch(read_stock: Callable[[], int], context: grpc.ServicerContext) -> Iterator[int]:
    """Solve the exercise."""
    gone = threading.Event()
    if not context.add_callback(gone.set):
        gone.set()
    sent = None
    while not gone.wait(0.02):
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


def misses_the_end(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Wait for a callback that is not called when the call is over."""
    gone = threading.Event()
    context.add_callback(gone.set)
    sent = None
    while not gone.wait(0.02):
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


def sends_first_and_then_asks(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Yield the first number without a look at the call."""
    sent = read_stock()
    yield sent
    while context.is_active():
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        time.sleep(0.02)


def refuses_to_start(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Solve it by a return before the loop."""
    gone = threading.Event()
    if not context.add_callback(gone.set):
        return
    sent = None
    while True:
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        if gone.wait(0.1):
            return


GONE = threading.Event()


def shares_its_event(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Use one event for all callers."""
    context.add_callback(GONE.set)
    sent = None
    while not GONE.wait(0.02):
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


def never_sold_out(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Take a stock of 0 for nothing new."""
    sent = None
    while context.is_active():
        if (stock := read_stock()) and stock != sent:
            sent = stock
            yield stock
        time.sleep(0.02)


def from_zero(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Take the stock for 0 at the start."""
    last = 0
    while context.is_active():
        if (stock := read_stock()) != last:
            last = stock
            yield stock
        time.sleep(0.02)


def never_twice(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Send each number once."""
    known: set[int] = set()
    while context.is_active():
        if (stock := read_stock()) not in known:
            known.add(stock)
            yield stock
        time.sleep(0.02)


def yields_messages(read_stock: Callable[[], int], context: Any) -> Iterator[Any]:
    """Yield the message in place of the number."""
    yield order_pb2.Order(order_id=str(read_stock()))
    time.sleep(1)


def leaves_a_thread(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Look in a thread of its own, which nobody ends."""
    found: queue.SimpleQueue[int] = queue.SimpleQueue()

    def look() -> None:
        with suppress(SystemExit):  # a thread ends on it; pytest would report it
            while True:
                found.put(read_stock())
                time.sleep(0.02)

    threading.Thread(target=look, daemon=True).start()
    sent = None
    while context.is_active():
        with suppress(queue.Empty):
            if (stock := found.get(timeout=0.1)) != sent:
                sent = stock
                yield stock


def looks_seldom(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Look every two seconds."""
    gone = threading.Event()
    context.add_callback(gone.set)
    sent = None
    while True:
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        if gone.wait(1.5):
            return


def waits_first(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Send nothing before the first change."""
    sent = read_stock()
    while context.is_active():
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock
        time.sleep(0.02)


async def watch_async(read_stock: Callable[[], int], context: Any) -> Any:
    """Write it for asyncio."""
    yield read_stock()


def returns_a_list(read_stock: Callable[[], int], context: Any) -> Any:
    """Return where it should yield."""
    return [read_stock()]


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


def groups_what_it_read(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
    """Solve it with a generator inside, whose repeated numbers are taken together."""

    def looks() -> Iterator[int]:
        while context.is_active():
            yield read_stock()
            time.sleep(0.05)

    for stock, _ in itertools.groupby(looks()):
        yield stock


def waits_on_a_queue(read_stock: Callable[[], int], context: Any, *, pause: float) -> Iterator[int]:
    """Solve it with a queue in place of an event, as seldom as it may look."""
    over: queue.SimpleQueue[None] = queue.SimpleQueue()
    if not context.add_callback(lambda: over.put(None)):
        return
    sent = read_stock()
    yield sent
    while True:
        with suppress(queue.Empty):
            return over.get(timeout=pause)
        if (stock := read_stock()) != sent:
            sent = stock
            yield stock


@pytest.mark.parametrize(
    "answer",
    [
        watch,
        asks_the_context,
        refuses_to_start,
        groups_what_it_read,
        partial(waits_on_a_queue, pause=0.18),
    ],
)
def test_stop_solved(answer: Callable[..., Any]) -> None:
    """An event and a look at the context both solve the exercise."""
    assert str(run_check("27-stop", answer)) == (
        "solved\n"
        "  each change was sent once, and the handler ended with its caller\n"
        "  counts: changes 4, handlers at work 0"
    )


def test_stop_stub() -> None:
    """The stub is not attempted."""

    def stub(read_stock: Callable[[], int], context: Any) -> Iterator[int]:
        raise NotImplementedError

    assert run_check("27-stop", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (never_notices, "your handler was still at work", "call you back"),
        (asks_when_it_sends, "your handler was still at work", "call you back"),
        (sends_every_look, "had not changed", "compare"),
        (spins, "without a pause", "never waits"),
        (from_zero, "all was sold out", "0 is a stock"),
        (never_twice, "did not yield it", "differs from the last"),
        (yields_messages, "something else than a number", "the message is made of it"),
        (sends_once, "the caller was still there", "no other reason"),
        (sends_the_first_only, "and your handler did not yield it", "differs from the last"),
        (waits_first, "all was sold out, and your handler did not say so", "0 is a stock"),
        (shares_its_event, "the other one was no longer served", "must not be shared"),
        (never_sold_out, "all was sold out, and your handler did not say so", "0 is a stock"),
        pytest.param(
            leaves_a_thread,
            "threads of yours were still running",
            "own thread is enough",
            # The check ends them with SystemExit, which Python takes in silence and pytest not.
            marks=pytest.mark.filterwarnings(
                "ignore::pytest.PytestUnhandledThreadExceptionWarning"
            ),
        ),
        (misses_the_end, "and it yielded all the same", "before the first look"),
        (sends_first_and_then_asks, "and it yielded all the same", "before the first look"),
        (looks_seldom, "did not look at the stock", "five times a second"),
        (fails, "raised AttributeError", "print what"),
        (watch_async, "is an `async def` with `yield`", "a thread reads it"),
        (returns_a_list, "the caller was still there", "no other reason"),
    ],
)
def test_stop_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("27-stop", answer, guarantee, hint)


def test_stop_leaves_no_thread() -> None:
    """The loop of a wrong answer is ended when the check is over."""
    run_check("27-stop", never_notices)
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


def receive_by_a_generator(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Solve it with a generator that waits for what was handled."""
    handled, over = threading.Semaphore(0), threading.Event()

    def requests() -> Iterator[Any]:
        yield ask(window)
        while not over.is_set():
            if handled.acquire(timeout=0.05):
                yield ask(1)

    call = stub.StreamOrders(requests(), timeout=9)
    try:
        while (reply := next(call, None)) is not None:
            handle(reply.order)
            handled.release()
    finally:
        over.set()
        call.cancel()


def receive_in_portions(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Solve it with credit for a whole window, once the window before it was handled."""
    asks: queue.Queue[Any] = queue.Queue()
    asks.put(ask(window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    with closing_call(call, asks):
        for place, reply in enumerate(call, start=1):
            handle(reply.order)
            if place % window == 0:
                asks.put(ask(window))


@contextmanager
def closing_call(call: Any, asks: queue.Queue[Any]) -> Iterator[None]:
    """End a call and its requests."""
    try:
        yield
    except BaseException:
        call.cancel()
        raise
    finally:
        asks.put(None)


def receive_at_leisure(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Solve it with a generator that looks now and then for what was handled."""
    handled: list[Any] = []
    over = threading.Event()

    def requests() -> Iterator[Any]:
        yield ask(window)
        paid = 0
        while not over.wait(0.2):
            if owed := len(handled) - paid:
                paid += owed
                yield ask(owed)

    call = stub.StreamOrders(requests(), timeout=10)
    try:
        for reply in call:
            handle(reply.order)
            handled.append(reply)
    finally:
        over.set()
        call.cancel()


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
    seen: list[Any] = []

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
    try:
        receive(stub, handle, window)
    except grpc.RpcError:
        raise
    except Exception:  # noqa: BLE001, S110  this is what is wrong with it
        pass


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


def an_hour(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Allow an hour."""
    receive(stub, handle, window, timeout=3600)


def again_after_an_error(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Call a second time when the stream failed."""
    try:
        receive(stub, handle, window)
    except grpc.RpcError:
        receive(stub, handle, window)


def never_cancels(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Leave the call to the garbage collector."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(ask(window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    for reply in call:
        handle(reply.order)
        asks.put(ask(1))
    asks.put(None)


def swallows_the_call(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Take the end of the call for the end of the orders."""
    with suppress(grpc.RpcError):
        receive(stub, handle, window)


def half_a_window(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Grant half of the window at a time, which is nothing for a window of one."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(ask(window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    unpaid = 0
    try:
        for reply in call:
            handle(reply.order)
            unpaid += 1
            if unpaid > window // 2 + 1:
                asks.put(ask(unpaid))
                unpaid = 0
    finally:
        asks.put(None)
        call.cancel()


def hard_coded(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Give credit for four, whatever the window is."""
    receive(stub, handle, 4)


def nobodys_orders(stub: Any, handle: Callable[[Any], None], window: int) -> None:
    """Say nothing of whose orders are wanted."""
    asks: queue.SimpleQueue[Any] = queue.SimpleQueue()
    asks.put(order_pb2.StreamOrdersRequest(credit=window))
    call = stub.StreamOrders(iter(asks.get, None), timeout=10)
    try:
        for reply in call:
            handle(reply.order)
            asks.put(order_pb2.StreamOrdersRequest(credit=1))
    finally:
        asks.put(None)
        call.cancel()


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


@pytest.mark.parametrize(
    "answer",
    [receive, receive_async, receive_by_a_generator, receive_in_portions, receive_at_leisure],
)
def test_credit_solved(answer: Callable[..., Any]) -> None:
    """Paying back each handled order solves the exercise."""
    assert str(run_check("27-credit", answer)) == (
        "solved\n"
        "  the sender kept to every window, and a failure ended the call\n"
        "  counts: windows 3, orders 36, calls left open 0"
    )


def test_credit_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, handle: Callable[[Any], None], window: int) -> None:
        raise NotImplementedError

    assert run_check("27-credit", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (grants_all, "orders ahead of you", "for each order handled"),
        (
            grants_too_early,
            "5 orders ahead of you, 4 were allowed",
            "for each order handled, not before",
        ),
        (never_pays_back, "both sides waited for each other after 4 orders", "Who gives it more"),
        (half_a_window, "with a window of 1, both sides waited", "Who gives it more"),
        (hard_coded, "4 orders ahead of you, 1 were allowed", "for each order handled"),
        (
            swallows_the_call,
            "after 4 of 12 orders, and nobody was told",
            "error of the call out",
        ),
        (nobodys_orders, "did not ask for the orders of u-1", "`user_id`"),
        (asks_for_nothing, "asked for no orders at all", "1 or more"),
        (pays_once_in_a_while, "then both sides waited", "give one credit back"),
        (closes_its_half, "returned after 4 of 12", "until the server ends"),
        (no_deadline, "no deadline of 10 seconds", "takes a timeout"),
        (an_hour, "no deadline of 10 seconds", "takes a timeout"),
        (again_after_an_error, "called StreamOrders 2 times", "error of the call out"),
        (never_cancels, "and the call stayed open", "after an error"),
        (swallows, "your caller did not learn of it", "Let its error out"),
        (cancels_on_the_last_line, "the call stayed open", "after an error"),
        (handles_twice, "not handled one by one", "once for each reply"),
        (no_call, "did not call StreamOrders", "Use the stub"),
    ],
)
def test_credit_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("27-credit", answer, guarantee, hint)
