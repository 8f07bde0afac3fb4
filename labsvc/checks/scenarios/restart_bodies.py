"""Part of the check of T5: bodies that cannot be read, each wrong in one point."""

from __future__ import annotations

import json

from labsvc.checks.scenarios.restart_stage import cancel, orders

MOST_UNITS = 1000  # as the exercise says
ODD_FIELDS: tuple[dict[str, object], ...] = (
    {"kind": "gift"},
    {"kind": "Order"},
    {"kind": []},
    {"order_id": ""},
    {"order_id": 7},
    {"order_id": "\ud800"},
    {"sku": ""},
    {"sku": None},
    {"sku": "tea\udfff"},
    {"units": 0},
    {"units": -2},
    {"units": MOST_UNITS + 1},
    {"units": 2**63},
    {"units": True},
    {"units": 2.5},
    {"units": "2"},
)
LONGEST = 90  # characters of a body in a verdict


def unreadable() -> list[bytes]:
    """Return bodies that are not as the exercise says, made anew."""
    [order] = orders(1)
    fields = json.loads(order.body)
    others: list[object] = [{"kind": "cancel"}, [], 3, None]
    others += [{key: fields[key] for key in fields if key != left_out} for left_out in fields]
    latin = json.dumps(fields | {"sku": "caf\xe9"}, ensure_ascii=False).encode("latin-1")
    return [
        *(json.dumps(fields | odd).encode() for odd in ODD_FIELDS),
        *(json.dumps(each).encode() for each in others),
        json.dumps(json.loads(cancel(order).body) | {"order_id": ""}).encode(),
        order.body[:-9].encode(),
        order.body.encode("utf-16"),
        latin,
        b"[" * 100_000,  # deeper than a parser that calls itself can go
        b"",
    ]


def shown(body: object) -> str:
    """Return a body for a verdict, with a mark where it is cut."""
    text = repr(body)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]} ... (cut)"
