"""The front door: takes orders over HTTP and asks the orders service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from fastapi import FastAPI, Header, HTTPException

from labsvc.shop.v1 import order_pb2, order_pb2_grpc

if TYPE_CHECKING:
    from labsvc.incidents.observed import Observed

SECONDS = 2.0


class Web:
    """Answers POST /orders/{sku}, with the order id in the header `x-order`.

    `tries` is how often orders is asked for one order, at most. `red` has the metrics.
    """

    def __init__(self, seen: Observed, orders: str) -> None:
        self.tries = 1
        self._seen = seen
        self._channel = grpc.insecure_channel(
            orders, (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))
        )
        self._orders = order_pb2_grpc.OrderServiceStub(seen.channel(self._channel))
        self.app = FastAPI()
        self.app.post("/orders/{sku}")(self.place)
        self.red = seen.app(self.app)

    def place(self, sku: str, x_order: str = Header(), x_user: str = Header()) -> dict[str, str]:
        """Place one order."""
        line = order_pb2.OrderLine(sku=sku, quantity=1)
        ask = order_pb2.PlaceOrderRequest(order_id=x_order, user_id=x_user, lines=[line])
        for number in range(self.tries):
            try:
                self._orders.PlaceOrder(ask, timeout=SECONDS)
            except grpc.RpcError as error:
                status: Any = error
                if number + 1 < self.tries:
                    continue
                cause = {"order_id": x_order, "cause": status.code().name}
                self._seen.log.warning("order failed", extra=cause)
                raise HTTPException(503, status.code().name) from error
            return {"order_id": x_order}
        raise AssertionError

    def close(self) -> None:
        """Close its channel."""
        self._channel.close()
