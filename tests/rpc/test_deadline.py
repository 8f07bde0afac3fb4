from __future__ import annotations

import asyncio
import itertools
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc import deadline
from labsvc.rpc.deadline import Deadline
from labsvc.shop.hops import serve_hops
from labsvc.shop.v1 import user_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

ASKED = user_pb2.GetUserRequest(user_id="u-1")
ANSWER = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1"))
NO_PROXY = [("grpc.enable_http_proxy", 0)]
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


class _Context:
    """Stands in for a handler's context."""

    def __init__(self, left: float | None) -> None:
        self._left = left

    def time_remaining(self) -> float | None:
        """Return what the test wants."""
        return self._left


@pytest.mark.parametrize(
    ("left", "at_most"), [(None, 5), (9.2e18, 5), (60.0, 5), (1.0, 1), (0.0, 0), (-2.0, 0)]
)
def test_deadline_of_a_call_is_capped(left: float | None, at_most: float) -> None:
    """No deadline, sync or aio, and one too far away become the cap; a shorter one stays."""
    remaining = Deadline.of(_Context(left), cap=5).remaining()
    assert at_most - 1 < remaining <= at_most or remaining == at_most


def test_timeout_takes_the_shortest() -> None:
    """A call gets its own limit or what is left less the margin, whichever is less."""
    soon = Deadline.after(10)
    assert soon.timeout(at_most=1) == 1
    assert 4 < soon.timeout(margin=5) <= 5
    assert 9 < soon.timeout() <= 10
    assert soon < Deadline.after(20)


def test_timeout_with_nothing_left_is_in_the_past() -> None:
    """A spent deadline, or one within the margin, gives a timeout that cannot succeed."""
    assert Deadline.after(0).timeout(at_most=5) < 0
    assert Deadline.after(1).timeout(margin=2) < 0
    assert Deadline.after(-1).remaining() == 0


async def _timeout_of_next_call(interceptor: Any) -> float:
    """Return the timeout that an interceptor gives to a call without one."""
    details = grpc.aio.ClientCallDetails("/a.B/C", None, None, None, None)
    got: list[float] = []

    async def aio_continuation(changed: Any, request: Any) -> None:
        got.append(changed.timeout)

    def continuation(changed: Any, request: Any) -> Any:
        got.append(changed.timeout)
        return SimpleNamespace(done=lambda: True)

    if isinstance(interceptor, grpc.aio.ClientInterceptor):
        await interceptor.intercept_unary_unary(aio_continuation, details, None)  # type: ignore[attr-defined]
    else:
        interceptor.intercept_unary_unary(continuation, details, None)
    return got[0]


