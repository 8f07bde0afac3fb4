"""What a collector does with requests, over gRPC and over HTTP, and what it counts."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from labsvc import Lab, until
from labsvc.telemetry.receiver import CollectorStats, Received, TraceReceiver, otlp_http
from labsvc.telemetry.tail import TailSampler
from tests.patience import patience
from tests.telemetry.otlp import message, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.hosts.http import HttpService
    from labsvc.telemetry.spans import Trace

BODY = request(message(1), message(2)).SerializeToString()
PACKED = gzip.compress(BODY, mtime=0)  # it names tests, which are alike in each process


@pytest.fixture
def received() -> Received:
    """Give the place where spans are kept."""
    return Received()


@pytest.fixture
def over_http(lab: Lab, received: Received) -> HttpService:
    """Serve OTLP over HTTP."""
    return lab.serve_http(otlp_http(received.take, lambda: 0.0))


def post(service: HttpService, body: bytes, **headers: str) -> httpx2.Response:
    """Send a body to where spans go."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}
    return httpx2.post(f"{service.url}/v1/traces", content=body, headers=named, timeout=20)


def test_spans_are_kept_by_trace(received: Received) -> None:
    """Traces come in the order of their first spans, whichever request the rest came in."""
    received.take(request(message(1, trace=2), message(2, trace=1)))
    received.take(request(message(3, trace=2)))
    assert [(each.trace_id[-1], len(each.spans)) for each in received.traces()] == [
        ("2", 2),
        ("1", 1),
    ]
    assert received.stats() == CollectorStats(
        requests=2, received=3, kept=3, refused=0, waiting=0, dropped=0
    )


def test_a_trace_that_is_not_there_has_no_spans(received: Received) -> None:
    """Asking for it is no error, and does not make it."""
    assert received.trace("0" * 32).spans == ()
    assert received.traces() == []


def test_the_oldest_traces_give_way() -> None:
    """Whole traces go, no more than have to, and their spans are counted."""
    received = Received(most=4)
    received.take(request(message(1, 1), message(2, 1), message(3, 2)))
    received.take(request(message(4, 3), message(5, 1)))
    assert [each.trace_id[-1] for each in received.traces()] == ["2", "3"]
    assert received.stats() == CollectorStats(2, 5, 5, 0, 0, dropped=3)
    received.take(request(*(message(10 + number, 4) for number in range(5))))
    assert received.traces() == []  # one that is too large for itself goes too
    assert received.stats().dropped == 10


def test_clear_makes_room() -> None:
    """The traces are forgotten and the counts go on; what is cleared was not dropped."""
    received = Received(most=3)
    received.take(request(message(1), message(2), message(3)))
    received.clear()
    assert received.traces() == []
    received.take(request(message(4), message(5), message(6)))
    assert len(received.traces()[0].spans) == 3
    assert received.stats() == CollectorStats(2, 6, 6, 0, 0, dropped=0)


def test_nothing_is_lost_between_threads(received: Received) -> None:
    """Four threads hand in and one reads: each span is counted once."""
    done = threading.Event()

    def hand_in(thread: int) -> None:
        for number in range(200):
            received.take(request(message(number + 1, trace=thread + 1)))

    def read() -> None:
        while not done.is_set():
            assert len(received.traces()) <= 4
            received.stats()

    reader = threading.Thread(target=read)
    writers = [threading.Thread(target=hand_in, args=(thread,)) for thread in range(4)]
    for each in (reader, *writers):
        each.start()
    for each in writers:
        each.join()
    done.set()
    reader.join()
    assert [len(each.spans) for each in received.traces()] == [200] * 4
    assert received.stats() == CollectorStats(800, 800, 800, 0, 0, 0)


def test_a_decision_is_due_when_somebody_looks() -> None:
    """With no further request, reading decides; until then spans are counted as waiting."""
    waiting = Received(TailSampler(lambda _: True, 3600, deque()))
    waiting.take(request(message(1)))
    assert waiting.traces() == []
    assert waiting.stats() == CollectorStats(1, 1, 0, 0, waiting=1, dropped=0)
    for look in (Received.traces, Received.stats, lambda each: each.trace("0")):
        over = Received(TailSampler(lambda trace: trace.trace_id.endswith("1"), 0, deque()))
        over.take(request(message(1, 1), message(2, 2)))
        look(over)
        assert over.stats() == CollectorStats(1, 2, 1, 1, waiting=0, dropped=0)


def test_a_span_that_comes_too_late_is_not_seen_by_the_policy() -> None:
    """Its trace is decided on before it is looked at, even if nobody asked in between."""
    seen: list[int] = []

    def keep(trace: Trace) -> bool:
        seen.append(len(trace.spans))
        return False

    received = Received(TailSampler(keep, 0, deque()))
    received.take(request(message(1)))
    received.take(request(message(2)))
    assert received.stats() == CollectorStats(2, 2, 0, refused=2, waiting=0, dropped=0)
    assert seen == [1]


def test_a_policy_may_look_into_the_collector() -> None:
    """It is asked while spans are taken in, and does not wait for itself."""

    def keep(trace: Trace) -> bool:
        return not looked_at.traces()

    def take() -> None:
        for number in (1, 2, 3):
            looked_at.take(request(message(number, number)))

    looked_at = Received(TailSampler(keep, 0, deque()))
    taking = threading.Thread(target=take, daemon=True)
    taking.start()
    taking.join(patience(10))
    assert not taking.is_alive()
    assert looked_at.stats().waiting == 0
    assert len(looked_at.traces()) == 1


