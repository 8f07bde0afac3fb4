from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aio_pika
import grpc
import grpc.aio
import pytest
import trustme
from fastapi import FastAPI
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (  # type: ignore[import-untyped]
    ProtoReflectionDescriptorDatabase,
)

import labsvc
from labsvc import Lab, LabError
from labsvc.errors import LoopDeadError, PortInUseError
from labsvc.hosts.queue import QueueService
from labsvc.shop.services import AioUserService, UserService
from labsvc.shop.store import Store
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

Ask = health_pb2.HealthCheckRequest
Answer = health_pb2.HealthCheckResponse
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class AioServicer(health_pb2_grpc.HealthServicer):
    """A generated service on grpc.aio that does what the request says."""

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer, fail or wait."""
        match request.service:
            case "abort":
                await context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            case "set":
                context.set_code(grpc.StatusCode.OUT_OF_RANGE)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
            case "slow":
                await asyncio.sleep(60)
            case "exit":
                sys.exit(3)
        return Answer(status=Answer.SERVING)

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Stream two answers, then do what the request says."""
        for status in (Answer.SERVING, Answer.NOT_SERVING):
            yield Answer(status=status)
        if request.service == "raise":
            msg = "a mistake"
            raise ValueError(msg)
        if request.service == "slow":
            await asyncio.sleep(60)


class SyncServicer(health_pb2_grpc.HealthServicer):
    """The same for a thread pool."""

    def Check(self, request: Any, context: Any) -> Any:
        """Answer or fail."""
        match request.service:
            case "abort":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such thing")
            case "set":
                context.set_code(grpc.StatusCode.OUT_OF_RANGE)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
        return Answer(status=Answer.SERVING)

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        """Stream two answers, then do what the request says."""
        for status in (Answer.SERVING, Answer.NOT_SERVING):
            yield Answer(status=status)
        if request.service == "raise":
            msg = "a mistake"
            raise ValueError(msg)


class Quiet(health_pb2_grpc.HealthServicer):
    """A servicer of nothing but the generated defaults."""


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Give a lab, and stop it after the test."""
    with Lab() as running:
        yield running


def make_app() -> FastAPI:
    """Build an app that answers, refuses and fails."""
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> str:
        return "hello"

    @app.get("/raise")
    async def fail() -> str:
        msg = "a mistake"
        raise ValueError(msg)

    return app


def call(service: Any, what: str = "", timeout: float = 20) -> str:
    """Make one unary call on a connection of its own; return the code."""
    alone = [("grpc.use_local_subchannel_pool", 1)]  # or it may share the back-off of a failed call
    with grpc.insecure_channel(service.target, options=alone) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(Ask(service=what), timeout=timeout)
        except grpc.RpcError as error:
            code: str = error.code().name
            return code
    return "OK"


def get(url: str) -> int:
    """Make one GET on a connection of its own; return the status."""
    try:
        with DIRECT.open(url, timeout=20) as answer:
            status: int = answer.status
            return status
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def wait_for(true: Callable[[], bool], seconds: float = 20) -> bool:
    """Wait until a condition holds, `seconds` at most."""
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.01)
    return true()


def port_of(service: Any) -> int:
    """Read the port off a target."""
    return int(service.target.rpartition(":")[2])


def is_free(port: int) -> bool:
    """Say whether a port can be bound."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def test_public_names() -> None:
    """The package offers its names lazily, and an unknown one is an AttributeError."""
    assert labsvc.Lab is Lab
    assert "compare" in dir(labsvc)
    with pytest.raises(AttributeError, match="it offers Lab"):
        _ = labsvc.nothing


