"""What the orders service asks with: a channel to payment, a client of prices, a stub of stock."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import httpx2

from labsvc.shop.v1 import inventory_pb2_grpc
from labsvc.telemetry.http_client import TracedTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.incidents.observed import Observed

    Find = Callable[[], list[str]]

CONNECTIONS = 20
PRICE_SECONDS = 1.0
POOL_SECONDS = 0.1  # to wait for a connection
LOOK_SECONDS = 0.3  # between two looks at the addresses of the stock service
CONNECT_SECONDS = 2.0
KEEPALIVE = (
    ("grpc.keepalive_time_ms", 1000),
    ("grpc.http2.ping_timeout_ms", 500),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)
_CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
)


def payment_channel(target: str, roots: bytes, *, keepalive: bool) -> grpc.Channel:
    """Return a channel to payment, connected if that does not take long."""
    options = (*_CHANNEL, *(KEEPALIVE if keepalive else ()))
    channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(roots), options)
    with suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(CONNECT_SECONDS)
    return channel


def price_client(url: str, connections: int, seen: Observed) -> httpx2.Client:
    """Return a client of prices that may have so many connections."""
    limits = httpx2.Limits(max_connections=connections, max_keepalive_connections=connections)
    transport = TracedTransport(httpx2.HTTPTransport(limits=limits), seen.tracing.provider)
    timeout = httpx2.Timeout(PRICE_SECONDS, pool=POOL_SECONDS)
    return httpx2.Client(base_url=url, transport=transport, timeout=timeout, trust_env=False)


class StockClient:
    """Finds the stock service in etcd. Who calls it holds a lock."""

    def __init__(self, seen: Observed, find: Find) -> None:
        self._seen, self._find = seen, find
        self._looked = 0.0
        self._now: tuple[str, grpc.Channel, Any] | None = None

    def stub(self) -> Any:
        """Return a stub of the stock service whose address is in etcd now.

        Raises:
            NoBackendError: there is none.

        """
        now = time.monotonic()
        if now - self._looked > LOOK_SECONDS:
            self._looked = now
            self._look(self._find())
        if self._now is None:
            raise NoBackendError
        return self._now[2]

    def close(self) -> None:
        """Close its channel."""
        if self._now is not None:
            self._now[1].close()
            self._now = None

    def _look(self, found: list[str]) -> None:
        if self._now is not None and self._now[0] not in found:
            self.close()
        if found and self._now is None:
            channel = grpc.insecure_channel(found[0], _CHANNEL)
            stub = inventory_pb2_grpc.InventoryServiceStub(self._seen.channel(channel))
            self._now = (found[0], channel, stub)


class NoBackendError(grpc.RpcError):
    """No address of the stock service is in etcd."""

    def code(self) -> grpc.StatusCode:
        """Return UNAVAILABLE."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return why no call was made."""
        return "no address of stock in etcd"
