"""What is recorded of gRPC calls: each kind, with both kinds of client and of server."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc import outcome, until
from labsvc.shop.hops import serve_hops
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.timeline.streams import AioEcho, Echo, Stub

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc import Lab
    from labsvc.timeline.record import Event
    from labsvc.timeline.timeline import Timeline

CALL = ["called", "entered", "left", "seen"]
WORDS = [b"a", b"b", b"c"]


def kinds(seen: Timeline) -> list[str]:
    """Return what happened, in causal order: a call leaves before its handler begins."""
    return [event.kind for event in seen.events if event.kind not in ("noted", "sent", "received")]


def one(seen: Timeline, kind: str) -> Event:
    """Return the only event of a kind."""
    [event] = [event for event in seen.events if event.kind == kind]
    return event


@pytest.fixture(params=[None, 4], ids=["aio", "threads"])
def target(lab: Lab, request: pytest.FixtureRequest) -> str:
    """Serve the echo with coroutines and with threads."""
    servicer = AioEcho() if request.param is None else Echo()
    return lab.serve_grpc(servicer, name="echo", workers=request.param).target


@pytest.fixture
def stub(target: str) -> Iterator[Stub]:
    """Make a stub before anybody records: it is watched all the same."""
    with grpc.insecure_channel(target) as channel:
        yield Stub(channel)


def test_both_ends_of_a_call_have_one_number(lab: Lab, stub: Stub, target: str) -> None:
    """Who, what, where to, until when, and what came of it."""
    with lab.timeline() as seen:
        assert stub.Unary(b"hello", timeout=5) == b"hello"
    assert kinds(seen) == CALL
    assert len({event.flow for event in seen.events}) == 1
    called, entered, left, status = seen.events
    assert [event.party for event in seen.events] == ["caller", "echo", "echo", "caller"]
    assert {event.what for event in seen.events} == {"Echo/Unary"}
    assert called.target == target
    assert called.deadline - called.at == pytest.approx(5, abs=0.1)
    assert (left.detail, status.detail) == ("OK", "OK")
    assert called.at <= entered.at <= left.at <= status.at


@pytest.mark.parametrize(
    "call",
    [
        lambda stub: stub.Unary.with_call(b"a", timeout=5),
        lambda stub: stub.Unary.future(b"a", timeout=5).result(),
        lambda stub: stub.Collect(iter(WORDS), timeout=5),
        lambda stub: stub.Collect.with_call(iter(WORDS), timeout=5),
        lambda stub: stub.Collect.future(iter(WORDS), timeout=5).result(),
        lambda stub: list(stub.Spread(b"abc", timeout=5)),
        lambda stub: list(stub.Both(iter(WORDS), timeout=5)),
    ],
)
def test_each_way_to_call(lab: Lab, stub: Stub, call: Callable[[Stub], Any]) -> None:
    """Blocking, as a future, with streams on either side."""
    with lab.timeline() as seen:
        call(stub)
    assert kinds(seen) == CALL
    assert one(seen, "seen").detail == "OK"


def test_the_messages_of_a_stream_are_noted_at_both_ends(lab: Lab, stub: Stub) -> None:
    """Three are sent and three are taken, each at the caller and at the service."""
    with lab.timeline() as seen:
        assert list(stub.Both(iter(WORDS), timeout=5)) == WORDS
    for party in ("caller", "echo"):
        assert (seen.count("sent", party), seen.count("received", party)) == (3, 3)


async def on_asyncio(target: str) -> None:
    """Make each kind of call with grpc.aio."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = Stub(channel)
        await stub.Unary(b"a", timeout=5)
        await stub.Collect(iter(WORDS), timeout=5)
        assert [word async for word in stub.Spread(b"abc", timeout=5)] == WORDS
        assert [word async for word in stub.Both(iter(WORDS), timeout=5)] == WORDS


def test_clients_on_asyncio(lab: Lab, target: str) -> None:
    """The same events, with the messages of the streams."""
    with lab.timeline() as seen:
        asyncio.run(on_asyncio(target))
    assert kinds(seen) == CALL * 4
    assert seen.count("seen", detail="OK") == 4
    for party in ("caller", "echo"):
        assert (seen.count("sent", party), seen.count("received", party)) == (6, 6)


@pytest.mark.parametrize("word", [b"abort", b"set", b"raise"])
def test_a_status_is_what_was_sent_and_what_was_seen(lab: Lab, stub: Stub, word: bytes) -> None:
    """However the handler says that it failed."""
    with lab.timeline() as seen:
        code = outcome(lambda: stub.Unary(word, timeout=5))
    assert kinds(seen) == CALL
    assert one(seen, "left").detail == one(seen, "seen").detail == code


def test_a_second_try_has_a_number(lab: Lab, stub: Stub) -> None:
    """Only after a failure, of the same method, with the same request, in the same thread."""
    with lab.timeline() as seen:
        for word in (b"a", b"a", b"abort", b"abort", b"a", b"abort"):
            outcome(lambda word=word: stub.Unary(word, timeout=5))
    tries = [event.attempt for event in seen.events if event.kind == "called"]
    assert tries == [1, 1, 1, 2, 1, 1]


