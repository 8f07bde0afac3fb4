"""The three services of a checkout over gRPC: stock, payment and orders, each with its own book.

    lab.serve_grpc(AioStock(open_book(folder, "stock")), name="stock")

Every change is made behind a guard. `Barrier` is the right one for a saga; notebook 53 shows what
happens behind `NoGuard`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import grpc

from labsvc.delivery.barrier import Barrier, TooLate
from labsvc.rpc import recovery
from labsvc.rpc.errors import StatusError
from labsvc.shop.v1 import (
    checkout_pb2,
    checkout_pb2_grpc,
    inventory_pb2,
    inventory_pb2_grpc,
    payment_pb2,
    payment_pb2_grpc,
)

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    Effect = Callable[[sqlite3.Connection], object]


class Guard(Protocol):
    """Makes changes for sagas, as `Barrier` does."""

    def act(self, saga_id: str, step: str, effect: Effect) -> object:
        """Make the change of an action."""

    def undo(self, saga_id: str, step: str, effect: Effect) -> None:
        """Take it back."""


class NoGuard:
    """Does what it is told, as often as it is told: what many services are like."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def act(self, saga_id: str, step: str, effect: Effect) -> None:
        """Make the change, in a transaction."""
        with self._db:
            effect(self._db)

    undo = act


def _too_late(error: Exception) -> StatusError | None:
    return _refusal(str(error)) if isinstance(error, TooLate) else None


def _refusal(text: str) -> StatusError:
    return StatusError(grpc.StatusCode.FAILED_PRECONDITION, text)


_answers_errors = recovery.answers(_too_late)


class AioStock(inventory_pb2_grpc.InventoryServiceServicer):
    """Puts goods aside for orders, for grpc.aio; of InventoryService it has these two methods."""

    def __init__(self, db: sqlite3.Connection, guard: Guard | None = None) -> None:
        self._guard = guard or Barrier(db)

    @_answers_errors
    async def ReserveStock(
        self, request: inventory_pb2.ReserveStockRequest, _: Any
    ) -> inventory_pb2.ReserveStockResponse:
        """Put the goods of one order aside."""

        def take(db: sqlite3.Connection) -> None:
            for line in request.lines:
                taken = db.execute(
                    "UPDATE goods SET available = available - :n WHERE sku = :sku"
                    " AND available >= :n",
                    {"n": line.quantity, "sku": line.sku},
                )
                if not taken.rowcount:
                    raise _refusal(f"{line.quantity} of {line.sku} are not in stock; order fewer")
                row = (request.order_id, line.sku, line.quantity)
                db.execute("INSERT INTO held VALUES (?, ?, ?)", row)

        self._guard.act(request.order_id, "reserve", take)
        return inventory_pb2.ReserveStockResponse()

    @_answers_errors
    async def ReleaseStock(
        self, request: inventory_pb2.ReleaseStockRequest, _: Any
    ) -> inventory_pb2.ReleaseStockResponse:
        """Put the goods of one order back."""

        def put_back(db: sqlite3.Connection) -> None:
            delete = "DELETE FROM held WHERE order_id = ? RETURNING pieces, sku"
            held = db.execute(delete, (request.order_id,)).fetchall()
            db.executemany("UPDATE goods SET available = available + ? WHERE sku = ?", held)

        self._guard.undo(request.order_id, "reserve", put_back)
        return inventory_pb2.ReleaseStockResponse()


class AioPayment(payment_pb2_grpc.PaymentServiceServicer):
    """PaymentService for grpc.aio."""

    def __init__(self, db: sqlite3.Connection, guard: Guard | None = None) -> None:
        self._guard = guard or Barrier(db)

    @_answers_errors
    async def Charge(
        self, request: payment_pb2.ChargeRequest, _: Any
    ) -> payment_pb2.ChargeResponse:
        """Take the price of one order."""

        def take(db: sqlite3.Connection) -> None:
            taken = db.execute(
                "UPDATE accounts SET cents = cents - :n WHERE user_id = :id AND cents >= :n",
                {"n": request.amount_cents, "id": request.user_id},
            )
            if not taken.rowcount:
                raise _refusal(f"{request.user_id} does not have {request.amount_cents} cents")
            row = (request.order_id, request.user_id, request.amount_cents)
            db.execute("INSERT INTO payments VALUES (?, ?, ?)", row)

        self._guard.act(request.order_id, "charge", take)
        return payment_pb2.ChargeResponse()

    @_answers_errors
    async def Refund(
        self, request: payment_pb2.RefundRequest, _: Any
    ) -> payment_pb2.RefundResponse:
        """Give the money of one order back."""

        def give_back(db: sqlite3.Connection) -> None:
            delete = "DELETE FROM payments WHERE order_id = ? RETURNING cents, user_id"
            paid = db.execute(delete, (request.order_id,)).fetchall()
            db.executemany("UPDATE accounts SET cents = cents + ? WHERE user_id = ?", paid)

        self._guard.undo(request.order_id, "charge", give_back)
        return payment_pb2.RefundResponse()


class AioCheckout(checkout_pb2_grpc.CheckoutServiceServicer):
    """CheckoutService for grpc.aio."""

    def __init__(self, db: sqlite3.Connection, guard: Guard | None = None) -> None:
        self._guard = guard or Barrier(db)

    @_answers_errors
    async def ConfirmOrder(
        self, request: checkout_pb2.ConfirmOrderRequest, _: Any
    ) -> checkout_pb2.ConfirmOrderResponse:
        """Write an order."""
        pieces = sum(line.quantity for line in request.lines)
        row = (request.order_id, request.user_id, pieces, request.total_cents)

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT INTO orders VALUES (?, ?, ?, ?)", row)

        self._guard.act(request.order_id, "confirm", write)
        return checkout_pb2.ConfirmOrderResponse()

    @_answers_errors
    async def CancelOrder(
        self, request: checkout_pb2.CancelOrderRequest, _: Any
    ) -> checkout_pb2.CancelOrderResponse:
        """Take an order back."""

        def delete(db: sqlite3.Connection) -> None:
            db.execute("DELETE FROM orders WHERE order_id = ?", (request.order_id,))

        self._guard.undo(request.order_id, "confirm", delete)
        return checkout_pb2.CancelOrderResponse()
