from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.lab import Lab
from labsvc.shop.hops import NAMES, Hop, serve_hops
from labsvc.shop.v1 import user_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = user_pb2.GetUserRequest(user_id="u-1")
ANSWER = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def relay(hop: Hop, request: Any, context: Any) -> Any:
    """Ask the next hop."""
    return ANSWER if hop.next is None else hop.next.GetUser(request, timeout=5)


async def relay_aio(hop: Hop, request: Any, context: Any) -> Any:
    """Ask the next hop, on a loop."""
    return ANSWER if hop.next is None else await hop.next.GetUser(request, timeout=5)


@pytest.mark.parametrize("handler", [relay, relay_aio])
def test_a_request_meets_every_hop_once(lab: Lab, handler: Any) -> None:
    """The answer comes from the last hop, and each proxy saw one connection."""
    chain = serve_hops(lab, handler)
    assert chain.stub.GetUser(ASKED, timeout=5) == ANSWER
    assert chain.calls() == dict.fromkeys(NAMES, 1)
    assert [chain.wires[name].stats.connections for name in NAMES] == [1, 1, 1, 1]
    chain.stop()


@pytest.mark.parametrize("handler", [relay, relay_aio])
def test_the_same_name_again_replaces_the_chain(lab: Lab, handler: Any) -> None:
    """A cell that runs twice gets a fresh chain at the same address, with counts from zero."""
    first = serve_hops(lab, handler)
    first.stub.GetUser(ASKED, timeout=5)
    second = serve_hops(lab, handler)
    assert second.target == first.target
    assert second.stub.GetUser(ASKED, timeout=5) == ANSWER
    assert second.calls() == dict.fromkeys(NAMES, 1)
    second.stop()


@pytest.mark.parametrize("handler", [relay, relay_aio])
def test_a_fault_between_two_hops(lab: Lab, handler: Any) -> None:
    """A proxy that refuses stops the request at its place, and nowhere else."""
    chain = serve_hops(lab, handler)
    chain.wires["inventory"].set(refuse=True)
    with pytest.raises(grpc.RpcError):
        chain.stub.GetUser(ASKED, timeout=5)
    assert chain.calls() == {"gateway": 1, "orders": 1, "inventory": 0, "users": 0}
    chain.stop()


class _Note(grpc.UnaryUnaryClientInterceptor):
    """Writes down that a call passed."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Pass the call on."""
        self._seen.append("client")
        return continuation(details, request)


class _NoteAio(grpc.aio.UnaryUnaryClientInterceptor):
    """Writes down that a call passed."""

    def __init__(self, seen: list[str]) -> None:
        self._seen = seen

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        """Pass the call on."""
        self._seen.append("client")
        return await continuation(details, request)


@pytest.mark.parametrize(("handler", "note"), [(relay, _Note), (relay_aio, _NoteAio)])
def test_client_interceptors_stand_between_the_hops(lab: Lab, handler: Any, note: Any) -> None:
    """They see the three calls from hop to hop, and not the caller's own."""
    seen: list[str] = []
    chain = serve_hops(lab, handler, client=[note(seen)])
    chain.stub.GetUser(ASKED, timeout=5)
    assert seen == ["client"] * 3
    chain.stop()


@pytest.mark.parametrize("handler", [relay, relay_aio])
def test_a_stopped_chain_answers_nobody(lab: Lab, handler: Any) -> None:
    """After stop() the servers are gone and the caller's channel is closed."""
    chain = serve_hops(lab, handler)
    chain.stop()
    assert not any(service.running for service in chain.services.values())
    with pytest.raises(ValueError, match="closed channel"):
        chain.stub.GetUser(ASKED, timeout=1)


RETRY = json.dumps(
    {
        "methodConfig": [
            {
                "name": [{}],
                "retryPolicy": {
                    "maxAttempts": 3,
                    "initialBackoff": "0.01s",
                    "maxBackoff": "0.01s",
                    "backoffMultiplier": 1,
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            }
        ]
    }
)


def test_channel_arguments_may_be_for_one_hop(lab: Lab) -> None:
    """With a mapping only the channel of the hop that is named has them."""

    def down(hop: Any, request: Any, context: Any) -> Any:
        if hop.next is None:
            context.abort(grpc.StatusCode.UNAVAILABLE, "down")
        try:
            return hop.next.GetUser(request, timeout=5)
        except grpc.RpcError as error:
            context.abort(error.code(), "the next service failed")

    chain = serve_hops(lab, down, options={"inventory": [("grpc.service_config", RETRY)]})
    with pytest.raises(grpc.RpcError):
        chain.stub.GetUser(ASKED, timeout=5)
    assert chain.calls() == {"gateway": 1, "orders": 1, "inventory": 1, "users": 3}
    chain.stop()
