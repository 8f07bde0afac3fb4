"""Exercise of notebook 27: a reader that sets the pace."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import has_status, status_of, stub, wait, wait_while_moving
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.shop.v1 import order_pb2, order_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

PATIENCE = 2.0  # seconds for what has to happen
LEAVING = 1.0  # seconds that a handler gets to end; the exercise says half of it
QUIET = 0.4  # seconds in which nothing should happen

ORDERS = 12
FAILS_AFTER = 4
STILL = 1.5  # seconds in which no order is handled, which takes milliseconds
MOST = 8.0  # seconds for one window
LONGEST = 10.5  # seconds; the exercise says ten
WINDOWS = (4, 1, 7)


class _PacedOrders(order_pb2_grpc.OrderServiceServicer):
    """Sends orders for credit, and watches how far it gets ahead."""

    def __init__(self, fails_after: int = ORDERS) -> None:
        self.sent = 0
        self.handled: list[str] = []
        self.ahead = 0
        self.limits: list[float | None] = []
        self.users: set[str] = set()
        self.running = 0
        self.odd_credit = False
        self._fails_after = fails_after

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
                if not self.sent:
                    self.users.add(request.user_id)
                self.odd_credit |= request.credit < 1
                for _ in range(min(request.credit, ORDERS - self.sent)):
                    if self.sent == self._fails_after:
                        await context.abort(grpc.StatusCode.UNAVAILABLE, "the shop closes")
                    self.sent += 1
                    self.ahead = max(self.ahead, self.sent - len(self.handled))
                    order = order_pb2.Order(order_id=f"o-{self.sent}")
                    yield order_pb2.StreamOrdersResponse(order=order)
                if self.sent == ORDERS:
                    return
        finally:
            self.running -= 1


@exercise("27-credit", title="Let the reader set the pace", returns=type(None), deadline=10)
def credit(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`receive(stub, handle, window)` handles all orders, never more than `window` behind."""
    for window in WINDOWS:
        if said := _all_orders(answer, sandbox, window):
            return said
    return (
        _when_the_call_fails(answer, sandbox)
        or _when_handling_fails(answer, sandbox)
        or solved(
            "the sender kept to every window, and a failure ended the call",
            windows=len(WINDOWS),
            orders=len(WINDOWS) * ORDERS,
            calls_left_open=0,
        )
    )


def _all_orders(answer: Submission, sandbox: Sandbox, window: int) -> Verdict | None:
    """Let the answer read all orders with one window; return what broke."""
    orders = _PacedOrders()  # type: ignore[abstract]  # one method is enough
    service = sandbox.serve_grpc(orders, name=f"window-{window}")
    with stub(order_pb2_grpc.OrderServiceStub, service.target) as shop:
        attempt = answer.start(shop, orders.handle, window, within=MOST, allow=status_of)
        wait_while_moving(lambda: not attempt.running, lambda: len(orders.handled), STILL)
        if attempt.running:
            attempt.stop()
        outcome = attempt.outcome()
        left = 0 if outcome.hung else _left_open(orders)
    wanted = [f"o-{number}" for number in range(1, ORDERS + 1)]
    stalled = outcome.hung or outcome.status == "DEADLINE_EXCEEDED"
    handled = len(orders.handled)
    return first_broken(
        (
            orders.ahead > window,
            f"the server was {orders.ahead} orders ahead of you, {window} were allowed",
            "Give `window` credits at the start, and one more for each order handled, not before.",
        ),
        (
            not orders.limits,
            "your function did not call StreamOrders",
            "Use the stub that you are given.",
        ),
        (
            orders.handled != wanted[:handled],
            "the orders were not handled one by one as they came",
            "Call `handle(reply.order)` once for each reply, in the order of arrival.",
        ),
        (
            orders.odd_credit,
            "the server was asked for no orders at all",
            "A credit is how many more orders the server may send: 1 or more.",
        ),
        (
            stalled and handled > window,
            f"{handled} of {ORDERS} orders were handled, then both sides waited",
            "Does every order that is handled give one credit back?",
        ),
        (
            stalled,
            f"with a window of {window}, both sides waited for each other after {handled} orders",
            "The server sends for credit only. Who gives it more, and when?",
        ),
        (
            outcome.error is not None,
            f"your function ended with {outcome.status}, and the server had answered OK",
            "Cancel the call only when you leave it early, or after its end.",
        ),
        (
            handled < ORDERS,
            f"your function returned after {handled} of {ORDERS} orders",
            "Read until the server ends the stream.",
        ),
        (
            any(limit is None or limit > LONGEST for limit in orders.limits),
            "the call had no deadline of 10 seconds",
            "If the server falls silent, such a call never ends. A stub's method takes a timeout.",
        ),
        (
            len(orders.limits) > 1,
            f"your function called StreamOrders {len(orders.limits)} times",
            "One call brings all the orders.",
        ),
        (
            orders.users != {"u-1"},
            "the first request did not ask for the orders of u-1",
            "The first request says whose orders are wanted: `user_id`.",
        ),
        (left > 0, "your function returned, and its call stayed open", LEFT_OPEN),
        window=window,
        orders=ORDERS,
        handled=handled,
        most_ahead=orders.ahead,
    )


