"""One request through four services: gateway -> orders -> inventory -> users.

Each hop is a server of its own with a proxy in front of it. To keep the chain small, all four
serve UserService/GetUser, and one function says what a hop does with a call:

    def relay(hop, request, context):
        if hop.next is None:
            return user_pb2.GetUserResponse(user=user_pb2.User(user_id=request.user_id))
        return hop.next.GetUser(request, timeout=1)

    chain = serve_hops(lab, relay)
    chain.stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=1)

A coroutine function makes four grpc.aio servers instead of four with threads.
Used by notebooks 22 (deadlines), 23 (cancellation), 24 (context) and 26 (retries).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import grpc.aio

from labsvc.shop.v1 import user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.loop import Loop
    from labsvc.shop.v1 import user_pb2

    Handler = Callable[["Hop", user_pb2.GetUserRequest, Any], Any]
    Options = Sequence[tuple[str, Any]]

NAMES = ("gateway", "orders", "inventory", "users")
"""The hops, in the order in which a request meets them."""

# A connection of its own for each channel, made anew at once after an outage. For all its
# name, min_reconnect_backoff_ms is how long an attempt to connect may take.
CHANNEL = (
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 5000),
    ("grpc.max_reconnect_backoff_ms", 200),
)


class Host(Protocol):
    """The part of a Lab that a chain needs."""

    @property
    def loop(self) -> Loop:
        """The loop that carries grpc.aio servers and channels."""
        ...

    def serve_grpc(
        self, *servicers: object, name: str, workers: int | None, interceptors: Sequence[Any]
    ) -> Any:
        """Serve gRPC, as Lab.serve_grpc does."""
        ...

    def proxy(self, upstream: object, name: str) -> Any:
        """Put a proxy before a service, as Lab.proxy does."""
        ...


@dataclass(frozen=True)
class Hop:
    """Where a handler runs: the hop's name, and a stub of the next one, None at the last."""

    name: str
    next: Any


class _Servicer(user_pb2_grpc.UserServiceServicer):
    """A hop on a server with threads."""

    def __init__(self, hop: Hop, handler: Handler) -> None:
        self._hop = hop
        self._handler = handler

    def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> Any:
        """Hand the call to the handler."""
        return self._handler(self._hop, request, context)


class _AioServicer(_Servicer):
    """A hop on a grpc.aio server."""

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> Any:
        """Hand the call to the handler."""
        return await self._handler(self._hop, request, context)


class Hops:
    """A running chain; `serve_hops` makes one.

    Attributes:
        services: The servers by the name of the hop, each with `.stats` and `.stop()`.
        wires: The proxies by the name of the hop that they stand before.
        channel: A channel of the caller to the gateway's proxy.
        stub: A stub on that channel, for plain calls.

    """

    def __init__(
        self, services: dict[str, Any], wires: dict[str, Any], close: list[Callable[[], object]]
    ) -> None:
        self.services = services
        self.wires = wires
        self.channel = grpc.insecure_channel(self.target, CHANNEL)
        self.stub = user_pb2_grpc.UserServiceStub(self.channel)
        self._close = [self.channel.close, *close]

    @property
    def target(self) -> str:
        """The address of the gateway's proxy, for a channel of one's own."""
        target: str = self.wires[NAMES[0]].target
        return target

    def calls(self) -> dict[str, int]:
        """Return how many calls have arrived at each hop, by its name."""
        return {name: self.services[name].stats.calls for name in NAMES}

    def stop(self) -> None:
        """Close the channels, the caller's first, then stop proxies and servers."""
        for close in self._close:
            close()
        for name in NAMES:
            self.wires[name].stop()
            self.services[name].stop()


def serve_hops(
    lab: Host,
    handler: Handler,
    *,
    name: str = "hops",
    workers: int = 8,
    server: Sequence[Any] = (),
    client: Sequence[Any] = (),
    options: Options | Mapping[str, Options] = (),
) -> Hops:
    """Serve the four hops; the same name again replaces them, on the same ports.

    Args:
        lab: a Lab.
        handler: what a hop does: `handler(hop, request, context)`, plain or async.
        name: what the names of the servers and proxies start with.
        workers: threads of each server, for a plain handler.
        server: server interceptors of every hop, the first one outermost.
        client: client interceptors of every hop's channel to the next, the first outermost.
        options: channel arguments of every hop's channel to the next, added to `CHANNEL`; or a
            mapping from a hop's name to those of its channel.

    The caller's own channel, `Hops.channel`, has neither `client` nor `options`.

    """
    aio = inspect.iscoroutinefunction(handler)
    make = _aio_channel if aio else _channel
    services: dict[str, Any] = {}
    wires: dict[str, Any] = {}
    close: list[Callable[[], object]] = []
    following = None
    for hop in reversed(NAMES):
        services[hop] = lab.serve_grpc(
            (_AioServicer if aio else _Servicer)(Hop(hop, following), handler),
            name=f"{name}-{hop}",
            workers=None if aio else workers,
            interceptors=server,
        )
        wires[hop] = lab.proxy(services[hop], name=f"{name}-to-{hop}")
        if hop != NAMES[0]:
            caller = NAMES[NAMES.index(hop) - 1]
            own = options.get(caller, ()) if isinstance(options, Mapping) else options
            channel, close_it = make(lab.loop, wires[hop].target, client, (*CHANNEL, *own))
            close.insert(0, close_it)
            following = user_pb2_grpc.UserServiceStub(channel)
    return Hops(services, wires, close)


def _channel(
    _: Loop, target: str, interceptors: Sequence[Any], options: Options
) -> tuple[Any, Callable[[], object]]:
    plain = grpc.insecure_channel(target, options)
    channel = grpc.intercept_channel(plain, *interceptors) if interceptors else plain
    return channel, plain.close


def _aio_channel(
    loop: Loop, target: str, interceptors: Sequence[Any], options: Options
) -> tuple[Any, Callable[[], object]]:
    async def make() -> grpc.aio.Channel:  # a channel belongs to the loop on which it is made
        return grpc.aio.insecure_channel(target, options, interceptors=interceptors)

    channel = loop.run(make())
    return channel, lambda: loop.run(_close(channel))


async def _close(channel: grpc.aio.Channel) -> None:
    await channel.close()
