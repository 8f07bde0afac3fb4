from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
from google.protobuf import json_format
from pydantic import BaseModel, ConfigDict, Field

from labsvc.checks import run_check
from labsvc.rpc.contract import Contract, compile_contract
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "12-strict-door"


class Lenient(BaseModel):
    """A model as one writes it first."""

    order_number: str = Field(pattern="^[0-9]+$")
    boxes: int
    price: float


class Forbidding(Lenient):
    """A model that knows all fields, and guesses types."""

    model_config = ConfigDict(extra="forbid")


class Strict(Forbidding):
    """A model that guesses nothing, and knows no limit."""

    model_config = ConfigDict(strict=True)


class Bounded(Strict):
    """A model with limits for boxes and price."""

    boxes: int = Field(ge=1, le=1000)
    price: float = Field(ge=0, le=1_000_000)


class AtLeastOne(Strict):
    """A model with half of its limits."""

    boxes: int = Field(ge=1)


class NoTop(Bounded):
    """A model without a highest price."""

    price: float = Field(ge=0)


class AnyText(Bounded):
    """Any text is an order number."""

    order_number: str


class Right(Bounded):
    """The model that solves the exercise with one look at the largest number."""

    order_number: str = Field(pattern="^[0-9]{1,19}$")


def reply(order: Any) -> str:
    """Return the answer."""
    return json.dumps({"order_number": order.order_number, "total": order.boxes * order.price})


def model(kind: type[Lenient]) -> Callable[[bytes], str]:
    """Return an answer that trusts its model."""
    return lambda body: reply(kind.model_validate_json(body))


def refuse(why: str) -> None:
    """Raise ValueError."""
    raise ValueError(why)


def right(body: bytes) -> str:
    """Solve the exercise with a model."""
    order = Right.model_validate_json(body)
    if int(order.order_number) > 2**63 - 1:
        refuse("too large")
    return reply(order)


async def in_a_coroutine(body: bytes) -> str:
    """Solve it in a coroutine."""
    return right(body)


def by_hand(body: bytes) -> str:
    """Solve the exercise without a model."""
    order = json.loads(body, parse_constant=refuse)
    kinds: dict[str, set[type]] = {
        "order_number": {str},
        "boxes": {int},
        "price": {int, float},
    }
    if not isinstance(order, dict) or set(order) != set(kinds):
        refuse("fields")
    if any(type(order[name]) not in kinds[name] for name in kinds):
        refuse("types")
    if not re.fullmatch("[0-9]{1,19}", order["order_number"]):
        refuse("digits")
    in_range = int(order["order_number"]) < 2**63 and 1 <= order["boxes"] <= 1000
    if not in_range or not 0 <= order["price"] <= 1_000_000:
        refuse("range")
    total = order["boxes"] * order["price"]
    return json.dumps({"order_number": order["order_number"], "total": total})


def by_decimal(body: bytes) -> str:
    """Solve it with exact prices, and more in the answer than was asked for."""
    order = json.loads(right(body))
    sent = json.loads(body, parse_float=Decimal)
    return json.dumps(order | {"total": float(sent["boxes"] * Decimal(sent["price"])), "ok": True})


def plain_dict(body: bytes) -> str:
    """Read what is there."""
    order = json.loads(body)
    total = order["boxes"] * order["price"]
    return json.dumps({"order_number": order["order_number"], "total": total})


def key_error(body: bytes) -> str:
    """Refuse unknown fields only; a missing one is a KeyError."""
    if set(json.loads(body)) - {"order_number", "boxes", "price"}:
        refuse("unknown field")
    return plain_dict(body)


def isinstance_checks(body: bytes) -> str:
    """Take True for a number."""
    order = json.loads(body)
    fields: dict[str, Any] = {"order_number": str, "boxes": int, "price": (int, float)}
    if set(order) != set(fields) or not all(isinstance(order[k], v) for k, v in fields.items()):
        refuse("types")
    return plain_dict(body)


def number_in_the_answer(body: bytes) -> str:
    """Return the order number as a number."""
    order = json.loads(right(body))
    return json.dumps(order | {"order_number": int(order["order_number"])})


def float_only(body: bytes) -> str:
    """Refuse a price that JavaScript wrote without a point."""
    if not isinstance(json.loads(body)["price"], float) or math.isnan(json.loads(body)["price"]):
        refuse("no price")
    return right(body)


def takes_a_number(body: bytes) -> str:
    """Take the order number in both forms."""
    order = json.loads(body)
    if isinstance(order, dict) and type(order.get("order_number")) is int:
        order["order_number"] = str(order["order_number"])
    return right(json.dumps(order).encode())


