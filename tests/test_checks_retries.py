from __future__ import annotations

import json
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from labsvc.rpc.errors import StatusError
from labsvc.rpc.retry import RetryPolicy, RetryThrottling, service_config
from labsvc.shop.v1 import order_pb2
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

USERS = "labsvc.shop.v1.UserService"


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Wait until no thread of an answer runs on."""
    yield
    give_up_at = time.monotonic() + 10
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def order(user_id: str, lines: list[Any], order_id: str = "") -> order_pb2.PlaceOrderRequest:
    """Make a request, with a new id unless one is given."""
    new_id = order_id or uuid.uuid4().hex
    return order_pb2.PlaceOrderRequest(order_id=new_id, user_id=user_id, lines=lines)


def place_order(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Solve the exercise."""
    request = order(user_id, lines)
    for attempt in range(3):
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if StatusError.of(error).definite or attempt == 2:
                raise
        time.sleep(0.05 * 2**attempt)
    return None


def by_a_list_of_codes(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Solve it without the package."""
    again = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    request = order(user_id, lines)
    left = 3
    while True:
        left -= 1
        try:
            return stub.PlaceOrder(request, timeout=2).order
        except grpc.RpcError as error:
            if not left or error.code() not in again:
                raise


def new_id_for_each_try(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Make the request inside the loop."""
    for attempt in range(3):
        try:
            return stub.PlaceOrder(order(user_id, lines), timeout=1).order
        except grpc.RpcError as error:
            if StatusError.of(error).definite or attempt == 2:
                raise
    return None


def no_second_try(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Call once."""
    return stub.PlaceOrder(order(user_id, lines), timeout=1).order


def retries_everything(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Try again whatever the code."""
    request = order(user_id, lines)
    for attempt in range(3):
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError:
            if attempt == 2:
                raise
    return None


def four_tries(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Count three retries after the first try."""
    request = order(user_id, lines)
    for _ in range(3):
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if StatusError.of(error).definite:
                raise
    return stub.PlaceOrder(request, timeout=1).order


def for_ever(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Try until it works."""
    request = order(user_id, lines)
    while True:
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if StatusError.of(error).definite:
                raise
        time.sleep(0.05)


def swallows(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Return None in the end."""
    try:
        return place_order(stub, user_id, lines)
    except grpc.RpcError:
        return None


def hides(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Raise an error of another type in the end."""
    try:
        return place_order(stub, user_id, lines)
    except grpc.RpcError as error:
        msg = "no order"
        raise RuntimeError(msg) from error


def no_deadline(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Set no timeout."""
    request = order(user_id, lines)
    for attempt in range(3):
        try:
            return stub.PlaceOrder(request).order
        except grpc.RpcError as error:
            if StatusError.of(error).definite or attempt == 2:
                raise
    return None


def returns_the_reply(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Return the reply in the place of the order."""
    placed = place_order(stub, user_id, lines)
    return order_pb2.PlaceOrderResponse(order=placed)


@pytest.mark.parametrize("answer", [place_order, by_a_list_of_codes])
def test_order_once_solved(answer: Callable[..., Any]) -> None:
    """One id for all tries, and three tries at most, solve the exercise."""
    verdict = run_check("05-order-once", answer)
    assert str(verdict) == (
        "solved\n"
        "  one order through a lost answer, one try for a refusal, three for an outage\n"
        "  counts: orders 1, tries when the answer was lost 2, tries when refused 1,"
        " tries when closed 3"
    )


def test_order_once_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, user_id: str, lines: list[Any]) -> Any:
        raise NotImplementedError

    assert run_check("05-order-once", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (new_id_for_each_try, "wanted one order and pays for 2", "before the first try"),
        (no_second_try, "answer was lost, and the caller got UNAVAILABLE", "may be sent again"),
        (retries_everything, "the shop was asked 3 times", "FAILED_PRECONDITION is definite"),
        (four_tries, "it was asked 4 times", "Count the first one too"),
        (for_ever, "did not come back", "needs an end"),
        (swallows, "returned as if all was well", "reach the caller"),
        (hides, "the caller got a RuntimeError", "bare `raise`"),
        (no_deadline, "2 of 2 tries had no deadline", "takes a timeout"),
        (returns_the_reply, "a PlaceOrderResponse came back", "Return `reply.order`"),
    ],
)
def test_order_once_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("05-order-once", answer, guarantee, hint)


CODES = grpc.StatusCode


def built(throttling: Any = RetryThrottling(), name: str = USERS, **settings: Any) -> str:  # noqa: B008
    """Return the solution, with changes."""
    policy = RetryPolicy(**({"max_attempts": 4, "initial_backoff": 0.01} | settings))
    return service_config({name: policy}, throttling)


def changed(**settings: Any) -> str:
    """Return the solution's JSON, with a change that the builder refuses."""
    config = json.loads(built())
    config["methodConfig"][0]["retryPolicy"] |= settings
    return json.dumps(config)


def test_safe_config_solved() -> None:
    """The built config solves the exercise, and so does one for the method alone."""
    for config in (built(), built(name=f"{USERS}/GetUser", initial_backoff=0.1)):
        verdict = run_check("05-safe-config", lambda config=config: config)
        assert verdict.state == "solved", str(verdict)
        assert verdict.counts == {"tries for a user": 4, "tries for an order": 1}


def test_safe_config_stub() -> None:
    """The stub is not attempted."""

    def stub() -> str:
        raise NotImplementedError

    assert run_check("05-safe-config", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("config", "guarantee", "hint"),
    [
        (json.loads(built()), "returned a dict", "a str"),
        ("retry 4 times", "no JSON object", "service_config"),
        (changed(maxAttempts=10), "the core makes 5 tries", "checked by nobody"),
        (built().replace("retryPolicy", "retry_policy"), "write retryPolicy", "checked by nobody"),
        (changed(maxAttempts=1), "gRPC refuses this config", "have ranges"),
        (built(name=""), "an order was sent 4 times", "Name the service"),
        (built(codes=frozenset({CODES.UNAVAILABLE, CODES.ABORTED})), "another code", "Which codes"),
        (built(max_attempts=3), "was asked for 3 times", "the first one counts"),
        (built(max_attempts=5), "was asked for 5 times", "the first one counts"),
        (built(name="labsvc.shop.v1.Users"), "was asked for 1 times", "name of the service"),
        (built(initial_backoff=9, max_backoff=9), "too far apart", "share one deadline"),
        (built(throttling=None), "became 120 tries", "second argument"),
        (built(throttling=RetryThrottling(max_tokens=1000)), "became 120 tries", "how many tokens"),
    ],
)
def test_safe_config_wrong(config: Any, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("05-safe-config", lambda: config, guarantee, hint)
