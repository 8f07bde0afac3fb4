"""The check of notebook 00, with right and wrong answers."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "00-order-again"
IDS = itertools.count()


def order(order_id: str) -> dict[str, Any]:
    """Return the body of an order for one box of tea."""
    lines = [{"sku": "tea-100", "quantity": 1}]
    return {"order_id": order_id, "user_id": "u-1", "lines": lines}


def send(http: httpx2.Client, order_id: str) -> None:
    """Send the order once."""
    http.post("/v1/orders", json=order(order_id)).raise_for_status()


def order_tea(http: httpx2.Client) -> str:
    """Solve the exercise."""
    order_id = str(uuid.uuid4())
    for attempt in range(3):
        try:
            send(http, order_id)
            break
        except httpx2.TransportError:
            if attempt == 2:
                raise
    return order_id


def recursive(http: httpx2.Client, left: int = 2, order_id: str | None = None) -> str:
    """Solve it by recursion, with the id that the shop answers."""
    order_id = order_id or uuid.uuid4().hex
    try:
        answer = http.post("/v1/orders", json=order(order_id))
    except httpx2.TransportError:
        if not left:
            raise
        return recursive(http, left - 1, order_id)
    answer.raise_for_status()
    return str(answer.json()["order_id"])


def keeps_the_last_error(http: httpx2.Client) -> str:
    """Solve it with the last error in a variable."""
    order_id = str(uuid.uuid4())
    last: httpx2.TransportError | None = None
    for _ in range(3):
        try:
            send(http, order_id)
        except httpx2.TransportError as error:
            last = error
        else:
            return order_id
    assert last is not None
    raise last


class Orders:
    """Solve it with an object, a request that is built once, and a pause between the tries."""

    def __init__(self, most: int) -> None:
        self.most = most

    async def __call__(self, http: httpx2.Client) -> str:
        """Order."""
        order_id = f"tea-{uuid.uuid4()}"
        request = http.build_request("POST", "/v1/orders", json=order(order_id))
        for tried in itertools.count(1):
            try:
                answer = http.send(request)
            except httpx2.TransportError:
                if tried == self.most:
                    raise
                await asyncio.sleep(0.1)
            else:
                answer.raise_for_status()
                break
        return order_id


@pytest.mark.parametrize("answer", [order_tea, recursive, keeps_the_last_error, Orders(3)])
def test_solved(answer: Callable[..., Any]) -> None:
    """Right answers of several shapes are solved."""
    verdict = run_check(EXERCISE, answer)
    assert (verdict.state, verdict.counts) == ("solved", {"orders": 7})


def test_stub() -> None:
    """The stub is not attempted."""

    def stub(http: httpx2.Client) -> str:
        raise NotImplementedError

    assert run_check(EXERCISE, stub).state == "not attempted"


def tries(
    http: httpx2.Client,
    *,
    make: Callable[[], str] = lambda: str(uuid.uuid4()),
    most: int = 3,
    catch: type[Exception] | tuple[type[Exception], ...] = httpx2.TransportError,
    checked: bool = True,
) -> str:
    """Order with another number of tries, another class of errors or without a look at the code."""
    order_id = make()
    for attempt in range(most):
        try:
            answer = http.post("/v1/orders", json=order(order_id))
            if checked:
                answer.raise_for_status()
            break
        except catch:
            if attempt == most - 1:
                raise
    return order_id


def new_id_each_time(http: httpx2.Client) -> str:
    """Make the id inside the loop."""
    for attempt in range(3):
        order_id = str(uuid.uuid4())
        try:
            send(http, order_id)
            break
        except httpx2.TransportError:
            if attempt == 2:
                raise
    return order_id


def swallows(http: httpx2.Client) -> str:
    """Return the id, whatever happened."""
    order_id = str(uuid.uuid4())
    for _ in range(3):
        try:
            send(http, order_id)
            break
        except httpx2.TransportError:
            continue
    return order_id


def for_ever(http: httpx2.Client) -> str:
    """Never give up."""
    order_id = str(uuid.uuid4())
    while True:
        try:
            send(http, order_id)
        except httpx2.TransportError:
            time.sleep(0.01)
        else:
            return order_id


def another_id_comes_back(http: httpx2.Client) -> str:
    """Order under one id and return another."""
    order_tea(http)
    return str(uuid.uuid4())


def returns_the_body(http: httpx2.Client) -> Any:
    """Return the whole answer."""
    return {"order_id": order_tea(http)}


def returns_nothing(http: httpx2.Client) -> None:
    """Forget the return."""
    order_tea(http)


def orders_two(http: httpx2.Client) -> str:
    """Order two boxes."""
    order_id = str(uuid.uuid4())
    body = order(order_id)
    body["lines"][0]["quantity"] = 2
    http.post("/v1/orders", json=body).raise_for_status()
    return order_id


def wrong_order(
    *, path: str = "/v1/orders", checked: bool = True, **changes: Any
) -> Callable[..., Any]:
    """Return an answer that is right but for its path or what its body says."""

    def answer(http: httpx2.Client) -> str:
        body = order(str(uuid.uuid4())) | changes
        answered = http.post(path, json=body)
        if checked:
            answered.raise_for_status()
        return str(body["order_id"])

    return answer


def retries_503(http: httpx2.Client) -> str:
    """Take 503 for a lost answer."""
    order_id = str(uuid.uuid4())
    for _ in range(2):
        try:
            answer = http.post("/v1/orders", json=order(order_id))
        except httpx2.TransportError:
            continue
        if answer.status_code != 503:
            answer.raise_for_status()
            return order_id
    send(http, order_id)
    return order_id


BOOK, TEA = {"sku": "book-1", "quantity": 1}, {"sku": "tea-100", "quantity": 1}
LOST = (httpx2.ReadError, httpx2.WriteError, httpx2.ProtocolError)
"""What a cut connection raises."""


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (
            new_id_each_time,
            "the first answer was lost: the shop has 2 orders",
            "Which line makes the id",
        ),
        (lambda http: tries(http, make=lambda: "mine"), "nothing was ordered", "an id of its own"),
        (lambda http: tries(http, most=1), "gave up after 1 of 3 tries", "many kinds"),
        (lambda http: tries(http, most=2), "gave up after 2 of 3 tries", "many kinds"),
        (lambda http: tries(http, most=4), "made 4 tries, not 3", "Count the first try"),
        (lambda http: tries(http, catch=httpx2.TimeoutException), "gave up after 1", "many kinds"),
        (
            lambda http: tries(http, catch=(*LOST, httpx2.TimeoutException)),
            "connection was refused, and your function gave up after 1 of 3 tries",
            "ConnectError is one of them",
        ),
        (
            lambda http: tries(http, catch=(*LOST, httpx2.ConnectError)),
            "came too late, and your function gave up after 1 of 3 tries",
            "ReadTimeout is one of them",
        ),
        (
            lambda http: tries(http, catch=httpx2.HTTPError),
            "503, and the order was sent 3",
            "final",
        ),
        (retries_503, "the shop answered 503, and the order was sent 3 times", "final"),
        (wrong_order(path="/v1/order"), "nothing was lost, and the shop answered 404", "path"),
        (wrong_order(user_id="u-0"), "404: no user u-0", "Compare path, user and goods"),
        (wrong_order(lines=[BOOK | {"sku": "tea"}]), "404: no sku tea", "Compare path, user"),
        (wrong_order(lines=[]), "the shop answered 4", "the body with `as_json`"),
        (wrong_order(user_id="u-2"), "somebody else than u-1", "who orders, and what"),
        (wrong_order(lines=[BOOK]), "other goods than tea", "who orders, and what"),
        (wrong_order(lines=[TEA, BOOK]), "more than tea was ordered", "who orders, and what"),
        (wrong_order(path="/orders", checked=False), "the shop answered 404", "raise_for_status"),
        (lambda http: tries(http, checked=False), "as if all were well", "raise_for_status"),
        (swallows, "every request was lost, and your function returned", "last error through"),
        (for_ever, "every request was lost, and your function did not come back", "Three tries"),
        (another_id_comes_back, "the id that came back is not that of the order", "every try"),
        (returns_the_body, "returned a dict", "as a string"),
        (returns_nothing, "returned None", "`return`"),
        (orders_two, "nothing was lost: 2 boxes were ordered", "One box of tea"),
        (lambda http: http.nothing, "raised AttributeError", "print what"),
    ],
)
def test_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible mistake is not solved, and is told what broke and where to look."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