@pytest.mark.parametrize(
    ("servicer", "workers"), [(AioServicer, None), (SyncServicer, 4)], ids=["aio", "threads"]
)
class TestGrpc:
    """What both kinds of gRPC server promise."""

    def test_counts_methods_and_codes(self, lab: Lab, servicer: Any, workers: int | None) -> None:
        """Every call is counted under its method and the status its caller saw."""
        service = lab.serve_grpc(servicer(), workers=workers)
        seen = [call(service, what) for what in ("", "abort", "set", "raise")]
        assert seen == ["OK", "NOT_FOUND", "OUT_OF_RANGE", "UNKNOWN"]
        assert service.stats.calls == 4
        assert service.stats.methods == {"Health/Check": 4}
        assert service.stats.codes == dict.fromkeys(seen, 1)

    def test_counts_streams(self, lab: Lab, servicer: Any, workers: int | None) -> None:
        """A stream is one call, and its status counts when it ends."""
        service = lab.serve_grpc(servicer(), workers=workers)
        with grpc.insecure_channel(service.target) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert len(list(stub.Watch(Ask(), timeout=20))) == 2
            with pytest.raises(grpc.RpcError):
                list(stub.Watch(Ask(service="raise"), timeout=20))
        assert service.stats.methods == {"Health/Watch": 2}
        assert service.stats.codes == {"OK": 1, "UNKNOWN": 1}

    def test_counts_what_is_not_there(self, lab: Lab, servicer: Any, workers: int | None) -> None:
        """Unknown methods share one line of the counts; unwritten ones keep their name."""
        service = lab.serve_grpc(servicer(), workers=workers)
        with grpc.insecure_channel(service.target) as channel:
            for name in ("/no.Such/Thing", "/no.Such/Other"):
                raw: Any = channel.unary_unary(name)
                with pytest.raises(grpc.RpcError):
                    raw(b"", timeout=20)
            with pytest.raises(grpc.RpcError):
                health_pb2_grpc.HealthStub(channel).List(health_pb2.HealthListRequest(), timeout=20)
        assert service.stats.methods == {"(unknown method)": 2, "Health/List": 1}
        assert service.stats.codes == {"UNIMPLEMENTED": 3}

    def test_prints_nothing(
        self, lab: Lab, servicer: Any, workers: int | None, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """A failing handler's traceback is in the log, and nowhere else."""
        service = lab.serve_grpc(servicer(), workers=workers)
        call(service, "raise")
        assert "Health/Check UNKNOWN" in service.log
        assert service.log[-1] == "ValueError: a mistake"
        assert capfd.readouterr() == ("", "")

    def test_stop_frees_the_port_and_start_takes_it(
        self, lab: Lab, servicer: Any, workers: int | None
    ) -> None:
        """When stop returns the port is free; start listens on the same one."""
        service = lab.serve_grpc(servicer(), workers=workers)
        for _ in range(5):
            assert call(service) == "OK"
            service.stop()
            service.stop()
            assert not service.running
            assert is_free(port_of(service))
            assert call(service) == "UNAVAILABLE"
            service.start()
            service.start()
        assert call(service) == "OK"
        assert service.stats.calls == 6

    def test_reflection(self, lab: Lab, servicer: Any, workers: int | None) -> None:
        """Reflection lists the services, itself included."""
        service = lab.serve_grpc(servicer(), workers=workers)
        with grpc.insecure_channel(service.target) as channel:
            names = ProtoReflectionDescriptorDatabase(channel).get_services()
        assert set(names) == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
        assert service.stats.calls == 0


def test_client_that_leaves_counts_as_cancelled(lab: Lab) -> None:
    """A call whose caller's deadline passed is CANCELLED on the server."""
    service = lab.serve_grpc(AioServicer())
    assert call(service, "slow", timeout=0.2) == "DEADLINE_EXCEEDED"
    assert wait_for(lambda: service.stats.codes == {"CANCELLED": 1})


def test_stop_cancels_after_the_grace(lab: Lab) -> None:
    """A call under way has the grace to finish, then it is cancelled."""
    service = lab.serve_grpc(AioServicer())
    with grpc.insecure_channel(service.target) as channel:
        future = health_pb2_grpc.HealthStub(channel).Check.future(Ask(service="slow"), timeout=50)
        while service.stats.calls < 1:
            assert not future.done()
        service.stop(grace=0.05)
        assert isinstance(future.exception(20), grpc.RpcError)


def test_health_follows_what_is_set(lab: Lab) -> None:
    """The health service answers what was set, also after a restart, and is not counted."""
    pb2 = pytest.importorskip("labsvc.shop.v1.user_pb2_grpc")

    class Users(pb2.UserServiceServicer):  # type: ignore[name-defined]
        """A service beside the health service."""

    service = lab.serve_grpc(Users())
    name = "labsvc.shop.v1.UserService"
    with grpc.insecure_channel(service.target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)

        def status(of: str = "") -> Any:
            return stub.Check(Ask(service=of), timeout=20, wait_for_ready=True).status

        assert (status(), status(name)) == (Answer.SERVING, Answer.SERVING)
        service.health.set(serving=False, service=name)
        assert (status(), status(name)) == (Answer.SERVING, Answer.NOT_SERVING)
        service.stop()
        service.start()
        assert (status(), status(name)) == (Answer.SERVING, Answer.NOT_SERVING)
    assert service.stats.calls == 0


def test_interceptors_run_inside_the_counting(lab: Lab) -> None:
    """A learner's interceptor that refuses a call is counted with its status."""

    class Refuse(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            async def refuse(request: Any, context: Any) -> None:
                await context.abort(grpc.StatusCode.PERMISSION_DENIED, "no")

            return grpc.unary_unary_rpc_method_handler(refuse)

    service = lab.serve_grpc(AioServicer(), interceptors=[Refuse()])
    assert call(service) == "PERMISSION_DENIED"
    assert service.stats.codes == {"PERMISSION_DENIED": 1}


@pytest.mark.parametrize("workers", [None, 2])
def test_garbage_for_a_message_is_the_callers_mistake(lab: Lab, workers: int | None) -> None:
    """Bytes that are no message are INVALID_ARGUMENT, counted, and the server goes on."""
    store = Store.seeded()
    servicer = AioUserService(store) if workers is None else UserService(store)
    service = lab.serve_grpc(servicer, workers=workers)
    with grpc.insecure_channel(service.target) as channel:
        raw: Any = channel.unary_unary("/labsvc.shop.v1.UserService/GetUser")
        with pytest.raises(grpc.RpcError) as caught:
            raw(b"\xff\xff", timeout=5)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert raw(b"\x0a\x03u-1", timeout=5)
    assert service.stats.codes == {"INVALID_ARGUMENT": 1, "OK": 1}


def test_interceptors_see_decoded_requests(lab: Lab) -> None:
    """A learner's interceptor that wraps a handler reads messages, not bytes."""
    seen: list[object] = []

    class Look(grpc.aio.ServerInterceptor):
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            handler = await continuation(details)

            async def look(request: Any, context: Any) -> Any:
                seen.append(request)
                return await handler.unary_unary(request, context)

            return handler._replace(unary_unary=look)

    assert call(lab.serve_grpc(AioServicer(), interceptors=[Look()])) == "OK"
    assert seen == [Ask(service="")]


def test_remove_stops_and_forgets(lab: Lab) -> None:
    """A removed service is gone from its port and from the list; a second removal is nothing."""
    service = lab.serve_grpc(AioServicer(), name="short")
    lab.remove("short")
    lab.remove("short")
    assert not service.running
    assert "short" not in repr(lab)


def test_tls(lab: Lab) -> None:
    """With credentials the server speaks TLS."""
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    pair = (certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())
    service = lab.serve_grpc(Quiet(), credentials=grpc.ssl_server_credentials([pair]))
    trust = grpc.ssl_channel_credentials(authority.cert_pem.bytes())
    with grpc.secure_channel(service.target, trust) as channel:
        with pytest.raises(grpc.RpcError) as caught:
            health_pb2_grpc.HealthStub(channel).Check(Ask(), timeout=20)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert call(service) == "UNAVAILABLE"


def test_credentials_that_are_no_pair_are_told(lab: Lab) -> None:
    """The key of one certificate with the chain of another is not blamed on the port."""
    one, other = (trustme.CA().issue_cert("127.0.0.1") for _ in range(2))
    pair = one.private_key_pem.bytes(), other.cert_chain_pems[0].bytes()
    with pytest.raises(LabError, match="does not take these credentials"):
        lab.serve_grpc(AioServicer(), credentials=grpc.ssl_server_credentials([pair]))


def test_https(lab: Lab) -> None:
    """An app is served over TLS with a context, and over nothing else on that port."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    web = lab.serve_http(make_app(), tls=context)
    assert web.url == f"https://{web.target}"
    trusting = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    for _ in range(2):
        url = f"https://{web.target}/hello"
        with urllib.request.urlopen(url, context=trusting, timeout=20) as answer:
            assert answer.status == 200
        web.stop()
        web.start()
    with pytest.raises(OSError, match=r"(?i)closed|reset|refused"):
        urllib.request.urlopen(f"http://{web.target}/hello", timeout=20)


def test_two_services_never_share_a_port(lab: Lab) -> None:
    """A port that another server has is an error that says what to do."""
    first = lab.serve_grpc(AioServicer())
    with pytest.raises(PortInUseError, match="without port="):
        lab.serve_grpc(AioServicer(), name="second", port=port_of(first))
    assert call(first) == "OK"


@pytest.mark.parametrize("workers", [None, 2])
def test_a_servicer_of_two_services(lab: Lab, workers: int | None) -> None:
    """An object whose class derives from two generated ones answers for both."""
    users: type = AioUserService if workers is None else UserService
    health: type = AioServicer if workers is None else SyncServicer
    both = type("Both", (users, health), {})(Store.seeded())
    service = lab.serve_grpc(both, workers=workers)
    assert call(service) == "OK"
    with grpc.insecure_channel(service.target) as channel:
        raw: Any = channel.unary_unary("/labsvc.shop.v1.UserService/GetUser")
        assert raw(b"\x0a\x03u-1", timeout=20)
        names = ProtoReflectionDescriptorDatabase(channel).get_services()
    assert sorted(names) == [
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "labsvc.shop.v1.UserService",
    ]
    assert service.stats.methods == {"Health/Check": 1, "UserService/GetUser": 1}


@pytest.mark.parametrize(
    ("wrong", "advice"),
    [
        (AioServicer, r"AioServicer\(\)"),
        (object(), "derive its class"),
        ("grpc", "derive its class"),
    ],
)
def test_wrong_servicer(lab: Lab, wrong: object, advice: str) -> None:
    """What is no servicer is a TypeError with the remedy."""
    with pytest.raises(TypeError, match=advice):
        lab.serve_grpc(wrong)


def test_no_servicer_and_wrong_workers(lab: Lab) -> None:
    """Serving nothing, a wrong number of threads, async handlers in threads: TypeErrors."""
    with pytest.raises(TypeError, match="needs a servicer"):
        lab.serve_grpc()
    with pytest.raises(TypeError, match="number of threads"):
        lab.serve_grpc(SyncServicer(), workers=0)
    with pytest.raises(TypeError, match="leave workers= out"):
        lab.serve_grpc(AioServicer(), workers=2)


@pytest.mark.parametrize("name", ["", 3, None])
def test_wrong_name(lab: Lab, name: Any) -> None:
    """A name that is no string is a TypeError, and nothing runs under it."""
    with pytest.raises(TypeError, match="such as 'orders'"):
        lab.serve_http(make_app(), name=name)
    assert repr(lab) == "<Lab with nothing running>"


def test_http_counts_and_prints_nothing(lab: Lab, capfd: pytest.CaptureFixture[str]) -> None:
    """Requests are counted by status; a failing endpoint's traceback is in the log only."""
    web = lab.serve_http(make_app())
    assert [get(web.url + path) for path in ("/hello", "/none", "/raise")] == [200, 404, 500]
    assert web.stats.requests == 3
    assert web.stats.statuses == {200: 1, 404: 1, 500: 1}
    assert "GET /none 404" in web.log
    assert wait_for(lambda: "ValueError: a mistake" in web.log)  # raised after the answer left
    assert capfd.readouterr() == ("", "")


def test_http_answers_without_delay(lab: Lab) -> None:
    """Accepted sockets have TCP_NODELAY, or every answer would wait for Nagle's algorithm."""
    web = lab.serve_http(make_app())
    flags: list[int] = []

    async def look() -> None:
        server = web._server
        assert server is not None
        for connection in server.server_state.connections:
            sock = connection.transport.get_extra_info("socket")
            flags.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    with socket.create_connection(("127.0.0.1", port_of(web)), timeout=20) as sock:
        sock.sendall(b"GET /hello HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert sock.recv(100).startswith(b"HTTP/1.1 200")
        lab.loop.run(look())
    assert flags == [1]


def test_http_stop_frees_the_port_and_start_takes_it(lab: Lab) -> None:
    """Stop closes open connections too, and start listens on the same port."""
    web = lab.serve_http(make_app())
    with socket.create_connection(("127.0.0.1", port_of(web)), timeout=20) as sock:
        web.stop()
        web.stop()
        assert sock.recv(1) == b""
    assert is_free(port_of(web))
    web.start()
    assert get(web.url + "/hello") == 200


@pytest.mark.parametrize(("grace", "end"), [(20, "answered"), (0.05, "cancelled")])
def test_http_stop_gives_a_grace(lab: Lab, grace: float, end: str) -> None:
    """A request under way has the grace to finish, then it is cancelled."""
    app, asked = FastAPI(), threading.Event()
    ended: list[str] = []

    @app.get("/")
    async def answer() -> None:
        asked.set()
        try:
            while web._server is not None or end == "cancelled":  # noqa: ASYNC110  # until it stops
                await asyncio.sleep(0.01)
            ended.append("answered")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    web = lab.serve_http(app)
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(get, web.url)
        assert asked.wait(20)
        web.stop(grace)
        assert wait_for(lambda: ended == [end])
        assert end == "cancelled" or asking.result(20) == 200


SERVE: dict[str, Callable[[Lab], Any]] = {
    "http": lambda lab: lab.serve_http(make_app(), "held"),
    "queue": lambda lab: lab.serve_queue("held"),
    "proxy": lambda lab: lab.proxy("127.0.0.1:9", "held"),
}


@pytest.mark.parametrize(("kind", "end"), [("http", "stop"), ("queue", "kill"), ("proxy", "stop")])
def test_nobody_gets_the_port_of_a_stopped_service(lab: Lab, kind: str, end: str) -> None:
    """The system gives the port to no other program until the lab lets go of it."""
    service = SERVE[kind](lab)
    getattr(service, end)()
    getattr(service, end)()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port_of(service)))
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port_of(service)))
    lab.remove("held")
    with socket.socket() as other:
        other.bind(("127.0.0.1", port_of(service)))


