"""RED metrics of gRPC servers, with threads and on asyncio."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from opentelemetry.instrumentation.grpc import aio_server_interceptor, server_interceptor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from labsvc import until
from labsvc.rpc import context as call_context
from labsvc.rpc import recovery
from labsvc.rpc.context import CallContext
from labsvc.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from labsvc.lab import Lab

CODE = grpc.StatusCode
ENDINGS = {"": "OK", "abort": "NOT_FOUND", "set": "ABORTED", "raise": "UNKNOWN"}


class Threads(health_pb2_grpc.HealthServicer):
    """Ends its calls as the request says, in a thread."""

    workers = 4
    server = staticmethod(metrics.server)
    context = staticmethod(call_context.server)
    recovery = staticmethod(recovery.server)
    traced = staticmethod(server_interceptor)

    def Check(self, request: Any, context: Any) -> Any:
        """Answer, or do what the request says."""
        match request.service:
            case "abort":
                context.abort(CODE.NOT_FOUND, "no such thing")
            case "set":
                context.set_code(CODE.ABORTED)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
            case "slow":
                time.sleep(0.3)
        return health_pb2.HealthCheckResponse()

    def Watch(self, request: Any, context: Any) -> Iterator[Any]:
        """Send one message, then do the same."""
        yield health_pb2.HealthCheckResponse()
        yield self.Check(request, context)


class Aio(health_pb2_grpc.HealthServicer):
    """The same on grpc.aio."""

    workers = None
    server = staticmethod(metrics.aio_server)
    context = staticmethod(call_context.aio_server)
    recovery = staticmethod(recovery.aio_server)
    traced = staticmethod(aio_server_interceptor)

    async def Check(self, request: Any, context: Any) -> Any:
        """Answer, or do what the request says."""
        match request.service:
            case "abort":
                await context.abort(CODE.NOT_FOUND, "no such thing")
            case "set":
                context.set_code(CODE.ABORTED)
            case "raise":
                msg = "a mistake"
                raise ValueError(msg)
            case "slow":
                await asyncio.sleep(0.3)
        return health_pb2.HealthCheckResponse()

    async def Watch(self, request: Any, context: Any) -> AsyncIterator[Any]:
        """Send one message, then do the same."""
        yield health_pb2.HealthCheckResponse()
        yield await self.Check(request, context)


class Bench:
    """A server with RED metrics, under a name of its own, and a channel to it."""

    def __init__(
        self, lab: Lab, kind: Any, *behind: Any, before: Any = (), **settings: Any
    ) -> None:
        self.registry = CollectorRegistry()
        red = metrics.Red(self.registry)
        self.service = lab.serve_grpc(
            kind(),
            name=f"bench-{time.monotonic_ns()}",
            interceptors=[*before, kind.server(red), *behind],
            **({"workers": kind.workers} | settings),
        )
        self.channel = grpc.insecure_channel(self.service.target)

    def call(self, service: str, method: str = "Check", **how: Any) -> str:
        """Make a call and return how it ended."""
        full = f"/grpc.health.v1.Health/{method}"
        request = health_pb2.HealthCheckRequest(service=service).SerializeToString()
        try:
            if method == "Watch":
                list(self.channel.unary_stream(full)(request, timeout=5, **how))
            else:
                self.channel.unary_unary(full)(request, **({"timeout": 5} | how))
        except grpc.RpcError as error:
            code: Any = error
            return str(code.code().name)
        return "OK"

    def value(self, name: str, method: str, code: str) -> float:
        """Return a sample, 0 where there is none."""
        labels = {"method": method, "code": code}
        return self.registry.get_sample_value(name, labels) or 0

    def openmetrics(self) -> str:
        """Return what is served to those who accept exemplars."""
        return str(generate_latest(self.registry).decode())  # type: ignore[no-untyped-call]

    def count(self, method: str, code: str) -> float:
        """Return how many calls were counted, in the counter and in the histogram alike."""
        counted = self.value("grpc_server_handled_total", method, code)
        assert counted == self.value("grpc_server_handling_seconds_count", method, code)
        return counted

    def seconds(self, method: str, code: str) -> float:
        """Return the sum of the durations."""
        return self.value("grpc_server_handling_seconds_sum", method, code)


HEALTH = "grpc.health.v1.Health"


@pytest.mark.parametrize("method", ["Check", "Watch"])
def test_each_call_counts_once_by_its_status(shared_lab: Lab, kind: Any, method: str) -> None:
    """Whatever ends a call, it counts under the code that its caller reads."""
    bench = Bench(shared_lab, kind)
    for service, code in ENDINGS.items():
        assert bench.call(service, method) == code
    full = f"{HEALTH}/{method}"
    until(lambda: all(bench.count(full, code) == 1 for code in ENDINGS.values()))


def test_what_is_behind_decides_the_status(shared_lab: Lab, kind: Any) -> None:
    """The code is that which leaves the interceptors behind this one."""
    bench = Bench(shared_lab, kind, kind.recovery())
    assert bench.call("raise") == "INTERNAL"
    until(lambda: bench.count(f"{HEALTH}/Check", "INTERNAL") == 1)


def test_a_client_that_left_is_cancelled(shared_lab: Lab, kind: Any) -> None:
    """A caller that gave up reads DEADLINE_EXCEEDED; the server counts CANCELLED."""
    bench = Bench(shared_lab, kind)
    assert bench.call("slow", timeout=0.1) == "DEADLINE_EXCEEDED"
    until(lambda: bench.count(f"{HEALTH}/Check", "CANCELLED") == 1)


def test_made_up_methods_have_one_name(shared_lab: Lab, kind: Any) -> None:
    """A caller cannot make series without an end."""
    bench = Bench(shared_lab, kind)
    for name in ("a", "b", "c"):
        call: Any = bench.channel.unary_unary(f"/{name}/x")
        with pytest.raises(grpc.RpcError):
            call(b"", timeout=5)
    assert bench.count("(unknown method)", "UNIMPLEMENTED") == 3


def test_the_time_is_in_seconds(shared_lab: Lab, kind: Any) -> None:
    """A duration lasts from the arrival to the status, a stream's to its end."""
    bench = Bench(shared_lab, kind)
    for method in ("Check", "Watch"):
        full = f"{HEALTH}/{method}"
        bench.call("slow", method)
        until(lambda full=full: bench.count(full, "OK") == 1)  # type: ignore[misc]
        assert 0.28 < bench.seconds(full, "OK") < 5


