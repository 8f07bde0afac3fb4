"""Placing an order, written once for gRPC, HTTP and the queue.

An order service asks a user service who orders and an inventory service whether there are goods
(claim C26). Both are protocols: `LocalUsers` and `LocalInventory` answer from the same process,
`labsvc.shop.remote` from another service.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Protocol
from weakref import WeakValueDictionary

from labsvc.shop.errors import AlreadyExists, NotFound, ShopError
from labsvc.shop.model import NewOrder, Order, OrderLine, OrderStatus, User

if TYPE_CHECKING:
    from labsvc.shop.store import Store

_log = logging.getLogger(__name__)
_log.addHandler(logging.NullHandler())


class Users(Protocol):
    """Who may order."""

    async def get(self, user_id: str) -> User:
        """Return one user. Raises ShopError, NotFound among them."""
        ...


class Inventory(Protocol):
    """What can be ordered."""

    async def stock(self, sku: str) -> int:
        """Return how many pieces can be reserved. Raises ShopError."""
        ...

    async def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Put all goods aside, or nothing; idempotent by order_id. Raises ShopError."""
        ...

    async def release(self, order_id: str) -> None:
        """Put the goods back; idempotent by order_id. Raises ShopError."""
        ...


class LocalUsers:
    """Users from the store of this process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get(self, user_id: str) -> User:
        """Return one user. Raises InvalidArgument, NotFound."""
        return self._store.user(user_id)


class LocalInventory:
    """Stock from the store of this process."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def stock(self, sku: str) -> int:
        """Return how many pieces can be reserved. Raises InvalidArgument, NotFound."""
        return self._store.stock(sku)

    async def reserve(self, order_id: str, lines: tuple[OrderLine, ...]) -> None:
        """Put all goods aside, or nothing. Raises NotFound, OutOfStock, AlreadyExists."""
        self._store.reserve(order_id, lines)

    async def release(self, order_id: str) -> None:
        """Put the goods back."""
        self._store.release(order_id)


class Orders:
    """Places and finds orders.

    `store` keeps prices and orders. `users` and `inventory` answer from that same store unless
    other ones are given.
    """

    def __init__(
        self, store: Store, users: Users | None = None, inventory: Inventory | None = None
    ) -> None:
        self.users: Users = users or LocalUsers(store)
        self.inventory: Inventory = inventory or LocalInventory(store)
        self._store = store
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def place(self, wanted: NewOrder) -> Order:
        """Place one order: all of its lines, or nothing.

        The same order again answers with the stored one and takes no goods twice. When a step
        fails, or the caller leaves, after the goods may have been put aside, they are put back.

        Raises NotFound for an unknown user or SKU, OutOfStock, AlreadyExists if the id belongs to
        another order, Unavailable and DeadlineExceeded from the services behind.
        """
        # Two requests with one id, a retry beside its first try, go one after the other.
        async with self._locks.setdefault(wanted.order_id, asyncio.Lock()):
            stored = self._store.find_order(wanted.order_id)
            if stored is not None:
                return _same(stored, wanted)
            await self.users.get(wanted.user_id)
            total = self._store.total_cents(wanted.lines)
            order = Order(wanted.order_id, wanted.user_id, wanted.lines, OrderStatus.PLACED, total)
            await self._reserve(order)
            try:
                self._store.add_order(order)
            except BaseException:
                await self._release(order.order_id)
                raise
            return order

    async def get(self, order_id: str) -> Order:
        """Return one order. Raises InvalidArgument, NotFound."""
        order = self._store.find_order(order_id)
        if order is None:
            msg = f"no order {order_id}; check the order_id, or place it"
            raise NotFound(msg)
        return order

    async def list_for_user(self, user_id: str) -> list[Order]:
        """Return the newest 100 orders of one user, the newest first.

        Raises InvalidArgument, NotFound for an unknown user, and what the user service raises.
        """
        await self.users.get(user_id)
        return self._store.orders_of(user_id)

    async def _reserve(self, order: Order) -> None:
        try:
            await self.inventory.reserve(order.order_id, order.lines)
        except BaseException as error:
            # A definite refusal took nothing. Anything else may have: a lost answer, a
            # cancellation on the way.
            if not (isinstance(error, ShopError) and error.definite):
                await self._release(order.order_id)
            raise

    async def _release(self, order_id: str) -> None:
        """Put the goods back, even if the caller is cancelled again meanwhile."""
        task = asyncio.ensure_future(self.inventory.release(order_id))
        while not task.done():
            try:
                await asyncio.wait({task})
            except asyncio.CancelledError:
                continue  # whoever called is on its way out with an error of its own
        error = task.exception()
        if error is not None:
            _log.warning("goods of order %s are still put aside: %s", order_id, error)


def _same(stored: Order, wanted: NewOrder) -> Order:
    if not stored.answers(wanted):
        msg = f"order {wanted.order_id} exists with other content; use a new order_id"
        raise AlreadyExists(msg)
    return stored
