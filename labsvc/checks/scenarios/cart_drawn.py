"""Part of the check of T1: carts and changes that are drawn, the same ones for everybody."""

from __future__ import annotations

import math
import random
from typing import Any

from labsvc.checks.scenarios.cart_bodies import LARGEST, NEWER, ODD

DRAWN = 80

STORED: dict[str, tuple[Any, ...]] = {
    "copies": (0, 1, 7, -3, 5000),
    "gift_tags": ({}, {"colour": "red"}, {"tags": ["a", "b"]}, NEWER["gift_tags"]),
    "voucher_number": (0, -5, int(ODD), LARGEST),
    "wrapping": (1, 2, 3, 250),
    "weight_kg": (0, 0.1 + 0.2, 1500.5, -1, math.nan, math.inf, -math.inf),
    "note": ("ring twice",),
    "lines": (NEWER["lines"],),
}
"""What other programs write, by the names of the contract: they may have limits of their own."""

SENT: dict[str, tuple[Any, ...]] = {
    "copies": (0, 1, 12, 1000),
    "giftTags": (
        [],
        [""],
        [" a ", "A", "a"],
        ["e\u0301", "\u00e9", "\ufb01", "\U0001f381"],
        [f"tag {number}" for number in range(40)],
        ["long" * 500],
    ),
    "voucherNumber": ("0", "17", ODD, str(LARGEST)),
    "wrapping": ("WRAPPING_UNSPECIFIED", "PAPER", "BOX"),
    "weightKg": (0, 1, 2 / 3, 1e-9, 0.12345678901234566, 1000),
}
"""What a page may send, `null` aside."""


def drawn() -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return pairs as in `EDITS`."""
    draw = random.Random(11)
    sent = {key: (*values, None) for key, values in SENT.items()}
    return [(_some(STORED, draw), _some(sent, draw)) for _ in range(DRAWN)]


def _some(values: dict[str, tuple[Any, ...]], draw: random.Random) -> dict[str, Any]:
    keys = draw.sample(list(values), draw.randint(0, len(values)))
    return {key: draw.choice(values[key]) for key in keys}