LEFT_OPEN = "A call has a cancel(). Where is it reached after an error?"


def _left_open(orders: _PacedOrders) -> int:
    """Return how many calls are still open a moment after the function has ended.

    An error that was raised keeps the function's variables alive, the call among them: nobody
    but the function itself ends it.
    """
    wait(lambda: orders.running == 0, LEAVING)
    return orders.running


def _when_the_call_fails(answer: Submission, sandbox: Sandbox) -> Verdict | None:
    """End the stream with UNAVAILABLE half-way: the caller has to learn of it."""
    orders = _PacedOrders(FAILS_AFTER)  # type: ignore[abstract]  # one method is enough
    service = sandbox.serve_grpc(orders, name="closes")
    with stub(order_pb2_grpc.OrderServiceStub, service.target) as shop:
        outcome = answer.attempt(shop, orders.handle, WINDOWS[0], within=PATIENCE, allow=status_of)
    return first_broken(
        (
            len(orders.limits) > 1,
            f"the stream failed, and your function called StreamOrders {len(orders.limits)} times",
            "Let the error of the call out: a second call would bring some orders twice.",
        ),
        (
            outcome.hung,
            "the server ended the stream with UNAVAILABLE, and your function did not come back",
            "Reading the next order raises then. Who catches it?",
        ),
        (
            outcome.error is None,
            f"the stream failed after {FAILS_AFTER} of {ORDERS} orders, and nobody was told",
            "Let the error of the call out.",
        ),
        (
            outcome.error is not None and not has_status("UNAVAILABLE")(outcome.error),
            f"the server ended the stream with UNAVAILABLE, and your caller read {outcome.status}",
            "Let the error of the call out as it is.",
        ),
        handled=len(orders.handled),
    )


def _when_handling_fails(answer: Submission, sandbox: Sandbox) -> Verdict | None:
    """Let `handle` raise: the error has to come out, and the call has to end."""
    orders = _PacedOrders()  # type: ignore[abstract]  # one method is enough
    service = sandbox.serve_grpc(orders, name="failing")

    def handle(order: Any) -> None:
        if len(orders.handled) == 2:  # noqa: PLR2004  two are handled, the third fails
            raise _HandlingError
        orders.handle(order)

    with stub(order_pb2_grpc.OrderServiceStub, service.target) as shop:
        outcome = answer.attempt(shop, handle, WINDOWS[0], within=PATIENCE, allow=Exception)
        kept = isinstance(outcome.error, _HandlingError)
        left = _left_open(orders)
    return first_broken(
        (
            not kept,
            "`handle` failed, and your caller did not learn of it",
            "Let its error out; use `finally` for what has to happen in any case.",
        ),
        (left > 0, "`handle` failed, and the call stayed open", LEFT_OPEN),
        calls_left_open=left,
    )


class _HandlingError(Exception):
    """What `handle` raises."""
