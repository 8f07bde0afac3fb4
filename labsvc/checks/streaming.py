"""Exercises of notebook 06: a handler that stops with its caller, a reader that sets the pace."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.answer import NotAttemptedError
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc, order_pb2, order_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

PATIENCE = 5.0  # seconds for what has to happen
LEAVING = 1.0  # seconds that a handler gets to end; the exercise says half of it
QUIET = 0.3  # seconds in which nothing should happen
MOST_LOOKS = 300  # in QUIET seconds: a look each millisecond is still allowed

ORDERS = 30
WINDOW = 4


class _CheckOverError(Exception):
    """Ends the loop of an answer that would never end by itself."""


class _WatchedStock(inventory_pb2_grpc.InventoryServiceServicer):
    """Runs the learner's loop as the handler of WatchStock, and counts."""

    def __init__(self, watch: Callable[..., Any]) -> None:
        self._watch = watch
        self.stock = 5
        self.looks = 0
        self.sent: list[Any] = []
        self.over = False
        self.error: Exception | None = None
        self.ended = threading.Event()

    def read_stock(self) -> int:
        """Return the stock; raise when the check is over."""
        if self.over:
            raise _CheckOverError
        self.looks += 1
        return self.stock

    def WatchStock(self, request: inventory_pb2.WatchStockRequest, context: Any) -> Iterator[Any]:
        """Send what the learner's loop yields."""
        try:
            for available in self._watch(self.read_stock, context):
                self.sent.append(available)
                yield inventory_pb2.WatchStockResponse(available=available)
        except _CheckOverError:
            pass
        except Exception as error:
            self.error = error
            raise
        finally:
            self.ended.set()


@exercise("06-stop", title="Stop a watching handler with its caller")
def stop(answer: Answer, bench: Bench) -> Verdict:
    """`watch(read_stock, context)` yields each change, and ends when the call does."""
    watched = _WatchedStock(answer.function)  # type: ignore[abstract]  # one method is enough
    service = bench.serve_grpc(watched, name="watched", workers=2)
    try:
        with grpc.insecure_channel(service.target) as channel:
            stub = inventory_pb2_grpc.InventoryServiceStub(channel)
            call = stub.WatchStock(inventory_pb2.WatchStockRequest(sku="tea"), timeout=15)
            return _while_it_changes(answer, watched) or _after_leaving(watched, call)
    finally:
        watched.over = True


def _while_it_changes(answer: Answer, watched: _WatchedStock) -> Verdict | None:
    """Return what broke while the caller was there, None if nothing did."""
    for stock in (5, 4):
        watched.stock = stock
        _until(lambda: stock in watched.sent or watched.ended.is_set(), PATIENCE)  # noqa: B023
        if verdict := _ended_early(answer, watched):
            return verdict
        if stock not in watched.sent:
            return broken(
                f"the stock was {stock}, and your handler did not yield it",
                "Yield the first value at once, and each one that differs from the last you sent.",
                changes_sent=len(watched.sent),
            )
    looks = watched.looks
    time.sleep(QUIET)
    looks = watched.looks - looks
    counts = {"values_sent": len(watched.sent), "changes": 2}
    if verdict := _ended_early(answer, watched):
        return verdict
    return next(
        (
            broken(guarantee, hint, **counts)
            for made, guarantee, hint in (
                (
                    watched.sent != [5, 4],
                    "your handler sent a stock that had not changed",
                    "Keep the value that you sent last, and compare.",
                ),
                (
                    looks > MOST_LOOKS,
                    "your handler looked at the stock without a pause",
                    "A loop that never waits takes the processor from all other handlers.",
                ),
            )
            if made
        ),
        None,
    )


def _ended_early(answer: Answer, watched: _WatchedStock) -> Verdict | None:
    """Return the verdict on a handler that ended although its caller was there."""
    error = watched.error
    if isinstance(error, NotImplementedError) and answer.line(error):
        raise NotAttemptedError
    if error is not None:
        raise answer.fault(error)
    if watched.ended.is_set():
        return broken(
            "the caller was still there, and your handler had ended",
            "A watch ends when its caller ends it, and for no other reason.",
            values_sent=len(watched.sent),
        )
    return None


def _after_leaving(watched: _WatchedStock, call: Any) -> Verdict:
    """Cancel, let the stock as it is, and return the verdict."""
    call.cancel()
    if not watched.ended.wait(LEAVING):
        return broken(
            "the caller left, the stock did not change, and your handler was still at work",
            "A cancel does not interrupt a thread. `context` can call you back when the call is"
            " over; what could that callback set?",
            handlers_at_work=1,
        )
    return solved(
        "each change was sent once, and the handler ended with its caller",
        changes=2,
        handlers_at_work=0,
    )


