from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc import context
from labsvc.rpc.context import CallContext, ContextExecutor, LogFilter
from labsvc.shop.hops import serve_hops
from labsvc.shop.v1 import user_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

ASKED = user_pb2.GetUserRequest(user_id="u-1")
ANSWER = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1"))
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")
NO_PROXY = [("grpc.enable_http_proxy", 0)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def came_with(traceparent: str, *more: tuple[str, str]) -> CallContext:
    """Return the context of a call that carries this traceparent."""
    return CallContext.received([("traceparent", traceparent), *more])


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        (f"00-{TRACE}-{SPAN}-01", "01"),
        (f"00-{TRACE}-{SPAN}-00", "00"),
        (f"00-{TRACE}-{SPAN}-ff", "01"),
        (f"00-{TRACE}-{SPAN}-02", "00"),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", "01"),
    ],
)
def test_a_trace_goes_on(text: str, flags: str) -> None:
    """Valid headers, of later versions too, give a new span of their trace, sampled as it was."""
    came = came_with(text)
    assert came.trace_id == TRACE
    version, trace, span, sent = dict(came.metadata())["traceparent"].split("-")
    assert (version, trace, sent) == ("00", TRACE, flags)
    assert len(span) == 16
    assert int(span, 16) not in (0, int(SPAN, 16))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE}-{SPAN}-zz",
        f"00-{TRACE[1:]}-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 600}",
    ],
)
def test_malformed_traceparent_starts_a_new_trace(text: str) -> None:
    """What the specification calls invalid is not used, and raises nothing."""
    ids = {came_with(text).trace_id for _ in range(2)}
    assert len(ids) == 2
    assert TRACE not in ids
    assert dict(came_with(text).metadata())["traceparent"].endswith("-01")


