"""Exercises of notebook 05: an order that happens once, and a service config that is safe."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved
from labsvc.rpc.retry import complaints
from labsvc.shop.orders import Orders
from labsvc.shop.services import OrderService, UserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import order_pb2, order_pb2_grpc, user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.answer import Answer, Outcome
    from labsvc.checks.bench import Bench

SKU = "tea-100"
QUANTITY = 2
TOO_MANY = 1000  # more than the shop has
MAX_TRIES = 3  # as the exercise says
PATIENCE = 8.0  # seconds for one call of the answer
CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]

POLICY_TRIES = 4  # as the exercise says
CROWD = 30  # calls that all fail


class _LossyOrders(OrderService):
    """The shop's orders, behind a connection that breaks before the first answer, or is down."""

    def __init__(self, store: Store) -> None:
        super().__init__(Orders(store))
        self.tries = 0
        self.unlimited = 0
        self.lose_answers = 0
        self.down = False
        self.cut: Any = None

    async def PlaceOrder(
        self, request: order_pb2.PlaceOrderRequest, context: Any
    ) -> order_pb2.PlaceOrderResponse:
        self.tries += 1
        self.unlimited += context.time_remaining() is None
        if self.down:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the shop is closed")
        reply = await super().PlaceOrder(request, context)
        if self.lose_answers:
            self.lose_answers -= 1
            await asyncio.to_thread(self.cut)
        return reply


@exercise("05-order-once", title="Order once, through a lost answer")
def order_once(answer: Answer, bench: Bench) -> Verdict:
    """`place_order(stub, user_id, lines)` returns the order; three tries, one effect."""
    store = Store.seeded()
    shop = _LossyOrders(store)
    proxy = bench.proxy(bench.serve_grpc(shop, name="shop"), name="door")
    shop.cut = proxy.cut
    with grpc.insecure_channel(proxy.target, CHANNEL) as channel:
        stub = order_pb2_grpc.OrderServiceStub(channel)
        verdict = (
            _lost_answer(answer, stub, shop, store)
            or _refused(answer, stub, shop)
            or _closed(answer, stub, shop)
        )
    if verdict:
        return verdict
    return solved(
        "one order through a lost answer, one try for a refusal, three for an outage",
        orders=1,
        tries_when_the_answer_was_lost=2,
        tries_when_refused=1,
        tries_when_closed=MAX_TRIES,
    )


def _order(answer: Answer, stub: Any, quantity: int) -> Outcome:
    line = order_pb2.OrderLine(sku=SKU, quantity=quantity)
    return answer.attempt(stub, "u-1", [line], within=PATIENCE)


