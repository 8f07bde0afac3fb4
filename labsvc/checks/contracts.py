"""Exercises of notebook 01: the next version of a contract, and a strict door for JSON."""

from __future__ import annotations

import asyncio
import json
from contextlib import closing
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
from fastapi import FastAPI, Request, Response
from py_mini_racer import JSEvalException, MiniRacer

from labsvc.checks.answer import AnswerError, NotAttemptedError, summary
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved
from labsvc.rpc.compat import breaking_changes
from labsvc.rpc.contract import Contract, ContractError, compile_contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

SHOP = """syntax = "proto3";
package shop;

message Order {
  string order_id = 1;
  repeated string skus = 2;
  int64 sum = 3;
  string gift_note = 4;
}
message Receipt {
  int64 charged_cents = 1;
}
service Shop {
  rpc Place(Order) returns (Receipt);
}
"""
"""The contract that exercise 01-next-version starts from."""

TOTAL, DISCOUNT = 2599, 500  # cents
CALL_SECONDS = 5.0
_CHANNEL = [("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1)]

_WHY_NOT = (
    ("gift_note: number", "A retired number is still in old messages. How is it kept from use?"),
    ("is now called", "Code and JSON go by the name: a new name is a new field, beside the old."),
    ("renumbered", "On the wire a field is its number. Who still sends the old one?"),
    ("without reserved", "Which two things of a retired field must nobody use again?"),
    ("", "Leave what is there as it is, and add what is new."),
)
"""(part of a sentence of `breaking_changes`, hint); the last fits every sentence."""


@exercise("01-next-version", title="Change a contract under running clients")
def next_version(answer: Answer, bench: Bench) -> Verdict:
    """`next_version()` returns the text of a contract that old and new understand."""
    text = answer()
    if not isinstance(text, str):
        return broken(
            f"your function returned a {type(text).__name__}, not a text",
            "Return the whole .proto text, from its `syntax` line on.",
        )
    try:
        new = compile_contract(text)
    except ContractError as error:
        first = str(error).partition("\n")[0]
        return broken(f"protoc refuses the text: {first}", "The numbers are line and column.")
    old = compile_contract(SHOP)
    changes = breaking_changes(old.files, new.files)
    if gone := [change for change in changes if change.endswith("; keep it")]:
        return broken(gone[0], "Only the fields of an order change; the rest stays as it is.")
    if verdict := _asked_for(new):
        return verdict
    charged = {
        "old_to_new": _charged(bench, old, new),
        "new_to_old": _charged(bench, new, old),
        "new_to_new": _charged(bench, new, new, discount=DISCOUNT),
    }
    if changes:
        hint = next(hint for part, hint in _WHY_NOT if part in changes[0])
        return broken(changes[0], hint, **charged)
    return _exchanged(charged)


def _asked_for(new: Contract) -> Verdict | None:
    """Return what the new contract lacks, None if all that was asked for is there."""
    fields = new.message("Order").DESCRIPTOR.fields_by_name
    for name in ("discount_cents", "total_cents"):
        if name not in fields or fields[name].type != fields[name].TYPE_INT64:
            return broken(
                f"shop.Order has no int64 {name}", "Add it with a number that was never used."
            )
    if "gift_note" in fields:
        return broken("shop.Order still has gift_note", "Take it out, and reserve what it had.")
    return None


def _charged(bench: Bench, client: Contract, server: Contract, discount: int = 0) -> int:
    """Place an order over gRPC; return the cents charged, 0 if the call failed.

    A client fills every field for the total that it knows; with a discount it is one of a later
    day, which has forgotten `sum`. A server prefers the new field.
    """

    def place(order: Any, _context: Any) -> Any:
        total = getattr(order, "total_cents", 0) or getattr(order, "sum", 0)
        return receipt(charged_cents=total - getattr(order, "discount_cents", 0))

    receipt, order = server.message("Receipt"), client.message("Order")(order_id="o-1")
    known = client.message("Order").DESCRIPTOR.fields_by_name
    sent: dict[str, Any] = {"total_cents": TOTAL, "gift_note": "ring twice"}
    sent |= {"discount_cents": discount} if discount else {"sum": TOTAL}
    for name, value in sent.items():
        if name in known:
            setattr(order, name, value)
    service = bench.serve_grpc(server.servicer("Shop", Place=place), name="shop", workers=2)
    with grpc.insecure_channel(service.target, _CHANNEL) as channel:
        try:
            return int(
                client.stub("Shop", channel).Place(order, timeout=CALL_SECONDS).charged_cents
            )
        except grpc.RpcError:
            return 0


def _exchanged(charged: dict[str, int]) -> Verdict:
    """Return the verdict on what the servers charged for an order of TOTAL cents."""
    for client, server in (("old", "new"), ("new", "old")):
        if (cents := charged[f"{client}_to_{server}"]) != TOTAL:
            return broken(
                f"{TOTAL} cents, sent by the {client} client, were charged as {cents}"
                f" by the {server} server",
                "Old clients fill `sum`, and old servers read it. Do the new ones still know it?",
                **charged,
            )
    if charged["new_to_new"] != TOTAL - DISCOUNT:
        return broken(
            f"a total with a discount of {DISCOUNT} cents did not arrive between new ones",
            "Two plain int64 fields are enough.",
            **charged,
        )
    return solved("old and new clients are charged the right sum by old and new servers", **charged)


NUMBER = str(2**53 + 1)
_GOOD: dict[str, Any] = {"order_number": NUMBER, "boxes": 3, "price": 12.5}
_BAD = (
    (
        "a misspelt field beside the right ones",
        _GOOD | {"boxs": 4},
        "An optional field with a slip in its name would be lost: refuse what you do not know.",
    ),
    ("a missing field", {"order_number": NUMBER, "price": 12.5}, "All three fields are required."),
    (
        "boxes as a text",
        _GOOD | {"boxes": "3"},
        "A text is no number. Most models guess unless told to be strict.",
    ),
    ("boxes of 3.5", _GOOD | {"boxes": 3.5}, "Boxes are whole numbers."),
    (
        "true as the number of boxes",
        _GOOD | {"boxes": True},
        "In Python True is an int. Ask for the type itself, or for a strict model.",
    ),
    (
        "the order_number as a number",
        _GOOD | {"order_number": 2**53},
        "A browser has rounded it before it was sent. Take a text of digits only.",
    ),
    (
        "a price of NaN",
        _GOOD | {"price": float("nan")},
        "NaN is no JSON, and Python reads it all the same. Ask for a finite number.",
    ),
)
"""(what is wrong, the request, the hint)."""

_PAGE = {
    "order": "(number, price) => JSON.stringify({order_number: number, boxes: 3, price: price})",
    "number": "(text) => String(JSON.parse(text).order_number)",
    "total": "(text) => JSON.parse(text).total",
}
"""What the web page does, in JavaScript."""


@dataclass
class _Door:
    """Serves the learner's function over HTTP: 200, 422 for a ValueError, 500 for the rest."""

    answer: Answer
    errors: list[Exception] = field(default_factory=list)

    def app(self) -> FastAPI:
        """Return the application."""
        made = FastAPI()

        @made.post("/orders")
        async def orders(request: Request) -> Response:
            try:
                return await asyncio.to_thread(self._place, await request.body())
            except (AnswerError, NotAttemptedError) as error:
                self.errors.append(error)
                return Response(status_code=500)

        return made

    def _place(self, body: bytes) -> Response:
        outcome = self.answer.attempt(body, within=CALL_SECONDS)
        if isinstance(outcome.error, ValueError):
            return Response(summary(outcome.error), 422)
        if outcome.error is not None:
            raise self.answer.fault(outcome.error)
        if not isinstance(outcome.value, str | bytes):
            msg = f"your function returned a {type(outcome.value).__name__}, not a text"
            raise AnswerError(msg, "Return the JSON itself: `json.dumps(...)` makes it.")
        return Response(outcome.value, media_type="application/json")


@exercise("01-strict-door", title="Refuse what was not agreed, and keep every digit")
def strict_door(answer: Answer, bench: Bench) -> Verdict:
    """`place(body)` answers a request in JSON as agreed, and raises ValueError for all others."""
    door = _Door(answer)
    service = bench.serve_http(door.app(), name="door")
    with httpx2.Client(base_url=service.url, timeout=2 * CALL_SECONDS, trust_env=False) as http:

        def post(body: str) -> httpx2.Response:
            response = http.post("/orders", content=body)
            if door.errors:
                raise door.errors.pop()
            return response

        return _as_agreed(post) or _not_as_agreed(post)


def _as_agreed(post: Callable[[str], httpx2.Response]) -> Verdict | None:
    """Let a page in a JavaScript engine order and read the answers; None if all is well."""
    with closing(MiniRacer()) as engine:
        page: dict[str, Any] = {name: engine.eval(code) for name, code in _PAGE.items()}
        return _seen_by(page, post)


def _seen_by(page: dict[str, Any], post: Callable[[str], httpx2.Response]) -> Verdict | None:
    """Order twice, the second time with the number of the first answer."""
    number = NUMBER
    for price, total in ((12.5, 37.5), (12, 36)):
        response = post(page["order"](number, price))
        if response.status_code != HTTPStatus.OK:
            return broken(
                f"an order as agreed, with a price of {price}, was refused: {response.text}",
                "JavaScript writes 12.0 as 12, and order_number is a text.",
            )
        try:
            number, said = page["number"](response.text), page["total"](response.text)
        except JSEvalException:
            return broken("the page cannot parse the answer", "Return one JSON object.")
        if number != NUMBER:
            return broken(
                f"order {NUMBER} came back to the page as {number}",
                "A number in JSON has 53 bits in a browser. What has no limit?",
            )
        if said != total:
            return broken(
                f"3 boxes at {price} made a total of {said}", "Answer with boxes times price."
            )
    return None


def _not_as_agreed(post: Callable[[str], httpx2.Response]) -> Verdict:
    """Send each bad request; the first that is not refused decides."""
    for refused, (what, request, hint) in enumerate(_BAD):
        try:
            accepted = post(json.dumps(request)).status_code == HTTPStatus.OK
        except AnswerError as error:
            return broken(
                f"with {what}, {error.guarantee}",
                "Every refusal is a ValueError, whatever you look at.",
                refused=refused,
            )
        if accepted:
            return broken(f"a request with {what} was accepted", hint, refused=refused)
    return solved("every digit came back, and what was not agreed was refused", refused=len(_BAD))
