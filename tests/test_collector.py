"""The lab's OpenTelemetry collector: a service as others are, over gRPC and HTTP."""

from __future__ import annotations

import gzip
import socket
from typing import TYPE_CHECKING

import httpx2
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from labsvc import Lab, LabError, until
from labsvc.hosts import collector as hosted
from labsvc.ports import hold
from labsvc.telemetry import Tracing, tracing
from tests.patience import patience
from tests.telemetry.otlp import message, request, work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.hosts.collector import CollectorService
    from labsvc.telemetry import Trace


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


@pytest.fixture(autouse=True)
def nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Send nothing on to a collector of whoever runs the tests."""
    monkeypatch.delenv(hosted.VARIABLE, raising=False)


@pytest.fixture
def impatient(lab: Lab) -> Iterator[tuple[CollectorService, Tracing]]:
    """Serve a collector that takes an hour for an answer, and trace what soon gives up."""
    collector = lab.serve_collector()
    collector.delay = 3600
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tracing, "TIMEOUT_SECONDS", 0.5)
        made = Tracing("shop", collector.endpoint)
    yield collector, made
    made.close()


def send(collector: CollectorService, spans: int = 1) -> None:
    """Send spans over gRPC, each a trace; they are there when this returns."""
    made = Tracing("shop", collector.endpoint)
    work(made, spans)
    made.close()
    assert made.lost == 0


def post(collector: CollectorService, body: bytes, **headers: str) -> int:
    """Send a body over HTTP and return the status."""
    return httpx2.post(collector.http_url, content=body, headers=headers, timeout=20).status_code


def refuses(target: str) -> bool:
    """Whether nobody listens there."""
    host, _, port = target.partition(":")
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except ConnectionRefusedError:
        return True
    return False


def test_it_takes_spans_both_ways(lab: Lab) -> None:
    """The SDK's own exporters reach it over gRPC and over HTTP, and one trace may come by both."""
    collector = lab.serve_collector()
    over_http = TracerProvider(shutdown_on_exit=False)
    over_http.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(collector.http_url)))
    over_grpc = Tracing("shop", collector.endpoint)
    with over_grpc.tracer.start_as_current_span("order") as order:
        over_http.get_tracer("test").start_span("mail").end()
    over_grpc.close()
    over_http.shutdown()
    trace_id = order.get_span_context().trace_id
    for found in (
        collector.trace(trace_id),
        collector.trace(f"{trace_id:032x}"),
        *collector.traces(),
    ):
        assert [span.name for span in found.spans] == ["order", "mail"]
        assert found.complete
    assert collector.trace(1).spans == ()
    assert (collector.stats.requests, collector.stats.received, collector.stats.kept) == (2, 2, 2)


def test_bodies_over_http(lab: Lab) -> None:
    """Packed or plain are taken; what is broken, elsewhere or of another kind is not."""
    collector = lab.serve_collector()
    body = request(message(1)).SerializeToString()
    gzipped = {"content-encoding": "gzip"}
    assert post(collector, body) == 200
    assert post(collector, gzip.compress(body), **gzipped) == 200
    assert post(collector, body[:-1]) == 400
    assert post(collector, gzip.compress(body)[:-1], **gzipped) == 400
    assert post(collector, b"{}", **{"content-type": "application/json"}) == 400
    assert httpx2.get(collector.http_url).status_code == 404
    other = collector.http_url.replace("traces", "logs")
    assert httpx2.post(other, content=body).status_code == 404
    assert (collector.stats.requests, collector.stats.received) == (2, 2)


def test_it_stops_and_starts_on_its_ports(lab: Lab) -> None:
    """Both are refused while it is stopped; addresses, traces and counts stay."""
    collector = lab.serve_collector()
    send(collector)
    before = (collector.endpoint, collector.http_url)
    http_target = collector.http_url.split("/")[2]
    collector.stop()
    assert refuses(collector.target)
    assert refuses(http_target)
    collector.stop()
    collector.start()
    assert (collector.endpoint, collector.http_url) == before
    send(collector)
    assert post(collector, request(message(1)).SerializeToString()) == 200
    assert (collector.stats.received, len(collector.traces())) == (3, 3)


def test_no_other_program_gets_its_ports(lab: Lab) -> None:
    """While it is stopped they are held, and let go when the lab ends."""
    collector = lab.serve_collector()
    ports = [
        int(url.split("/")[2].partition(":")[2]) for url in (collector.endpoint, collector.http_url)
    ]
    collector.stop()
    for port in ports:
        with pytest.raises(OSError, match=r"in use|forbidden"), socket.socket() as other:
            other.bind(("127.0.0.1", port))
    lab.stop()
    for port in ports:
        hold(port).close()


def test_a_new_one_takes_the_place_of_the_old(lab: Lab) -> None:
    """Under the same name it has the same address, and no trace of the old one's."""
    old = lab.serve_collector()
    send(old)
    new = lab.serve_collector()
    assert new is not old
    assert (old.running, new.running) == (False, True)
    assert new.endpoint == old.endpoint
    assert new.traces() == []
    send(new)
    assert (old.stats.received, new.stats.received) == (1, 1)
    assert lab.serve_collector("other").endpoint != new.endpoint