def test_http_lifespan_runs(lab: Lab) -> None:
    """The app's lifespan runs at start and at stop."""
    seen: list[str] = []

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        seen.append("start")
        yield
        seen.append("stop")

    web = lab.serve_http(FastAPI(lifespan=lifespan))
    assert seen == ["start"]
    web.stop()
    assert seen == ["start", "stop"]


def test_http_failing_lifespan_is_an_error(lab: Lab) -> None:
    """An app that cannot start is an error with its reason, and the lab goes on."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        msg = "no database"
        raise RuntimeError(msg)
        yield

    with pytest.raises(LabError, match="no database"):
        lab.serve_http(FastAPI(lifespan=lifespan))
    assert get(lab.serve_http(make_app()).url + "/hello") == 200


@pytest.mark.parametrize("wrong", [FastAPI, 3, "app", print])
def test_http_wrong_app(lab: Lab, wrong: Any) -> None:
    """What is no ASGI app is a TypeError that names one."""
    with pytest.raises(TypeError, match=r"FastAPI\(\)"):
        lab.serve_http(wrong)


def test_bare_asgi_function(lab: Lab) -> None:
    """An ASGI function that knows no lifespan is served as well."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    assert get(lab.serve_http(app).url) == 204


def publish_and_get(url: str) -> bytes:
    """Send a message through a queue with aio-pika."""

    async def both() -> bytes:
        connection = await aio_pika.connect(url, timeout=20)
        async with connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("orders", exclusive=True)
            message = aio_pika.Message(b"one")
            await channel.default_exchange.publish(message, routing_key=queue.name)
            got = await queue.get(timeout=20)
            await got.ack()
            return got.body

    return asyncio.run(both())


