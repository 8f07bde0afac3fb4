"""What the OpenAPI document of an HTTP face says is what it takes, refuses and answers.

Requests are made from the document: such as fit it, and such as do not.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc import Lab
from labsvc.shop.api import create_app
from labsvc.shop.orders import Orders
from labsvc.shop.store import Store
from tests.patience import patience
from tests.web.test_app_problems import make_app, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = settings(
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
APPS = {"shop": create_app(Orders(Store.seeded())), "parcels": make_app()}
DOCUMENTS = {name: app.openapi() for name, app in APPS.items()}
ALL = [
    (name, path, verb)
    for name, document in DOCUMENTS.items()
    for path, item in document["paths"].items()
    for verb in item
]
KNOWN = st.sampled_from(["u-1", "book-1", "pen-1", "tea-100"])  # or nearly all would be 404
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
BY_DESIGN = {"/http", "/refused", "/broken"}  # which answer with an error whatever is sent


@pytest.fixture(scope="module")
def clients() -> Iterator[dict[str, httpx2.Client]]:
    """Serve each app, with a client for it."""
    with Lab() as lab:
        made = {
            name: httpx2.Client(
                base_url=lab.serve_http(app, name=name).url,
                timeout=patience(10),
                trust_env=False,
            )
            for name, app in APPS.items()
        }
        yield made
        for each in made.values():
            each.close()


def fitting(schema: dict[str, Any], document: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values that a schema allows."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return fitting(document["components"]["schemas"][name], document)
    kind = schema["type"]
    if kind == "object":
        members = schema["properties"].items()
        return st.fixed_dictionaries({name: fitting(each, document) for name, each in members})
    if kind == "array":
        size = {"min_size": schema["minItems"], "max_size": min(3, schema["maxItems"])}
        return st.lists(fitting(schema["items"], document), **size)
    if kind == "integer":
        return st.integers(schema["minimum"], schema["maximum"])
    if kind == "number":
        return st.floats(schema["exclusiveMinimum"], 1e300, exclude_min=True)
    known = KNOWN | st.from_regex(schema.get("pattern", "").removesuffix("$") + r"\Z")
    return known if "pattern" in schema else st.text(st.characters(exclude_categories=["Cs"]))


@st.composite
def broken(draw: st.DrawFn, schema: dict[str, Any], document: dict[str, Any]) -> Any:
    """Return a body that differs from a fitting one in a single place."""
    body = draw(fitting(schema, document))
    place = body
    while isinstance(inner := place.get("lines"), list) and draw(st.booleans()):
        place = inner[0]
    change, name = draw(st.sampled_from("-+=")), draw(st.sampled_from(sorted(place)))
    if change == "-":
        del place[name]
    elif change == "+":
        place[name + "_"] = draw(SCALARS)
    else:  # each member here is a text, a number above 0, or a list
        place[name] = draw(st.sampled_from([None, False, -1, 10**400, "", "\n", [], {}, [0]]))
        if name == "name" and isinstance(place[name], str):
            place[name] = 0
    return body


def sent(
    http: httpx2.Client, verb: str, path: str, values: dict[str, str], body: Any
) -> httpx2.Response:
    """Send a request."""
    for name, value in values.items():
        path = path.replace(f"{{{name}}}", quote(value, safe=""))
    content = None if body is None else json.dumps(body).encode()
    return http.request(verb, path, content=content, headers={"content-type": "application/json"})


def is_a_segment(text: str) -> bool:
    """Return whether a client sends it as it is: dots alone it takes away (RFC 3986, 5.2.4)."""
    return text not in {".", ".."}


def described(answer: httpx2.Response, operation: dict[str, Any]) -> None:
    """Hold an answer against the document: its status, its media type, its problem."""
    status = str(answer.status_code)
    told = operation["responses"].get(status) or operation["responses"][status[0] + "XX"]
    kind = answer.headers.get("content-type")
    assert kind is None or kind in told["content"], answer.text
    if answer.is_error:
        problem_of(answer)


def body_schema(operation: dict[str, Any]) -> dict[str, Any] | None:
    """Return the schema of the body, None if an operation has none."""
    if "requestBody" not in operation:
        return None
    schema: dict[str, Any] = operation["requestBody"]["content"]["application/json"]["schema"]
    return schema


@pytest.mark.parametrize(("name", "path", "verb"), ALL)
@MANY
@given(data=st.data())
def test_what_the_document_allows(
    clients: dict[str, httpx2.Client], name: str, path: str, verb: str, data: st.DataObject
) -> None:
    """It is served, or refused for what is not there: never as malformed."""
    document = DOCUMENTS[name]
    operation = document["paths"][path][verb]
    schema = body_schema(operation)
    values = {
        each["name"]: data.draw(fitting(each["schema"], document).filter(is_a_segment))
        for each in operation.get("parameters", [])
    }
    body = None if schema is None else data.draw(fitting(schema, document))
    answer = sent(clients[name], verb, path, values, body)
    if answer.status_code == 304:  # named by no document
        return
    described(answer, operation)
    goods = [line["sku"] for line in (body or {}).get("lines", [])]
    if path not in BY_DESIGN and len({*goods}) == len(goods):  # no schema can ask for that
        assert answer.status_code in {200, 201, 404, 409}, answer.text


@pytest.mark.parametrize(
    ("name", "path", "verb"),
    [each for each in ALL if each[2] in {"post", "put"}],
)
@MANY
@given(data=st.data())
def test_a_body_that_the_document_forbids(
    clients: dict[str, httpx2.Client], name: str, path: str, verb: str, data: st.DataObject
) -> None:
    """It is refused, and the document says how."""
    document = DOCUMENTS[name]
    operation = document["paths"][path][verb]
    schema = body_schema(operation)
    assert schema is not None
    answer = sent(clients[name], verb, path, {}, data.draw(broken(schema, document)))
    assert answer.status_code in {400, 422}, answer.text
    described(answer, operation)


@MANY
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=80))
@pytest.mark.parametrize("kind", ["orders", "users", "stock"])
def test_a_path_that_the_document_forbids(
    clients: dict[str, httpx2.Client], kind: str, text: str
) -> None:
    """An id is refused that is none, and otherwise not found."""
    answer = sent(clients["shop"], "get", f"/v1/{kind}/{{id}}", {"id": text}, None)
    assert answer.status_code in {200, 404, 405, 422}
    if answer.is_error:
        problem_of(answer)
