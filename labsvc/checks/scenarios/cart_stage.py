"""Stage of T1-cart: two versions of a contract, and a service that keeps carts of the newer one."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet
from grpc import StatusCode

from labsvc.checks.asking import channel
from labsvc.rpc.contract import Contract, compile_contract

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox

    Edit = Callable[[Any], object]

CART = """syntax = "proto3";
package shop;

message Cart {
  string cart_id = 1;
  optional int32 copies = 2;
  Tags gift_tags = 3;
  optional int64 voucher_number = 4;
  Wrapping wrapping = 5;
  optional double weight_kg = 6;
}
message Tags { repeated string tags = 1; }
enum Wrapping { WRAPPING_UNSPECIFIED = 0; PAPER = 1; BOX = 2; }
message CartId { string cart_id = 1; }
message Done {}
service Carts {
  rpc Get(CartId) returns (Cart);
  rpc Put(Cart) returns (Done);
}
"""
"""The contract of the exercise."""

NEXT = (
    CART.replace("weight_kg = 6;", "weight_kg = 6; string note = 7; repeated Line lines = 8;")
    .replace("string tags = 1;", "string tags = 1; string colour = 2;")
    .replace("BOX = 2;", "BOX = 2; VELVET = 3;")
    .replace("message Done {}", "message Done {} message Line { string sku = 1; }")
    .replace("(Done);", "(Done); rpc Empty(CartId) returns (Done);")
)
"""The contract of the service: all that is new in it is unknown to the exercise."""


@cache
def ours() -> Contract:
    """Return the compiled contract of the exercise."""
    return compile_contract(CART)


@cache
def theirs() -> Contract:
    """Return the compiled contract of the service."""
    return compile_contract(NEXT)


def published(edit: Edit | None = None) -> FileDescriptorSet:
    """Return the contract of the service as descriptors, changed by `edit` of its one file."""
    files = FileDescriptorSet()
    files.CopyFrom(theirs().files)
    if edit:
        edit(files.file[0])
    return files


def _message(file: Any, name: str) -> Any:
    return next(each for each in file.message_type if each.name == name)


def _field(file: Any, name: str) -> Any:
    return next(each for each in _message(file, "Cart").field if each.name == name)


def _renumbered(file: Any) -> None:
    _field(file, "copies").number = 12


def _renumbered_tags(file: Any) -> None:
    _message(file, "Tags").field[0].number = 3


def _retyped(file: Any) -> None:
    _field(file, "voucher_number").type = FieldDescriptorProto.TYPE_STRING


def _without_presence(file: Any) -> None:
    _field(file, "weight_kg").ClearField("oneof_index")
    _field(file, "weight_kg").ClearField("proto3_optional")
    del _message(file, "Cart").oneof_decl[-1]


def _dropped(file: Any) -> None:
    cart = _message(file, "Cart")
    cart.field.remove(_field(file, "weight_kg"))
    del cart.oneof_decl[-1]  # each optional field has one, this one's is the last


def _retired(file: Any) -> None:
    _dropped(file)
    cart = _message(file, "Cart")
    cart.reserved_range.add(start=6, end=7)
    cart.reserved_name.append("weight_kg")


def _json_name(file: Any) -> None:
    _field(file, "voucher_number").json_name = "voucher"


def _swapped(file: Any) -> None:
    paper, box = file.enum_type[0].value[1:3]
    paper.number, box.number = box.number, paper.number


def _without_put(file: Any) -> None:
    del file.service[0].method[1]


BREAKING: dict[str, Edit] = {
    "renumbers `copies`": _renumbered,
    "renumbers the list in `Tags`": _renumbered_tags,
    "changes the type of `voucher_number`": _retyped,
    "has `weight_kg` without presence": _without_presence,
    "drops `weight_kg` and reserves nothing": _dropped,
    "gives `voucher_number` another JSON name": _json_name,
    "swaps two numbers of the enum": _swapped,
    "has no `Put` any more": _without_put,
}
"""Changes that break the exercise's contract, as the end of a sentence about `published`."""

COMPATIBLE: dict[str, Edit | None] = {
    "has new fields": None,
    "retires `weight_kg`, with number and name reserved": _retired,
}


class Carts:
    """The service. It keeps messages of `NEXT`; `gets` and `puts` count the calls.

    It fails the method that `failing` names.
    """

    def __init__(self, sandbox: Sandbox) -> None:
        self.kept: dict[str, Any] = {}
        self.failing = ""
        self.gets = self.puts = 0
        handlers = theirs().servicer("Carts", Get=self._get, Put=self._put)
        service = sandbox.serve_grpc(handlers, name="carts", workers=2)
        self.stub = ours().stub("Carts", sandbox.enter(channel(service.target)))

    def _get(self, request: Any, context: Any) -> Any:
        self.gets += 1
        self._fail("Get", context)
        return self.kept.get(request.cart_id, theirs().message("Cart")())

    def _put(self, cart: Any, context: Any) -> Any:
        self.puts += 1
        self._fail("Put", context)
        self.kept[cart.cart_id] = cart
        return theirs().message("Done")()

    def _fail(self, method: str, context: Any) -> None:
        if method == self.failing:
            context.abort(StatusCode.UNAVAILABLE, "the carts are being moved")
