"""The steps of a checkout, for a saga: reserve, charge, confirm, each with its compensation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc

from labsvc.delivery.saga import Refused, Step
from labsvc.shop.v1 import (
    checkout_pb2,
    checkout_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    order_pb2,
    payment_pb2,
    payment_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labsvc.delivery.saga import Call

NO = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)
"""The codes with which these services refuse for good."""


def checkout_steps(
    stock: grpc.Channel, payment: grpc.Channel, orders: grpc.Channel, *, timeout: float = 1.0
) -> list[Step]:
    """Return the steps over these channels, with seconds for each call.

    The saga's id is the order's. Its data: `user_id`, `sku`, `pieces`, `cents`.
    """
    goods = inventory_pb2_grpc.InventoryServiceStub(stock)
    money = payment_pb2_grpc.PaymentServiceStub(payment)
    book = checkout_pb2_grpc.CheckoutServiceStub(orders)

    def call(method: Callable[..., object], make: Callable[..., object]) -> Call:
        def made(order_id: str, data: Mapping[str, Any]) -> None:
            try:
                method(make(order_id, data), timeout=timeout)
            except grpc.RpcError as error:
                if error.code() in NO:
                    raise Refused(error.details()) from error
                raise

        return made

    return [
        Step("reserve", call(goods.ReserveStock, _reserve), call(goods.ReleaseStock, _release)),
        Step("charge", call(money.Charge, _charge), call(money.Refund, _refund)),
        Step("confirm", call(book.ConfirmOrder, _confirm), call(book.CancelOrder, _cancel)),
    ]


def _lines(data: Mapping[str, Any]) -> list[order_pb2.OrderLine]:
    return [order_pb2.OrderLine(sku=data["sku"], quantity=data["pieces"])]


def _reserve(order_id: str, data: Mapping[str, Any]) -> inventory_pb2.ReserveStockRequest:
    return inventory_pb2.ReserveStockRequest(order_id=order_id, lines=_lines(data))


def _release(order_id: str, _: object) -> inventory_pb2.ReleaseStockRequest:
    return inventory_pb2.ReleaseStockRequest(order_id=order_id)


def _charge(order_id: str, data: Mapping[str, Any]) -> payment_pb2.ChargeRequest:
    return payment_pb2.ChargeRequest(
        order_id=order_id, user_id=data["user_id"], amount_cents=data["cents"]
    )


def _refund(order_id: str, _: object) -> payment_pb2.RefundRequest:
    return payment_pb2.RefundRequest(order_id=order_id)


def _confirm(order_id: str, data: Mapping[str, Any]) -> checkout_pb2.ConfirmOrderRequest:
    return checkout_pb2.ConfirmOrderRequest(
        order_id=order_id,
        user_id=data["user_id"],
        lines=_lines(data),
        total_cents=data["cents"],
    )


def _cancel(order_id: str, _: object) -> checkout_pb2.CancelOrderRequest:
    return checkout_pb2.CancelOrderRequest(order_id=order_id)
