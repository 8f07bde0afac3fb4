"""Many backends behind one channel, for addresses that change while calls run.

    balancer = Balancer(grpc.insecure_channel, policy="least_loaded")
    balancer.update(["10.0.0.1:50051", "10.0.0.2:50051"])  # again at every change
    stub = UserServiceStub(balancer)

gRPC's own round_robin balances as well, over what its resolver names: DNS, or a list that never
changes. Python has no public API for another resolver. This takes addresses from anywhere, such as
a watch on etcd (labsvc.discovery), and keeps one channel for each. Claims C41, C43; notebook 41.

Which backend: one that is connected, in turn, or the one with the fewest calls under way. A new one
is dialled in the background, and so is one that answered UNAVAILABLE; until it answers it gets no
calls. Only if none is left, a call goes to any and waits for its connection. Health is the
channel's matter: with round_robin and a healthCheckConfig in its service config, a backend that is
not serving counts as not connected.

Another backend is tried only after what is definite: the call has never left this process
(`labsvc.rpc.errors.never_sent`). A call that was sent may have had its effect. Whether to make it
again is for a retryPolicy to say, in the options of the channels (`labsvc.rpc.retry`).
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Literal, Self

import grpc

from labsvc.rpc._moving import MultiCallable, StreamingMultiCallable

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    Policy = Literal["round_robin", "least_loaded"]

_PROBE = "/grpc.health.v1.Health/Check"
_SILENT = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


class NoBackendError(grpc.RpcError):
    """No address is known. It has the code UNAVAILABLE, and is definite: no call was made."""

    def code(self) -> grpc.StatusCode:
        """Return UNAVAILABLE."""
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        """Return why no call was made."""
        return str(self)


class _Backend:
    """One address, its channel, and what goes on there."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        self.address = address
        self.channel = channel
        self.connected = False
        self.calls = 0
        self.callables: dict[Any, Any] = {}  # by method, for all stubs

    def callable(self, method: tuple[Any, ...]) -> Any:
        """Return the channel's own multi-callable for a method."""
        found = self.callables.get(method)
        if found is None:
            kind, *what, registered = method
            found = getattr(self.channel, kind)(*what, _registered_method=registered)
            self.callables[method] = found
        return found


