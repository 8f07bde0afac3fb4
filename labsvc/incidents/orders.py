"""The orders service over gRPC: asks prices, stock and payment, and writes order and event."""

from __future__ import annotations

import sqlite3
import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import httpx2

from labsvc.delivery.outbox import AioOutbox
from labsvc.incidents.clients import CONNECTIONS, StockClient, payment_channel, price_client
from labsvc.shop.v1 import (
    inventory_pb2,
    order_pb2,
    order_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from labsvc.incidents.clients import Find
    from labsvc.incidents.observed import Observed

STOCK_SECONDS = 0.4
PAYMENT_SECONDS = 0.4
NEVER_DONE = ("UNAVAILABLE",)  # a timeout may mean that stock is too busy: it is asked no more
UNSURE = ("UNAVAILABLE", "DEADLINE_EXCEEDED")


class Orders(order_pb2_grpc.OrderServiceServicer):
    """Places orders, once for each order id.

    Attributes:
        tries: how often stock is asked for one order, at most.
        again: the codes after which it is asked again.
        pause: seconds before the second try of either; they double.
        payment_tries: the same of payment.
        payment_timeout: seconds for one question to payment, None without a limit.

    """

    def __init__(
        self, seen: Observed, find_stock: Find, payment: str, roots: bytes, prices: str
    ) -> None:
        self.tries, self.pause = 2, 0.05
        self.again: tuple[str, ...] = NEVER_DONE
        self.payment_tries, self.payment_timeout = 2, PAYMENT_SECONDS
        self._seen = seen
        self._stock = StockClient(seen, find_stock)
        self._lock = threading.Lock()
        self._payment_target, self._roots = payment, roots
        self._payment: tuple[grpc.Channel, Any] | None = None
        self._prices_url = prices
        self._prices: httpx2.Client | None = None
        self.keepalive = True
        self.price_connections = CONNECTIONS

    def open(self, file: Path) -> None:
        """Open the table of orders and its outbox."""
        self.db = sqlite3.connect(file, check_same_thread=False)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("CREATE TABLE IF NOT EXISTS orders (order_id TEXT PRIMARY KEY)")
        self.outbox = AioOutbox(self.db)

    @property
    def keepalive(self) -> bool:
        """Whether connections to payment are pinged. Setting it makes a new channel."""
        return self._keepalive

    @keepalive.setter
    def keepalive(self, value: bool) -> None:
        self._keepalive = value
        channel = payment_channel(self._payment_target, self._roots, keepalive=value)
        old, stub = self._payment, payment_pb2_grpc.PaymentServiceStub(self._seen.channel(channel))
        self._payment = (channel, stub)
        if old is not None:
            old[0].close()

    @property
    def price_connections(self) -> int:
        """How many connections to prices there may be. Setting it makes a new client."""
        return self._price_connections

    @price_connections.setter
    def price_connections(self, value: int) -> None:
        self._price_connections = value
        old, self._prices = self._prices, price_client(self._prices_url, value, self._seen)
        if old is not None:
            threading.Timer(1.0, old.close).start()  # requests under way end first

    def PlaceOrder(
        self, request: order_pb2.PlaceOrderRequest, context: Any
    ) -> order_pb2.PlaceOrderResponse:
        """Place one order."""
        try:
            cents = self._price(request.lines[0].sku)
            self._reserve(request)
            self._charge(request, cents)
        except httpx2.HTTPError as error:
            cause = type(error).__name__
            self._seen.log.warning("no price", extra=_about(request, cause))
            context.abort(grpc.StatusCode.UNAVAILABLE, f"no price: {cause}")
        except grpc.RpcError as error:
            status: Any = error
            cause = f"{status.code().name}: {status.details()}"
            self._seen.log.warning("not placed", extra=_about(request, cause))
            context.abort(status.code(), "not placed")
        with self._lock, self.db:
            self.db.execute("BEGIN IMMEDIATE")
            new = self.db.execute(
                "INSERT INTO orders VALUES (?) ON CONFLICT DO NOTHING", (request.order_id,)
            )
            if new.rowcount:
                self.outbox.add(
                    request.order_id.encode(), routing_key="mails", message_id=request.order_id
                )
        return order_pb2.PlaceOrderResponse()

    def close(self) -> None:
        """Close channels, client and table."""
        if self._payment is not None:
            self._payment[0].close()
        with self._lock:
            self._stock.close()
        if self._prices is not None:
            self._prices.close()
        with self._lock:
            self.db.close()

    def _price(self, sku: str) -> int:
        assert self._prices is not None
        response = self._prices.get(f"/prices/{sku}")
        response.raise_for_status()
        cents: int = response.json()["cents"]
        return cents

    def _reserve(self, request: order_pb2.PlaceOrderRequest) -> None:
        ask = inventory_pb2.ReserveStockRequest(order_id=request.order_id, lines=request.lines)

        def reserve() -> None:
            with self._lock:
                stock = self._stock.stub()
            stock.ReserveStock(ask, timeout=STOCK_SECONDS)

        self._try(reserve, self.tries, self.again)

    def _charge(self, request: order_pb2.PlaceOrderRequest, cents: int) -> None:
        ask = payment_pb2.ChargeRequest(
            order_id=request.order_id, user_id=request.user_id, amount_cents=cents
        )

        def charge() -> None:
            assert self._payment is not None
            self._payment[1].Charge(ask, timeout=self.payment_timeout)

        self._try(charge, self.payment_tries, UNSURE)

    def _try(self, call: Callable[[], None], tries: int, again: tuple[str, ...]) -> None:
        for number in range(tries):
            try:
                call()
            except grpc.RpcError as error:
                status: Any = error
                if status.code().name not in again or number + 1 >= tries:
                    raise
                time.sleep(self.pause * 2**number)
            else:
                return


def _about(request: order_pb2.PlaceOrderRequest, cause: str) -> dict[str, str]:
    return {"order_id": request.order_id, "cause": cause}
