from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from labsvc import Lab
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.telemetry import Tracing
from labsvc.telemetry.sampling import arrives_sampled, in_sampled_span
from tests.telemetry import watched

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.sampling import Sampler

IDS = f"00-{'ab' * 16}-{'cd' * 8}"


@pytest.mark.parametrize(
    ("metadata", "sampled"),
    [
        ([("traceparent", f"{IDS}-01")], True),
        ([("x", "y"), ("traceparent", f"{IDS}-03")], True),
        ([("traceparent", f"{IDS}-00")], False),
        ([("traceparent", f"{IDS}-02")], False),
        ([("traceparent", "nonsense")], False),
        ([("tracestate", "a=1")], False),
        ((), False),
        (None, False),
    ],
)
def test_a_call_is_sampled_by_its_flags(metadata: Any, sampled: object) -> None:
    """The last bit of the flags says so, whatever the others are."""
    assert arrives_sampled(SimpleNamespace(invocation_metadata=metadata)) is sampled


class Users(user_pb2_grpc.UserServiceServicer):
    """Keeps the metadata of its last call."""

    keys: tuple[str, ...] = ()

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        self.keys = tuple(key for key, _ in context.invocation_metadata())
        return user_pb2.GetUserResponse()


@pytest.mark.parametrize(("sampler", "spans"), [(ALWAYS_ON, 3), (ALWAYS_OFF, 0)])
def test_only_calls_of_sampled_traces_have_spans(sampler: Sampler, spans: int) -> None:
    """A sampled trace is whole; what is not sampled has no span and carries no ids."""
    with Lab() as lab:
        collector = lab.serve_collector()
        client, server = (
            Tracing(name, collector.endpoint, sampler=sampler) for name in ("client", "server")
        )
        users = Users()
        service = lab.serve_grpc(users, interceptors=watched.aio_server(server, arrives_sampled))
        with grpc.insecure_channel(service.target) as bare:
            stub = user_pb2_grpc.UserServiceStub(watched.channel(client, bare, in_sampled_span))
            with client.tracer.start_as_current_span("order"):
                stub.GetUser(user_pb2.GetUserRequest(), timeout=5)
            client.close()
            server.close()
        found = collector.traces()
        assert sum(len(trace.spans) for trace in found) == spans
        assert all(trace.complete for trace in found)
        assert ("traceparent" in users.keys) is bool(spans)
