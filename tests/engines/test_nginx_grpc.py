"""What a real nginx before a gRPC service lets through, and what the caller learns."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc import until
from labsvc.ports import HOST, hold
from tests.engines.nginx import missing, nginx
from tests.patience import patience
from tests.web.conftest import OPTIONS, Faces
from tests.web.service import SERVICE, Thing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))


@pytest.fixture(scope="module")
def faces() -> Iterator[Faces]:
    """Serve the things, without nginx."""
    running = Faces()
    yield running
    running.close()


class Stub:
    """The calls of a channel of its own."""

    def __init__(self, channel: grpc.Channel) -> None:
        codec: dict[str, Any] = {
            "request_serializer": Thing.SerializeToString,
            "response_deserializer": Thing.FromString,
        }
        path = f"/{SERVICE.full_name}"
        self.get: Any = channel.unary_unary(f"{path}/Get", **codec)
        self.watch: Any = channel.unary_stream(f"{path}/Watch", **codec)


@contextmanager
def behind(upstream: str, more: str = "", settings: str = "") -> Iterator[Stub]:
    """Run an nginx that passes calls to "host:port", or to what `settings` says of that name."""
    own = (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))
    with (
        nginx(f"grpc_pass grpc://{upstream}; {more}", settings=settings, http2=True) as target,
        grpc.insecure_channel(target, own) as channel,
    ):
        yield Stub(channel)


@pytest.fixture(scope="module")
def stub(faces: Faces) -> Iterator[Stub]:
    """Run an nginx as it is when nothing is set."""
    with behind(f"{HOST}:{faces.grpc_port}") as made:
        yield made


def code_of(call: Callable[[], object]) -> str:
    """Return the code that a call ends with."""
    try:
        call()
    except grpc.RpcError as error:
        code: str = error.code().name
        return code
    return "OK"


def in_time() -> float:
    """Return a deadline that nothing here comes near."""
    return patience(20)


def test_a_call_passes_with_its_trailers(stub: Stub) -> None:
    """Message and metadata of both ends; nginx adds `server` and `date` to the initial ones."""
    answer, call = stub.get.with_call(Thing(id="x", raw=b"\0\xff"), timeout=in_time())
    assert answer == Thing(id="x", raw=b"\0\xff")
    first, last = dict(call.initial_metadata()), dict(call.trailing_metadata())
    assert first["x-inner"] == "secret"
    assert {"server", "date"} <= first.keys()
    assert last["x-last"] == "word"


def test_a_status_passes(stub: Stub) -> None:
    """The code of the service and its text, which stand in the trailers."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.get(Thing(id="NOT_FOUND"), timeout=in_time())
    error: Any = caught.value
    assert (error.code(), error.details()) == (grpc.StatusCode.NOT_FOUND, "why")
    assert dict(error.trailing_metadata())["x-last"] == "word"


def test_a_deadline_passes(faces: Faces, stub: Stub) -> None:
    """`grpc-timeout` goes on, and nginx adds none of its own."""
    stub.get(Thing(id="x"), timeout=1000)
    left = faces.things.seen[-1][1]
    assert left is not None
    assert 900 < left < 1100  # gRPC rounds it up
    stub.get(Thing(id="x"))
    assert faces.things.seen[-1][1] is None


SENT = [("user_id", "1"), ("user.id", "1"), ("user-id", "1"), ("user-bin", b"\0\xff")]


@pytest.mark.parametrize(
    ("settings", "lost"),
    [
        ("", {"user_id", "user.id"}),
        ("underscores_in_headers on;", {"user.id"}),
        ("ignore_invalid_headers off;", set()),
    ],
)
def test_keys_that_get_lost(faces: Faces, settings: str, lost: set[str]) -> None:
    """A key may have "_" and "." in gRPC; nginx drops it without a word (claim C16)."""
    with behind(f"{HOST}:{faces.grpc_port}", settings=settings) as stub:
        stub.get(Thing(id="x"), timeout=in_time(), metadata=SENT)
    assert {key for key, _ in SENT} - faces.things.seen[-1][0].keys() == lost


def test_keys_of_an_answer_stay(stub: Stub) -> None:
    """The rule is for requests alone."""
    _, call = stub.get.with_call(Thing(id="x"), timeout=in_time())
    assert dict(call.trailing_metadata())["last_word"] == "x"


def test_a_service_that_is_away() -> None:
    """The 502 of nginx is UNAVAILABLE to gRPC."""
    with hold(0) as nobody, behind(f"{HOST}:{nobody.getsockname()[1]}") as stub:
        assert code_of(lambda: stub.get(Thing(), timeout=in_time())) == "UNAVAILABLE"