class Balancer(grpc.Channel):
    """A channel for generated stubs that spreads calls over the addresses it was given last.

    `open_channel(address)` makes the channel to one backend; the balancer owns and closes it.
    Options that are worth giving: a small grpc.max_reconnect_backoff_ms, or a backend that comes
    back waits up to two minutes for its first call.

    A timeout bounds all tries of a call together. Without any address a call raises
    NoBackendError, whatever its wait_for_ready; with that it waits for one address. A stream moves
    to another backend before its first request was sent, never later.
    Safe to share between threads. Raises ValueError for another policy, or a use after `close`.
    """

    def __init__(
        self, open_channel: Callable[[str], grpc.Channel], policy: Policy = "round_robin"
    ) -> None:
        if policy not in ("round_robin", "least_loaded"):
            msg = f'policy must be "round_robin" or "least_loaded", not {policy!r}'
            raise ValueError(msg)
        self._open_channel = open_channel
        self._least_loaded = policy == "least_loaded"
        self._lock = threading.Lock()
        self._backends: dict[str, _Backend] = {}
        self._leaving: dict[str, _Backend] = {}  # no new calls, some still under way
        self._connected: list[_Backend] = []
        self._turn = 0
        self._closed = False

    @property
    def connected(self) -> list[str]:
        """The addresses that get calls now."""
        with self._lock:
            return [backend.address for backend in self._connected]

    def update(self, addresses: Iterable[str]) -> None:
        """Use these addresses and no others from now on.

        A new one gets calls once it is connected. Calls to one that left end in peace; its channel
        is closed after the last.
        """
        wanted = dict.fromkeys(addresses)
        with self._lock:
            self._check_open()
            before = self._backends
            self._backends = {address: self._backend(address) for address in wanted}
            gone = [backend for address, backend in before.items() if address not in wanted]
            unused = [backend for backend in gone if not backend.calls]
            self._leaving.update({one.address: one for one in gone if one.calls})
            self._sort()
            new = [one for address, one in self._backends.items() if address not in before]
        for backend in new:
            self._dial(backend)
        for backend in unused:
            backend.channel.close()

    def close(self) -> None:
        """Close all channels; calls under way end with CANCELLED. A second call does nothing."""
        with self._lock:
            self._closed = True
            every = [*self._backends.values(), *self._leaving.values()]
            self._backends, self._leaving, self._connected = {}, {}, []
        for backend in every:
            backend.channel.close()

    def take(self, tried: Collection[_Backend] = ()) -> _Backend | None:
        """Choose a backend for a call, or None if all were tried. `give_back` it when it ends."""
        with self._lock:
            self._check_open()
            if not self._backends and not tried:
                msg = "no backend is known: update() has named none"
                raise NoBackendError(msg)
            usable = self._connected
            if tried or not usable:
                usable = [one for one in self._connected if one not in tried] or [
                    one for one in self._backends.values() if one not in tried
                ]
            if not usable:
                return None
            self._turn += 1
            first = self._turn % len(usable)
            backend = usable[first]
            if self._least_loaded:  # of equals the one whose turn it is
                backend = min(usable[first:] + usable[:first], key=lambda one: one.calls)
            backend.calls += 1
            return backend

    def give_back(self, backend: _Backend, code: grpc.StatusCode | None) -> None:
        """Note that a call has ended, and how if it failed."""
        with self._lock:
            backend.calls -= 1
            lost = backend.connected and code is grpc.StatusCode.UNAVAILABLE
            if lost:
                backend.connected = False
                self._sort()
            unused = not backend.calls and self._leaving.get(backend.address) is backend
            if unused:
                del self._leaving[backend.address]
        if unused:
            # This may be the channel's own thread, and close() waits for that.
            threading.Thread(target=backend.channel.close, daemon=True).start()
        elif lost:
            self._dial(backend)

    def subscribe(self, callback: Any, try_to_connect: bool | None = None) -> None:  # noqa: FBT001
        """Refuse: there is no one connection to watch; see `connected`."""
        msg = "a balancer has many connections; ask for .connected"
        raise NotImplementedError(msg)

    def unsubscribe(self, callback: Any) -> None:
        """Do nothing, as with a callback that was never subscribed."""

    def unary_unary(self, *what: Any, **how: Any) -> Any:
        """Make the multi-callable of one method for a stub; so do the next three."""
        return MultiCallable(self, _method("unary_unary", *what, **how))

    def unary_stream(self, *what: Any, **how: Any) -> Any:  # noqa: D102
        return StreamingMultiCallable(self, _method("unary_stream", *what, **how))

    def stream_unary(self, *what: Any, **how: Any) -> Any:  # noqa: D102
        return MultiCallable(self, _method("stream_unary", *what, **how))

    def stream_stream(self, *what: Any, **how: Any) -> Any:  # noqa: D102
        return StreamingMultiCallable(self, _method("stream_stream", *what, **how))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            msg = "the balancer is closed"
            raise ValueError(msg)

    def _backend(self, address: str) -> _Backend:
        known = self._backends.get(address) or self._leaving.pop(address, None)
        if known is not None:
            return known
        return _Backend(address, self._open_channel(address))

    def _dial(self, backend: _Backend) -> None:
        """Connect in the background: ask something harmless that waits, and see that it answers."""

        def answered(probe: grpc.Call) -> None:
            if probe.code() not in _SILENT:
                with self._lock:
                    backend.connected = True
                    self._sort()
            elif probe.code() is grpc.StatusCode.UNAVAILABLE:  # lost again
                self._dial(backend)

        try:
            probe = backend.callable(("unary_unary", _PROBE, None, None, False))
            call = probe.future(b"", wait_for_ready=True)
        except ValueError:  # closed in the meantime
            return
        call.add_done_callback(answered)

    def _sort(self) -> None:
        self._connected = [one for one in self._backends.values() if one.connected]


def _method(
    kind: str,
    name: str,
    request_serializer: Any = None,
    response_deserializer: Any = None,
    _registered_method: bool | None = False,  # noqa: FBT001, FBT002  as generated stubs give it
) -> tuple[Any, ...]:
    return kind, name, request_serializer, response_deserializer, _registered_method