@pytest.mark.parametrize("make", [deadline.client, lambda **s: deadline.aio_client(**s)[0]])
@pytest.mark.parametrize(("settings", "left"), [({}, 5.0), ({"margin": 0.5}, 4.5)])
def test_a_client_keeps_back_what_it_is_told(
    make: Any, settings: Any, left: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a margin the next call gets all that is left; with one, so much less."""
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: 100.0))

    async def main() -> float:
        deadline._current.set(Deadline(at=105.0))
        return await _timeout_of_next_call(make(default=9, **settings))

    assert asyncio.run(main()) == left


def relay(seen: dict[str, float]) -> Callable[..., Any]:
    """Return a handler that notes the time it has and asks the next hop."""

    def handler(hop: Any, request: Any, context: Any) -> Any:
        now = deadline.current()
        assert now is not None
        seen[hop.name] = now.remaining()
        return ANSWER if hop.next is None else hop.next.GetUser(request)

    return handler


def relay_aio(seen: dict[str, float]) -> Callable[..., Any]:
    """Return a coroutine function that does the same."""

    async def handler(hop: Any, request: Any, context: Any) -> Any:
        now = deadline.current()
        assert now is not None
        seen[hop.name] = now.remaining()
        return ANSWER if hop.next is None else await hop.next.GetUser(request)

    return handler


def sync_pair(**needs: float) -> dict[str, Any]:
    """Return the interceptors of a chain with threads."""
    return {
        "server": [deadline.server(cap=9, **needs)],
        "client": [deadline.client(default=9, margin=0.5)],
    }


def aio_pair(**needs: float) -> dict[str, Any]:
    """Return the interceptors of a grpc.aio chain."""
    return {
        "server": [deadline.aio_server(cap=9, **needs)],
        "client": deadline.aio_client(default=9, margin=0.5),
    }


BOTH = pytest.mark.parametrize(("make", "pair"), [(relay, sync_pair), (relay_aio, aio_pair)])


@BOTH
@pytest.mark.parametrize("timeout", [5.0, None])
def test_each_hop_has_less_by_the_margin(lab: Lab, make: Any, pair: Any, timeout: Any) -> None:
    """The deadline shrinks by the margin at every hop; without one the cap takes its place."""
    seen: dict[str, float] = {}
    chain = serve_hops(lab, make(seen), **pair())
    assert chain.stub.GetUser(ASKED, timeout=timeout) == ANSWER
    left = list(seen.values())
    assert list(seen) == ["gateway", "orders", "inventory", "users"]
    assert left[0] <= (timeout or 9) + 0.1
    assert all(after < before - 0.4 for before, after in itertools.pairwise(left))
    chain.stop()


@BOTH
def test_nothing_is_sent_when_nothing_is_left(lab: Lab, make: Any, pair: Any) -> None:
    """A call whose time is within the margin fails at the hop that would have made it."""
    chain = serve_hops(lab, make({}), **pair())
    for _ in range(20):
        with pytest.raises(grpc.RpcError):
            chain.stub.GetUser(ASKED, timeout=0.45)
    assert chain.calls() == {"gateway": 20, "orders": 0, "inventory": 0, "users": 0}
    chain.stop()


@BOTH
def test_work_that_cannot_finish_is_refused(lab: Lab, make: Any, pair: Any) -> None:
    """With less left than the handler needs, it does not run."""
    seen: dict[str, float] = {}
    chain = serve_hops(lab, make(seen), **pair(needs=4))
    with pytest.raises(grpc.RpcError) as caught:
        chain.stub.GetUser(ASKED, timeout=2)
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert "not enough" in (caught.value.details() or "")
    assert seen == {}
    chain.stop()


class _Kinds(grpc.GenericRpcHandler):
    """Serves the four kinds of methods; each notes the time it has."""

    def __init__(self, seen: dict[str, float | None], *, aio: bool) -> None:
        make = _aio_behaviours if aio else _behaviours
        self._handlers = {
            f"/test.Kinds/{kind}": getattr(grpc, f"{kind}_rpc_method_handler")(behaviour)
            for kind, behaviour in zip(KINDS, make(seen), strict=True)
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method."""
        return self._handlers.get(handler_call_details.method)


def _note(seen: dict[str, float | None], kind: str) -> None:
    now = deadline.current()
    seen[kind] = None if now is None else now.remaining()


def _behaviours(seen: dict[str, float | None]) -> list[Any]:
    def unary_unary(request: bytes, context: Any) -> bytes:
        _note(seen, "unary_unary")
        return request

    def unary_stream(request: bytes, context: Any) -> Iterator[bytes]:
        yield request
        _note(seen, "unary_stream")

    def stream_unary(requests: Iterator[bytes], context: Any) -> bytes:
        _note(seen, "stream_unary")
        return b"".join(requests)

    def stream_stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        yield from requests
        _note(seen, "stream_stream")

    return [unary_unary, unary_stream, stream_unary, stream_stream]


def _aio_behaviours(seen: dict[str, float | None]) -> list[Any]:
    async def unary_unary(request: bytes, context: Any) -> bytes:
        _note(seen, "unary_unary")
        return request

    async def unary_stream(request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield request
        _note(seen, "unary_stream")

    async def stream_unary(requests: AsyncIterator[bytes], context: Any) -> bytes:
        _note(seen, "stream_unary")
        return b"".join([request async for request in requests])

    async def stream_stream(requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        async for request in requests:
            yield request
        _note(seen, "stream_stream")

    return [unary_unary, unary_stream, stream_unary, stream_stream]


class _Served:
    """The four kinds on a server of their own."""

    def __init__(self, lab: Lab, *, aio: bool, needs: float = 0) -> None:
        self.seen: dict[str, float | None] = {}
        self._lab = lab
        self._aio = aio
        handlers = _Kinds(self.seen, aio=aio)
        if aio:
            self._server, self.target = lab.loop.run(self._start(handlers, needs))
        else:
            from concurrent.futures import ThreadPoolExecutor

            self._server = grpc.server(
                ThreadPoolExecutor(4), interceptors=[deadline.server(cap=3, needs=needs)]
            )
            self._server.add_generic_rpc_handlers([handlers])
            self.target = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"
            self._server.start()

    async def _start(self, handlers: _Kinds, needs: float) -> tuple[Any, str]:
        server = grpc.aio.server(interceptors=[deadline.aio_server(cap=3, needs=needs)])
        server.add_generic_rpc_handlers([handlers])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, f"127.0.0.1:{port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._aio:
            self._lab.loop.run(self._server.stop(0))
        else:
            self._server.stop(0).wait()


def _ask(channel: Any, kind: str) -> Any:
    """Make a call of one kind with one message, and return the one that comes back."""
    call = getattr(channel, kind)(f"/test.Kinds/{kind}")
    answer = call(iter([b"x"]) if kind.startswith("stream") else b"x")
    if not kind.endswith("stream"):
        return answer
    (only,) = answer
    return only


async def _ask_aio(channel: Any, kind: str) -> Any:
    call = getattr(channel, kind)(f"/test.Kinds/{kind}")
    answer = call(iter([b"x"]) if kind.startswith("stream") else b"x")
    if not kind.endswith("stream"):
        return await answer
    (only,) = [one async for one in answer]
    return only


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aio", [False, True])
def test_every_kind_of_call_and_method(lab: Lab, kind: str, *, aio: bool) -> None:
    """Client and server interceptors, sync and aio, serve unary and streaming calls alike."""
    with _Served(lab, aio=aio) as served:
        channel = grpc.insecure_channel(served.target, NO_PROXY)
        with channel:
            assert _ask(grpc.intercept_channel(channel, deadline.client(default=2)), kind) == b"x"
        left = served.seen[kind]
        assert left is not None
        assert left < 2.1

        async def ask_aio() -> Any:
            interceptors = deadline.aio_client(default=1)
            async with grpc.aio.insecure_channel(
                served.target, NO_PROXY, interceptors=interceptors
            ) as aio_channel:
                return await _ask_aio(aio_channel, kind)

        assert lab.loop.run(ask_aio()) == b"x"
        left = served.seen[kind]
        assert left is not None
        assert left < 1.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aio", [False, True])
def test_every_kind_of_method_can_refuse(lab: Lab, kind: str, *, aio: bool) -> None:
    """A method of any kind is not run when less is left than it needs."""
    with (
        _Served(lab, aio=aio, needs=2) as served,
        grpc.insecure_channel(served.target, NO_PROXY) as channel,
    ):
        with pytest.raises(grpc.RpcError) as caught:
            _ask(grpc.intercept_channel(channel, deadline.client(default=1)), kind)
        assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        assert served.seen == {}


def test_outside_of_a_call_there_is_no_deadline() -> None:
    """No deadline is left behind by calls that were served."""
    assert deadline.current() is None


class _Stop:
    """Notes when the last hop was told to stop; it works until then, ten seconds at most."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.told = threading.Event()

    def work(self, context: Any) -> Any:
        context.add_callback(self.told.set)
        self.started.set()
        self.told.wait(10)
        return ANSWER


def _future(hop: Any, request: Any, context: Any) -> Any:
    return hop.next.GetUser.future(request, timeout=20).result()


def _tied_by_hand(hop: Any, request: Any, context: Any) -> Any:
    call = hop.next.GetUser.future(request, timeout=20)
    deadline.cancel_with(context, call)
    return call.result()


@pytest.mark.parametrize(("ask", "pair"), [(_future, sync_pair()), (_tied_by_hand, {})])
def test_cancellation_is_passed_on_by_threads(lab: Lab, ask: Any, pair: dict[str, Any]) -> None:
    """When the caller leaves, the call of the last hop ends long before its deadline."""
    stop = _Stop()

    def handler(hop: Any, request: Any, context: Any) -> Any:
        return stop.work(context) if hop.next is None else ask(hop, request, context)

    chain = serve_hops(lab, handler, **pair)
    call = chain.stub.GetUser.future(ASKED, timeout=20)
    assert stop.started.wait(10)
    call.cancel()
    assert stop.told.wait(5)
    chain.stop()


def test_cancel_with_a_caller_that_has_left() -> None:
    """The call is cancelled at once when the callback comes too late."""

    class Gone:
        def add_callback(self, callback: Callable[[], None]) -> bool:
            return False

    class Call:
        cancelled = False

        def cancel(self) -> None:
            self.cancelled = True

    call = Call()
    deadline.cancel_with(Gone(), call)  # type: ignore[arg-type]
    assert call.cancelled


def test_a_shielded_call_still_ends_at_the_deadline(lab: Lab) -> None:
    """Cancellation does not pass a shield; the deadline does, in the copied context."""
    ended = threading.Event()

    async def handler(hop: Any, request: Any, context: Any) -> Any:
        if hop.next is not None:
            return await asyncio.shield(hop.next.GetUser(request))
        try:
            await asyncio.sleep(10)
        finally:
            ended.set()

    chain = serve_hops(
        lab, handler, server=aio_pair()["server"], client=deadline.aio_client(default=9)
    )
    began = time.monotonic()
    with pytest.raises(grpc.RpcError):
        chain.stub.GetUser(ASKED, timeout=0.3)
    assert ended.wait(8)
    assert time.monotonic() - began < 8
    chain.stop()
