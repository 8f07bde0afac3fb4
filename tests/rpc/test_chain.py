from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest

from labsvc.lab import Lab
from labsvc.rpc import chain, context, deadline
from labsvc.rpc._client import ClientInterceptor
from labsvc.rpc.errors import StatusError
from labsvc.rpc.idempotency import new_key
from labsvc.rpc.retry import RetryPolicy, service_config
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

METHOD = "/labsvc.shop.v1.UserService/GetUser"
CODE = grpc.StatusCode


class Users(user_pb2_grpc.UserServiceServicer):
    """Does what the user's id says, and notes what it knew."""

    def __init__(self) -> None:
        self.runs = 0
        self.left: list[float] = []
        self.ids: list[str] = []

    def work(self, user_id: str) -> user_pb2.GetUserResponse:
        """Note the call, then raise or answer."""
        self.runs += 1
        current = deadline.current()
        assert current is not None
        self.left.append(current.remaining())
        known = context.current()
        assert known is not None
        self.ids.append(known.request_id)
        if user_id == "bug":
            msg = "secret"
            raise KeyError(msg)
        if user_id == "flaky" and self.runs == 1:
            raise StatusError(CODE.UNAVAILABLE, "not yet")
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=str(self.runs)))

    def GetUser(self, request: Any, context: Any) -> Any:
        """Work in a thread."""
        return self.work(request.user_id)


class AioUsers(Users):
    """The same on the loop."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Work on the loop."""
        return self.work(request.user_id)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


@pytest.fixture(params=["sync", "aio"])
def service(lab: Lab, request: pytest.FixtureRequest) -> tuple[Users, str]:
    """Serve with the full chain; return the servicer and the target."""
    if request.param == "sync":
        users = Users()
        interceptors: Any = chain.server(cap=5, needs=0.05, total=4)
        server = lab.serve_grpc(users, name="chain", workers=8, interceptors=interceptors)
    else:
        users = AioUsers()
        interceptors = chain.aio_server(cap=5, needs=0.05, total=4)
        server = lab.serve_grpc(users, name="chain", interceptors=interceptors)
    return users, server.target


def ask(target: str, user_id: str = "u-1", **how: Any) -> str:
    """Ask through the client's chain on a sync channel; return the answer or the code."""
    config = service_config({"": RetryPolicy(initial_backoff=0.3)})
    options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options) as plain:
        channel = grpc.intercept_channel(plain, *chain.client(default=2))
        request = user_pb2.GetUserRequest(user_id=user_id)
        try:
            return user_pb2_grpc.UserServiceStub(channel).GetUser(request, **how).user.user_id
        except grpc.RpcError as error:
            return StatusError.of(error).code.name


def ask_aio(target: str, user_id: str = "u-1", **how: Any) -> str:
    """Ask through the client's chain on a grpc.aio channel."""

    async def main() -> str:
        options = [("grpc.use_local_subchannel_pool", 1)]
        interceptors = chain.aio_client(default=2)
        async with grpc.aio.insecure_channel(
            target, options=options, interceptors=interceptors
        ) as channel:
            request = user_pb2.GetUserRequest(user_id=user_id)
            try:
                stub = user_pb2_grpc.UserServiceStub(channel)
                return (await stub.GetUser(request, **how)).user.user_id
            except grpc.RpcError as error:
                return StatusError.of(error).code.name

    return asyncio.run(main())


@pytest.mark.parametrize("ask", [ask, ask_aio], ids=["from sync", "from aio"])
def test_a_call_through_the_whole_chain(service: tuple[Users, str], ask: Any) -> None:
    """The handler runs with the default deadline, and the answer comes back."""
    users, target = service
    assert ask(target) == "1"
    assert 0 < users.left[0] < 2.1  # gRPC rounds a timeout up on the wire


@pytest.mark.parametrize("ask", [ask, ask_aio], ids=["from sync", "from aio"])
def test_the_client_chain_changes_all_it_should(service: tuple[Users, str], ask: Any) -> None:
    """The same call carries the request's id and the default deadline."""
    users, target = service
    with context.use(context.CallContext.new()) as here:
        ask(target)
    assert users.ids == [here.request_id]
    assert 0 < users.left[0] < 2.1


def test_joined_interceptors_both_see_the_call(service: tuple[Users, str]) -> None:
    """Each of the two gets the call that was started."""
    first: list[Any] = []
    second: list[Any] = []
    one = ClientInterceptor(lambda _: {}, first.append)
    two = ClientInterceptor(lambda _: {}, second.append)
    with grpc.insecure_channel(service[1]) as plain:
        stub = user_pb2_grpc.UserServiceStub(grpc.intercept_channel(plain, one.joined(two)))
        stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=5)
    assert len(first) == 1
    assert second == first


def test_what_each_interceptor_refuses(
    service: tuple[Users, str], caplog: pytest.LogCaptureFixture
) -> None:
    """Errors are answered, late calls and broken requests refused, keys remembered."""
    caplog.set_level(logging.ERROR, "labsvc.rpc.recovery")
    users, target = service
    assert ask(target, "bug") == "INTERNAL"
    assert "internal error, id=" in caplog.text
    assert ask(target, timeout=0.04) == "DEADLINE_EXCEEDED"
    assert users.runs == 1
    key = new_key()
    assert [ask(target, metadata=[key]) for _ in range(2)] == ["2", "2"]
    with grpc.insecure_channel(target) as channel:
        raw: Any = channel.unary_unary(METHOD)
        with pytest.raises(grpc.RpcError) as caught:
            raw(b"\xff\xff", timeout=5)
    assert StatusError.of(caught.value).code is CODE.INVALID_ARGUMENT


def test_retries_lie_below_the_client_chain(service: tuple[Users, str]) -> None:
    """Two tries are one call: one request id, and one deadline that goes on."""
    users, target = service
    assert ask(target, "flaky", metadata=[("x-request-id", "r-7")]) == "2"
    assert users.ids == ["r-7", "r-7"]
    assert users.left[1] < users.left[0]


def test_the_order() -> None:
    """The order is the documented one, the same for both kinds of servers."""
    for made in (chain.server(cap=1), chain.aio_server(cap=1)):
        interceptors: list[Any] = list(made)
        order = [type(one.layer).__module__.rpartition(".")[2] for one in interceptors]
        assert order == [
            "recovery",
            "context",
            "deadline",
            "concurrency",
            "idempotency",
            "decode",
        ]
