from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks.asking import channel, status_of, stub, wait, wait_while_moving
from labsvc.lab import Lab
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = user_pb2.GetUserRequest(user_id="u-1")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """Run a lab."""
    with Lab() as running:
        yield running


def test_stub_is_connected_and_alone(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each stub has a connection of its own, past a proxy, and closes it at the end."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "")
    proxy = lab.proxy(lab.serve_grpc(AioUserService(Store.seeded())))
    make = user_pb2_grpc.UserServiceStub
    with stub(make, proxy.target) as first, stub(make, proxy.target) as second:
        assert proxy.stats.connections == 2
        for users in (first, second):
            assert users.GetUser(REQUEST, timeout=5).user.user_id == "u-1"
    assert wait(lambda: not proxy.stats.open, 5)


def test_stub_of_nobody_is_not_yielded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a server there is an error instead of a stub that hangs."""
    monkeypatch.setattr("labsvc.checks.asking.CONNECT_SECONDS", 0.2)
    nobody = stub(user_pb2_grpc.UserServiceStub, "127.0.0.1:9")
    with pytest.raises(grpc.FutureTimeoutError):
        nobody.__enter__()


def test_channel_takes_arguments(lab: Lab) -> None:
    """A channel argument is named without its prefix, and reaches gRPC."""
    service = lab.serve_grpc(AioUserService(Store.seeded()))
    with (
        channel(service.target, max_receive_message_length=1) as opened,
        pytest.raises(grpc.RpcError) as caught,
    ):
        user_pb2_grpc.UserServiceStub(opened).GetUser(REQUEST, timeout=5)
    assert status_of(caught.value) == "RESOURCE_EXHAUSTED"


def test_wait_says_whether_it_came_true() -> None:
    """A wait ends with the condition, or with its time, and says which."""
    began = time.monotonic()
    assert wait(lambda: time.monotonic() > began + 0.05, 5)
    assert not wait(lambda: False, 0.05)


def test_wait_while_moving() -> None:
    """What moves is waited for longer than the seconds given, and what stands still is not."""
    began = time.monotonic()
    assert wait_while_moving(lambda: time.monotonic() > began + 0.5, time.monotonic, 0.1)
    assert not wait_while_moving(lambda: False, lambda: 0, 0.05)
    assert not wait_while_moving(lambda: False, lambda: time.monotonic() < began + 0.6, 0.05)


def test_status_in_a_group() -> None:
    """A gRPC error in a group of errors, and one behind another, is found; others are not."""

    class Refused(grpc.RpcError):
        def code(self) -> Any:
            return grpc.StatusCode.ABORTED

    assert status_of(ExceptionGroup("some", [KeyError("a"), Refused()])) == "ABORTED"
    assert status_of(KeyError("a")) is None
    assert status_of(None) is None