class _PacedOrders(order_pb2_grpc.OrderServiceServicer):
    """Sends orders for credit, and watches how far it gets ahead."""

    def __init__(self) -> None:
        self.sent = 0
        self.handled: list[str] = []
        self.ahead = 0
        self.limits: list[float | None] = []
        self.running = 0
        self.odd_credit = False

    def handle(self, order: Any) -> None:
        """Handle one order, slowly enough for a sender that runs ahead."""
        time.sleep(0.01)
        self.handled.append(order.order_id)

    async def StreamOrders(
        self, requests: AsyncIterator[order_pb2.StreamOrdersRequest], context: Any
    ) -> AsyncIterator[order_pb2.StreamOrdersResponse]:
        """Send each order for one credit."""
        self.limits.append(context.time_remaining())
        self.running += 1
        try:
            async for request in requests:
                self.odd_credit |= request.credit < 1
                for _ in range(min(request.credit, ORDERS - self.sent)):
                    self.sent += 1
                    self.ahead = max(self.ahead, self.sent - len(self.handled))
                    order = order_pb2.Order(order_id=f"o-{self.sent}")
                    yield order_pb2.StreamOrdersResponse(order=order)
                if self.sent == ORDERS:
                    return
        finally:
            self.running -= 1


@exercise("06-credit", title="Let the reader set the pace")
def credit(answer: Answer, bench: Bench) -> Verdict:
    """`receive(stub, handle, window)` handles all orders, never more than `window` behind."""
    orders = _PacedOrders()  # type: ignore[abstract]  # one method is enough
    service = bench.serve_grpc(orders, name="paced")
    with grpc.insecure_channel(service.target) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        outcome = answer.attempt(stub, orders.handle, WINDOW)
    wanted = [f"o-{number}" for number in range(1, ORDERS + 1)]
    counts = {"orders": ORDERS, "handled": len(orders.handled), "most_ahead": orders.ahead}
    if orders.ahead > WINDOW:
        return broken(
            f"the server was {orders.ahead} orders ahead of you, {WINDOW} were allowed",
            "Give `window` credits at the start, and one more when an order is handled: not"
            " when it has arrived, and not before.",
            **counts,
        )
    if not orders.limits and outcome.error is None:
        return broken(
            "your function did not call StreamOrders", "Use the stub that you are given.", **counts
        )
    if orders.handled != wanted[: len(orders.handled)]:
        return broken(
            "the orders were not handled one by one as they came",
            "Call `handle(reply.order)` once for each reply, in the order of arrival.",
            **counts,
        )
    stalled = outcome.hung or _code(outcome.error) == "DEADLINE_EXCEEDED"
    if not stalled and outcome.error is not None:
        raise answer.fault(outcome.error)
    if stalled or len(orders.handled) < ORDERS:
        return diagnose(
            (
                orders.odd_credit,
                "the server was asked for no orders at all",
                "A credit is how many more orders the server may send: 1 or more.",
            ),
            (
                stalled and len(orders.handled) > WINDOW,
                f"{len(orders.handled)} of {ORDERS} orders were handled, then both sides waited",
                "Does every order that is handled give one credit back?",
            ),
            (
                stalled,
                f"after {len(orders.handled)} orders both sides waited for each other",
                "The server sends for credit only. Who gives it more?",
            ),
            otherwise=(
                f"your function returned after {len(orders.handled)} of {ORDERS} orders",
                "Read until the server ends the stream.",
            ),
            **counts,
        )
    if None in orders.limits:
        return broken(
            "the call had no deadline",
            "If the server falls silent, such a call never ends. A stub's method takes a timeout.",
            **counts,
        )
    return _when_handling_fails(answer, bench, counts)


def _when_handling_fails(answer: Answer, bench: Bench, counts: dict[str, int]) -> Verdict:
    """Let `handle` raise: the error has to come out, and the call has to end."""
    orders = _PacedOrders()  # type: ignore[abstract]  # one method is enough
    service = bench.serve_grpc(orders, name="failing")

    def handle(order: Any) -> None:
        if len(orders.handled) == 2:  # noqa: PLR2004  two are handled, the third fails
            raise _HandlingError
        orders.handle(order)

    with grpc.insecure_channel(service.target) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        outcome = answer.attempt(stub, handle, WINDOW, within=PATIENCE)
        if not isinstance(outcome.error, _HandlingError):
            return broken(
                "`handle` failed, and your caller did not learn of it",
                "Let its error out; use `finally` for what has to happen in any case.",
                **counts,
            )
        outcome.error.__traceback__ = None  # it holds the function's variables, the call too
        _until(lambda: orders.running == 0, LEAVING)
        left = orders.running
    if left:
        return broken(
            "`handle` failed, and the call stayed open",
            "A call has a cancel(). Where is it reached after an error?",
            **counts,
            calls_left_open=left,
        )
    return solved(
        "the sender kept to your window, and a failure ended the call",
        **counts | {"most_ahead": WINDOW},
        calls_left_open=0,
    )


class _HandlingError(Exception):
    """What `handle` raises."""


def _until(condition: Callable[[], bool], seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.005)


def _code(error: BaseException | None) -> str | None:
    code = getattr(error, "code", None)
    return str(code().name) if isinstance(error, grpc.RpcError) and callable(code) else None
