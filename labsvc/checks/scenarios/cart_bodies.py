"""Part of the check of T1: what a page sends, as agreed and not, and the carts that it meets."""

from __future__ import annotations

import math
from typing import Any

LARGEST = 2**63 - 1
DEEP = 100_000  # more than any parser follows by recursion
ODD = str(2**60 + 1)  # a double has only even numbers there

NEWER: dict[str, Any] = {
    "copies": 2,
    "gift_tags": {"tags": ["old", "older"], "colour": "red"},
    "voucher_number": int(ODD),
    "wrapping": "VELVET",
    "weight_kg": 1.5,
    "note": "ring twice",
    "lines": [{"sku": "tea-100"}, {"sku": "book-1"}],
}
ZEROS: dict[str, Any] = {"copies": 0, "gift_tags": {}, "voucher_number": 0, "weight_kg": 0}
OLDER: dict[str, Any] = {}

EDITS: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = (
    (OLDER, {}),
    (OLDER, {"weightKg": 12}),
    (ZEROS, {}),
    (OLDER, {"giftTags": [], "copies": 0, "voucherNumber": "0", "weightKg": 0}),
    (ZEROS | {"wrapping": "PAPER", "note": "ring"}, {"copies": None}),
    (NEWER, {}),
    (NEWER, {"copies": 7}),
    (NEWER, {"giftTags": ["new", "new", "f\u00fcr \u00dclle", ""]}),
    (NEWER, {"giftTags": []}),
    (NEWER, {"copies": 0, "voucherNumber": "0", "weightKg": 0}),
    (OLDER, {"voucherNumber": ODD}),
    (OLDER, {"voucherNumber": str(LARGEST), "copies": 1000, "weightKg": 1000}),
    *((NEWER, {key: None}) for key in ("copies", "giftTags", "voucherNumber", "weightKg")),
    (NEWER, {"wrapping": None}),
    (OLDER, dict.fromkeys(("copies", "giftTags", "voucherNumber", "wrapping", "weightKg"))),
    (NEWER, {"wrapping": "BOX", "giftTags": ["a"], "copies": 3, "weightKg": 0.25}),
    (OLDER | {"wrapping": "BOX"}, {"wrapping": "PAPER", "voucherNumber": "17"}),
    (NEWER | {"weight_kg": math.nan}, {"copies": 4}),
    (ZEROS | {"weight_kg": math.inf}, {}),
    (NEWER, {"copies": 1}),
)
"""(what is in the cart before, by the names of the contract; the body)."""


_GUESSED = "A text is no number, and in Python True and False are ints. Ask for the type itself."
_DIGITS = "A text may hold anything. Which characters make a number, and up to which size?"
_NAMES = "A parser of protobuf's JSON takes more than was agreed here. Name what you take."
_FINITE = "Python reads what is no number in JSON, and makes one out of 1e400."
_RANGE = "The table gives the least and the most."
_TEXTS = "Look at each element. A text can be walked through like a list."
_ANY = "The body may be any JSON, or none at all."
_TWICE = "Most parsers keep the last. `json.loads` hands all pairs to an `object_pairs_hook`."
_STRICT = "A parser that is lenient lets everybody read something else. Take what JSON allows."