def test_queue(lab: Lab) -> None:
    """A message goes through the broker, before and after a stop and a start."""
    queue = lab.serve_queue()
    port = port_of(queue)
    assert publish_and_get(queue.url) == b"one"
    queue.stop()
    assert is_free(port)
    queue.start()
    assert port_of(queue) == port
    assert publish_and_get(queue.url) == b"one"


def test_queue_survives_a_kill(lab: Lab) -> None:
    """What is durable is there after kill and restart; a queue served anew starts empty."""

    async def declare() -> None:
        async with await aio_pika.connect(queue.url, timeout=20) as connection:
            channel = await connection.channel()
            await channel.declare_queue("kept", durable=True)
            await channel.declare_queue("lost")

    queue = lab.serve_queue()
    assert isinstance(queue, QueueService)
    port = port_of(queue)
    asyncio.run(declare())
    queue.kill()
    assert not queue.running
    assert is_free(port)
    assert (queue.stats.queues, queue.timeline["kept"][-1].ready) == ({}, 0)
    for _ in range(2):
        queue.restart()
        assert queue.running
        assert port_of(queue) == port
        assert list(queue.stats.queues) == ["kept"]
    anew = lab.serve_queue()
    assert isinstance(anew, QueueService)
    assert anew.stats.queues == {}


