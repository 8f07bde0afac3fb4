"""What a real nginx before an HTTP service does to requests and answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent

from labsvc import Lab, until
from labsvc.ports import HOST, hold
from labsvc.web.call_problems import error_of
from tests.engines.nginx import missing, nginx
from tests.patience import patience
from tests.web.conftest import Faces

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from labsvc.hosts.http import HttpService

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

app = FastAPI()
asked: Counter[str] = Counter()


@app.api_route("/echo", methods=["GET", "PUT", "POST"])
async def echo(request: Request) -> dict[str, Any]:
    """Tell what has arrived."""
    asked[request.method] += 1
    return {"version": request.scope["http_version"], "headers": dict(request.headers)}


@app.get("/events", response_class=EventSourceResponse)
async def events() -> AsyncIterator[ServerSentEvent]:
    """Send one event, and no other."""
    yield ServerSentEvent(data="first")
    await asyncio.Event().wait()


@app.get("/lines")
async def lines() -> StreamingResponse:
    """Send one line, and wait until its reader has left."""

    async def one() -> AsyncIterator[bytes]:
        yield b"first\n"
        asked["lines"] += 1
        try:
            await asyncio.Event().wait()
        finally:
            asked["lines"] -= 1

    return StreamingResponse(one())


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run a lab for the tests of this module."""
    with Lab() as running:
        yield running


@pytest.fixture(scope="module")
def service(lab: Lab) -> HttpService:
    """Serve the app above, without nginx."""
    return lab.serve_http(app)


@pytest.fixture(scope="module")
def faces() -> Iterator[Faces]:
    """Serve a gateway before a gRPC service."""
    running = Faces()
    yield running
    running.close()


@contextmanager
def behind(upstream: str, more: str = "", settings: str = "") -> Iterator[httpx2.Client]:
    """Run an nginx that passes requests to "host:port", or to what `settings` says of that name."""
    with (
        nginx(f"proxy_pass http://{upstream}; {more}", settings=settings) as target,
        httpx2.Client(base_url=f"http://{target}", timeout=patience(20), trust_env=False) as http,
    ):
        yield http


@pytest.fixture(scope="module")
def http(service: HttpService) -> Iterator[httpx2.Client]:
    """Run an nginx as it is when nothing is set."""
    with behind(service.target) as client:
        yield client


def code_of(answer: httpx2.Response) -> str:
    """Return the gRPC code that an answer stands for, which is nginx's own."""
    assert answer.headers["content-type"] == "text/html"
    name: str = error_of(answer.status_code, dict(answer.headers), answer.content).code.name
    return name


def test_what_arrives(service: HttpService, http: httpx2.Client) -> None:
    """HTTP/1.0, another host and no word of the client's address, unless one is told to say it."""
    told = http.get("/echo", headers={"x-forwarded-for": "192.0.2.1"}).json()
    assert told["version"] == "1.0"
    assert told["headers"]["host"] == service.target
    assert told["headers"]["connection"] == "close"
    assert told["headers"]["x-forwarded-for"] == "192.0.2.1"  # as the client made it up
    assert not {"x-real-ip", "via", "forwarded", "x-request-id"} & told["headers"].keys()


def test_headers_that_get_lost(http: httpx2.Client) -> None:
    """Names with "_" or "." are dropped without a word."""
    told = http.get("/echo", headers={"user_id": "1", "user.id": "1", "user-id": "1"}).json()
    assert {"user_id", "user.id", "user-id"} & told["headers"].keys() == {"user-id"}


def test_a_service_that_is_away() -> None:
    """502, in nginx's own HTML: no problem document."""
    with hold(0) as nobody, behind(f"{HOST}:{nobody.getsockname()[1]}") as http:
        answer = http.get("/echo")
    assert (answer.status_code, code_of(answer)) == (502, "UNAVAILABLE")


def test_a_service_that_is_slow(faces: Faces) -> None:
    """proxy_read_timeout is a 504 in HTML, and the call behind the gateway ends."""
    ended = faces.things.ended
    with behind(f"{HOST}:{faces.port}", "proxy_read_timeout 1s;") as http:
        answer = http.get("/v1/things/wait")
    assert (answer.status_code, code_of(answer)) == (504, "DEADLINE_EXCEEDED")
    until(lambda: faces.things.ended > ended, patience(10))


