"""Users and stock from another service, over gRPC.

The counterparts of `LocalUsers` and `LocalInventory`: the same protocols, a stub whose channel is
made once and kept (claim C39), and a deadline on every call. The channel stays the caller's, to
make on the loop that uses it and to close.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from labsvc.shop import messages
from labsvc.shop.errors import from_code
from labsvc.shop.v1 import inventory_pb2, user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.shop.model import OrderLine, User
    from labsvc.shop.v1.inventory_pb2_grpc import InventoryServiceAsyncStub
    from labsvc.shop.v1.user_pb2_grpc import UserServiceAsyncStub


class RemoteUsers:
    """Users from a UserService.

    `stub` is a UserServiceStub on a grpc.aio channel; `timeout` is seconds for one call.
    """

    def __init__(self, stub: UserServiceAsyncStub, timeout: float = 1.0) -> None:
        self._stub = stub
        self._timeout = timeout

    async def get(self, user_id: str) -> User:
        """Return one user. Raises ShopError."""
        request = user_pb2.GetUserRequest(user_id=user_id)
        with _status_as_shop_error():
            response = await self._stub.GetUser(request, timeout=self._timeout)
        return messages.user_from(response.user)


class RemoteInventory:
    """Stock from an InventoryService.

    `stub` is a InventoryServiceStub on a grpc.aio channel; `timeout` is seconds for one call.
    """

    def __init__(self, stub: InventoryServiceAsyncStub, timeout: float = 1.0) -> None:
        self._stub = stub
        self._timeout = timeout

    async def stock(self, sku: str) -> int:
        """Return how many pieces can be reserved. Raises ShopError."""
        request = inventory_pb2.GetStockRequest(sku=sku)
        with _status_as_shop_error():
            response = await self._stub.GetStock(request, timeout=self._timeout)
        return response.available

    async def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Put all goods aside, or nothing. Raises ShopError."""
        request = inventory_pb2.ReserveStockRequest(
            order_id=order_id, lines=messages.line_messages(lines)
        )
        with _status_as_shop_error():
            await self._stub.ReserveStock(request, timeout=self._timeout)

    async def release(self, order_id: str) -> None:
        """Put the goods back. Raises ShopError."""
        request = inventory_pb2.ReleaseStockRequest(order_id=order_id)
        with _status_as_shop_error():
            await self._stub.ReleaseStock(request, timeout=self._timeout)


@contextmanager
def _status_as_shop_error() -> Iterator[None]:
    """Hand a status on as the shop error it stands for; never as UNKNOWN (claim C05)."""
    try:
        yield
    except grpc.aio.AioRpcError as error:
        raise from_code(error.code(), error.details() or "no details") from error