def test_the_retries_of_grpc_itself_are_tries_at_the_service(lab: Lab, target: str) -> None:
    """The caller made one call; the service had three."""
    policy = {
        "maxAttempts": 3,
        "initialBackoff": "0.01s",
        "maxBackoff": "0.01s",
        "backoffMultiplier": 1,
        "retryableStatusCodes": ["NOT_FOUND"],
    }
    config = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": policy}]})
    options = [("grpc.service_config", config)]
    with grpc.insecure_channel(target, options=options) as channel, lab.timeline() as seen:
        assert outcome(lambda: Stub(channel).Unary(b"abort", timeout=5)) == "NOT_FOUND"
    assert [event.attempt for event in seen.events if event.kind == "entered"] == [1, 2, 3]
    assert seen.count("called") == 1
    assert "begins Echo/Unary, try 3" in str(seen)


def test_a_call_out_of_a_handler_has_a_parent(lab: Lab, target: str) -> None:
    """The service is its caller."""

    class Front(user_pb2_grpc.UserServiceServicer):
        async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
            async with grpc.aio.insecure_channel(target) as channel:
                await asyncio.gather(*(Stub(channel).Unary(b"a", timeout=5) for _ in range(3)))
            return user_pb2.GetUserResponse()

    front = lab.serve_grpc(Front(), name="front")
    with grpc.insecure_channel(front.target) as channel, lab.timeline() as seen:
        user_pb2_grpc.UserServiceStub(channel).GetUser(user_pb2.GetUserRequest(), timeout=5)
    first, *inner = [event for event in seen.events if event.kind == "called"]
    assert first.parent == 0
    assert {(event.party, event.parent) for event in inner} == {("front", first.flow)}
    assert seen.edges() == {("caller", "front"), ("front", "echo")}
    assert str(seen).splitlines() == [
        "caller  calls UserService/GetUser, with a deadline",
        "front     begins UserService/GetUser",
        "front       | calls Echo/Unary, with a deadline (3 times)",
        "echo        |   begins Echo/Unary",
        "echo        |   answers OK",
        "front       | gets OK",
        "front     answers OK",
        "caller  gets OK",
        "(| side by side: these have no order)",
    ]


def test_a_cancelled_handler(lab: Lab) -> None:
    """A coroutine is told to stop; the caller knows before it does."""
    echo = lab.serve_grpc(AioEcho(), name="echo")
    with grpc.insecure_channel(echo.target) as channel, lab.timeline() as seen:
        assert outcome(lambda: Stub(channel).Unary(b"wait", timeout=0.3)) == "DEADLINE_EXCEEDED"
        while not seen.count("cancelled"):
            pass
    assert str(seen).splitlines() == [
        "caller  calls Echo/Unary, with a deadline",
        "echo      begins Echo/Unary",
        "caller  gets DEADLINE_EXCEEDED",
        "echo      is told to stop",
    ]


def test_a_thread_works_on_after_its_caller_left(lab: Lab) -> None:
    """Nobody tells it."""
    servicer = Echo()
    echo = lab.serve_grpc(servicer, name="echo", workers=2)
    with grpc.insecure_channel(echo.target) as channel, lab.timeline() as seen:
        assert outcome(lambda: Stub(channel).Unary(b"wait", timeout=1)) == "DEADLINE_EXCEEDED"
        until(lambda: servicer.waiting and not servicer.waiting.is_active())  # gRPC has heard
        servicer.go_on.set()
        until(lambda: seen.count("left"))
    assert str(seen).splitlines()[-2:] == [
        "caller  gets DEADLINE_EXCEEDED",
        "echo      ends, and nobody waits",
    ]


def test_deadlines_that_end_together_have_one_order(lab: Lab) -> None:
    """Each hop allows the same time; who is first to notice differs, and nobody waits for it."""

    def relay(hop: Any, request: Any, context: Any) -> Any:
        if hop.next is None:
            until(lambda: not context.is_active())
            return user_pb2.GetUserResponse()
        try:
            return hop.next.GetUser(request, timeout=0.3)
        except grpc.RpcError as error:
            context.abort(error.code(), error.details())

    chain = serve_hops(lab, relay)
    texts = set()
    for _ in range(10):
        with lab.timeline() as seen:
            outcome(lambda: chain.stub.GetUser(user_pb2.GetUserRequest(), timeout=0.1))
            until(lambda seen=seen: seen.count("left") == 4)  # type: ignore[misc]
        texts.add(str(seen))
    [text] = texts
    gave_up = [line.split() for line in text.splitlines() if "gets" in line]
    assert [party for party, *_ in gave_up] == [
        "caller",
        "hops-gateway",
        "hops-orders",
        "hops-inventory",
    ]
