"""Every error is a problem document, whatever comes in."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated, Any

import pytest
from fastapi import FastAPI, HTTPException
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, Field
from starlette.testclient import TestClient

from labsvc.checks.scenarios.address_book import AddressBook
from labsvc.shop.api import create_app
from labsvc.shop.orders import Orders
from labsvc.shop.store import Store
from labsvc.web.app_problems import Problem, answer_with_problems
from labsvc.web.problem import ProblemError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp

JSON = {"content-type": "application/json"}
SECRET = "the password is hunter2"


class Parcel(BaseModel, extra="forbid", strict=True):
    """What a parcel weighs."""

    name: str
    weight: Annotated[float, Field(gt=0, allow_inf_nan=False)]


def make_app() -> FastAPI:
    """Return an app that answers with each kind of error."""
    app = FastAPI()
    answer_with_problems(app)

    @app.post("/parcels")
    async def post_parcel(parcel: Parcel) -> Parcel:
        return parcel

    @app.get("/refused")
    async def refuse() -> None:
        raise ProblemError(409, "too late", code="TOO_LATE", headers={"retry-after": "3"})

    @app.get("/http")
    async def http_error() -> None:
        raise HTTPException(403, "not yours", headers={"www-authenticate": "Basic"})

    @app.get("/unchanged")
    async def unchanged() -> None:
        raise HTTPException(304, headers={"etag": '"1"'})

    @app.get("/broken")
    async def broken() -> None:
        raise RuntimeError(SECRET)

    return app


@pytest.fixture(scope="module")
def client() -> TestClient:
    """Return a client that gets a 500 as an answer, as over the network."""
    return TestClient(make_app(), raise_server_exceptions=False)


def problem_of(answer: Any) -> Problem:
    """Hold an answer against RFC 9457 and return the document."""
    assert answer.headers["content-type"] == "application/problem+json"
    found = Problem.model_validate_json(answer.content)
    assert found.status == answer.status_code
    return found


def test_problem_error_is_the_document(client: TestClient) -> None:
    """Status, code, detail and headers are those that the handler raised."""
    answer = client.get("/refused")
    assert problem_of(answer) == Problem(
        title="Conflict", status=409, detail="too late", code="TOO_LATE"
    )
    assert answer.headers["retry-after"] == "3"


def test_errors_of_the_framework_are_documents(client: TestClient) -> None:
    """A route that is not there, a method, an HTTPException with its headers."""
    assert problem_of(client.get("/none")).title == "Not Found"
    answer = client.get("/parcels")
    assert problem_of(answer).status == 405
    assert answer.headers["allow"] == "POST"
    answer = client.get("/http")
    assert problem_of(answer).detail == "not yours"
    assert answer.headers["www-authenticate"] == "Basic"


def test_no_error_has_no_document(client: TestClient) -> None:
    """A 304 has no body."""
    answer = client.get("/unchanged")
    assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')


def test_an_exception_stays_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller gets an id, and the log has that id with the text."""
    with caplog.at_level(logging.ERROR):
        found = problem_of(client.get("/broken"))
    assert (found.status, found.code) == (500, "INTERNAL")
    name = found.detail.rpartition("=")[2]
    assert SECRET not in found.model_dump_json()
    assert name in caplog.text
    assert SECRET in caplog.text


def test_wrong_members_are_named_and_not_repeated(client: TestClient) -> None:
    """Each wrong member has its name; what the client sent does not come back."""
    body = json.dumps({"name": 7, "weight": float("nan"), SECRET * 20: SECRET * 2})
    answer = client.post("/parcels", content=body, headers=JSON)
    found = problem_of(answer)
    assert found.errors is not None
    assert [each.field for each in found.errors][:2] == ["body.name", "body.weight"]
    assert len(found.errors[2].field) == 80
    assert SECRET * 2 not in answer.text.replace(found.errors[2].field, "")


def test_a_name_that_is_no_text_is_wrong(client: TestClient) -> None:
    """Half a character in JSON is a name that UTF-8 cannot hold, nor the answer."""
    answer = client.post("/parcels", content=b'{"\\ud800": 1}', headers=JSON)
    assert problem_of(answer).status == 422


def test_only_the_first_wrong_members_are_named(client: TestClient) -> None:
    """A thousand mistakes make no long answer."""
    body = json.dumps({f"x{number}": 1 for number in range(1000)})
    errors = problem_of(client.post("/parcels", content=body, headers=JSON)).errors
    assert errors is not None
    assert len(errors) == 20


def test_the_document_is_in_the_schema() -> None:
    """OpenAPI tells that every route may answer with a problem."""
    schema = make_app().openapi()
    assert "Problem" in schema["components"]["schemas"]
    told = schema["paths"]["/parcels"]["post"]["responses"]
    assert {"4XX", "5XX"} < told.keys()
    assert "422" not in told  # not what FastAPI would send by itself


texts = st.text(st.characters(), max_size=20)
scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts)
values = st.recursive(
    scalars, lambda one: st.lists(one, max_size=3) | st.dictionaries(texts, one, max_size=3)
)
bodies = st.one_of(
    values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(
        st.sampled_from(["name", "weight", "order_id", "lines", "street", "\ud800"]), values
    ).map(lambda value: json.dumps(value).encode()),
    st.binary(max_size=100),
    st.sampled_from([b"[" * 100_000, b"9" * 5000, b'{"a":"\xff"}', b"\xff\xfe{}", b""]),
)
doors = st.sampled_from(
    [
        ("parcels", "POST", "/parcels"),
        ("shop", "POST", "/v1/orders"),
        ("shop", "GET", "/v1/users/%ff%00"),
        ("addresses", "PUT", "/users/u-1/address"),
        ("addresses", "GET", "/users/u-2/address"),
    ]
)
anywhere = st.tuples(
    st.sampled_from(["parcels", "shop", "addresses"]),
    st.sampled_from(["GET", "PUT", "POST", "DELETE", "OPTIONS", "BREW"]),
    st.binary(max_size=20).map(lambda key: "/v1/users/" + "".join(f"%{b:02x}" for b in key)),
)
headers = st.fixed_dictionaries(
    {"content-type": st.just("application/json") | st.sampled_from(["text/plain", "", "\xe4"])},
    optional={"if-match": st.sampled_from(["*", '"x"', 'W/"x"', "\xe4", '"', ""])},
)


@pytest.fixture(scope="module")
def faces() -> Iterator[dict[str, TestClient]]:
    """Return a client for each HTTP face."""
    with Store.seeded() as store:
        apps: dict[str, ASGIApp] = {
            "parcels": make_app(),
            "shop": create_app(Orders(store)),
            "addresses": AddressBook(),
        }
        yield {name: TestClient(app, raise_server_exceptions=False) for name, app in apps.items()}


@settings(deadline=None, max_examples=150)
@given(
    door=doors | anywhere,
    body=bodies,
    sent=headers,
)
def test_bad_input_never_is_our_fault(
    faces: dict[str, TestClient], door: tuple[str, str, str], body: bytes, sent: dict[str, str]
) -> None:
    """No request makes an HTTP face answer 5xx, and every 4xx is a problem document."""
    face, method, path = door
    raw = [(name.encode(), value.encode("latin-1")) for name, value in sent.items()]
    answer = faces[face].request(method, path, content=body, headers=raw)
    assert answer.status_code < 500, answer.text
    if answer.status_code >= 400:
        problem_of(answer)
