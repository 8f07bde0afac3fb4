"""Make an HTTP client for one service: places, a deadline, tries to connect, trace headers.

    prices = aio_client("https://prices.example", seconds=1.0, connections=10)
    stock = aio_client("http://stock:8080", seconds=0.5, connections=20)

One for each service, made once and closed at the end of the program: so connections are used again,
and a slow service takes no places of another (claims C09, C45 and C46, notebook 30). They are plain
clients of httpx2, with these settings:

    connections     all of them are kept, for less time than a server keeps them
    wait            who finds no place waits so long, and then gets httpx2.PoolTimeout
    seconds         for the whole exchange, body included; `deadline.within` bounds several
    tries           a second one if no connection could be made: nothing was sent by then. What was
                    sent may have had an effect; whether it may be repeated is for the caller to say
    trace           headers that each request carries on; what the caller sets by hand stays

What else httpx2 offers is set on the client: `prices.auth = …`, `prices.headers["accept"] = …`. A
redirect is an exchange of its own; httpx2 follows none unless told to. The proxies of the
environment are not used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from labsvc.web.deadline import AioDeadlineTransport, DeadlineTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    Trace = Callable[[], Iterable[tuple[str, str]]]

__all__ = ["aio_client", "client", "trace_headers"]

KEPT_SECONDS = 4.0  # a server that closes first makes the next request fail; uvicorn does after 5
WAIT_SECONDS = 0.1
RETRIES = 1  # to connect

_W3C = TraceContextTextMapPropagator()


def trace_headers() -> list[tuple[str, str]]:
    """Return `traceparent` and `tracestate` of OpenTelemetry's current span, nothing without one.

    Its baggage stays inside: it may say more of a user than a third party should know.
    """
    headers: dict[str, str] = {}
    _W3C.inject(headers)
    return list(headers.items())


def client(
    base_url: str,
    *,
    seconds: float,
    connections: int,
    wait: float = WAIT_SECONDS,
    trace: Trace = trace_headers,
    verify: ssl.SSLContext | bool = True,
) -> httpx2.Client:
    """Return a client for threads, which share it.

    Args:
        base_url: the service's address.
        seconds: for a whole exchange.
        connections: how many at a time.
        wait: seconds for a place among them.
        trace: asked before each request for headers to add. A gRPC service passes its context on
            with `lambda: context.current().metadata()` of `labsvc.rpc`.
        verify: which certificates to trust.

    """
    transport = httpx2.HTTPTransport(verify=verify, limits=_limits(connections), retries=RETRIES)

    def add_trace(request: httpx2.Request) -> None:
        _add(request, trace)

    return httpx2.Client(
        base_url=base_url,
        transport=DeadlineTransport(transport, seconds, tries=RETRIES + 1),
        timeout=httpx2.Timeout(seconds, pool=wait),
        event_hooks={"request": [add_trace]},
    )


def aio_client(
    base_url: str,
    *,
    seconds: float,
    connections: int,
    wait: float = WAIT_SECONDS,
    trace: Trace = trace_headers,
    verify: ssl.SSLContext | bool = True,
) -> httpx2.AsyncClient:
    """Return a client for the tasks of one asyncio loop; the arguments are those of `client`."""
    limits = _limits(connections)
    transport = httpx2.AsyncHTTPTransport(verify=verify, limits=limits, retries=RETRIES)

    async def add_trace(request: httpx2.Request) -> None:
        _add(request, trace)

    return httpx2.AsyncClient(
        base_url=base_url,
        transport=AioDeadlineTransport(transport, seconds),
        timeout=httpx2.Timeout(seconds, pool=wait),
        event_hooks={"request": [add_trace]},
    )


def _limits(connections: int) -> httpx2.Limits:
    return httpx2.Limits(
        max_connections=connections,
        max_keepalive_connections=connections,
        keepalive_expiry=KEPT_SECONDS,
    )


def _add(request: httpx2.Request, trace: Trace) -> None:
    for name, value in trace():
        request.headers.setdefault(name, value)
