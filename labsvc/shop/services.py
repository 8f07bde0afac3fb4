"""The shop over gRPC: servicers for grpc.aio, and one for a server with threads.

    lab.serve_grpc(AioUserService(store), AioInventoryService(store))

They hold no logic: they turn messages into the shop's types. A ShopError is answered with its
status, on any server; see `labsvc.rpc.recovery`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any

from labsvc.rpc import recovery
from labsvc.shop import messages
from labsvc.shop.errors import InvalidArgument, translate
from labsvc.shop.v1 import (
    inventory_pb2,
    inventory_pb2_grpc,
    order_pb2,
    order_pb2_grpc,
    user_pb2,
    user_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from labsvc.shop.model import Order
    from labsvc.shop.orders import Orders
    from labsvc.shop.store import Store


WATCH_SECONDS = 0.02
"""How often WatchStock looks; what changes more often comes as one change."""

_answers_errors = recovery.answers(translate)


class AioUserService(user_pb2_grpc.UserServiceServicer):
    """UserService for grpc.aio."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @_answers_errors
    async def GetUser(self, request: user_pb2.GetUserRequest, _: Any) -> user_pb2.GetUserResponse:
        """Return one user."""
        return _get_user(self._store, request)


class UserService(user_pb2_grpc.UserServiceServicer):
    """UserService for grpc.server with a thread pool; answers exactly as AioUserService does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @_answers_errors
    def GetUser(self, request: user_pb2.GetUserRequest, _: Any) -> user_pb2.GetUserResponse:
        """Return one user."""
        return _get_user(self._store, request)


def _get_user(store: Store, request: user_pb2.GetUserRequest) -> user_pb2.GetUserResponse:
    return user_pb2.GetUserResponse(user=messages.user_message(store.user(request.user_id)))


class AioInventoryService(inventory_pb2_grpc.InventoryServiceServicer):
    """InventoryService for grpc.aio."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @_answers_errors
    async def GetStock(
        self, request: inventory_pb2.GetStockRequest, _: Any
    ) -> inventory_pb2.GetStockResponse:
        """Return how many pieces can be reserved."""
        available = self._store.stock(request.sku)
        return inventory_pb2.GetStockResponse(sku=request.sku, available=available)

    @_answers_errors
    async def ReserveStock(
        self, request: inventory_pb2.ReserveStockRequest, _: Any
    ) -> inventory_pb2.ReserveStockResponse:
        """Put the goods of one order aside."""
        self._store.reserve(request.order_id, messages.lines_from(request.lines))
        return inventory_pb2.ReserveStockResponse()

    @_answers_errors
    async def ReleaseStock(
        self, request: inventory_pb2.ReleaseStockRequest, _: Any
    ) -> inventory_pb2.ReleaseStockResponse:
        """Put the goods of one order back."""
        self._store.release(request.order_id)
        return inventory_pb2.ReleaseStockResponse()

    @_answers_errors
    async def WatchStock(
        self, request: inventory_pb2.WatchStockRequest, _: Any
    ) -> AsyncIterator[inventory_pb2.WatchStockResponse]:
        """Send the stock, and again when it has changed; the caller ends it."""
        sent = None
        while True:
            available = self._store.stock(request.sku)
            if available != sent:
                sent = available
                yield inventory_pb2.WatchStockResponse(sku=request.sku, available=available)
            await asyncio.sleep(WATCH_SECONDS)


class AioOrderService(order_pb2_grpc.OrderServiceServicer):
    """OrderService for grpc.aio."""

    def __init__(self, orders: Orders) -> None:
        self._orders = orders

    @_answers_errors
    async def PlaceOrder(
        self, request: order_pb2.PlaceOrderRequest, _: Any
    ) -> order_pb2.PlaceOrderResponse:
        """Place one order."""
        order = await self._orders.place(messages.new_order_from(request))
        return order_pb2.PlaceOrderResponse(order=messages.order_message(order))

    @_answers_errors
    async def GetOrder(
        self, request: order_pb2.GetOrderRequest, _: Any
    ) -> order_pb2.GetOrderResponse:
        """Return one order."""
        order = await self._orders.get(request.order_id)
        return order_pb2.GetOrderResponse(order=messages.order_message(order))

    @_answers_errors
    async def ListOrders(
        self, request: order_pb2.ListOrdersRequest, _: Any
    ) -> order_pb2.ListOrdersResponse:
        """Return the newest orders of one user."""
        orders = await self._orders.list_for_user(request.user_id)
        return order_pb2.ListOrdersResponse(orders=map(messages.order_message, orders))

    @_answers_errors
    async def StreamOrders(
        self, requests: AsyncIterator[order_pb2.StreamOrdersRequest], _: Any
    ) -> AsyncIterator[order_pb2.StreamOrdersResponse]:
        """Send the newest orders of one user, each for one credit."""
        left: deque[Order] | None = None
        async for request in requests:
            if left is None:
                left = deque(await self._orders.list_for_user(request.user_id))
            for _ in range(min(_credit(request), len(left))):
                order = messages.order_message(left.popleft())
                yield order_pb2.StreamOrdersResponse(order=order)
            if not left:
                return


def _credit(request: order_pb2.StreamOrdersRequest) -> int:
    if request.credit < 1:
        msg = "credit must be 1 or more; close your side to end the stream"
        raise InvalidArgument(msg)
    return request.credit
