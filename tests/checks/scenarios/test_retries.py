from __future__ import annotations

import asyncio
import random
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.shop.v1 import order_pb2
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable


pytestmark = pytest.mark.usefixtures("answers_have_ended")


CODE = grpc.StatusCode
AGAIN = {CODE.UNAVAILABLE, CODE.DEADLINE_EXCEEDED}


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
            if error.code() not in AGAIN or attempt == 2:
                raise
        time.sleep(random.uniform(0.05, 0.5))  # noqa: S311  # no secret
    return None


async def on_asyncio(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Solve it with the pauses of asyncio, drawn beforehand."""
    pauses = iter([*(random.uniform(0.06, 0.49) for _ in range(2)), None])  # noqa: S311
    request = order(user_id, lines)
    for pause in pauses:
        try:
            return (await asyncio.to_thread(stub.PlaceOrder, request, timeout=1)).order
        except grpc.RpcError as error:
            if error.code() not in AGAIN or pause is None:
                raise
            await asyncio.sleep(pause)
    return None


def by_a_list_of_codes(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Solve it without the package."""
    again = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
    request = order(user_id, lines)
    left = 3
    while True:
        left -= 1
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if not left or error.code() not in again:
                raise
        threading.Event().wait(random.choice(range(50, 501)) / 1000)  # noqa: S311


def new_id_for_each_try(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Make the request inside the loop."""
    for attempt in range(3):
        try:
            return stub.PlaceOrder(order(user_id, lines), timeout=1).order
        except grpc.RpcError as error:
            if error.code() not in AGAIN or attempt == 2:
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
        time.sleep(0.2)
    return None


def four_tries(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Count three retries after the first try."""
    request = order(user_id, lines)
    for _ in range(3):
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
        time.sleep(0.2)
    return stub.PlaceOrder(request, timeout=1).order


def for_ever(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Try until it works."""
    request = order(user_id, lines)
    while True:
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
        time.sleep(0.05)


def swallows(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Return None in the end."""
    try:
        return place_order(stub, user_id, lines)
    except grpc.RpcError:
        return None


def no_deadline(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Set no timeout."""
    request = order(user_id, lines)
    for attempt in range(3):
        try:
            return stub.PlaceOrder(request).order
        except grpc.RpcError as error:
            if error.code() not in AGAIN or attempt == 2:
                raise
    return None


def with_a_cause(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Solve it, and fail with an error of its own that keeps the cause."""
    try:
        return place_order(stub, user_id, lines)
    except grpc.RpcError as error:
        msg = "no order"
        raise RuntimeError(msg) from error


def returns_the_reply(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Return the reply in the place of the order."""
    placed = place_order(stub, user_id, lines)
    return order_pb2.PlaceOrderResponse(order=placed)


def id_from_the_goods(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Derive the id from the content."""
    order_id = f"{user_id}-{lines[0].sku}-{lines[0].quantity}"
    return tries(stub, order(user_id, lines, order_id))


def always_the_same_id(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Use one id for all orders, whosever they are."""
    return tries(stub, order(user_id, lines, "my-order"))


def always_the_same_user(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Order for somebody else."""
    return tries(stub, order("nobody", lines))


def tries(
    stub: Any,
    request: Any,
    *,
    most: int = 3,
    timeout: float | None = 1,
    again: Any = AGAIN,
    pause: Callable[[int], float] = lambda _: random.uniform(0.05, 0.5),  # noqa: S311
) -> Any:
    """Send a request up to `most` times, and raise the last error."""
    for attempt in range(most):
        try:
            return stub.PlaceOrder(request, timeout=timeout).order
        except grpc.RpcError as error:
            if error.code() not in again or attempt == most - 1:
                raise
        time.sleep(pause(attempt))
    return None


def first_error(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Raise the first error in the end."""
    request = order(user_id, lines)
    errors = []
    for _ in range(3):
        try:
            return stub.PlaceOrder(request, timeout=1).order
        except grpc.RpcError as error:
            errors.append(error)
            if error.code() not in AGAIN:
                raise
        time.sleep(0.05)
    raise errors[0]


def sends_twice(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Send the order once more, to be sure."""
    request = order(user_id, lines)
    tries(stub, request)
    return tries(stub, request)


def made_up(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Return an order that the shop has never seen."""
    place_order(stub, user_id, lines)
    return order_pb2.Order(order_id="made-up", user_id=user_id)


def asks_nobody(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Make an order without the shop."""
    return order_pb2.Order(order_id="made-up", user_id=user_id)


def misspelt(stub: Any, user_id: str, lines: list[Any]) -> Any:
    """Use a name that does not exist."""
    return tries(stub, order(user_id, lnes))  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize("answer", [place_order, by_a_list_of_codes, on_asyncio, with_a_cause])
def test_order_once_solved(answer: Callable[..., Any]) -> None:
    """One id for all tries, and three tries at most, solve the exercise."""
    verdict = run_check("26-order-once", answer)
    assert str(verdict) == (
        "solved\n"
        "  each call placed one order, whatever was lost, and every error was told\n"
        "  counts: cases 28"
    )


def test_order_once_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, user_id: str, lines: list[Any]) -> Any:
        raise NotImplementedError

    assert run_check("26-order-once", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (new_id_for_each_try, "wanted one order and pays for 2", "made once"),
        (id_from_the_goods, "on purpose, and the shop has 1 order", "made from"),
        (always_the_same_id, "on purpose, and the shop has 1 order", "made from"),
        (always_the_same_user, "the caller got NOT_FOUND", "the same user"),
        (no_second_try, "gave up with UNAVAILABLE, tries: 1", "3 tries in all"),
        (
            lambda stub, user, lines: tries(stub, order(user, lines), most=2),
            "gave up with UNAVAILABLE, tries: 2",
            "3 tries in all",
        ),
        (
            lambda s, user, lines: tries(s, order(user, lines), again={CODE.UNAVAILABLE}),
            "the caller had given up: your function gave up with DEADLINE_EXCEEDED",
            "3 tries in all",
        ),
        (
            lambda s, user, lines: tries(s, order(user, lines), again={*AGAIN, CODE.ABORTED}),
            "said ABORTED, and was asked 3 times",
            "Two are named",
        ),
        (retries_everything, "said INVALID_ARGUMENT, and was asked 3 times", "Two are named"),
        (four_tries, "was asked 4 times", "Count the first one too"),
        (for_ever, "for ever, and your function too", "needs an end"),
        (swallows, "returned None", "Is there a `return`"),
        (first_error, "an earlier try", "how things stand now"),
        (no_deadline, "a try had no timeout", "takes a timeout"),
        (
            lambda s, user, lines: tries(s, order(user, lines), timeout=30),
            "a try had more than 1 second",
            "in seconds",
        ),
        (
            lambda s, user, lines: tries(s, order(user, lines), timeout=0.1),
            "much less than a second",
            "the last one too",
        ),
        (
            lambda s, user, lines: tries(s, order(user, lines[:1])),
            "the order has 1 of 2 lines",
            "all the lines",
        ),
        (sends_twice, "sent again after it had succeeded", "ends the tries"),
        (returns_the_reply, "PlaceOrderResponse", "asks for an Order"),
        (made_up, "is not the one that was placed", "nothing made up"),
        (asks_nobody, "the shop was not asked", "stub.PlaceOrder"),
        (misspelt, "NameError", "a slip in the name"),
    ],
)
def test_order_once_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("26-order-once", answer, guarantee, hint)


def seeded(attempt: int) -> float:
    """Draw the same random pauses in every call."""
    return random.Random(attempt).uniform(0.05, 0.5)  # noqa: S311


@pytest.mark.parametrize(
    ("pause", "guarantee", "hint"),
    [
        (lambda _: 0.2, "came back together", "Draw each pause anew"),
        (lambda attempt: 0.1 * 2**attempt, "came back together", "Draw each pause anew"),
        (lambda _: random.uniform(0.2, 0.22), "came back together", "the whole range"),  # noqa: S311
        (seeded, "came back together", "Draw each pause anew"),
        (lambda _: 0.02, "tries came at once after the one before", ".05 seconds at least"),
        (
            lambda _: random.uniform(0, 0.1),  # noqa: S311
            "tries came at once after the one before",
            ".05 seconds at least",
        ),
        (lambda _: random.uniform(0.78, 0.85), "tries came too long after", "Half a second"),  # noqa: S311
    ],
)
def test_order_once_pauses(pause: Callable[[int], float], guarantee: str, hint: str) -> None:
    """Pauses that bring all callers back at once, or that are too short or long, are not solved."""

    def answer(stub: Any, user_id: str, lines: list[Any]) -> Any:
        return tries(stub, order(user_id, lines), pause=pause)

    assert_wrong("26-order-once", answer, guarantee, hint)