@pytest.mark.parametrize(("thing", "code"), [("silent", "UNAVAILABLE"), ("wait", "INTERNAL")])
def test_a_service_that_is_slow(faces: Faces, thing: str, code: str) -> None:
    """grpc_read_timeout is not DEADLINE_EXCEEDED: a 504, or a reset once the answer has begun.

    So a call looks as if it had not happened, and the service had begun its work.
    """
    started, ended = faces.things.waiting, faces.things.ended
    with behind(f"{HOST}:{faces.grpc_port}", "grpc_read_timeout 1s;") as stub:
        assert code_of(lambda: stub.get(Thing(id=thing), timeout=in_time())) == code
    assert faces.things.waiting == started + 1
    until(lambda: faces.things.ended == ended + 1, patience(10))  # nginx tells the service


def test_the_callers_own_deadline(stub: Stub) -> None:
    """It ends the call as it would without nginx, if it is the shorter one."""
    assert code_of(lambda: stub.get(Thing(id="wait"), timeout=0.3)) == "DEADLINE_EXCEEDED"


def test_a_caller_who_leaves(faces: Faces, stub: Stub) -> None:
    """The service is told."""
    started, ended = faces.things.waiting, faces.things.ended
    call = stub.get.future(Thing(id="wait"), timeout=in_time())
    until(lambda: faces.things.waiting > started, patience(10))
    call.cancel()
    until(lambda: faces.things.ended > ended, patience(10))


def test_a_stream_is_not_held_back(stub: Stub) -> None:
    """Each message comes while the call goes on."""
    call = stub.watch(Thing(id="wait", small=2), timeout=in_time())
    assert [next(call).big for _ in range(2)] == [0, 1]
    call.cancel()


def test_a_quiet_stream_is_cut(faces: Faces) -> None:
    """The read timeout is for each message: 60 s if nothing is set."""
    with behind(f"{HOST}:{faces.grpc_port}", "grpc_read_timeout 1s;") as stub:
        call = stub.watch(Thing(id="wait", small=1), timeout=in_time())
        next(call)
        assert code_of(lambda: next(call)) == "INTERNAL"


def test_a_message_of_more_than_a_megabyte(stub: Stub) -> None:
    """It is refused with 413, for which gRPC has no code; gRPC itself takes up to 4 MiB."""
    large = Thing(raw=bytes(2**20 + 1))
    assert code_of(lambda: stub.get(large, timeout=in_time())) == "UNKNOWN"


def test_metadata_of_more_than_a_buffer(faces: Faces) -> None:
    """8 kB in one key end the connection, and with it the calls of others on that channel."""
    started = faces.things.waiting
    with behind(f"{HOST}:{faces.grpc_port}") as stub:
        other = stub.get.future(Thing(id="wait"), timeout=in_time())
        until(lambda: faces.things.waiting > started, patience(10))
        large = [("x-large", "a" * 8200)]
        call = stub.get.future(Thing(), timeout=in_time(), metadata=large)
        assert [code_of(call.result), code_of(other.result)] == ["UNAVAILABLE"] * 2


@pytest.mark.parametrize(("kept", "connections"), [("", 10), ("keepalive 1;", 1)])
def test_connections_to_the_service(faces: Faces, kept: str, connections: int) -> None:
    """One for each call, unless `keepalive` is set: a client's one channel does not help."""
    upstream = f"upstream things {{ server {HOST}:{faces.grpc_port}; {kept} }}"
    before = len(faces.things.peers)
    with behind("things", settings=upstream) as stub:
        for _ in range(10):
            stub.get(Thing(), timeout=in_time())
    assert len(set(faces.things.peers[before:])) == connections


def test_a_connection_that_is_worn_out(faces: Faces) -> None:
    """GOAWAY comes after so many calls (1,000 if nothing is set), and none of them fails."""
    with behind(f"{HOST}:{faces.grpc_port}", settings="keepalive_requests 5;") as stub:
        calls = [code_of(lambda: stub.get(Thing(), timeout=in_time())) for _ in range(40)]
    assert calls == ["OK"] * 40


def test_a_call_is_not_tried_again(faces: Faces) -> None:
    """Every call is a POST: once it was sent, nginx asks no other server."""

    async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    server = faces.loop.run(asyncio.start_server(hangs_up, HOST, 0))
    upstream = (
        f"upstream things {{ server {HOST}:{server.sockets[0].getsockname()[1]} max_fails=0;"
        f" server {HOST}:{faces.grpc_port} backup; }}"
    )
    with behind("things", settings=upstream) as stub:
        assert code_of(lambda: stub.get(Thing(), timeout=in_time())) == "UNAVAILABLE"
    server.close()