def test_spans_over_grpc(lab: Lab, received: Received) -> None:
    """Every span of a request is there when it is answered."""
    service = lab.serve_grpc(TraceReceiver(received.take, lambda: 0.0))
    with grpc.insecure_channel(service.target) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        answer = export(request(message(1), message(2)), timeout=20)
        assert answer == ExportTraceServiceResponse()
        assert export(ExportTraceServiceRequest(), timeout=20) == ExportTraceServiceResponse()
    assert received.stats() == CollectorStats(2, 2, 2, 0, 0, 0)


def test_who_gives_up_has_sent_nothing(lab: Lab, received: Received) -> None:
    """A request is taken in after the delay; one that ends before is not counted."""
    service = lab.serve_grpc(TraceReceiver(received.take, lambda: 3600.0))
    with grpc.insecure_channel(service.target) as channel:
        export: Any = TraceServiceStub(channel).Export  # type: ignore[no-untyped-call]
        with pytest.raises(grpc.RpcError):
            export(request(message(1)), timeout=0.2)
    until(lambda: service.stats.codes.get("CANCELLED") == 1, timeout=patience(10))
    assert received.stats().received == 0


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY, {}),
        (BODY, {"content_encoding": "identity"}),
        (PACKED, {"content_encoding": "gzip"}),
        (PACKED, {"content_encoding": "GZIP", "content_type": "application/x-protobuf"}),
    ],
)
def test_spans_over_http(
    over_http: HttpService, received: Received, body: bytes, headers: dict[str, str]
) -> None:
    """Packed or plain, a body is taken in and answered in protobuf."""
    answer = post(over_http, body, **headers)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-protobuf")
    assert ExportTraceServiceResponse.FromString(answer.content) == ExportTraceServiceResponse()
    assert received.stats() == CollectorStats(1, 2, 2, 0, 0, 0)


def test_no_spans_over_http(over_http: HttpService, received: Received) -> None:
    """An empty body is a request without spans."""
    assert post(over_http, b"").status_code == 200
    assert received.stats() == CollectorStats(1, 0, 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY[:-1], {}),
        (b'{"resourceSpans": []}', {"content_type": "application/json"}),
        (PACKED, {}),
        (BODY, {"content_encoding": "gzip"}),
        (b"", {"content_encoding": "gzip"}),
        (PACKED[:-1], {"content_encoding": "gzip"}),
        (PACKED[:20], {"content_encoding": "gzip"}),
        (PACKED[:-8] + bytes(8), {"content_encoding": "gzip"}),
        (PACKED + PACKED, {"content_encoding": "gzip"}),
        (BODY, {"content_encoding": "br"}),
    ],
    ids=[
        "cut short",
        "json",
        "not said to be packed",
        "not packed",
        "packed nothing",
        "packed, cut at its end",
        "packed, cut early",
        "packed, wrong checksum",
        "packed, twice in a row",
        "unknown packing",
    ],
)
def test_a_body_that_is_none(
    over_http: HttpService, received: Received, body: bytes, headers: dict[str, str]
) -> None:
    """What is cut short, of another kind or packed otherwise is refused, and none of it is kept."""
    answer = post(over_http, body, **headers)
    assert answer.status_code == 400
    assert b"no OTLP request" in answer.content
    assert received.stats().requests == 0
    assert post(over_http, BODY).status_code == 200


def test_a_bomb_is_not_unpacked(over_http: HttpService, received: Received) -> None:
    """A body that is small only while it is packed is refused."""
    assert (
        post(over_http, gzip.compress(bytes(2**27), 1), content_encoding="gzip").status_code == 400
    )
    assert received.stats().requests == 0


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/v1/traces"), ("PUT", "/v1/traces"), ("POST", "/v1/metrics"), ("POST", "/")],
)
def test_nothing_else_is_there(over_http: HttpService, method: str, path: str) -> None:
    """Other paths and methods are not found, and the answer says what is."""
    answer = httpx2.request(method, f"{over_http.url}{path}", content=BODY)
    assert (answer.status_code, answer.text) == (404, "POST /v1/traces is all there is")


def test_a_client_that_goes_away_has_sent_nothing(
    over_http: HttpService, received: Received
) -> None:
    """Half a body is not taken for a whole one, although it can be read as one."""
    host, _, port = over_http.target.partition(":")
    head = f"POST /v1/traces HTTP/1.1\r\nHost: x\r\nContent-Length: {2 * len(BODY)}\r\n\r\n"
    with socket.create_connection((host, int(port))) as client:
        client.sendall(head.encode() + BODY)
        until(lambda: over_http.stats.requests == 1, timeout=patience(10))
    assert post(over_http, BODY).status_code == 200
    assert received.stats().requests == 1


def asked(app: Callable[..., Any], *messages: dict[str, Any]) -> list[dict[str, Any]]:
    """Run an ASGI app on these messages and return what it sends."""
    sent: list[dict[str, Any]] = []
    coming = iter(messages)
    scope = {"type": "http", "method": "POST", "path": "/v1/traces", "headers": []}

    async def receive() -> dict[str, Any]:
        return next(coming)

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(app(scope, receive, send))
    return sent


def test_a_body_in_parts(received: Received) -> None:
    """The parts are put together; an end before the last of them is no end of the body."""
    app = otlp_http(received.take, lambda: 0.0)
    first = {"type": "http.request", "body": BODY, "more_body": True}
    assert asked(app, first, {"type": "http.disconnect"}) == []
    assert received.stats().requests == 0
    start, _ = asked(app, first, {"type": "http.request", "body": BODY})
    assert start["status"] == 200
    assert received.stats().received == 4
