"""Spans of httpx2's requests: names, attributes, errors, and the context that goes out."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

from labsvc import aio_until
from labsvc.telemetry import Tracing
from labsvc.telemetry.http_client import AioTracedTransport, TracedTransport
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc import Lab
    from labsvc.hosts.collector import CollectorService
    from labsvc.hosts.http import HttpService
    from labsvc.telemetry import Span


@pytest.fixture
def collector(lab: Lab) -> CollectorService:
    """Serve a collector."""
    return lab.serve_collector()


@pytest.fixture
def tracing(collector: CollectorService) -> Iterator[Tracing]:
    """Trace the side that asks."""
    running = Tracing("shop", collector.endpoint)
    yield running
    running.close()


@pytest.fixture
def echo(lab: Lab) -> HttpService:
    """Serve what answers with the status that it is asked for, and the `traceparent` that came."""
    app = FastAPI()

    @app.get("/{status}")
    async def answer(status: int, request: Request) -> Response:
        return Response(request.headers.get("traceparent", ""), status)

    @app.get("/slow/{seconds}")
    async def slow(seconds: float) -> None:
        await asyncio.sleep(seconds)

    return lab.serve_http(app, name="echo")


def only_span(tracing: Tracing, collector: CollectorService) -> Span:
    """Return the one span that there is, ready to be read."""
    tracing.flush()
    [found] = [span for trace in collector.traces() for span in trace.spans]
    return found


def get(tracing: Tracing, url: str, *, aio: bool, patient: float = 20) -> httpx2.Response:
    """Ask for a URL with a client of this kind."""
    timeout = httpx2.Timeout(20, read=patient)
    if not aio:
        with httpx2.Client(
            transport=TracedTransport(httpx2.HTTPTransport(), tracing.provider), timeout=timeout
        ) as client:
            return client.get(url)

    async def ask() -> httpx2.Response:
        transport = AioTracedTransport(httpx2.AsyncHTTPTransport(), tracing.provider)
        async with httpx2.AsyncClient(transport=transport, timeout=timeout) as client:
            return await client.get(url)

    return asyncio.run(ask())


both = pytest.mark.parametrize("aio", [False, True], ids=["sync", "aio"])


@both
def test_a_request_is_a_span(
    tracing: Tracing, collector: CollectorService, echo: HttpService, *, aio: bool
) -> None:
    """Its name is the method, its kind client, and its ids go out with the request."""
    answer = get(tracing, f"{echo.url}/200", aio=aio)
    found = only_span(tracing, collector)
    assert (found.name, found.kind, found.service, found.error) == ("GET", "client", "shop", False)
    assert found.attributes == {
        "http.request.method": "GET",
        "url.full": f"{echo.url}/200",
        "server.address": "127.0.0.1",
        "server.port": int(echo.target.partition(":")[2]),
        "http.response.status_code": 200,
    }
    assert answer.text.split("-")[1:3] == [found.trace_id, found.span_id]


@both
def test_a_request_is_part_of_what_is_under_way(
    tracing: Tracing, collector: CollectorService, echo: HttpService, *, aio: bool
) -> None:
    """The current span is its parent."""
    with tracing.tracer.start_as_current_span("order"):
        get(tracing, f"{echo.url}/204", aio=aio)
    tracing.flush()
    [trace] = collector.traces()
    assert str(trace) == "shop: order [internal]\n  shop: GET [client]"


@both
@pytest.mark.parametrize(("status", "error"), [(399, False), (400, True), (503, True)])
def test_a_status_from_400_on_is_an_error(
    tracing: Tracing,
    collector: CollectorService,
    echo: HttpService,
    status: int,
    *,
    error: bool,
    aio: bool,
) -> None:
    """The answer comes back as it is, and the span of who asked has failed."""
    assert get(tracing, f"{echo.url}/{status}", aio=aio).status_code == status
    found = only_span(tracing, collector)
    assert (found.error, found.attributes["http.response.status_code"]) == (error, status)


@both
def test_no_answer_is_an_error(
    lab: Lab, tracing: Tracing, collector: CollectorService, echo: HttpService, *, aio: bool
) -> None:
    """The exception is raised as without tracing, and its type is in the span."""
    echo.stop()
    with pytest.raises(httpx2.ConnectError):
        get(tracing, f"{echo.url}/200", aio=aio)
    found = only_span(tracing, collector)
    assert found.error
    assert found.message.startswith("ConnectError")
    assert "http.response.status_code" not in found.attributes


@both
def test_a_request_that_takes_too_long_is_an_error(
    tracing: Tracing, collector: CollectorService, echo: HttpService, *, aio: bool
) -> None:
    """The span ends when the client gives up."""
    with pytest.raises(httpx2.ReadTimeout):
        get(tracing, f"{echo.url}/slow/60", aio=aio, patient=0.2)
    found = only_span(tracing, collector)
    assert found.message.startswith("ReadTimeout")
    assert 0.1 < found.seconds < 30


def test_a_request_that_is_cancelled_ends_its_span(
    tracing: Tracing, collector: CollectorService, echo: HttpService
) -> None:
    """A task that is cancelled while it waits leaves no span open."""

    async def give_up() -> None:
        transport = AioTracedTransport(httpx2.AsyncHTTPTransport(), tracing.provider)
        async with httpx2.AsyncClient(transport=transport, timeout=60) as client:
            asking = asyncio.create_task(client.get(f"{echo.url}/slow/60"))
            await aio_until(lambda: echo.stats.requests == 1, timeout=patience(10))
            asking.cancel()
            await asking

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(give_up())
    assert only_span(tracing, collector).name == "GET"


@pytest.mark.parametrize(
    ("url", "shown", "port"),
    [
        ("http://me:secret@shop.test:81/a%20b?key=secret#top", "http://shop.test:81/a%20b", 81),
        ("http://shop.test/a", "http://shop.test/a", 80),
        ("https://shop.test", "https://shop.test", 443),
        ("http://[::1]:50051/", "http://[::1]:50051/", 50051),
    ],
)  # fmt: skip
def test_what_a_span_shows_of_a_url(
    tracing: Tracing, collector: CollectorService, url: str, shown: str, port: int
) -> None:
    """A port that goes without saying is left out of the URL, and so is what may be secret."""
    answers = httpx2.MockTransport(lambda _: httpx2.Response(204))
    with httpx2.Client(transport=TracedTransport(answers, tracing.provider)) as client:
        client.get(url)
    found = only_span(tracing, collector).attributes
    assert (found["url.full"], found["server.port"]) == (shown, port)
    assert "secret" not in str(found)


@both
def test_closing_closes_what_is_inside(tracing: Tracing, *, aio: bool) -> None:
    """The pool of connections of the other transport is closed with this one."""
    closed = []

    class Inner(httpx2.HTTPTransport):
        def close(self) -> None:
            closed.append("sync")

    class AioInner(httpx2.AsyncHTTPTransport):
        async def aclose(self) -> None:
            closed.append("aio")

    if aio:
        asyncio.run(AioTracedTransport(AioInner(), tracing.provider).aclose())
    else:
        TracedTransport(Inner(), tracing.provider).close()
    assert closed == ["aio" if aio else "sync"]
