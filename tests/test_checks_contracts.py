from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

from labsvc.checks import run_check
from labsvc.checks.contracts import SHOP
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

GOOD = SHOP.replace(
    "  int64 sum = 3;\n  string gift_note = 4;\n",
    '  reserved 4;\n  reserved "gift_note";\n  int64 sum = 3;\n'
    "  int64 total_cents = 5;\n  int64 discount_cents = 6;\n",
)


def changed(old: str, new: str) -> Callable[[], str]:
    """Return an answer that is the right one but for one place."""
    assert old in GOOD
    return lambda: GOOD.replace(old, new)


def test_next_version_solved() -> None:
    """A new field beside the old one, and a reserved place, solve the exercise."""
    verdict = run_check("01-next-version", lambda: GOOD)
    assert str(verdict) == (
        "solved\n"
        "  old and new clients are charged the right sum by old and new servers\n"
        "  counts: old to new 2599, new to old 2599, new to new 2099"
    )


def test_next_version_solved_with_more() -> None:
    """What is added beyond the task does no harm."""
    more = GOOD.replace("int64 sum = 3;", "int64 sum = 3 [deprecated = true];\n  string note = 9;")
    assert run_check("01-next-version", lambda: more).state == "solved"


def test_next_version_stub() -> None:
    """The stub is not attempted."""

    def stub() -> str:
        raise NotImplementedError

    assert run_check("01-next-version", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (lambda: SHOP, "has no int64 discount_cents", "never used"),
        (lambda: None, "returned a NoneType", "whole .proto text"),
        (changed("int64 total_cents = 5;", "int64 total_cents = 6;"), "protoc refuses", "column"),
        (changed("int64 total_cents = 5;", "int64 total_cents;"), "protoc refuses", "column"),
        (changed("int64 total_cents", "int32 total_cents"), "no int64 total_cents", "never used"),
        (changed("package shop;", "package shop.v2;"), "shop.Order: message removed", "Only the f"),
        (changed("rpc Place", "rpc PlaceOrder"), "Shop.Place: method removed", "Only the fields"),
        (
            changed('  reserved 4;\n  reserved "gift_note";\n', "  string gift_note = 4;\n"),
            "still has gift_note",
            "Take it out",
        ),
        (
            changed('  reserved 4;\n  reserved "gift_note";\n', ""),
            "gift_note: removed without reserved",
            "Which two things",
        ),
        (changed('  reserved "gift_note";\n', ""), "removed without reserved", "Which two things"),
        (
            lambda: GOOD.replace('  reserved 4;\n  reserved "gift_note";\n', "").replace(
                "= 6", "= 4"
            ),
            "gift_note: number 4 is now called discount_cents",
            "kept from use",
        ),
        (
            changed("int64 sum = 3;\n  int64 total_cents = 5;", "int64 total_cents = 3;"),
            "sum: number 3 is now called total_cents",
            "a new name is a new field",
        ),
        (
            lambda: GOOD.replace("sum = 3;", "sum = 7;").replace("cents = 5;", "cents = 3;"),
            "sum: renumbered from 3 to 7",
            "Who still sends the old one",
        ),
        (changed("int64 sum", "int32 sum"), "sum: type changed", "Leave what is there"),
        (
            lambda: (
                GOOD.replace("reserved 4;", "reserved 3, 4;")
                .replace('"gift_note";', '"gift_note", "sum";')
                .replace("  int64 sum = 3;\n", "")
            ),
            "2599 cents, sent by the old client, were charged as 0 by the new server",
            "Old clients fill `sum`",
        ),
        (
            lambda: GOOD.replace(
                "int64 total_cents = 5;\n", "oneof price {int64 total_cents = 5;\n"
            ).replace("discount_cents = 6;", "discount_cents = 6; }"),
            "a total with a discount of 500 cents did not arrive",
            "Two plain int64 fields",
        ),
    ],
)
def test_next_version_wrong(answer: Callable[[], Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("01-next-version", answer, guarantee, hint)


def test_renumbered_sum_is_counted() -> None:
    """The counts say what a renumbered field costs an old client."""
    answer = changed(
        "int64 sum = 3;\n  int64 total_cents = 5;", "int64 sum = 5;\n  int64 total_cents = 7;"
    )
    counts = run_check("01-next-version", answer).counts
    assert counts == {"old to new": 0, "new to old": 0, "new to new": 2099}


class Lenient(BaseModel):
    """A model as one writes it first."""

    order_number: str = Field(pattern="^[0-9]+$")
    boxes: int
    price: float


class Forbidding(Lenient):
    """A model that knows all fields, and guesses types."""

    model_config = ConfigDict(extra="forbid")


class Strict(Forbidding):
    """A model that guesses nothing, and knows NaN."""

    model_config = ConfigDict(strict=True)


class Right(Strict):
    """The model that solves the exercise."""

    price: FiniteFloat


def reply(order: Any) -> str:
    """Return the answer."""
    return json.dumps({"order_number": order.order_number, "total": order.boxes * order.price})


def model(kind: type[Lenient]) -> Callable[[bytes], str]:
    """Return an answer that is right but for its model."""
    return lambda body: reply(kind.model_validate_json(body))


def by_hand(body: bytes) -> str:
    """Solve the exercise without a model."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    order = json.loads(body, parse_constant=refuse)
    kinds = {"order_number": {str}, "boxes": {int}, "price": {int, float}}
    if set(order) != set(kinds) or any(type(order[name]) not in kinds[name] for name in kinds):
        msg = "not as agreed"
        raise ValueError(msg)
    total = order["boxes"] * order["price"]
    return json.dumps({"order_number": order["order_number"], "total": total})


def plain_dict(body: bytes) -> str:
    """Read what is there."""
    order = json.loads(body)
    total = order["boxes"] * order["price"]
    return json.dumps({"order_number": order["order_number"], "total": total})


def key_error(body: bytes) -> str:
    """Refuse unknown fields only; a missing one is a KeyError."""
    if set(json.loads(body)) - {"order_number", "boxes", "price"}:
        msg = "unknown field"
        raise ValueError(msg)
    return plain_dict(body)


def isinstance_checks(body: bytes) -> str:
    """Take True for a number."""
    order = json.loads(body)
    fields = {"order_number": str, "boxes": int, "price": (int, float)}
    if set(order) != set(fields) or not all(isinstance(order[k], v) for k, v in fields.items()):
        msg = "not as agreed"
        raise ValueError(msg)
    return plain_dict(body)


def number_in_the_answer(body: bytes) -> str:
    """Answer with the order number as a number."""
    order = Right.model_validate_json(body)
    return json.dumps({"order_number": int(order.order_number), "total": order.boxes * order.price})


def float_only(body: bytes) -> str:
    """Refuse a price that JavaScript wrote without a point."""
    if not isinstance(json.loads(body)["price"], float) or math.isnan(json.loads(body)["price"]):
        msg = "no price"
        raise ValueError(msg)
    return reply(Right.model_validate_json(body))


def takes_a_number(body: bytes) -> str:
    """Take the order number in both forms."""
    order = json.loads(body)
    if type(order.get("order_number")) is int:
        order["order_number"] = str(order["order_number"])
    return reply(Right.model_validate_json(json.dumps(order)))


@pytest.mark.parametrize(
    "answer", [model(Right), by_hand, lambda body: model(Right)(body).encode()]
)
def test_strict_door_solved(answer: Callable[[bytes], Any]) -> None:
    """A strict model or checks by hand solve the exercise."""
    verdict = run_check("01-strict-door", answer)
    assert str(verdict) == (
        "solved\n  every digit came back, and what was not agreed was refused\n  counts: refused 7"
    )


def test_strict_door_stub() -> None:
    """The stub is not attempted."""

    def stub(body: bytes) -> str:
        raise NotImplementedError

    assert run_check("01-strict-door", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (plain_dict, "a misspelt field beside the right ones was accepted", "refuse what you do"),
        (model(Lenient), "a misspelt field beside the right ones was acc", "refuse what you do"),
        (model(Forbidding), "boxes as a text was accepted", "strict"),
        (isinstance_checks, "true as the number of boxes was accepted", "True is an int"),
        (takes_a_number, "the order_number as a number was accepted", "rounded it"),
        (model(Strict), "a price of NaN was accepted", "finite"),
        (key_error, "a missing field, your function raised KeyError", "is a ValueError"),
        (number_in_the_answer, "came back to the page as 9007199254740992", "no limit"),
        (float_only, "with a price of 12, was refused", "writes 12.0 as 12"),
        (lambda _: "order placed", "cannot parse the answer", "one JSON object"),
        (lambda _: json.dumps({"order_number": "9007199254740993"}), "a total of", "boxes times"),
        (lambda _: {"order_number": "1"}, "returned a dict, not a text", "json.dumps"),
        (lambda _: 1 // 0, "raised ZeroDivisionError", "in a cell of its own"),
    ],
)
def test_strict_door_wrong(answer: Callable[[bytes], Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("01-strict-door", answer, guarantee, hint)
