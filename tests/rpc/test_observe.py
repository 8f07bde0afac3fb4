"""What a host counts and logs of calls that a handler ends itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.lab import Lab
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from collections.abc import Iterator

Ask = health_pb2.HealthCheckRequest
CODE = grpc.StatusCode
STATUS = StatusError(CODE.ABORTED, "not now").status()


class Threads(health_pb2_grpc.HealthServicer):
    """Ends its calls as the request says, in a thread."""

    workers = 2

    def Check(self, request: Any, context: Any) -> Any:
        """Abort, fail or answer."""
        match request.service:
            case "abort":
                context.abort(CODE.NOT_FOUND, "no such thing")
            case "status":
                context.abort_with_status(STATUS)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
        return health_pb2.HealthCheckResponse()

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        """Send one message, then do the same."""
        yield health_pb2.HealthCheckResponse()
        yield self.Check(request, context)


class Aio(health_pb2_grpc.HealthServicer):
    """The same on grpc.aio."""

    workers = None

    async def Check(self, request: Any, context: Any) -> Any:
        """Abort, fail or answer."""
        match request.service:
            case "abort":
                await context.abort(CODE.NOT_FOUND, "no such thing")
            case "status":
                await context.abort_with_status(STATUS)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
        return health_pb2.HealthCheckResponse()

    async def Watch(self, request: Any, context: Any) -> Any:
        """Send one message, then do the same."""
        yield health_pb2.HealthCheckResponse()
        yield await self.Check(request, context)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """Run one lab for all tests."""
    with Lab() as running:
        yield running


def ask(target: str, what: str, method: str) -> str:
    """Make one call, wait for its end, and return the code that its caller got."""
    with grpc.insecure_channel(target) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        request = Ask(service=what)
        try:
            if method == "Check":
                stub.Check(request, timeout=20)
            else:
                list(stub.Watch(request, timeout=20))
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("servicer", [Threads, Aio])
@pytest.mark.parametrize("method", ["Check", "Watch"])
@pytest.mark.parametrize(
    ("what", "code"), [("", "OK"), ("abort", "NOT_FOUND"), ("status", "ABORTED")]
)
def test_one_code_and_one_line_for_a_call_that_ends_as_it_should(
    lab: Lab, servicer: Any, method: str, what: str, code: str
) -> None:
    """An abort counts under its own code, and is no error with a traceback."""
    service = lab.serve_grpc(servicer(), workers=servicer.workers)
    assert ask(service.target, what, method) == code
    assert service.stats.codes == {code: 1}
    assert [line for line in service.log if "Health/" in line] == [f"Health/{method} {code}"]
    assert not [line for line in service.log if "Traceback" in line]


@pytest.mark.parametrize("servicer", [Threads, Aio])
def test_an_error_is_logged_behind_the_line_of_its_call(lab: Lab, servicer: Any) -> None:
    """A handler that fails counts as UNKNOWN; its traceback follows the line of the call."""
    service = lab.serve_grpc(servicer(), workers=servicer.workers)
    ask(service.target, "raise", "Check")
    assert service.stats.codes == {"UNKNOWN": 1}
    lines = list(service.log)
    first = lines.index("Health/Check UNKNOWN")
    assert lines[first + 1] == "Traceback (most recent call last):"
    assert "ValueError: a mistake" in lines[first:]