def test_the_wait_for_a_thread_is_part_of_it(shared_lab: Lab) -> None:
    """Two calls that share one thread last once and twice as long."""
    bench = Bench(shared_lab, Threads, workers=1)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bench.call, ["slow", "slow"]))
    until(lambda: bench.count(f"{HEALTH}/Check", "OK") == 2)
    assert bench.seconds(f"{HEALTH}/Check", "OK") > 0.85


def test_exemplar_of_the_span(shared_lab: Lab, kind: Any) -> None:
    """A duration carries the trace id of OpenTelemetry's span, where that is sampled."""
    provider = TracerProvider(shutdown_on_exit=False)
    bench = Bench(shared_lab, kind, before=[kind.traced(provider)])
    trace = "0af7651916cd43dd8448eb211c80319c"
    bench.call("", metadata=[("traceparent", f"00-{trace}-b7ad6b7169203331-01")])
    until(lambda: bench.count(f"{HEALTH}/Check", "OK") == 1)
    text = bench.openmetrics()
    assert f'# {{trace_id="{trace}"}}' in text
    assert trace not in text.replace(f'# {{trace_id="{trace}"}}', "")


def test_exemplar_of_the_context(shared_lab: Lab, kind: Any) -> None:
    """Without OpenTelemetry's span it is the trace of `labsvc.rpc.context`."""
    bench = Bench(shared_lab, kind, kind.context())
    mine = CallContext.new()
    bench.call("", metadata=mine.metadata())
    until(lambda: bench.count(f"{HEALTH}/Check", "OK") == 1)
    assert f'# {{trace_id="{mine.trace_id}"}}' in bench.openmetrics()


def test_no_exemplar_of_a_trace_that_is_not_kept(shared_lab: Lab, kind: Any) -> None:
    """Nobody could look it up."""
    provider = TracerProvider(ALWAYS_OFF, shutdown_on_exit=False)
    bench = Bench(shared_lab, kind, before=[kind.traced(provider)])
    bench.call("")
    until(lambda: bench.count(f"{HEALTH}/Check", "OK") == 1)
    assert "trace_id" not in bench.openmetrics()


def test_threads_lose_no_call(shared_lab: Lab, kind: Any) -> None:
    """Calls at the same time all count."""
    bench = Bench(shared_lab, kind)
    start = threading.Barrier(8)

    def many(_: int) -> None:
        start.wait(10)
        for _ in range(25):
            bench.call("")

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(many, range(8)))
    until(lambda: bench.count(f"{HEALTH}/Check", "OK") == 200)


def test_a_registry_has_it_once() -> None:
    """A second one in the same registry is an error, not a double count."""
    registry = CollectorRegistry()
    metrics.Red(registry)
    with pytest.raises(ValueError, match="Duplicated"):
        metrics.Red(registry)
