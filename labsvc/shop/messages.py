"""Between protobuf messages and the shop's own types."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.shop.model import NewOrder, Order, OrderLine, OrderStatus, User
from labsvc.shop.v1 import order_pb2, user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

_STATUS = {OrderStatus.PLACED: order_pb2.ORDER_STATUS_PLACED}


def user_message(user: User) -> user_pb2.User:
    """Return the message of one user."""
    return user_pb2.User(user_id=user.user_id, name=user.name, email=user.email)


def user_from(message: user_pb2.User) -> User:
    """Return the user of one message."""
    return User(message.user_id, message.name, message.email)


def line_messages(lines: Iterable[OrderLine]) -> list[order_pb2.OrderLine]:
    """Return the messages of order lines."""
    return [order_pb2.OrderLine(sku=line.sku, quantity=line.quantity) for line in lines]


def lines_from(messages: Iterable[order_pb2.OrderLine]) -> tuple[OrderLine, ...]:
    """Return the order lines of messages. Raises InvalidArgument."""
    return tuple(OrderLine(message.sku, message.quantity) for message in messages)


def new_order_from(message: order_pb2.PlaceOrderRequest) -> NewOrder:
    """Return what a request wants to order. Raises InvalidArgument."""
    return NewOrder(message.order_id, message.user_id, lines_from(message.lines))


def order_message(order: Order) -> order_pb2.Order:
    """Return the message of one order."""
    return order_pb2.Order(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=line_messages(order.lines),
        status=_STATUS[order.status],
        total_cents=order.total_cents,
    )
