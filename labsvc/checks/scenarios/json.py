"""Exercise of notebook 12: a door that takes the JSON that was agreed, and nothing else."""

from __future__ import annotations

import json
import random
from contextlib import closing
from typing import TYPE_CHECKING, Any

from py_mini_racer import JSEvalException, MiniRacer

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

LARGEST = 2**63 - 1
_GOOD: dict[str, Any] = {"order_number": "7", "boxes": 3, "price": 12.5}

_DIGITS = "A text may hold anything. Which characters make a number, and up to which size?"
_FINITE = "Python reads what is no number in JSON, and no limit holds against NaN."
_STRICT = "A text is no number. Most models guess unless told to be strict."


def _with(**changed: Any) -> str:
    """Return a good body with some fields changed, as Python's json writes it."""
    return json.dumps(_GOOD | changed)


_BAD = (
    (
        "a misspelt field beside the right ones",
        _with(boxs=4),
        "An optional field with a slip in its name would be lost: refuse what you do not know.",
    ),
    (
        "a missing field",
        json.dumps({"order_number": "7", "price": 12.5}),
        "All three fields are required.",
    ),
    ("boxes as a text", _with(boxes="3"), _STRICT),
    ("boxes of 3.5", _with(boxes=3.5), "Boxes are whole numbers."),
    (
        "true as the number of boxes",
        _with(boxes=True),
        "In Python True is an int. Ask for the type itself, or for a strict model.",
    ),
    ("no boxes", _with(boxes=0), "The text gives the fewest and the most boxes."),
    ("10^25 boxes", _with(boxes=10**25), "The text gives the fewest and the most boxes."),
    ("the price as a text", _with(price="12.5"), _STRICT),
    ("a price below zero", _with(price=-1), "The text gives the lowest and the highest price."),
    (
        "a price above the limit",
        _with(price=1_000_001),
        "The text gives the lowest and the highest price.",
    ),
    ("true as the price", _with(price=True), _STRICT),
    ("a price of NaN", _with(price=float("nan")), _FINITE),
    ("a price of Infinity", _with(price=float("inf")), _FINITE),
    (
        "the order_number as a number",
        _with(order_number=7),
        "A browser may have rounded it before it was sent. Take a text of digits only.",
    ),
    ('the order_number "abc"', _with(order_number="abc"), _DIGITS),
    ('the order_number "1_0"', _with(order_number="1_0"), _DIGITS),
    ('the order_number "-1"', _with(order_number="-1"), _DIGITS),
    ("an order_number with a line end behind it", _with(order_number="7\n"), _DIGITS),
    ("an order_number in Arabic digits", _with(order_number="\u0667"), _DIGITS),
    ("an empty order_number", _with(order_number=""), _DIGITS),
    ("an order_number of 2^63", _with(order_number=str(LARGEST + 1)), _DIGITS),
    ("an order_number of 10^25", _with(order_number=str(10**25)), _DIGITS),
    ("a list in place of an object", "[1, 2]", "The body may be any JSON, or none at all."),
    ("half an object", '{"boxes": 3', "The body may be any JSON, or none at all."),
)
"""(what is wrong, the body, the hint)."""

_PAGE = {
    "order": """(number, boxes, price) =>
        JSON.stringify({order_number: number, boxes: boxes, price: price})""",
    "number": "(text) => String(JSON.parse(text).order_number)",
    "total": "(text) => JSON.parse(text).total",
}
"""What the web page does, in JavaScript."""


@exercise(
    "12-strict-door",
    title="Refuse what was not agreed, and keep every digit",
    returns=str,
    deadline=2,  # for what takes a tenth of a second
)
def strict_door(answer: Submission, _sandbox: Sandbox) -> Verdict:
    """`place(body)` answers a request in JSON as agreed, and raises ValueError for all others."""
    return _as_agreed(answer) or _not_as_agreed(answer)


def _as_agreed(answer: Submission) -> Verdict | None:
    """Let a page in a JavaScript engine order and read the answers; None if all is well."""
    # An odd number beyond 2^53 has no double of its own.
    odd = 2 * random.randrange(2**53, 2**61) + 1  # no secret
    with closing(MiniRacer()) as engine:
        page: dict[str, Any] = {name: engine.eval(code) for name, code in _PAGE.items()}
        for number, boxes, price, total in (
            (odd, 3, 12.5, 37.5),
            (odd, 3, 12, 36),
            (LARGEST, 1000, 1, 1000),
            (1, 1, 1_000_000, 1_000_000),
            (1, 1, 0, 0),
        ):
            verdict = _seen_by(page, answer, (str(number), boxes, price, total))
            if verdict is not None:
                return verdict
    return None


def _seen_by(
    page: dict[str, Any], answer: Submission, wanted: tuple[str, int, float, float]
) -> Verdict | None:
    """Order from the page, then once more with the number of the answer."""
    number, boxes, price, total = wanted
    sent = number
    for _ in range(2):
        outcome = answer.attempt(page["order"](sent, boxes, price).encode(), allow=ValueError)
        if outcome.error is not None:
            return broken(
                f"an order as agreed ({number}, {boxes} boxes, price {price}) was refused:"
                f" {summary(outcome.error)}",
                "JavaScript writes 12.0 as 12, and order_number is a text. Limits are included.",
            )
        try:
            sent, said = page["number"](outcome.value), page["total"](outcome.value)
        except JSEvalException:
            return broken("the page cannot parse the answer", "Return one JSON object.")
        if sent != number:
            return broken(
                f"order {number} came back to the page as {sent}",
                "A number in JSON has 53 bits in a browser. What has no limit?",
            )
        if said != total:
            return broken(
                f"{boxes} boxes at {price} made a total of {said}", "Answer with boxes times price."
            )
    return None


def _not_as_agreed(answer: Submission) -> Verdict:
    """Send each bad request; the first that is not refused decides."""
    for refused, (what, body, hint) in enumerate(_BAD):
        outcome = answer.attempt(body.encode(), allow=Exception)
        if outcome.error is None:
            return broken(f"a request with {what} was accepted", hint, refused=refused)
        if not isinstance(outcome.error, ValueError):
            return broken(
                f"with {what}, {answer.fault(outcome.error).guarantee}",
                "Every refusal is a ValueError, whatever you look at.",
                refused=refused,
            )
    return solved("every digit came back, and what was not agreed was refused", refused=len(_BAD))