def test_it_is_in_the_lab(lab: Lab) -> None:
    """It has its line and its target there, as every service has."""
    collector = lab.serve_collector()
    assert lab.targets()["collector"] == collector.target
    assert "CollectorService 'collector' on" in repr(lab)
    lab.stop()
    assert not collector.running
    assert refuses(collector.http_url.split("/")[2])


def test_a_slow_collector(impatient: tuple[CollectorService, Tracing]) -> None:
    """With a delay it takes spans in when that is over; without, at once again."""
    collector, made = impatient
    work(made)
    made.flush()
    assert made.lost == 1
    body = request(message(1)).SerializeToString()
    with pytest.raises(httpx2.ReadTimeout):  # the request is there, and nothing comes back
        httpx2.post(collector.http_url, content=body, timeout=httpx2.Timeout(20, read=0.2))
    assert collector.stats.requests == 0
    collector.delay = 0
    send(collector)
    assert post(collector, body) == 200
    assert collector.stats.requests == 2


def test_it_stops_while_an_answer_is_due(impatient: tuple[CollectorService, Tracing]) -> None:
    """Who waits for an hour's delay does not keep it from stopping."""
    collector, made = impatient
    work(made)
    until(lambda: collector._grpc.stats.calls == 1, timeout=patience(10))
    collector.stop()
    assert not collector.running
    made.flush()
    assert (made.sent, made.lost) == (0, 1)


def test_clear_forgets_the_traces(lab: Lab) -> None:
    """The counts go on."""
    collector = lab.serve_collector()
    send(collector, 2)
    collector.clear()
    assert collector.traces() == []
    send(collector)
    assert (len(collector.traces()), collector.stats.received, collector.stats.dropped) == (1, 3, 0)


def test_tail_sampling(lab: Lab) -> None:
    """Only what is to be kept is, and the counts say what became of the rest."""
    collector = lab.serve_collector(keep=lambda trace: trace.error, wait=0)
    made = Tracing("shop", collector.endpoint)
    work(made, 5)
    with pytest.raises(LookupError), made.tracer.start_as_current_span("order"):
        raise LookupError
    made.close()
    until(lambda: not collector.stats.waiting)
    [kept] = collector.traces()
    assert kept.spans[0].name == "order"
    stats = collector.stats
    assert (stats.received, stats.kept, stats.refused, stats.waiting) == (6, 1, 5, 0)


def test_late_spans_share_the_decision(lab: Lab) -> None:
    """A span that fails after its trace was decided on is kept or refused as the others were."""
    asked: list[int] = []

    def keep(trace: Trace) -> bool:
        asked.append(len(trace.spans))
        return trace.spans[0].name == "keep"

    collector = lab.serve_collector(keep=keep, wait=0.05)
    made = Tracing("shop", collector.endpoint)
    for name in ("keep", "refuse"):
        with made.tracer.start_as_current_span(f"{name}, late"):
            made.tracer.start_span(name).end()
            made.flush()
            until(lambda: not collector.stats.waiting, timeout=patience(10))
    made.close()
    [kept] = collector.traces()
    assert str(kept) == "shop: keep, late [internal]\n  shop: keep [internal]"
    assert (collector.stats.kept, collector.stats.refused) == (2, 2)
    assert asked == [1, 1]


def test_a_policy_that_raises_is_in_the_log(lab: Lab) -> None:
    """The trace is kept, and the reason is told at once, though no further span comes."""

    def keep(trace: Trace) -> bool:
        raise LookupError(trace.services[0])

    collector = lab.serve_collector(keep=keep, wait=0)
    send(collector)
    assert len(collector.traces()) == 1
    assert [line for line in collector.log if "keep" in line] == ["keep() raised LookupError: shop"]


def test_it_sends_on_what_it_receives(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, by gRPC and HTTP and before tail sampling; what it keeps is the same."""
    other = lab.serve_collector("other")
    monkeypatch.setenv(hosted.VARIABLE, other.endpoint)
    collector = lab.serve_collector(keep=lambda _: False, wait=0)
    send(collector, 3)
    assert post(collector, request(message(1)).SerializeToString()) == 200
    until(lambda: other.stats.received == 4, timeout=patience(10))
    assert (collector.traces(), len(other.traces())) == ([], 4)
    collector.stop()
    collector.start()
    send(collector)
    until(lambda: other.stats.received == 5, timeout=patience(10))
    assert collector.stats.received == 5


def test_nobody_to_send_on_to(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other collector is out of reach: nothing fails or is late, and the log has a line."""
    with hold(0) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        monkeypatch.setenv(hosted.VARIABLE, address)
        collector = lab.serve_collector()
        send(collector, 10)
        assert collector.stats.received == len(collector.traces()) == 10
        until(lambda: "not sent on: UNAVAILABLE" in collector.log, timeout=patience(10))


@pytest.mark.parametrize("address", ["jaeger:4317", "http://", "http://127.0.0.1:port"])
def test_a_wrong_address_is_told(lab: Lab, monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """The variable is named, with what to write; what ran under the name runs on."""
    collector = lab.serve_collector()
    monkeypatch.setenv(hosted.VARIABLE, address)
    with pytest.raises(LabError, match=rf"{hosted.VARIABLE} is no address; write http://127"):
        lab.serve_collector()
    send(collector)
    assert collector.stats.received == 1