def nan_through_limits(body: bytes) -> str:
    """Compare so that NaN is inside every limit."""
    order = Strict.model_validate_json(body)
    if order.price < 0 or order.price > 1_000_000 or not 1 <= order.boxes <= 1000:
        refuse("range")
    return reply(order)


def by_int(body: bytes) -> str:
    """Take for a number what Python takes for one."""
    order = AnyText.model_validate_json(body)
    if not 0 <= int(order.order_number) < 2**63:
        refuse("range")
    return reply(order)


def by_isdigit(body: bytes) -> str:
    """Take digits of every alphabet."""
    order = AnyText.model_validate_json(body)
    if not order.order_number.isdigit() or int(order.order_number) >= 2**63:
        refuse("digits")
    return reply(order)


def by_match(body: bytes) -> str:
    """Let a line end pass: Python's $ stands before one, too."""
    order = AnyText.model_validate_json(body)
    if not re.match("^[0-9]+$", order.order_number) or int(order.order_number) >= 2**63:
        refuse("digits")
    return reply(order)


@cache
def contract() -> Contract:
    """Return the request as a contract."""
    return compile_contract("""syntax = "proto3";
    message Order { int64 order_number = 1; int32 boxes = 2; double price = 3; }""")


def by_protobuf(body: bytes) -> str:
    """Let protobuf's JSON decide."""
    order = contract().message("Order")()
    try:
        json_format.Parse(body, order, ignore_unknown_fields=False)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    total = order.boxes * order.price
    return json.dumps({"order_number": str(order.order_number), "total": total})


def expects_an_object(body: bytes) -> str:
    """Fall over a list."""
    order = json.loads(body)
    if not order.get("boxes"):
        refuse("boxes")
    return right(body)


def asserts(body: bytes) -> str:
    """Refuse by assert."""
    order = json.loads(body)
    assert set(order) == {"order_number", "boxes", "price"}
    return right(body)


def never_ends(_body: bytes) -> str:
    """Hang."""
    while True:
        pass


@pytest.mark.parametrize("answer", [right, by_hand, by_decimal, in_a_coroutine])
def test_strict_door_solved(answer: Callable[[bytes], Any]) -> None:
    """A strict model or checks by hand solve the exercise."""
    verdict = run_check(EXERCISE, answer)
    assert str(verdict) == (
        "solved\n  every digit came back, and what was not agreed was refused\n  counts: refused 24"
    )


def test_strict_door_stub() -> None:
    """The stub is not attempted."""

    def stub(body: bytes) -> str:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (plain_dict, "a misspelt field beside the right ones was accepted", "refuse what you do"),
        (model(Lenient), "a misspelt field beside the right ones was acc", "refuse what you do"),
        (model(Forbidding), "boxes as a text was accepted", "strict"),
        (isinstance_checks, "true as the number of boxes was accepted", "True is an int"),
        (model(Strict), "no boxes was accepted", "fewest"),
        (model(AtLeastOne), "10^25 boxes was accepted", "the most boxes"),
        (model(NoTop), "a price above the limit was accepted", "the highest price"),
        (nan_through_limits, "a price of NaN was accepted", "no limit holds against NaN"),
        (takes_a_number, "the order_number as a number was accepted", "rounded it"),
        (model(AnyText), 'order_number "abc" was accepted', "Which characters"),
        (by_int, 'order_number "1_0" was accepted', "Which characters"),
        (by_isdigit, "an order_number in Arabic digits was accepted", "Which characters"),
        (by_match, "a line end behind it was accepted", "Which characters"),
        (model(Bounded), "an order_number of 2^63 was accepted", "up to which size"),
        (model(Right), "an order_number of 2^63 was accepted", "up to which size"),
        (by_protobuf, "a missing field was accepted", "required"),
        (key_error, "a missing field, your function raised KeyError", "is a ValueError"),
        (asserts, "field beside the right ones, your function raised Asser", "is a ValueError"),
        (expects_an_object, "a list in place of an object, your function raised", "ValueError"),
        (number_in_the_answer, "came back to the page as", "no limit"),
        (float_only, "price 12) was refused", "writes 12.0 as 12"),
        (lambda _: "order placed", "cannot parse the answer", "one JSON object"),
        (lambda body: json.dumps(json.loads(body)), "a total of", "boxes times"),
        (lambda _: {"order_number": "1"}, "returned a dict", "asks for a str"),
        (lambda body: right(body).encode(), "returned a bytes", "asks for a str"),
        (lambda _: None, "returned None", "`return`"),
        (lambda _: 1 // 0, "raised ZeroDivisionError", "in a cell of its own"),
        (never_ends, "did not return in time", "loop without an end"),
    ],
)
def test_strict_door_wrong(answer: Callable[[bytes], Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)
