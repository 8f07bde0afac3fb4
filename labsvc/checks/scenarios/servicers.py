"""Stage of exercise 10-left-out: servers that leave methods out, and their classes put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from google.protobuf.descriptor import ServiceDescriptor


def _unary(answer: Callable[[], Any]) -> Any:
    def handle(self: Any, _request: Any, _context: Any) -> Any:
        self.asked += 1
        return answer()

    return handle


def _stream(answer: Callable[[], Any]) -> Any:
    def handle(self: Any, _requests: Any, _context: Any) -> Iterator[Any]:
        self.asked += 1
        yield answer()

    return handle


_PLACE, _GET = _unary(order_pb2.PlaceOrderResponse), _unary(order_pb2.GetOrderResponse)
_LIST = _unary(order_pb2.ListOrdersResponse)
_STREAM = _stream(order_pb2.StreamOrdersResponse)


class Complete(order_pb2_grpc.OrderServiceServicer):
    """All four methods, and a helper that no contract knows."""

    asked = 0
    PlaceOrder, GetOrder, ListOrders, StreamOrders = _PLACE, _GET, _LIST, _STREAM

    def price(self) -> int:
        """Help."""
        return 0


class Misspelt(order_pb2_grpc.OrderServiceServicer):
    """GetOrder has a wrong name, and nothing streams."""

    asked = 0
    PlaceOrder, GetOrders, ListOrders = _PLACE, _GET, _LIST


class _Reads:
    """A class of the team's own that knows no contract."""

    asked = 0
    GetOrder, ListOrders = _GET, _LIST


class _Team(order_pb2_grpc.OrderServiceServicer):
    """A base of the team's own."""

    asked = 0
    GetOrder = _GET


class Heir(_Team):
    """Inherits GetOrder."""

    PlaceOrder = _PLACE


class InFront(_Reads, order_pb2_grpc.OrderServiceServicer):
    """The team's methods win over those of the generated base."""

    PlaceOrder = _PLACE


class Behind(order_pb2_grpc.OrderServiceServicer, _Reads):
    """The generated base wins over the team's methods: written, and never called."""

    PlaceOrder = _PLACE


class Both(
    order_pb2_grpc.OrderServiceServicer,
    user_pb2_grpc.UserServiceServicer,
    inventory_pb2_grpc.InventoryServiceServicer,
):
    """Three services on one object, one of them without any method."""

    asked = 0
    GetOrder = _GET
    GetStock = _unary(inventory_pb2.GetStockResponse)


_ORDERS = (order_pb2.DESCRIPTOR.services_by_name["OrderService"], order_pb2_grpc)
_USERS = (user_pb2.DESCRIPTOR.services_by_name["UserService"], user_pb2_grpc)
_STOCK = (inventory_pb2.DESCRIPTOR.services_by_name["InventoryService"], inventory_pb2_grpc)

SERVERS: tuple[tuple[str, type, tuple[tuple[ServiceDescriptor, Any], ...]], ...] = (
    ("a server that has every method", Complete, (_ORDERS,)),
    ("a server with a misspelt method", Misspelt, (_ORDERS,)),
    ("a server that inherits from a base of the team", Heir, (_ORDERS,)),
    ("a server with a team's class in front of the generated base", InFront, (_ORDERS,)),
    ("a server with a team's class behind the generated base", Behind, (_ORDERS,)),
    ("an object with three services", Both, (_ORDERS, _USERS, _STOCK)),
)
"""(what it is, its class, the services it is registered for)."""


class AsFound:
    """What an object and its classes offer, before an answer sees them: all checks share them."""

    def __init__(self, servicer: Any) -> None:
        self._servicer = servicer
        self._kinds = {kind: _public(kind) for kind in type(servicer).__mro__[:-1]}

    def put_back(self) -> list[str]:
        """Undo what was changed since, and return its names."""
        changed = sorted(_public(self._servicer).keys() - {"asked"})  # no instance has its own
        for kind, before in self._kinds.items():
            now = _public(kind)
            for name in sorted(before.keys() | now.keys()):
                if name not in before:
                    delattr(kind, name)
                elif now.get(name) is not before[name]:
                    setattr(kind, name, before[name])
                else:
                    continue
                changed.append(name)
        return changed


def _public(owner: Any) -> dict[str, Any]:
    return {name: value for name, value in vars(owner).items() if not name.startswith("_")}
