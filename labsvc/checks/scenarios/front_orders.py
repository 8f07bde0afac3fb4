"""Part of the stage of T2-front: the orders behind the desk, and what they say by a script."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.rpc.errors import StatusError
from labsvc.shop.v1 import order_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

KEY = "idempotency-key"


class Orders:
    """Does for each order what its script says, and then takes it: once for each key.

    A step of the script is a code, or None for no answer. A code is said after `seconds`. What it
    says has a secret in it, unless it is the customer's business; `reason` is for programs.
    """

    def __init__(
        self, script: Sequence[grpc.StatusCode | None] = (), *, seconds: float = 0.0
    ) -> None:
        self.script = script
        self._seconds = seconds
        self._tries: dict[str, int] = {}
        self.secret = f"hunter-{secrets.token_hex(4)}"
        self.reason = f"REASON_{random.randrange(10**6)}"
        self.received: list[Any] = []
        self.taken: dict[str, order_pb2.PlaceOrderResponse] = {}  # by key

    @property
    def text(self) -> str:
        """What a customer may read."""
        return f"not like this ({self.reason}):\n  zwei Tüten Tee, nicht drei"

    def error(self, code: grpc.StatusCode) -> StatusError:
        """Return what it says with a code that is the customer's business."""
        return StatusError(
            code,
            self.text,
            reason=self.reason,
            domain="shop",
            metadata={"sku": "tea-100"},
            fields={"lines[0].sku": self.reason},
        )

    async def place(self, request: Any, context: Any) -> order_pb2.PlaceOrderResponse:
        """Do what the script says next for this order."""
        self.received.append(request)
        number = self._tries.get(request.order_id, 0)
        self._tries[request.order_id] = number + 1
        if number < len(self.script):
            await self._refuse(self.script[number], context)
        key = str(dict(context.invocation_metadata()).get(KEY))
        if key not in self.taken:
            order = order_pb2.Order(order_id=request.order_id, total_cents=random.randrange(10**6))
            self.taken[key] = order_pb2.PlaceOrderResponse(order=order)
        return self.taken[key]

    async def _refuse(self, code: grpc.StatusCode | None, context: Any) -> None:
        if code is None:
            await asyncio.Event().wait()
        await asyncio.sleep(self._seconds)
        if code in CUSTOMERS:
            await context.abort_with_status(self.error(code).status())
        else:
            await context.send_initial_metadata((("host", self.secret),))
            context.set_trailing_metadata((("cause", self.secret),))
            await context.abort(code, f"db-7 failed: {self.secret}")


CUSTOMERS = (
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
)
"""Codes that are the customer's business, as the exercise says."""