def test_queue_password_is_the_labs_own() -> None:
    """Two labs have two passwords, and neither is in the repr."""
    urls = []
    for _ in range(2):
        with Lab() as lab:
            queue = lab.serve_queue()
            urls.append(queue.url)
            password = queue.url.split("@")[0].split(":")[-1]
            assert password not in repr(lab)
    assert urls[0].split("@")[0] != urls[1].split("@")[0]


def test_outside_engines_are_used_not_started(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the variables set, the addresses are theirs and stop says what to do instead."""
    monkeypatch.setenv("LAB_AMQP_URL", "amqp://me:secret@192.0.2.1/")
    monkeypatch.setenv("ETCD_ENDPOINTS", "192.0.2.2:2379,http://192.0.2.3:2379")
    monkeypatch.setenv("LAB_S3_ENDPOINT", "https://192.0.2.4")
    queue, etcd, objects = lab.serve_queue(), lab.serve_etcd(), lab.serve_objects()
    assert queue.url == "amqp://me:secret@192.0.2.1/"
    targets = (queue.target, etcd.target, objects.target)
    assert targets == ("192.0.2.1:5672", "192.0.2.2:2379", "192.0.2.4:443")
    assert etcd.targets == ("192.0.2.2:2379", "192.0.2.3:2379")
    for node in (etcd.kill, etcd.revive):
        with pytest.raises(LabError, match=r"lab\.proxy"):
            node(0)
    for stop in (queue.stop, queue.kill, queue.restart, etcd.stop, objects.stop):
        with pytest.raises(LabError, match=r"lab\.proxy"):
            stop()
    assert "secret" not in repr(lab)


def test_an_embedded_broker_beside_an_outside_one(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker that a cell wants to restart is the lab's own, whatever the variable says."""
    monkeypatch.setenv("LAB_AMQP_URL", "amqp://me:secret@192.0.2.1/")
    own = lab.serve_queue(embedded=True)
    assert own.target.startswith("127.0.0.1:")
    own.restart()
    assert own.running


@pytest.mark.parametrize(
    ("variable", "serve"),
    [
        ("LAB_AMQP_URL", "serve_queue"),
        ("ETCD_ENDPOINTS", "serve_etcd"),
        ("LAB_S3_ENDPOINT", "serve_objects"),
        ("LAB_POSTGRES_DSN", "serve_rows"),
        ("LAB_REDIS_URL", "serve_cache"),
    ],
)
def test_nonsense_in_a_variable(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, variable: str, serve: str
) -> None:
    """A variable that holds no address is an error that names it."""
    monkeypatch.setenv(variable, "nonsense")
    with pytest.raises(LabError, match=variable):
        getattr(lab, serve)()


def test_proxy_before_a_service(lab: Lab) -> None:
    """A proxy takes a service or an address, and passes."""
    service = lab.serve_grpc(AioServicer())
    for upstream in (service, service.target):
        proxy = lab.proxy(upstream)
        assert call(proxy) == "OK"
    assert repr(lab).count("Proxy") == 1


@pytest.mark.parametrize("wrong", [3, None, ["127.0.0.1:1"]])
def test_proxy_before_nothing(lab: Lab, wrong: object) -> None:
    """A proxy of something without an address is a TypeError."""
    with pytest.raises(TypeError, match="'host:port'"):
        lab.proxy(wrong)


def test_proxy_in_the_place_of_its_upstream(lab: Lab) -> None:
    """A proxy under the name of its upstream would pass to itself: an error, and nothing ends."""
    service = lab.serve_grpc(AioServicer(), name="orders")
    for upstream in (service, service.target):
        with pytest.raises(ValueError, match="choose another name="):
            lab.proxy(upstream, name="orders")
    assert call(service) == "OK"


def test_proxy_again_counts_from_zero(lab: Lab) -> None:
    """A cell run twice gets a new proxy on the same port; the old one stays stopped."""
    service = lab.serve_grpc(AioServicer())
    first = lab.proxy(service)
    assert call(first) == "OK"
    first.set(delay=0.001)
    second = lab.proxy(service)
    assert (second.target, first.running) == (first.target, False)
    assert second.stats.connections == 0
    assert call(second) == "OK"
    assert "passing" in repr(second)


def test_same_name_replaces_on_the_same_port(lab: Lab) -> None:
    """Serving again under a name ends the old service and takes its port, whatever the kind."""
    old = lab.serve_grpc(AioServicer(), name="orders")
    new = lab.serve_http(make_app(), name="orders")
    assert not old.running
    assert new.target == old.target
    proxy = lab.proxy("127.0.0.1:9", name="orders")
    assert proxy.target == old.target
    again = lab.serve_grpc(SyncServicer(), name="orders", workers=2)
    assert again.target == old.target
    assert call(again) == "OK"
    assert repr(lab).count("127.0.0.1") == 1


def test_port_lost_between_two_services(lab: Lab) -> None:
    """When another program took the port meanwhile, the replacement takes a free one."""
    old = lab.serve_http(make_app())
    old.stop()
    with socket.socket() as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        thief.bind(("127.0.0.1", port_of(old)))
        thief.listen()
        with pytest.raises(PortInUseError, match="stop the other program"):
            old.start()
        new = lab.serve_http(make_app())
        assert new.target != old.target
        proxied = lab.serve_grpc(AioServicer(), name="http")
        assert proxied.target == new.target
    assert call(proxied) == "OK"


def test_second_lab_stops_the_first() -> None:
    """One lab at a time: a new one stops the old, and stop is idempotent."""
    first = Lab()
    service = first.serve_grpc(AioServicer())
    with Lab() as second:
        assert Lab.current() is second
        assert not service.running
        assert not first.loop.alive
        first.stop()
        assert Lab.current() is second
        with pytest.raises(LabError, match=r"lab = Lab\(\)"):
            first.serve_grpc(AioServicer())
    assert Lab.current() is None
    assert repr(second) == "<Lab stopped>"


def test_stop_ends_all_and_leaves_no_thread() -> None:
    """After the block no service answers, and the loop's thread is gone."""
    before = set(threading.enumerate())  # other tests of this process may keep a loop
    with Lab() as lab:
        services = [lab.serve_grpc(AioServicer()), lab.serve_http(make_app()), lab.serve_queue()]
        lab.proxy(services[0])
    assert all(is_free(port_of(service)) for service in services)
    assert "labsvc-loop" not in [thread.name for thread in set(threading.enumerate()) - before]


def test_stop_goes_on_when_a_service_fails_to_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """One service that cannot stop does not keep the others from it, and is reported."""
    lab = Lab()
    bad, good = lab.serve_grpc(AioServicer()), lab.serve_http(make_app())

    close = bad._aclose

    async def fail(grace: float) -> None:
        await close(grace)
        msg = "it will not"
        raise RuntimeError(msg)

    monkeypatch.setattr(bad, "_aclose", fail)
    with pytest.raises(LabError, match=r"it will not.*restart the kernel"):
        lab.stop()
    assert is_free(port_of(good))
    assert not lab.loop.alive
    assert Lab.current() is None
    lab.stop()


def test_dead_loop_is_told_and_survived(capfd: pytest.CaptureFixture[str]) -> None:
    """A handler that calls sys.exit ends the lab: callers get errors, ports are freed."""
    lab = Lab()
    service, web = lab.serve_grpc(AioServicer()), lab.serve_http(make_app())
    proxy = lab.proxy(service)
    assert call(service, "exit") == "UNAVAILABLE"
    with pytest.raises(LoopDeadError, match=r"lab = Lab\(\)"):
        lab.serve_queue()
    lab.stop()
    assert all(is_free(port_of(one)) for one in (service, web, proxy))
    with Lab() as new:
        assert call(new.serve_grpc(AioServicer())) == "OK"
    assert capfd.readouterr() == ("", "")


def test_folder_of_a_cell() -> None:
    """A cell that runs twice finds its folder empty; it goes when the lab stops."""
    with Lab() as lab:
        for _ in range(2):
            folder = lab.folder("orders")
            assert list(folder.iterdir()) == []
            (folder / "orders.db").write_text("x")
        assert lab.folder("stock") != folder
        assert (folder / "orders.db").exists()
        for wrong in ("", 3, None):
            with pytest.raises(TypeError, match="such as 'orders'"):
                lab.folder(wrong)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="plain name"):
            lab.folder("../orders")
    assert not folder.exists()
    with pytest.raises(LabError, match=r"lab = Lab\(\)"):
        lab.folder("orders")