def test_a_large_header(http: httpx2.Client) -> None:
    """A line of more than 8 kB is a 400, and not the 431 of RFC 6585."""
    answer = http.get("/echo", headers={"x-large": "a" * 8200})
    assert (answer.status_code, code_of(answer)) == (400, "INVALID_ARGUMENT")
    assert http.get("/echo", headers={"x-large": "a" * 8000}).status_code == 200


def test_a_body_of_more_than_a_megabyte(http: httpx2.Client) -> None:
    """413, before the service has seen anything; the gateway would take 4 MiB."""
    before = asked["PUT"]
    answer = http.put("/echo", content=bytes(2**20 + 1))
    assert (answer.status_code, code_of(answer)) == (413, "INVALID_ARGUMENT")
    assert asked["PUT"] == before


def test_a_gateway_behind_it(faces: Faces) -> None:
    """Path, deadline and problem documents pass as they are."""
    with behind(f"{HOST}:{faces.port}") as http:
        assert http.get("/v1/things/a%2Fb").json()["id"] == "a/b"
        late = http.get("/v1/things/wait", headers={"grpc-timeout": "200m"})
    assert late.headers["content-type"] == "application/problem+json"
    assert (late.status_code, late.json()["code"]) == (504, "DEADLINE_EXCEEDED")


def test_a_caller_who_leaves(faces: Faces) -> None:
    """The call behind the gateway ends."""
    started, ended = faces.things.waiting, faces.things.ended
    with behind(f"{HOST}:{faces.port}") as http:
        with socket.create_connection((HOST, http.base_url.port or 0)) as line:
            line.sendall(b"GET /v1/things/wait HTTP/1.1\r\nhost: things\r\n\r\n")
            until(lambda: faces.things.waiting > started, patience(10))
        until(lambda: faces.things.ended > ended, patience(10))


def test_a_stream_is_held_back(service: HttpService, http: httpx2.Client) -> None:
    """A buffer is sent when it is full, or with the end of the answer."""
    with pytest.raises(httpx2.ReadTimeout), http.stream("GET", "/lines", timeout=0.5) as answer:
        next(answer.iter_lines())
    until(lambda: asked["lines"] == 0, patience(10))
    with (
        behind(service.target, "proxy_buffering off;") as unbuffered,
        unbuffered.stream("GET", "/lines") as answer,
    ):
        assert next(answer.iter_lines()) == "first"


def test_events_are_not_held_back(http: httpx2.Client) -> None:
    """FastAPI asks for that: `X-Accel-Buffering: no`, which nginx keeps to itself."""
    with http.sse("/events") as source:
        assert next(iter(source)).data == '"first"'
    with http.stream("GET", "/events") as answer:
        assert "x-accel-buffering" not in answer.headers


def test_the_lines_of_a_gateway_are_not_held_back(faces: Faces) -> None:
    """It asks for the same."""
    with (
        behind(f"{HOST}:{faces.port}") as http,
        http.stream("GET", "/v1/things/wait:watch?small=2") as answer,
    ):
        found = answer.iter_lines()
        assert [json.loads(next(found))["result"]["big"] for _ in range(2)] == ["0", "1"]


def test_a_quiet_stream_is_cut(faces: Faces) -> None:
    """The read timeout is for the time between two reads: 60 s if nothing is set."""
    with (
        behind(f"{HOST}:{faces.port}", "proxy_read_timeout 1s;") as http,
        http.stream("GET", "/v1/things/wait:watch?small=1") as answer,
    ):
        found = answer.iter_lines()
        next(found)
        with pytest.raises(httpx2.RemoteProtocolError):
            next(found)


@pytest.mark.parametrize(
    ("verb", "status", "arrived"), [("GET", 200, 1), ("PUT", 200, 1), ("POST", 502, 0)]
)
def test_a_request_that_is_tried_again(
    lab: Lab, service: HttpService, verb: str, status: int, arrived: int
) -> None:
    """If a server hangs up, nginx asks another: not for a POST, which may have had its effect."""

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = lab.loop.run(asyncio.start_server(hangs_up, HOST, 0))
    upstream = (
        f"upstream shops {{ server {HOST}:{server.sockets[0].getsockname()[1]} max_fails=0;"
        f" server {service.target} backup; }}"
    )
    before = asked[verb]
    with behind("shops", settings=upstream) as http:
        answer = http.request(verb, "/echo", headers={"idempotency-key": "k-1"})
    assert (answer.status_code, asked[verb] - before) == (status, arrived)
    server.close()
