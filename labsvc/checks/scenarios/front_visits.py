"""Stage of T2-front: customers, and a desk whose handler is the learner's."""

from __future__ import annotations

import random
import secrets
import time
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import CONNECT_SECONDS, channel, stub, wait
from labsvc.checks.scenarios.ending import as_grpc_ends_it, may_end
from labsvc.checks.scenarios.front_orders import KEY, Orders
from labsvc.checks.scenarios.page import Gate, Tied
from labsvc.shop.v1 import order_pb2, order_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

    Pairs = tuple[tuple[str, str | bytes], ...]

HANGS = 4.0  # seconds: longer than a right answer takes
SOON = 1.0  # seconds in which a stop has arrived everywhere, and a pause has ended
THREADS = 24
REQUEST_ID = "x-request-id"
MENDS = {"initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 200}


class Tries(Gate):
    """The tries of one visit, from their own side of the wire.

    `sent` is the metadata of each. `vain` counts those that began when the customer had left, and
    `beside` those that began when another was under way. With `at_end`, the customer leaves as soon
    as that try has ended.
    """

    def __init__(self, context: Any, leave: Callable[[], None], moment: Moment) -> None:
        super().__init__(context, leave, at_call=moment.call, at_tie=moment.tie)
        self._handler = context
        self._at_end = moment.end
        self.sent: list[dict[str, Any]] = []
        self.vain = self.beside = 0

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Note the try, and make it."""
        self.sent.append(dict(details.metadata or ()))
        self.vain += not self._handler.is_active()
        self.beside += self.open > 0
        call = super().intercept_unary_unary(continuation, details, request)
        if len(self.starts) == self._at_end:
            call.add_done_callback(lambda _: self._leave())
        return call


@dataclass(frozen=True)
class Moment:
    """When the customer leaves: before this try starts, when it has ended, or before it is tied."""

    call: int | None = None
    end: int | None = None
    tie: int | None = None


STAYS = Moment()


@dataclass
class Visit:
    """One customer's call through the learner's function.

    `sent` is what the customer sent, `request` the order, `timeout` what it allowed. Of the
    function, `tries` has seen what it did, `code` is how it ended and `left` what its caller had
    then, in seconds. `call` is the customer's own side.
    """

    request: order_pb2.PlaceOrderRequest
    timeout: float | None
    sent: Pairs
    begin_with: float | None
    moment: Moment
    tries: Tries | None = None
    code: str = ""
    left: float = 0.0
    began: float = 0.0
    took: float = 0.0
    ended: bool = False
    returned_nothing: bool = False
    call: Any = None

    @property
    def seen(self) -> Tries:
        """What the function did.

        Raises:
            TimeoutError: the call did not reach the server.

        """
        if self.tries is None:
            msg = "the call did not reach the server"
            raise TimeoutError(msg)
        return self.tries

    @property
    def stopped(self) -> bool:
        """Whether the function and all that it began have ended."""
        return self.ended and not self.seen.open


class Desk:
    """A server with threads whose handler is the learner's function, and what is behind it."""

    def __init__(
        self, answer: Submission, room: Sandbox, run: Run, orders: Orders | None = None
    ) -> None:
        self.orders = orders or Orders()
        self._answer = answer
        self._handler = answer.handler(allow=may_end, within=HANGS)
        self._visits: dict[str, Visit] = {}
        self._numbers = count(random.randrange(10**6))
        behind = run.door(room.serve_grpc(_servicer(self.orders.place), name="orders"))
        self._line = room.enter(channel(behind.target, **MENDS))
        grpc.channel_ready_future(self._line).result(timeout=CONNECT_SECONDS)
        front = room.serve_grpc(_servicer(self._place), name="desk", workers=THREADS)
        self._customers = room.enter(stub(order_pb2_grpc.OrderServiceStub, front.target))

    def _place(self, request: Any, context: Any) -> Any:
        """Run the learner's function, and let it end the call as gRPC would."""
        visit = self._visits[request.order_id]

        def leave() -> None:
            wait(lambda: visit.call is not None, SOON)
            visit.call.cancel()
            wait(lambda: not context.is_active(), SOON)

        if visit.begin_with is not None:
            time.sleep(max(0.0, context.time_remaining() - visit.begin_with))
        visit.tries = tries = Tries(context, leave, visit.moment)
        orders = order_pb2_grpc.OrderServiceStub(grpc.intercept_channel(self._line, tries))
        visit.began = time.monotonic()
        try:
            with as_grpc_ends_it(context):
                answer = self._handler(request, Tied(context, tries), orders)
            visit.returned_nothing = answer is None
            return answer or order_pb2.PlaceOrderResponse()
        finally:
            visit.left = context.time_remaining()
            visit.took = time.monotonic() - visit.began
            visit.code = (context.code() or grpc.StatusCode.OK).name
            visit.ended = True

    def new_request(self) -> order_pb2.PlaceOrderRequest:
        """Return an order that was not placed before."""
        number = next(self._numbers)
        line = order_pb2.OrderLine(sku="tea-100", quantity=1 + number % 3)
        return order_pb2.PlaceOrderRequest(
            order_id=f"o-{number}", user_id=f"u-{number % 7}", lines=[line]
        )

    def start(
        self,
        timeout: float | None,
        sent: Pairs = (),
        *,
        request: order_pb2.PlaceOrderRequest | None = None,
        begin_with: float | None = None,
        moment: Moment = STAYS,
    ) -> Visit:
        """Let a customer order, something new unless a request is given, and return at once."""
        request = request or self.new_request()
        visit = Visit(request, timeout, sent, begin_with, moment)
        self._visits[request.order_id] = visit
        place = self._customers.PlaceOrder
        visit.call = place.future(request, timeout=timeout, metadata=(*sent, *_not_to_send()))
        return visit

    @property
    def keys_made(self) -> list[str]:
        """The keys that the function made, one for each visit with a try."""
        visits = [visit for visit in self._visits.values() if visit.tries and visit.seen.sent]
        made = [visit for visit in visits if KEY not in dict(visit.sent)]
        return [str(visit.seen.sent[0].get(KEY)) for visit in made]

    def wait(self, visit: Visit) -> Visit:
        """Wait for the end of a visit.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        visit.call.exception(timeout=HANGS + SOON)
        wait(lambda: visit.ended, HANGS + SOON)
        self._answer.raise_noted()
        return visit

    def visit(self, timeout: float | None, sent: Pairs = (), **how: Any) -> Visit:
        """Let a customer order, and wait for the end; the arguments are those of `start`.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        return self.wait(self.start(timeout, sent, **how))

    def stopped(self, visit: Visit) -> bool:
        """Wait until all of a visit has ended after a stop; return whether it has.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        ended = wait(lambda: visit.tries is not None and visit.stopped, SOON)
        self._answer.raise_noted()
        return ended


def _not_to_send() -> Pairs:
    """Return what a customer sends, and the next service must not get."""
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    return (
        ("authorization", "Bearer secret"),
        ("user-bin", b"\xc3\xa4"),
        ("traceparent", trace),
        ("baggage", "tenant=7"),
        ("x-user-id", "u-1"),
        (f"x-{secrets.token_hex(3)}", "nobody knows it"),
    )


def _servicer(place: Callable[..., Any]) -> order_pb2_grpc.OrderServiceServicer:
    """Return the servicer whose PlaceOrder is this function, or coroutine function."""
    made = order_pb2_grpc.OrderServiceServicer()  # type: ignore[abstract]
    made.PlaceOrder = place  # type: ignore[method-assign]
    return made
