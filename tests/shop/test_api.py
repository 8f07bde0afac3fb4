"""Tests of the shop over HTTP, bad input above all."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc.loop import Loop
from labsvc.shop.api import MAX_BODY_BYTES, create_app
from labsvc.shop.orders import Orders
from labsvc.shop.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMEOUT = 20
MANY = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
JSON = {"content-type": "application/json"}


class Shop:
    """The shop's FastAPI app on uvicorn in a background loop."""

    def __init__(self) -> None:
        self.loop = Loop.start()
        self.store = Store.seeded()
        self.app = create_app(Orders(self.store))
        config = uvicorn.Config(self.app, host="127.0.0.1", port=0, log_config=None)
        self.server = uvicorn.Server(config)
        self.served = self.loop.submit(self.server.serve())
        self.loop.run(self._started())
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        self.client = httpx2.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=TIMEOUT, trust_env=False
        )

    async def _started(self) -> None:
        while not self.server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.005)

    def close(self) -> None:
        """Stop everything."""
        self.client.close()
        self.server.should_exit = True
        self.served.result(TIMEOUT)
        self.loop.stop()
        self.store.close()

    def post(self, content: Any) -> httpx2.Response:
        """Send a body, whatever it is."""
        return self.client.post("/v1/orders", content=content, headers=JSON)


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """Serve one shop to all tests of this module."""
    made = Shop()
    yield made
    made.close()


def order(order_id: str = "h-1", **changes: Any) -> dict[str, Any]:
    """Return the body of a good order, with changes."""
    good = {
        "order_id": order_id,
        "user_id": "u-1",
        "lines": [{"sku": "book-1", "quantity": 2}, {"sku": "pen-1", "quantity": 1}],
    }
    return good | changes