BAD: tuple[tuple[str, str | bytes, str], ...] = (
    ("a misspelt key", '{"copies": 1, "coppies": 2}', "Refuse each key that you do not know."),
    ("`gift_tags` for a key", '{"gift_tags": ["a"]}', _NAMES),
    ("`cartId` for a key", '{"cartId": "c-9"}', "The page changes five fields. This is no such."),
    ("a key of a newer contract", '{"note": "hi"}', "Refuse each key that you do not know."),
    ("a key that comes twice", '{"copies": 1, "copies": 2}', _TWICE),
    ("a key that comes twice, once with null", '{"copies": null, "copies": 3}', _TWICE),
    ("a key that comes twice with one value", '{"copies": 3, "copies": 3}', _TWICE),
    ("copies as a text", '{"copies": "3"}', _GUESSED),
    ("true as the copies", '{"copies": true}', _GUESSED),
    ("false as the copies", '{"copies": false}', _GUESSED),
    ("2.5 copies", '{"copies": 2.5}', "Copies are whole numbers."),
    ("-1 copies", '{"copies": -1}', _RANGE),
    ("1001 copies", '{"copies": 1001}', _RANGE),
    ("10^25 copies", '{"copies": 1' + 25 * "0" + "}", _RANGE),
    ("a text in place of the tags", '{"giftTags": "abc"}', _TEXTS),
    ("an object in place of the tags", '{"giftTags": {"a": 1}}', _TEXTS),
    ("a number among the tags", '{"giftTags": ["a", 1]}', _TEXTS),
    ("null among the tags", '{"giftTags": ["a", null]}', _TEXTS),
    (
        "the voucherNumber as a number",
        '{"voucherNumber": 9007199254740993}',
        "A browser may have rounded it before it was sent. Take a text of digits only.",
    ),
    ("an empty voucherNumber", '{"voucherNumber": ""}', _DIGITS),
    ('the voucherNumber "1_0"', '{"voucherNumber": "1_0"}', _DIGITS),
    ('the voucherNumber "-1"', '{"voucherNumber": "-1"}', _DIGITS),
    ('the voucherNumber " 7"', '{"voucherNumber": " 7"}', _DIGITS),
    ("a voucherNumber with a line end behind it", '{"voucherNumber": "7\\n"}', _DIGITS),
    ("a voucherNumber in Arabic digits", '{"voucherNumber": "\\u0667"}', _DIGITS),
    ("a voucherNumber of 2^63", f'{{"voucherNumber": "{LARGEST + 1}"}}', _DIGITS),
    ("the number of a wrapping", '{"wrapping": 1}', _NAMES),
    ('the wrapping "paper"', '{"wrapping": "paper"}', _NAMES),
    ("a wrapping of a newer contract", '{"wrapping": "VELVET"}', _NAMES),
    ("a list in place of the wrapping", '{"wrapping": ["PAPER"]}', _ANY),
    ("the weight as a text", '{"weightKg": "1.5"}', _GUESSED),
    ("true as the weight", '{"weightKg": true}', _GUESSED),
    ("false as the weight", '{"weightKg": false}', _GUESSED),
    ("a weight below zero", '{"weightKg": -0.5}', _RANGE),
    ("a weight of 1001", '{"weightKg": 1001}', _RANGE),
    ("a weight of NaN", '{"weightKg": NaN}', _FINITE),
    ("a weight of Infinity", '{"weightKg": Infinity}', _FINITE),
    ("a weight of -Infinity", '{"weightKg": -Infinity}', _FINITE),
    ("a weight of 1e400", '{"weightKg": 1e400}', _FINITE),
    ("a list in place of an object", "[]", _ANY),
    ("a list of pairs", '[["copies", 1]]', _ANY),
    ("null in place of an object", "null", _ANY),
    ("half an object", '{"copies": 3', _ANY),
    ("nothing in it", "", _ANY),
    ("text behind the object", '{"copies": 3} or 4', _ANY),
    ("two objects", '{"copies": 3}\n{"copies": 4}', _ANY),
    ("a line end within a text", '{"giftTags": ["a\nb"]}', _STRICT),
    ("a comma too many", '{"copies": 3,}', _STRICT),
    ("bytes that are no UTF-8", b'{"giftTags": ["f\xfcr"]}', "Who replaces bytes changes a text."),
    (
        "half of a surrogate pair among the tags",
        '{"giftTags": ["\\ud83c"]}',
        "It is no text: UTF-8 and protobuf cannot hold it.",
    ),
    (f"{DEEP} lists in each other", f'{{"giftTags": {"[" * DEEP}{"]" * DEEP}}}', _ANY),
    ("a right key before the wrong one", '{"copies": 5, "weightKg": "heavy"}', _GUESSED),
)
"""(what is wrong, the body, the hint)."""