def _lost_answer(answer: Answer, stub: Any, shop: _LossyOrders, store: Store) -> Verdict | None:
    """Lose the first answer after the order is placed."""
    before = store.stock(SKU)
    shop.lose_answers = 1
    outcome = _order(answer, stub, QUANTITY)
    orders = (before - store.stock(SKU)) // QUANTITY
    counts = {"tries": shop.tries, "orders": orders}
    if orders > 1:
        return broken(
            f"the customer wanted one order and pays for {orders}: the first answer was lost",
            "A new order_id is a new order. Is the id made before the first try, or for each?",
            **counts,
        )
    if outcome.hung:
        return _hangs(**counts)
    if _code(outcome.error) is not None and shop.tries == 1:
        return broken(
            f"the order was placed, its answer was lost, and the caller got {_code(outcome.error)}",
            "The same order_id may be sent again: after which codes could that help?",
            **counts,
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    if not isinstance(outcome.value, order_pb2.Order) or not outcome.value.order_id:
        return broken(
            f"the order was placed, and a {type(outcome.value).__name__} came back",
            "Return `reply.order`, and nothing made up in its place.",
            **counts,
        )
    if shop.unlimited:
        return broken(
            f"{shop.unlimited} of {shop.tries} tries had no deadline",
            "If the server hangs, such a try never ends. A stub's method takes a timeout.",
            **counts,
        )
    return None


def _refused(answer: Answer, stub: Any, shop: _LossyOrders) -> Verdict | None:
    """Order more than there is: FAILED_PRECONDITION, which is definite."""
    shop.tries = 0
    outcome = _order(answer, stub, TOO_MANY)
    counts = {"tries": shop.tries}
    if shop.tries > 1:
        return broken(
            f"there is not enough tea, and the shop was asked {shop.tries} times",
            "FAILED_PRECONDITION is definite. Which codes say that another try may fare better?",
            **counts,
        )
    return _error_hidden(outcome, "FAILED_PRECONDITION", counts)


def _closed(answer: Answer, stub: Any, shop: _LossyOrders) -> Verdict | None:
    """Stay closed: the tries have to end."""
    shop.tries = 0
    shop.down = True
    outcome = _order(answer, stub, QUANTITY)
    counts = {"tries": shop.tries}
    if outcome.hung:
        return _hangs(**counts)
    if shop.tries != MAX_TRIES:
        return broken(
            f"the shop stayed closed, and it was asked {shop.tries} times",
            f"The exercise says {MAX_TRIES} tries in all. Count the first one too.",
            **counts,
        )
    return _error_hidden(outcome, "UNAVAILABLE", counts)


def _hangs(**counts: int) -> Verdict:
    return broken(
        "your function did not come back",
        "A loop that tries again needs an end, and each try a timeout.",
        **counts,
    )


def _error_hidden(outcome: Outcome, wanted: str, counts: dict[str, int]) -> Verdict | None:
    """Say so when the last error did not reach the caller as it was."""
    if _code(outcome.error) == wanted:
        return None
    if outcome.error is None:
        return broken(
            f"the shop said {wanted}, and your function returned as if all was well",
            "Let the grpc.RpcError reach the caller: a made-up value hides it.",
            **counts,
        )
    return broken(
        f"the shop said {wanted}, and the caller got a {type(outcome.error).__name__}",
        "A bare `raise` in the `except` lets the grpc.RpcError pass as it is.",
        **counts,
    )


def _code(error: BaseException | None) -> str | None:
    """Return the name of a gRPC error's status code, None for any other error."""
    code = getattr(error, "code", None)
    return str(code().name) if isinstance(error, grpc.RpcError) and callable(code) else None


class _Fails:
    """Fails with one code, `times` times, then answers."""

    def __init__(self, code: grpc.StatusCode, times: int = 10**9) -> None:
        self._code = code
        self._times = times
        self.tries = 0

    async def meet(self, context: Any) -> None:
        """Abort the call, as long as it is to fail."""
        self.tries += 1
        if self.tries <= self._times:
            await context.abort(self._code, "not now")


class _Users(UserService):
    """Users that fail."""

    def __init__(self, fails: _Fails) -> None:
        super().__init__(Store.seeded())
        self._fails = fails

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        await self._fails.meet(context)
        return user_pb2.GetUserResponse()


class _Orders(OrderService):
    """Orders that fail."""

    def __init__(self, fails: _Fails) -> None:
        super().__init__(Orders(Store.seeded()))
        self._fails = fails

    async def PlaceOrder(self, request: Any, context: Any) -> order_pb2.PlaceOrderResponse:
        await self._fails.meet(context)
        return order_pb2.PlaceOrderResponse()


class _Shop:
    """A server that fails in one way, and calls to it under the learner's config."""

    def __init__(self, bench: Bench, config: str) -> None:
        self._bench = bench
        self._options = [*CHANNEL, ("grpc.service_config", config)]
        self._number = 0

    def run(self, fails: _Fails, *, order: bool = False, calls: int = 1) -> tuple[int, str]:
        """Return the tries that reached the server, and how the last call ended."""
        self._number += 1  # a new port: gRPC may keep the tokens of throttling by address
        server = self._bench.serve_grpc(_Users(fails), _Orders(fails), name=str(self._number))
        with grpc.insecure_channel(server.target, self._options) as channel:
            if order:
                method: Any = order_pb2_grpc.OrderServiceStub(channel).PlaceOrder
                request: Any = order_pb2.PlaceOrderRequest(order_id="o-1")
            else:
                method = user_pb2_grpc.UserServiceStub(channel).GetUser
                request = user_pb2.GetUserRequest(user_id="u-1")
            pending = [method.future(request, timeout=4) for _ in range(calls)]
            codes = [_code(call.exception()) or "OK" for call in pending]
        return fails.tries, codes[-1]


@exercise("05-safe-config", title="Retry what may be retried, within limits")
def safe_config(answer: Answer, bench: Bench) -> Verdict:
    """`shop_config()` returns a service config: users up to four tries, orders one, throttled."""
    config = answer()
    if not isinstance(config, str):
        return broken(
            f"your function returned a {type(config).__name__}, not a text",
            "The channel takes the service config as JSON: a str.",
        )
    try:
        ignored = complaints(config)
    except ValueError:
        return broken("your text is no JSON object", "Let `service_config` write it.")
    if ignored:
        return broken(
            f"gRPC takes this config in silence and does something else: {ignored[0]}",
            "Names are camelCase and checked by nobody; `service_config` writes them right.",
        )
    return _calls(_Shop(bench, config))


def _calls(shop: _Shop) -> Verdict:
    """Return the verdict on what reaches the servers under the learner's config."""
    unavailable = grpc.StatusCode.UNAVAILABLE
    tries, code = shop.run(_Fails(unavailable, POLICY_TRIES - 1))
    more, _ = shop.run(_Fails(unavailable))
    refused, _ = shop.run(_Fails(grpc.StatusCode.INVALID_ARGUMENT))
    aborted, _ = shop.run(_Fails(grpc.StatusCode.ABORTED))
    orders, _ = shop.run(_Fails(unavailable), order=True)
    counts = {"tries_for_a_user": more, "tries_for_an_order": orders}
    bad_code = refused > 1 or aborted > 1
    if tries != POLICY_TRIES or code != "OK" or more != POLICY_TRIES or bad_code or orders != 1:
        return diagnose(
            (
                tries == 0,
                f"gRPC refuses this config: every call ends with {code}",
                "The text of that error names the field. Values have ranges; see RetryPolicy.",
            ),
            (
                orders > 1,
                f"an order was sent {orders} times when its answer could have been lost",
                'A policy for "" is for every method. Name the service that may run twice.',
            ),
            (
                bad_code,
                "another code than UNAVAILABLE was tried again",
                "Which codes does the exercise name?",
            ),
            (
                code == "DEADLINE_EXCEEDED",
                "the tries were too far apart: the deadline came first",
                "All tries share one deadline. Seconds of backoff leave no room for the tries.",
            ),
            otherwise=(
                f"a user was asked for {more} times, while the server was UNAVAILABLE",
                "Four tries in all: the first one counts. Is the name of the service right?",
            ),
            **counts,
        )
    storm, _ = shop.run(_Fails(unavailable), calls=CROWD)
    counts["tries_for_30_failing_calls"] = storm
    if storm > 2 * CROWD:
        return broken(
            f"{CROWD} calls to a server that is down became {storm} tries",
            "Retries that all fail must stop by themselves: look at the second argument of"
            " `service_config`, and at how many tokens it gives.",
            **counts,
        )
    return solved(
        "users are tried again, orders are not, and a storm of retries ends",
        tries_for_a_user=more,
        tries_for_an_order=orders,
    )