def check_problem(response: httpx2.Response, status: int) -> dict[str, Any]:
    """Hold a refusal against RFC 9457 and return it."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = response.json()
    assert problem["type"] == "about:blank"
    assert problem["status"] == status
    assert problem["title"]
    assert problem["detail"]
    return problem


def test_order_over_http(shop: Shop) -> None:
    """An order is placed, found at its location, and the same again is the same order."""
    response = shop.post(json.dumps(order()))
    assert response.status_code == 201
    assert response.json() == order() | {"status": "PLACED", "total_cents": 2699}
    assert shop.post(json.dumps(order())).json() == response.json()
    assert shop.client.get(response.headers["location"]).json() == response.json()


def test_users_and_stock_over_http(shop: Shop) -> None:
    """Users in any script and stock can be read."""
    user = shop.client.get("/v1/users/u-3").json()
    assert user == {"user_id": "u-3", "name": "第三位顾客", "email": "third@shop.example"}
    assert shop.client.get("/v1/stock/lamp-1").json() == {"sku": "lamp-1", "available": 5}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/orders/h-none", 404, "NOT_FOUND"),
        ("/v1/users/u-9", 404, "NOT_FOUND"),
        ("/v1/stock/no-such", 404, "NOT_FOUND"),
        ("/v1/users/%00", 422, "INVALID_ARGUMENT"),
        ("/v1/orders/%ff%fe", 422, "INVALID_ARGUMENT"),
        ("/v1/orders/" + "x" * 65, 422, "INVALID_ARGUMENT"),
        ("/v1/nothing", 404, None),
        ("/v1/orders", 405, None),
    ],
)
def test_wrong_path_is_a_problem(shop: Shop, path: str, status: int, code: str | None) -> None:
    """What is not there, or is malformed, is a problem document with its gRPC code."""
    assert check_problem(shop.client.get(path), status).get("code") == code


@pytest.mark.parametrize(
    ("status", "code", "changes"),
    [
        (404, "NOT_FOUND", {"user_id": "u-9"}),
        (404, "NOT_FOUND", {"lines": [{"sku": "no-such", "quantity": 1}]}),
        (409, "FAILED_PRECONDITION", {"lines": [{"sku": "chair-1", "quantity": 1}]}),
        (422, "INVALID_ARGUMENT", {"lines": [{"sku": "book-1", "quantity": 1}] * 2}),
        (422, "INVALID_ARGUMENT", {"lines": []}),
        (422, "INVALID_ARGUMENT", {"lines": [{"sku": "s", "quantity": 1}] * 101}),
        (422, "INVALID_ARGUMENT", {"user_id": "u 1"}),
        (422, "INVALID_ARGUMENT", {"user_id": None}),
        (422, "INVALID_ARGUMENT", {"user_id": 1}),
        (422, "INVALID_ARGUMENT", {"userId": "u-1"}),
        (422, "INVALID_ARGUMENT", {"\ud800": 1}),
        (422, "INVALID_ARGUMENT", {"order_id": "h-bad\n"}),
        (422, "INVALID_ARGUMENT", {"order_id": "\ud800"}),
        (422, "INVALID_ARGUMENT", {"x" * 100_000: 1}),
    ],
)
def test_refused_order_is_a_problem(
    shop: Shop, status: int, code: str, changes: dict[str, Any]
) -> None:
    """Each mistake has its own status and code, a short answer, and writes nothing."""
    response = shop.post(json.dumps(order("h-bad") | changes))
    assert check_problem(response, status)["code"] == code
    assert len(response.content) < 10_000
    assert shop.store.find_order("h-bad") is None


def test_id_used_for_another_order(shop: Shop) -> None:
    """The same id with other content is 409 ALREADY_EXISTS."""
    shop.post(json.dumps(order("h-2")))
    response = shop.post(json.dumps(order("h-2", user_id="u-2")))
    assert check_problem(response, 409)["code"] == "ALREADY_EXISTS"


@pytest.mark.parametrize(
    "quantity",
    ["NaN", "-Infinity", "1e400", "-1", "0", "1001", "true", "2.0", '"2"', "null", "{}", "9" * 30],
)
def test_wrong_quantity_is_unprocessable(shop: Shop, quantity: str) -> None:
    """Numbers that are none, too large or of another type are 422 and name the member."""
    body = json.dumps(order("h-q")).replace('"quantity": 2', f'"quantity": {quantity}')
    problem = check_problem(shop.post(body), 422)
    assert [wrong["field"] for wrong in problem["errors"]] == ["body.lines.0.quantity"]
    assert shop.store.find_order("h-q") is None


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (422, b""),
        (422, b"{"),
        (422, b"null"),
        (422, b"[]"),
        (422, b"\xff\xfe{}"),
        (400, b'{"order_id": "\xff"}'),
        (400, b"9" * 5000),
        (400, b"[" * 100_000),
    ],
)
def test_body_that_is_no_order(shop: Shop, status: int, body: bytes) -> None:
    """Half a document, other encodings, a number or a nesting beyond bounds are 4xx."""
    check_problem(shop.post(body), status)


def test_wrong_content_type(shop: Shop) -> None:
    """A good order that does not say it is JSON is refused."""
    headers = {"content-type": "text/plain"}
    response = shop.client.post("/v1/orders", content=json.dumps(order()), headers=headers)
    check_problem(response, 422)


def test_oversized_body_is_refused(shop: Shop) -> None:
    """4 MiB is read; one byte more is 413, with its length declared or sent in chunks."""
    largest = json.dumps(order("h-large")).encode().ljust(MAX_BODY_BYTES)
    assert shop.post(largest).status_code == 201
    check_problem(shop.post(largest + b" "), 413)

    def chunks() -> Iterator[bytes]:
        for _ in range(MAX_BODY_BYTES // 65536 + 1):
            yield b" " * 65536

    check_problem(shop.post(chunks()), 413)
    assert shop.client.get("/v1/users/u-1").status_code == 200


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(st.characters(), max_size=20)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(["order_id", "user_id", "lines", "extra", "\ud800"])


@MANY
@given(changes=st.dictionaries(names, values, min_size=1, max_size=3))
def test_any_json_gets_a_clear_status(shop: Shop, changes: dict[str, Any]) -> None:
    """Whatever the members hold, NaN included, the answer is 201 or a 4xx problem."""
    response = shop.post(json.dumps(order("h-any") | changes))
    if response.status_code != 201:
        assert response.status_code in {404, 409, 422}
        check_problem(response, response.status_code)


@MANY
@given(body=st.binary(max_size=200))
def test_any_bytes_get_a_clear_status(shop: Shop, body: bytes) -> None:
    """Bytes that are no JSON are a 4xx problem."""
    response = shop.post(body)
    assert response.status_code in {400, 422}
    check_problem(response, response.status_code)


@MANY
@given(kind=st.sampled_from(["orders", "users", "stock"]), key=st.binary(min_size=1, max_size=80))
def test_any_path_gets_a_clear_status(shop: Shop, kind: str, key: bytes) -> None:
    """Any bytes in the path are a found thing or a 4xx problem."""
    quoted = "".join(f"%{byte:02x}" for byte in key)
    response = shop.client.get(f"/v1/{kind}/{quoted}")
    if response.status_code != 200:
        assert response.status_code in {404, 405, 422}
        check_problem(response, response.status_code)


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(garbage=st.binary(max_size=500))
def test_service_survives_garbage_on_its_port(shop: Shop, garbage: bytes) -> None:
    """Bytes that are no HTTP end that connection only."""
    with socket.create_connection(("127.0.0.1", shop.port), timeout=TIMEOUT) as connection:
        connection.sendall(garbage)
        connection.shutdown(socket.SHUT_WR)
        try:
            while connection.recv(65536):
                pass
        except ConnectionResetError:
            pass
    assert shop.client.get("/v1/users/u-1").status_code == 200


@pytest.mark.parametrize("sent", [0, 10, 60, None])
def test_client_that_leaves_gets_all_or_nothing(shop: Shop, sent: int | None) -> None:
    """A client that leaves before its body ends places nothing; after it, all of the order."""
    order_id = f"h-left-{sent}"
    body = json.dumps(order(order_id, lines=[{"sku": "tea-100", "quantity": 1}])).encode()
    before = shop.store.stock("tea-100")
    head = (
        f"POST /v1/orders HTTP/1.1\r\nHost: 127.0.0.1:{shop.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", shop.port), timeout=TIMEOUT) as connection:
        connection.sendall(head.encode() + body[:sent])

    async def look() -> tuple[bool, int]:
        """Look from the server's own loop, between two requests."""
        return shop.store.find_order(order_id) is not None, before - shop.store.stock("tea-100")

    placed, taken = shop.loop.run(look())
    assert taken == (1 if placed else 0)
    if sent is not None:
        assert not placed
    assert shop.post(body).status_code == 201
    assert shop.loop.run(look()) == (True, 1)


def test_schema_names_what_is_served(shop: Shop) -> None:
    """OpenAPI lists the four paths and the problem document; no page loads foreign scripts."""
    schema = shop.client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/v1/orders",
        "/v1/orders/{order_id}",
        "/v1/users/{user_id}",
        "/v1/stock/{sku}",
    }
    assert "Problem" in schema["components"]["schemas"]
    assert shop.client.get("/docs").status_code == 404