CELL = """
import sqlite3, time
from labsvc import Lab
lab = Lab()
folder = lab.folder("orders")
db = sqlite3.connect(folder / "orders.db")
db.execute("CREATE TABLE orders (order_id TEXT)")
print(folder, flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_folder_of_a_killed_kernel() -> None:
    """A kernel that is killed leaves nothing of the lab's folder, open files or not."""
    env = dict(os.environ) | {"PYTHONPATH": str(Path(labsvc.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", CELL], stdout=subprocess.PIPE, text=True, env=env
    ) as kernel:
        assert kernel.stdout is not None
        folder = Path(kernel.stdout.readline().strip())
        assert (folder / "orders.db").exists()
        kernel.kill()
    assert wait_for(lambda: not folder.parent.exists(), patience(3))


def test_proxy_variables_do_not_catch_local_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """With http_proxy set, plain channels still reach the lab; stop restores no_proxy."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "example.org")
    with Lab() as lab:
        assert os.environ["no_proxy"] == "example.org,127.0.0.1"
        assert os.environ["NO_PROXY"] == "127.0.0.1"
        assert call(lab.serve_grpc(AioServicer())) == "OK"
    assert os.environ["no_proxy"] == "example.org"
    assert "NO_PROXY" not in os.environ


def test_serving_from_the_loop_is_refused(lab: Lab) -> None:
    """Serving inside a handler would wait for itself, so it raises."""

    async def inside() -> None:
        lab.serve_http(make_app())

    with pytest.raises(LabError, match="use `await`"):
        lab.loop.run(inside())


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_stop_button_during_a_start_leaves_nothing(lab: Lab) -> None:
    """An interrupted start ends what it had begun; the same cell works afterwards."""
    reached = threading.Event()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        reached.set()
        await asyncio.sleep(60)
        yield

    def press_stop() -> None:
        reached.wait(20)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press_stop)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        lab.serve_http(FastAPI(lifespan=lifespan))
    presser.join()
    assert repr(lab) == "<Lab with nothing running>"
    assert get(lab.serve_http(make_app()).url + "/hello") == 200
