from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from labsvc.checks.scenarios.evolution import SHOP
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

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
    verdict = run_check("11-next-version", lambda: GOOD)
    assert str(verdict) == (
        "solved\n"
        "  old and new clients are charged the right sum by old and new servers\n"
        "  counts: old to new 2599, json old to new 2599, new to old 2599, json new to old 2599,"
        " new to new 2099, json new to new 2099"
    )


def test_next_version_solved_with_more() -> None:
    """What is added beyond the task does no harm."""
    more = GOOD.replace("int64 sum = 3;", "int64 sum = 3 [deprecated = true];\n  string note = 9;")
    assert_solved("11-next-version", lambda: more)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("int64 total_cents = 5;", "optional int64 total_cents = 15;"),
        ("  int64 sum = 3;\n  int64 total_cents = 5;", '  int64 total_cents=3 [json_name="sum"];'),
        ("reserved 4;", "reserved 4, 100 to 200;"),
    ],
)
def test_next_version_solved_in_another_way(old: str, new: str) -> None:
    """Presence, a new name with the old JSON name, and more reserved numbers solve it too."""
    assert_solved("11-next-version", changed(old, new))


async def in_a_coroutine() -> str:
    """Return the right answer from a coroutine."""
    return GOOD


def test_next_version_solved_in_a_coroutine() -> None:
    """A coroutine function is called as well."""
    assert_solved("11-next-version", in_a_coroutine)


def test_next_version_stub() -> None:
    """The stub is not attempted."""

    def stub() -> str:
        raise NotImplementedError

    assert_not_attempted("11-next-version", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (lambda: SHOP, "has no discount_cents", "never used"),
        (lambda: None, "returned None", "`return`"),
        (
            changed("int64 total_cents = 5;", "int64 total_cents = 6;"),
            "the text is refused",
            "column",
        ),
        (changed("int64 total_cents = 5;", "int64 total_cents;"), "the text is refused", "column"),
        (
            changed("int64 total_cents", "int32 total_cents"),
            "total_cents is no plain int64",
            "names its type",
        ),
        (
            changed("package shop;", "package shop.v2;"),
            "shop.Order: message removed",
            "the rest stays",
        ),
        (changed("rpc Place", "rpc PlaceOrder"), "Shop.Place: method removed", "the rest stays"),
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
            "sent as JSON by the old client, were charged as 0 by the new server",
            "an old page writes `sum`",
        ),
        (
            changed("int64 total_cents", "repeated int64 total_cents"),
            "total_cents is no plain int64",
            "its type",
        ),
        (changed("int64 sum", "repeated int64 sum"), "sum: label changed", "Leave what is there"),
        (changed("int64 discount_cents", "int64 totalCents"), "the text is refused", "column"),
        (changed("int64 total_cents", "int64 totalCents"), "has no total_cents", "never used"),
        (
            changed("int64 discount_cents", "double discount_cents"),
            "discount_cents is no plain int64",
            "its type",
        ),
        (changed("charged_cents", "charged"), "Receipt.charged_cents: number 1", "the rest stays"),
        (
            changed("rpc Place(Order)", "rpc Place(stream Order)"),
            "became a stream",
            "the rest stays",
        ),
        (
            changed('syntax = "proto3";', ""),
            'refused: 5:3: Expected "required"',
            "its `syntax` line",
        ),
        (lambda: "hello", "refused: 1:1: Expected top-level", "its `syntax` line"),
        (GOOD.encode, "returned a bytes", "asks for a str"),
        (
            lambda: GOOD.replace("sum = 3;", "sum = 7;").replace("cents = 5;", "cents = 3;"),
            "sum: renumbered from 3 to 7",
            "Who still sends the old one",
        ),
        (changed("string order_id", "string id"), "order_id: number 1 is now", "the rest stays"),
        (changed("order_id = 1;", 'order_id = 1 [json_name="id"];'), "JSON name", "the rest stays"),
        (changed("  repeated string skus = 2;\n", ""), "skus: removed", "the rest stays"),
        (
            lambda: GOOD.replace("  repeated string skus = 2;\n", '  reserved 2; reserved "skus";'),
            "has no skus any more",
            "the rest stays",
        ),
        (
            changed("discount_cents = 6;", "discount_cents = 6; string giftNote = 7;"),
            "Order.giftNote takes the text of an old page's gift note",
            "No new field may read that name",
        ),
        (
            changed("discount_cents = 6;", 'discount_cents = 6 [json_name="giftNote"];'),
            "Order.discount_cents takes the text",
            "No new field may read that name",
        ),
        (
            changed("discount_cents = 6;", 'discount_cents = 6 [json_name="gift_note"];'),
            "Order.discount_cents takes the text",
            "No new field may read that name",
        ),
        (
            lambda: GOOD.replace("sum = 3;", 'sum = 3 [json_name="old"];').replace(
                "total_cents = 5;", 'total_cents = 5 [json_name="sum"];'
            ),
            "duplicate json_name",
            "nor a name in JSON",
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
            "total and discount of 500 cents did not arrive",
            "Two plain int64 fields",
        ),
    ],
)
def test_next_version_wrong(answer: Callable[[], Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("11-next-version", answer, guarantee, hint)


def test_renumbered_sum_is_counted() -> None:
    """The counts say what a renumbered field costs an old client, and that JSON does not care."""
    answer = changed(
        "int64 sum = 3;\n  int64 total_cents = 5;", "int64 sum = 5;\n  int64 total_cents = 7;"
    )
    counts = run_check("11-next-version", answer).counts
    assert counts == {
        "old to new": 0,
        "json old to new": 2599,
        "new to old": 0,
        "json new to old": 2599,
        "new to new": 2099,
        "json new to new": 2099,
    }
