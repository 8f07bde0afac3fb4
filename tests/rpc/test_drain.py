"""Tests of the graceful stop: health first, then the calls under way, then the server."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)

from labsvc.loop import Loop
from labsvc.rpc.drain import aio_drain, drain
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPTIONS = [("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0)]
ASK = user_pb2.GetUserRequest(user_id="u-1")
TIMEOUT = 20


class AioUsers(user_pb2_grpc.UserServiceServicer):
    """Answers when the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.entered = 0

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Wait, then answer."""
        self.entered += 1
        while not self.gate.is_set():  # noqa: ASYNC110  of both kinds of server
            await asyncio.sleep(0.005)
        return user_pb2.GetUserResponse()


class Users(AioUsers):
    """The same on threads."""

    def GetUser(self, request: Any, context: Any) -> Any:
        """Wait, then answer."""
        self.entered += 1
        self.gate.wait(TIMEOUT)
        return user_pb2.GetUserResponse()


class Served:
    """A server of one kind with its health service."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.loop = Loop.start()
        self.users = AioUsers() if kind == "aio" else Users()
        self.pool = ThreadPoolExecutor(4)
        port = self.loop.run(self._start())
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", OPTIONS)
        self.stub = user_pb2_grpc.UserServiceStub(self.channel)

    async def _start(self) -> int:
        self.health: Any
        self.server: Any
        if self.kind == "aio":
            self.health, self.server = health.aio.HealthServicer(), grpc.aio.server(options=OPTIONS)
            await self.health.set("", health_pb2.HealthCheckResponse.SERVING)
        else:
            self.health = health.HealthServicer()
            self.server = grpc.server(self.pool, options=OPTIONS)
        user_pb2_grpc.add_UserServiceServicer_to_server(self.users, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        port = int(self.server.add_insecure_port("127.0.0.1:0"))
        started = self.server.start()
        if started is not None:
            await started
        return port

    def aio_drain(self, **seconds: float) -> threading.Thread:
        """Start to drain in a thread."""

        def run() -> None:
            if self.kind == "aio":
                self.loop.run(aio_drain(self.server, self.health, **seconds))
            else:
                drain(self.server, self.health, **seconds)

        thread = threading.Thread(target=run)
        thread.start()
        return thread

    def call(self) -> Any:
        """Start a call and wait until its handler runs."""
        entered = self.users.entered
        call = self.stub.GetUser.future(ASK, timeout=TIMEOUT)
        until(lambda: self.users.entered > entered)
        return call

    def close(self) -> None:
        """Stop everything."""
        self.users.gate.set()
        self.channel.close()
        stopped = self.server.stop(0)
        if self.kind == "aio":
            self.loop.run(stopped)
        self.loop.stop()
        self.pool.shutdown()


@pytest.fixture(params=["aio", "threads"])
def served(request: pytest.FixtureRequest) -> Iterator[Served]:
    """Serve users with health, on a server of either kind."""
    made = Served(request.param)
    yield made
    made.close()


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    give_up_at = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < give_up_at
        time.sleep(0.005)


def status(served: Served) -> int:
    """Ask the health service."""
    stub = health_pb2_grpc.HealthStub(served.channel)
    return int(stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT).status)


def test_health_comes_first_and_calls_are_still_served(served: Served) -> None:
    """During the notice the server says NOT_SERVING, and takes calls all the same."""
    until(lambda: status(served) == health_pb2.HealthCheckResponse.SERVING)
    before = served.call()
    draining = served.aio_drain(notice=1.0, grace=TIMEOUT)
    until(lambda: status(served) == health_pb2.HealthCheckResponse.NOT_SERVING)
    late = served.call()
    served.users.gate.set()
    assert before.code() is grpc.StatusCode.OK
    assert late.code() is grpc.StatusCode.OK
    draining.join(TIMEOUT)
    assert served.stub.GetUser.future(ASK, timeout=1).code() is not grpc.StatusCode.OK


def test_calls_under_way_may_finish(served: Served) -> None:
    """The stop waits for a call that runs, and takes no new one."""
    call = served.call()
    draining = served.aio_drain(notice=0, grace=TIMEOUT)
    until(lambda: served.stub.GetUser.future(ASK, timeout=0.3).code().name == "UNAVAILABLE")
    draining.join(0.2)
    assert draining.is_alive()
    served.users.gate.set()
    assert call.code() is grpc.StatusCode.OK
    draining.join(TIMEOUT)
    assert not draining.is_alive()


def test_grace_has_an_end(served: Served) -> None:
    """A call that does not finish in the grace is cut off."""
    call = served.call()
    draining = served.aio_drain(notice=0, grace=0.2)
    assert call.code() is not grpc.StatusCode.OK
    served.users.gate.set()
    draining.join(TIMEOUT)
    assert not draining.is_alive()
