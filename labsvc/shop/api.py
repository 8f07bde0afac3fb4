"""The shop over HTTP with JSON: the same orders as over gRPC.

Unknown members and values of another type are refused, not guessed. Every error is a problem
document (RFC 9457) whose `code` is the gRPC code of the same mistake.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from labsvc.shop.errors import ShopError
from labsvc.shop.model import ID_PATTERN, MAX_LINES, MAX_QUANTITY, NewOrder, Order, OrderLine
from labsvc.web.app_problems import answer_with_problems
from labsvc.web.problem import problem, problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from labsvc.shop.orders import Orders

MAX_BODY_BYTES = 4 * 1024 * 1024  # what gRPC allows by default

_TOO_LARGE = f"the body may have {MAX_BODY_BYTES} bytes; send a smaller one"

Id = Annotated[str, Field(pattern=f"^{ID_PATTERN}$")]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LineBody(_Model):
    """One kind of goods and how many pieces."""

    sku: Id
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]


class NewOrderBody(_Model):
    """What to order; `order_id` is the idempotency key."""

    order_id: Id
    user_id: Id
    lines: Annotated[list[LineBody], Field(min_length=1, max_length=MAX_LINES)]


class OrderBody(NewOrderBody):
    """An accepted order. `total_cents` stays far below 2**53, which JavaScript can count to."""

    status: Literal["PLACED"]
    total_cents: int


class UserBody(_Model):
    """A registered customer."""

    user_id: Id
    name: str
    email: str


class StockBody(_Model):
    """How many pieces of one kind of goods can be ordered."""

    sku: Id
    available: int


def create_app(orders: Orders) -> FastAPI:
    """Return the HTTP face of the shop; users and stock are asked through `orders`."""
    app = FastAPI(
        title="Shop",
        version="1",
        redirect_slashes=False,
        docs_url=None,  # those pages load scripts from the internet; /openapi.json stays
        redoc_url=None,
        exception_handlers={ShopError: _shop_error},
    )
    answer_with_problems(app)
    app.add_middleware(_BodyLimit)

    @app.post("/v1/orders", status_code=201, response_model=OrderBody)
    async def place_order(body: NewOrderBody) -> Response:
        """Place one order; the same order again answers with the stored one, and 201."""
        lines = tuple(OrderLine(line.sku, line.quantity) for line in body.lines)
        order = await orders.place(NewOrder(body.order_id, body.user_id, lines))
        return _json(_order_body(order), 201, {"location": f"/v1/orders/{order.order_id}"})

    @app.get("/v1/orders/{order_id}", response_model=OrderBody)
    async def get_order(order_id: Id) -> Response:
        """Return one order."""
        return _json(_order_body(await orders.get(order_id)))

    @app.get("/v1/users/{user_id}", response_model=UserBody)
    async def get_user(user_id: Id) -> Response:
        """Return one user."""
        user = await orders.users.get(user_id)
        return _json(UserBody(user_id=user.user_id, name=user.name, email=user.email))

    @app.get("/v1/stock/{sku}", response_model=StockBody)
    async def get_stock(sku: Id) -> Response:
        """Return how many pieces can be ordered."""
        return _json(StockBody(sku=sku, available=await orders.inventory.stock(sku)))

    return app


class _BodyLimit:
    """Answer 413 to a body above 4 MiB: at once if its length is declared, else when it grew."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"content-length" and int(value) > MAX_BODY_BYTES:
                    await problem_response(problem(413, _TOO_LARGE))(scope, receive, send)
                    return
                if name == b"transfer-encoding":
                    receive = _limited(receive)
        await self._app(scope, receive, send)


def _limited(receive: Receive) -> Receive:
    size = 0

    async def counting() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MAX_BODY_BYTES:
            raise HTTPException(413, _TOO_LARGE)
        return message

    return counting


def _order_body(order: Order) -> OrderBody:
    return OrderBody(
        order_id=order.order_id,
        user_id=order.user_id,
        lines=[LineBody(sku=line.sku, quantity=line.quantity) for line in order.lines],
        status=order.status.value,
        total_cents=order.total_cents,
    )


def _json(body: _Model, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with a model; the response is ready-made, so that FastAPI need not check it again."""
    return Response(body.model_dump_json(), status, headers, "application/json")


async def _shop_error(_: Request, error: Any) -> Response:
    return problem_response(problem(error.http_status, str(error), code=error.code.name))
