"""Exercise of notebook 11: the next version of a contract that old and new programs share."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf import json_format

from labsvc.checks.asking import channel
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved
from labsvc.rpc.breaking import breaking_changes
from labsvc.rpc.contract import Contract, ContractError, compile_contract

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

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
"""The contract that exercise 11-next-version starts from."""

TOTAL, DISCOUNT = 2599, 500  # cents
CALL_SECONDS = 5.0

_WHY_NOT = (
    ("gift_note: number", "A retired number is still in old messages. How is it kept from use?"),
    ("renumbered", "On the wire a field is its number. Who still sends the old one?"),
    ("without reserved", "Which two things of a retired field must nobody use again?"),
    ("", "Leave what is there as it is, and add what is new."),
)
"""(part of a sentence of `breaking_changes`, hint); the last fits every sentence."""

_KEPT = ("shop.Order.order_id:", "shop.Order.skus:")
_REST = "Only the sum, the discount and the gift note of an order change; the rest stays as it is."
_GIFT_NOTE = {"gift_note", "giftNote"}  # a parser of JSON takes both

_RENAMED = "shop.Order.sum: number 3 is now called total_cents"
"""Harmless where both JSON names are still read, which the exchange of orders shows."""


@exercise("11-next-version", title="Change a contract under running clients", returns=str)
def next_version(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`next_version()` returns the text of a contract that old and new understand."""
    text = answer()
    try:
        new = compile_contract(text)
    except ContractError as error:
        return _refused(text, str(error).partition("\n")[0])
    old = compile_contract(SHOP)
    changes = breaking_changes(old.files, new.files)
    if verdict := _left_alone(changes) or _asked_for(new):
        return verdict
    charged = _exchange(sandbox, old, new)
    if verdict := _misunderstood(charged):
        return verdict
    changes = [change for change in changes if not change.startswith(_RENAMED)]
    if changes:
        hint = next(hint for part, hint in _WHY_NOT if part in changes[0])
        return broken(changes[0], hint, **charged)
    return solved("old and new clients are charged the right sum by old and new servers", **charged)


def _refused(text: str, why: str) -> Verdict:
    """Return what protoc or protobuf says, with the hint that fits it."""
    if not re.search(r"\b(syntax|edition)\b", text):
        hint = "Return a whole contract, from its `syntax` line on."
    elif why[:1].isdigit():
        hint = "The numbers are line and column."
    else:
        hint = "Two fields must not share a name, nor a name in JSON."
    return broken(f"the text is refused: {why}", hint)


def _left_alone(changes: list[str]) -> Verdict | None:
    """Return what changed that had to stay, None if only fields of an order came and went."""
    for change in changes:
        if not change.startswith("shop.Order.") or change.startswith(_KEPT):
            return broken(change, _REST)
        if "type changed" in change or "label changed" in change:
            return broken(change, _WHY_NOT[-1][1])
    return None


def _asked_for(new: Contract) -> Verdict | None:
    """Return what the new contract lacks, None if all that was asked for is there."""
    fields = new.message("Order").DESCRIPTOR.fields_by_name
    for name in ("discount_cents", "total_cents"):
        if name not in fields:
            return broken(f"shop.Order has no {name}", "Add it with a number that was never used.")
        if fields[name].type != fields[name].TYPE_INT64 or fields[name].is_repeated:
            return broken(f"shop.Order.{name} is no plain int64", "The exercise names its type.")
    for name in ("order_id", "skus"):
        if name not in fields:
            return broken(f"shop.Order has no {name} any more", _REST)
    if "gift_note" in fields:
        return broken("shop.Order still has gift_note", "Take it out, and reserve what it had.")
    for name, field in fields.items():
        if _GIFT_NOTE & {name, field.json_name}:
            return broken(
                f"shop.Order.{name} takes the text of an old page's gift note",
                "Old pages go on sending `giftNote` as JSON. No new field may read that name.",
            )
    return None


def _exchange(sandbox: Sandbox, old: Contract, new: Contract) -> dict[str, int]:
    """Let old and new clients order from old and new servers; return the cents charged."""
    pairs = {"old_to_new": (old, new), "new_to_old": (new, old), "new_to_new": (new, new)}
    charged = {}
    for pair, (client, server) in pairs.items():
        order = _order(client, DISCOUNT if client is server else 0)
        charged[pair] = _over_grpc(sandbox, (client, server), order)
        charged[f"json_{pair}"] = _as_json(server, order)
    return charged


def _order(client: Contract, discount: int) -> Any:
    """Return an order as a client fills it; one with a discount is of next year, without `sum`."""
    order = client.message("Order")(order_id="o-1")
    known = client.message("Order").DESCRIPTOR.fields_by_name
    filled: dict[str, Any] = {"total_cents": TOTAL, "discount_cents": discount, "gift_note": "ring"}
    if not discount:
        filled["sum"] = TOTAL
    for name, value in filled.items():
        if name in known and value:
            setattr(order, name, value)
    return order


def _charge(order: Any) -> int:
    """Return what a server charges that prefers the new field."""
    total = getattr(order, "total_cents", 0) or getattr(order, "sum", 0)
    return int(total - getattr(order, "discount_cents", 0))


def _over_grpc(sandbox: Sandbox, sides: tuple[Contract, Contract], order: Any) -> int:
    """Place an order over gRPC; return the cents charged, 0 if the call failed."""
    client, server = sides
    receipt = server.message("Receipt")

    def place(order: Any, _context: Any) -> Any:
        return receipt(charged_cents=_charge(order))

    service = sandbox.serve_grpc(server.servicer("Shop", Place=place), name="shop", workers=2)
    with channel(service.target) as opened:
        try:
            shop = client.stub("Shop", opened)
            return int(shop.Place(order, timeout=CALL_SECONDS).charged_cents)
        except grpc.RpcError:
            return 0


def _as_json(server: Contract, order: Any) -> int:
    """Send an order as protobuf's JSON; return the cents charged by a reader of this contract."""
    body = json_format.MessageToJson(order)
    read = json_format.Parse(body, server.message("Order")(), ignore_unknown_fields=True)
    return _charge(read)


def _misunderstood(charged: dict[str, int]) -> Verdict | None:
    """Return who was charged wrongly for an order of TOTAL cents, None if nobody was."""
    hints = (
        ("", "", "Old clients fill `sum`, and old servers read it. Do the new ones know it?"),
        ("json_", " as JSON", "JSON goes by the name: an old page writes `sum`. Is it still read?"),
    )
    for how, text, hint in hints:
        for client, server in (("old", "new"), ("new", "old")):
            if (cents := charged[f"{how}{client}_to_{server}"]) != TOTAL:
                return broken(
                    f"{TOTAL} cents, sent{text} by the {client} client, were charged as {cents}"
                    f" by the {server} server",
                    hint,
                    **charged,
                )
        if charged[f"{how}new_to_new"] != TOTAL - DISCOUNT:
            return broken(
                f"total and discount of {DISCOUNT} cents did not arrive{text} between new ones",
                "Two plain int64 fields are enough.",
                **charged,
            )
    return None
