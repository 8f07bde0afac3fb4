"""Part of the check of T1: what holds for each change of a cart, stored and answered.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from py_mini_racer import JSEvalException

from labsvc.checks.scenarios.cart_stage import ours
from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, broken, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Callable

FIELDS = {
    "copies": "copies",
    "giftTags": "gift_tags",
    "voucherNumber": "voucher_number",
    "wrapping": "wrapping",
    "weightKg": "weight_kg",
}
"""The page's keys, with the names in the contract."""

Body = dict[str, Any]


def changed(cart: Any, body: Body) -> Any:
    """Return a copy of the cart with the changes of a body that is as agreed."""
    made = type(cart).FromString(cart.SerializeToString())
    for key, value in body.items():
        if value is None:
            made.ClearField(FIELDS[key])
        elif key == "giftTags":
            made.gift_tags.SetInParent()
            made.gift_tags.tags[:] = value
        else:
            setattr(made, FIELDS[key], int(value) if key == "voucherNumber" else value)
    return made


def shown(cart: Any) -> Body:
    """Return the answer that a cart makes, as the exercise says."""
    names = ours().pool.FindEnumTypeByName("shop.Wrapping").values_by_number
    wrapping = names.get(cart.wrapping, names[0]).name
    weight = cart.weight_kg if math.isfinite(cart.weight_kg) else None
    return {
        "copies": cart.copies if cart.HasField("copies") else 1,
        "giftTags": list(cart.gift_tags.tags) if cart.HasField("gift_tags") else None,
        "voucherNumber": str(cart.voucher_number) if cart.HasField("voucher_number") else None,
        "wrapping": wrapping,
        "weightKg": weight if cart.HasField("weight_kg") else None,
    }


def stored_wrongly(before: Any, body: Body, after: Any) -> Verdict | None:
    """Return what is wrong with the cart that the service has now, None if nothing is."""
    if _bytes(changed(before, body)) == _bytes(after):
        return None
    return (
        taught_in("11", _lost(changed(before, body), after))
        or next(filter(None, (_field(key, before, body, after) for key in FIELDS)), None)
        or taught_in("11", broken("what was put is another cart", "Change what `Get` brought."))
    )


def _lost(wanted: Any, after: Any) -> Verdict | None:
    """Return what got lost that the exercise's contract does not know."""
    return first_broken(
        (
            (wanted.note, list(wanted.lines)) != (after.note, list(after.lines)),
            "a newer program wrote fields that your contract does not know, and they were lost",
            "JSON and a new message have what your contract names. Change what `Get` brought.",
        ),
        (
            wanted.gift_tags.colour not in ("", after.gift_tags.colour),
            "a field inside of `Tags`, which your contract does not know, was lost",
            "Replace the list, and not the message around it.",
        ),
    )


def _field(key: str, before: Any, body: Body, after: Any) -> Verdict | None:
    """Return what is wrong with one field that the exercise's contract knows."""
    wanted = changed(before, body)
    was, now = _value(before, key), _value(after, key)
    if now == _value(wanted, key):
        return None
    if key not in body:
        return taught_in(
            "11" if key == "wrapping" else "10",
            broken(
                f"the body has no {key}, and in the cart it was {was} and is {now}",
                "Only what the body names changes. What the answer shows for a missing value is"
                " not stored.",
            ),
        )
    value = body[key]
    added = [*before.gift_tags.tags, *(value or [])] if key == "giftTags" else None
    hint = "Store what the body said, and all else as it was."
    if value is None:
        hint = "A key that is null differs from a missing one. `ClearField` takes a field away."
    elif added and now == f"{added}":
        hint = "New tags replace the old ones. A merge adds to a list."
    elif value in (0, "0", []):
        hint = "Zero and empty are values. `SetInParent` keeps a message that is empty."
    told = f"the body said {key}: {json.dumps(value)}, and the cart has {now}"
    return taught_in("10", broken(told, hint))


def _value(cart: Any, key: str) -> str:
    """Return a field in words, in which missing and empty differ."""
    if key != "wrapping" and not cart.HasField(FIELDS[key]):
        return "nothing"
    value = getattr(cart, FIELDS[key])
    return f"{list(value.tags)}" if key == "giftTags" else f"{value!r}"


def _bytes(cart: Any) -> bytes:
    """Return what can be compared: NaN is not equal to itself."""
    return bytes(cart.SerializeToString(deterministic=True))


def answered_wrongly(page: Callable[[str], str], cart: Any, answer: str) -> Verdict | None:
    """Return what is wrong with the answer for this cart, None if nothing is."""
    try:
        got = json.loads(page(answer))
    except JSEvalException:
        hint = "Return one JSON object. NaN and Infinity are no JSON."
        return taught_in("12", broken("the page cannot parse the answer", hint))
    wanted = shown(cart)
    keys = sorted(got) if isinstance(got, dict) else described(got)
    if keys != sorted(wanted):
        hint = "Protobuf's JSON leaves out what is empty, and names are its own."
        return taught_in("10", broken(f"the page wants five keys, and got {keys}", hint))
    for key, value in wanted.items():
        if got[key] != value or isinstance(got[key], bool):
            has, (notebook, hint) = _value(cart, key), _WHY[key]
            if _beyond(cart, key):
                hint = "Limits hold for what a page sends. What others stored is shown as it is."
            told = f"the cart has {has} for {key}, and the page was told {json.dumps(got[key])}"
            return taught_in(notebook, broken(told, hint))
    return None


def _beyond(cart: Any, key: str) -> bool:
    """Return whether a number is stored that a page may not send, and that JSON can tell."""
    most = {"copies": 1000, "voucherNumber": math.inf, "weightKg": 1000}.get(key)
    value = getattr(cart, FIELDS[key])
    return most is not None and math.isfinite(value) and not 0 <= value <= most


_WHY = {
    "copies": ("11", "Who wrote nothing did not know the field: that is 1. Zero is zero."),
    "giftTags": ("10", "No message is null, and an empty one is []."),
    "voucherNumber": ("12", "JavaScript rounds large numbers: send a text. Zero is not null."),
    "wrapping": ("11", "A name of your contract, and its first for a number without a name."),
    "weightKg": ("12", "What is missing, or no number in JSON, is null. Zero is a number."),
}
"""(notebook, hint) for a wrong value in the answer."""
