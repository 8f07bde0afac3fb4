"""Whatever is sent to a gateway: no 5xx, no hang, a problem document each time."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.patience import patience
from tests.web.conftest import HOST
from tests.web.service import Thing

if TYPE_CHECKING:
    from tests.web.conftest import Faces

MANY = settings(
    deadline=None,
    max_examples=200,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
NAMES = [f.name for f in Thing.DESCRIPTOR.fields] + [f.json_name for f in Thing.DESCRIPTOR.fields]
VERBS = st.sampled_from(["GET", "PUT", "PATCH", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE-IT"])
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(NAMES)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*NAMES, "name"]) | st.text(max_size=3), inner)
    ),
    max_leaves=8,
)
BODIES = VALUES.map(json.dumps).map(str.encode) | st.binary(max_size=40)
VISIBLE = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="#"))
SEGMENTS = st.sampled_from(["x", "%2F", "..", "%00", "x:watch", "x:touch", "inner"]) | VISIBLE
PATHS = st.lists(SEGMENTS, max_size=3).map(lambda parts: "/v1/things/" + "/".join(parts))
NAMED = st.tuples(st.sampled_from([*NAMES, "inner.name", "inner.inner.size"]), VISIBLE)
QUERIES = st.lists(NAMED.map("=".join) | VISIBLE, max_size=3).map("&".join)
HEADERS = st.dictionaries(
    st.sampled_from(["grpc-timeout", "authorization", "traceparent", "content-type"]),
    st.text(st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
)


def exchange(faces: Faces, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes and return the answer: status, headers, body."""
    with socket.create_connection((HOST, faces.port), timeout=patience(10)) as line:
        line.sendall(request)
        raw = b""
        while chunk := line.recv(65536):
            raw += chunk
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, value in (each.split(": ", 1) for each in lines)}
    return int(status.split()[1]), headers, body


@MANY
@given(verb=VERBS, path=PATHS, query=QUERIES, body=BODIES, headers=HEADERS)
def test_any_request(  # noqa: PLR0917  # hypothesis passes them by name
    faces: Faces, verb: str, path: str, query: str, body: bytes, headers: dict[str, str]
) -> None:
    """A request is served, or it is the caller's fault and said in a document."""
    sent = {
        "host": "gateway",
        "connection": "close",
        "content-length": str(len(body)),
        "content-type": "application/json",
        **headers,
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
    head = f"{verb} {path}?{query} HTTP/1.1\r\n{lines}\r\n".encode("latin-1")
    status, told, content = exchange(faces, head + body)
    assert status < 500 or (status == 504 and "grpc-timeout" in headers)
    if status == 400 and told["content-type"].startswith("text/plain"):
        assert content == b"Invalid HTTP request received."  # uvicorn's own, before any application
    elif status >= 400 and verb != "HEAD":
        assert told["content-type"] == "application/problem+json"
        document: dict[str, Any] = json.loads(content)
        assert document["status"] == status
        assert document["code"]
        assert document["detail"]


def test_a_body_that_does_not_come(faces: Faces) -> None:
    """It is given up in the time that a call has."""
    head = b"PUT /v1/things/x HTTP/1.1\r\nhost: g\r\ncontent-length: 10\r\n\r\n{"
    status, headers, _ = exchange(faces, head)
    assert status == 408
    assert headers["content-type"] == "application/problem+json"
