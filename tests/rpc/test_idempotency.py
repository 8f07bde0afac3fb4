from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.rpc import idempotency, recovery
from labsvc.rpc.errors import StatusError
from labsvc.rpc.idempotency import (
    KEY,
    new_key,
)
from labsvc.rpc.retry import RetryPolicy, service_config
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

CODE = grpc.StatusCode


class Counting(user_pb2_grpc.UserServiceServicer):
    """Counts its effects; each answer is another one."""

    def __init__(self) -> None:
        self.effects = 0
        self.started = threading.Event()
        self.go_on = threading.Event()
        self.go_on.set()

    def GetUser(self, request: Any, context: Any) -> Any:
        """Fail as the user's id says, or answer with the number of the effect."""
        if request.user_id == "raise":
            self.effects += 1
            raise ValueError
        if request.user_id == "set_code":
            self.effects += 1
            context.set_code(CODE.UNAVAILABLE)
            return user_pb2.GetUserResponse()
        self.started.set()
        self.go_on.wait(5)
        self.effects += 1
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=str(self.effects)))


class CountingAio(Counting):
    """The same as a coroutine."""

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Do as the other one does."""
        self.started.set()
        await asyncio.to_thread(self.go_on.wait, 5)
        return super().GetUser(request, context)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


class Service:
    """A server of one kind and a stub for it."""

    def __init__(self, lab: Lab, *, aio: bool, most: int = 100) -> None:
        self.effects_of = CountingAio() if aio else Counting()
        interceptors: list[Any] = (
            [recovery.aio_server(), idempotency.aio_server(most)]
            if aio
            else [recovery.server(), idempotency.server(most)]
        )
        self.server = lab.serve_grpc(
            self.effects_of, name="once", workers=None if aio else 8, interceptors=interceptors
        )
        config = service_config({"": RetryPolicy(max_attempts=3, initial_backoff=0.01)})
        options = [("grpc.service_config", config), ("grpc.use_local_subchannel_pool", 1)]
        self.channel = grpc.insecure_channel(self.server.target, options)
        self.stub = user_pb2_grpc.UserServiceStub(self.channel)

    def ask(self, *metadata: tuple[str, str], user_id: str = "u-1") -> str:
        """Return the answer, or the code."""
        request = user_pb2.GetUserRequest(user_id=user_id)
        try:
            return self.stub.GetUser(request, timeout=5, metadata=metadata).user.user_id
        except grpc.RpcError as error:
            return StatusError.of(error).code.name


@pytest.fixture(params=[False, True], ids=["sync", "aio"])
def service(lab: Lab, request: pytest.FixtureRequest) -> Iterator[Service]:
    """Serve, threaded and on the loop."""
    made = Service(lab, aio=request.param)
    yield made
    made.channel.close()


def test_same_key_happens_once(service: Service) -> None:
    """The second call gets the first one's answer; a new key and no key are new calls."""
    key = new_key()
    assert [service.ask(key), service.ask(key)] == ["1", "1"]
    assert [service.ask(new_key()), service.ask(), service.ask()] == ["2", "3", "4"]
    assert service.effects_of.effects == 4


def test_same_key_with_another_request(service: Service) -> None:
    """A key that was used for something else is the caller's mistake."""
    key = new_key()
    assert service.ask(key) == "1"
    assert service.ask(key, user_id="u-2") == "INVALID_ARGUMENT"
    assert service.effects_of.effects == 1


def test_same_key_while_the_first_call_is_under_way(service: Service) -> None:
    """The second call is told to try again, and does not run beside the first."""
    key = new_key()
    service.effects_of.go_on.clear()
    request = user_pb2.GetUserRequest(user_id="u-1")
    first = service.stub.GetUser.future(request, timeout=5, metadata=(key,))
    assert service.effects_of.started.wait(5)
    assert service.ask(key) == "ABORTED"
    service.effects_of.go_on.set()
    assert first.result().user.user_id == "1"
    assert service.ask(key) == "1"


@pytest.mark.parametrize(("how", "code"), [("raise", "INTERNAL"), ("set_code", "UNAVAILABLE")])
def test_failed_call_runs_again(service: Service, how: str, code: str) -> None:
    """A key whose call has failed is free again; three tries of the policy are three runs."""
    key = new_key()
    assert service.ask(key, user_id=how) == code
    before = service.effects_of.effects
    assert service.ask(key, user_id=how) == code
    assert service.effects_of.effects == 2 * before


def test_oldest_answers_are_forgotten(lab: Lab) -> None:
    """The memory is bounded."""
    service = Service(lab, aio=False, most=2)
    keys = [new_key() for _ in range(3)]
    assert [service.ask(key) for key in keys] == ["1", "2", "3"]
    assert [service.ask(key) for key in reversed(keys)] == ["3", "2", "4"]
    service.channel.close()


def test_memory_out_of_bounds() -> None:
    """To remember nothing is a mistake."""
    with pytest.raises(ValueError, match="most must be 1 or more"):
        idempotency.aio_server(0)


def test_keys_differ() -> None:
    """Each key is new."""
    assert new_key()[0] == KEY
    assert len({new_key() for _ in range(100)}) == 100