def test_tracestate_goes_on() -> None:
    """What tracing systems add for themselves is passed on, and nonsense in it is left out."""
    valid = f"00-{TRACE}-{SPAN}-01"
    came = came_with(valid, ("tracestate", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"))
    assert dict(came.metadata())["tracestate"] == "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
    assert "tracestate" not in dict(came_with(valid, ("tracestate", "=,=")).metadata())
    assert "tracestate" not in dict(came_with("", ("tracestate", "rojo=1")).metadata())


def test_received_context_goes_on() -> None:
    """Trace, request and user are kept over two hops, and each hop gets a span of its own."""
    came = came_with(f"00-{TRACE}-{SPAN}-01", ("x-request-id", "r-1"), ("x-user-id", "u-1"))
    again = CallContext.received(came.metadata())
    for one in (came, again):
        assert (one.trace_id, one.request_id, one.user_id) == (TRACE, "r-1", "u-1")
    assert len({int(SPAN, 16), came.span.span_id, again.span.span_id}) == 3


@pytest.mark.parametrize("bad", ["", "x" * 129, "two words", "r-1\nfaked log line", "订单"])
def test_what_is_malformed_is_made_anew(bad: str) -> None:
    """A sender cannot smuggle lines into a log: bad ids are replaced, a bad user is nobody."""
    came = CallContext.received([("x-request-id", bad), ("x-user-id", bad), ("traceparent", bad)])
    assert bad not in (came.request_id, came.trace_id)
    assert came.user_id is None


@pytest.mark.parametrize("bad", ["", "two words", "Käufer", "x" * 129])
def test_ids_that_metadata_cannot_carry_are_refused(bad: str) -> None:
    """The mistake shows where the context is made, not in every later call."""
    with pytest.raises(ValueError, match="user_id must be 1 to 128"):
        CallContext.new(user_id=bad)


def relay(hop: Any, request: Any, _: Any) -> Any:
    """Note what the hop knows and ask the next one."""
    SEEN.append(context.current())
    return ANSWER if hop.next is None else hop.next.GetUser(request, timeout=5)


async def relay_aio(hop: Any, request: Any, _: Any) -> Any:
    """Do the same on a loop, through a task and a thread."""
    SEEN.append(await asyncio.to_thread(context.current))
    if hop.next is None:
        return ANSWER

    async def ask() -> Any:
        return await hop.next.GetUser(request, timeout=5)

    return await asyncio.create_task(ask())


SEEN: list[CallContext | None] = []
SYNC = {"server": [context.server()], "client": [context.client()]}
AIO = {"server": [context.aio_server()], "client": context.aio_client()}
BOTH = pytest.mark.parametrize(("handler", "pair"), [(relay, SYNC), (relay_aio, AIO)])


@BOTH
def test_every_hop_knows_the_request(lab: Lab, handler: Any, pair: dict[str, Any]) -> None:
    """Trace, request and user arrive at all four hops; each has its own span."""
    SEEN.clear()
    chain = serve_hops(lab, handler, **pair)
    sent = CallContext.new("u-1")
    chain.stub.GetUser(ASKED, timeout=5, metadata=tuple(sent.metadata()))
    known = [one for one in SEEN if one is not None]
    assert len(known) == 4
    assert {one.trace_id for one in known} == {sent.trace_id}
    assert {(one.request_id, one.user_id) for one in known} == {(sent.request_id, "u-1")}
    assert len({one.span.span_id for one in known}) == 4
    chain.stop()


@BOTH
def test_requests_do_not_mix(lab: Lab, handler: Any, pair: dict[str, Any]) -> None:
    """Twenty requests at once each keep their own id at every hop."""
    SEEN.clear()
    chain = serve_hops(lab, handler, workers=32, **pair)
    calls = [
        chain.stub.GetUser.future(ASKED, timeout=20, metadata=(("x-request-id", f"r-{n}"),))
        for n in range(20)
    ]
    assert [call.result() for call in calls] == [ANSWER] * 20
    ids = sorted(one.request_id for one in SEEN if one is not None)
    assert ids == sorted([f"r-{n}" for n in range(20)] * 4)
    chain.stop()


@BOTH
def test_a_request_without_context_gets_one(lab: Lab, handler: Any, pair: dict[str, Any]) -> None:
    """The first hop makes it, and the others share it; the next request gets another."""
    SEEN.clear()
    chain = serve_hops(lab, handler, **pair)
    for _ in range(2):
        chain.stub.GetUser(ASKED, timeout=5)
    assert len({one.request_id for one in SEEN if one is not None}) == 2
    assert {one.user_id for one in SEEN if one is not None} == {None}
    assert len(SEEN) == 8
    chain.stop()


class _Kinds(grpc.GenericRpcHandler):
    """Serves the four kinds of methods on grpc.aio; each notes the metadata that came."""

    def __init__(self) -> None:
        self.came: dict[str, Any] = {}

        async def unary(request: Any, call: Any) -> bytes:
            self.came = dict(call.invocation_metadata())
            return b"x"

        async def stream(request: Any, call: Any) -> AsyncIterator[bytes]:
            self.came = dict(call.invocation_metadata())
            yield b"x"

        self._handlers = {
            f"/test.Kinds/{kind}": getattr(grpc, f"{kind}_rpc_method_handler")(
                stream if kind.endswith("stream") else unary
            )
            for kind in KINDS
        }

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        """Return the handler of a method."""
        return self._handlers.get(handler_call_details.method)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_call_carries_it(lab: Lab, kind: str) -> None:
    """Unary and streaming calls, sync and aio, carry the context beside their own metadata."""
    kinds = _Kinds()

    async def start() -> tuple[Any, str]:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers([kinds])
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        return server, f"127.0.0.1:{port}"

    def ask(channel: Any) -> Any:
        call = getattr(channel, kind)(f"/test.Kinds/{kind}")
        message = iter([b"x"]) if kind.startswith("stream") else b"x"
        return call(message, timeout=5, metadata=(("own", "kept"), ("x-user-id", "by-hand")))

    async def ask_aio(target: str) -> None:
        async with grpc.aio.insecure_channel(
            target, NO_PROXY, interceptors=context.aio_client()
        ) as channel:
            with context.use(sent):
                answer = ask(channel)
                assert [one async for one in answer] if kind.endswith("stream") else await answer

    sent = CallContext.new("u-1")
    server, target = lab.loop.run(start())
    with grpc.insecure_channel(target, NO_PROXY) as channel, context.use(sent):
        answer = ask(grpc.intercept_channel(channel, context.client()))
        assert list(answer) if kind.endswith("stream") else answer
    sync_came, kinds.came = kinds.came, {}
    lab.loop.run(ask_aio(target))
    for came in (sync_came, kinds.came):
        assert came["traceparent"] == dict(sent.metadata())["traceparent"]
        assert came["x-request-id"] == sent.request_id
        assert (came["own"], came["x-user-id"]) == ("kept", "by-hand")
    lab.loop.run(server.stop(0))


def test_outside_of_a_request_nothing_is_added(lab: Lab) -> None:
    """A call without a context stays as it is."""
    chain = serve_hops(lab, relay, client=[context.client()])
    assert chain.stub.GetUser(ASKED, timeout=5) == ANSWER
    assert context.current() is None
    chain.stop()


def test_context_is_kept_by_the_executor_and_by_carry() -> None:
    """Threads see the context of whoever started the work, many at once too."""
    with ContextExecutor(4) as pool:
        found = []
        for number in range(8):
            with context.use(CallContext.received([("x-request-id", f"r-{number}")])):
                found.append(pool.submit(context.current))
                with context.use(CallContext.new()):
                    mapped = list(pool.map(lambda _: context.current(), range(4)))
                    assert set(mapped) == {context.current()}
        ids = [one.request_id for future in found if (one := future.result()) is not None]
    assert ids == [f"r-{number}" for number in range(8)]
    seen: list[CallContext | None] = []
    with context.use(CallContext.new()) as mine:

        @context.carry
        def see() -> None:
            seen.append(context.current())

        thread = threading.Thread(target=see)
    thread.start()
    thread.join()
    assert seen == [mine]


def test_use_ends_with_its_block() -> None:
    """After the block the outer context is back, also after an error."""
    with pytest.raises(KeyError), context.use(CallContext.new()):
        raise KeyError
    assert context.current() is None


def test_log_records_say_whose_request_it_was() -> None:
    """The filter adds three fields inside and outside of a request, and drops no record."""
    record = logging.LogRecord("x", logging.INFO, __file__, 1, "text", None, None)
    assert LogFilter().filter(record)
    assert (vars(record)["trace_id"], vars(record)["user_id"]) == ("-", "-")
    with context.use(CallContext.new("u-1")) as mine:
        assert LogFilter().filter(record)
    assert vars(record)["trace_id"] == mine.trace_id
    assert vars(record)["request_id"] == mine.request_id
    assert vars(record)["user_id"] == "u-1"
