"""What tracing costs the calls that it follows, and whether a span goes without being counted."""

from __future__ import annotations

import statistics
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, TraceIdRatioBased

from labsvc import Lab, compare, outcome
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.telemetry import Tracing
from labsvc.telemetry.sampling import arrives_sampled, in_sampled_span
from tests.bench.bench_row import Row
from tests.telemetry import watched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from opentelemetry.sdk.trace.sampling import Sampler

CALLS = 6000
TROUBLED_CALLS = 3000
SPANS = 100_000
SERVICES = 2  # that send them
REQUEST = user_pb2.GetUserRequest(user_id="u-1")
COLLECTOR = """
from labsvc import Lab
with Lab() as lab:
    print(lab.serve_collector().endpoint, flush=True)
    input()
"""
SERVICE = """
import sys, time
from labsvc.telemetry import Tracing
from labsvc.telemetry.sampling import arrives_sampled, in_sampled_span
tracing = Tracing("child", sys.argv[1], queue=int(sys.argv[2]))
began = time.perf_counter()
for _ in range(int(sys.argv[2])):
    tracing.tracer.start_span("work", attributes={"sku": "tea", "units": 3}).end()
tracing.flush()
print(time.perf_counter() - began, tracing.ended, tracing.lost)
tracing.close()
"""


class Echo(user_pb2_grpc.UserServiceServicer):
    """The same message for every call: what is left is the cost of the way."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return user_pb2.GetUserResponse()


@contextmanager
def collector_elsewhere() -> Iterator[str]:
    """Run a collector in a process of its own, as it is in production; yield its endpoint."""
    command = [sys.executable, "-c", COLLECTOR]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdout is not None
        try:
            yield program.stdout.readline().strip()
        finally:
            program.kill()


def caller(
    lab: Lab,
    running: ExitStack,
    endpoint: str = "",
    sampler: Sampler = ALWAYS_ON,
    *,
    filtered: bool = False,
) -> Callable[[], object]:
    """Return what calls a server of its own, traced on both sides if there is an endpoint.

    Client and server are in this process, and each has its tracing. With `filtered`, each call is
    made in a span of its own, whose sampler decides, and the filters look at nothing else.
    """
    server: list[Any] = []
    wants: Any = in_sampled_span if filtered else None
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_http_proxy", 0)]
    client: Tracing | None = None
    if endpoint:
        client, other = (Tracing(name, endpoint, sampler=sampler) for name in ("client", "server"))
        running.callback(client.close)
        running.callback(other.close)
        server = watched.aio_server(other, arrives_sampled if filtered else None)
    hosted = lab.serve_grpc(Echo(), name=f"echo-{len(lab.targets())}", interceptors=server)
    channel = running.enter_context(grpc.insecure_channel(hosted.target, options))
    if client is not None:
        channel = watched.channel(client, channel, wants)
    get_user = user_pb2_grpc.UserServiceStub(channel).GetUser
    if client is None or not filtered:
        return lambda: get_user(REQUEST, timeout=5)
    tracer = client.tracer

    def call() -> None:
        with tracer.start_as_current_span("order"):
            get_user(REQUEST, timeout=5)

    return call


def traced_calls() -> Iterator[Row]:
    """Put calls with every trace recorded, and with one in ten, beside bare ones, in one run.

    One in ten is taken with the filters of `labsvc.telemetry.sampling`, and without: there the two
    interceptors make spans that record nothing.
    """
    with collector_elsewhere() as endpoint, Lab() as lab, ExitStack() as running:
        variants = {
            "bare": caller(lab, running),
            "every": caller(lab, running, endpoint),
            "tenth": caller(lab, running, endpoint, TraceIdRatioBased(0.1), filtered=True),
            "unfiltered": caller(lab, running, endpoint, TraceIdRatioBased(0.1)),
        }
        measured = compare(variants, calls=CALLS, rounds=60)
    floor = measured.ratio("unfiltered", "bare").value
    for name, words, goal in (("every", "every call", 1.6), ("tenth", "one call in ten", 1.3)):
        ratio = measured.ratio(name, "bare")
        mine, bare = measured.quantiles[name].p50, measured.quantiles["bare"].p50
        detail = (
            f"p50 {mine * 1e6:.0f} us against {bare * 1e6:.0f} us, 95 % interval"
            f" {ratio.low:.2f} to {ratio.high:.2f}, {CALLS} calls each; one in ten without"
            f" filters {floor:.2f} x; both sides in one process, the collector in another"
        )
        yield Row(f"unary call, {words} traced over bare", ratio.value, goal, "x", detail)


def troubled_calls() -> Iterator[Row]:
    """Count the calls that fail while the collector hangs, and when it is gone."""
    failed = 0
    with Lab() as lab, ExitStack() as running:
        collector = lab.serve_collector()
        call = caller(lab, running, collector.endpoint)
        collector.delay = 3600
        failed += sum(outcome(call) != "OK" for _ in range(TROUBLED_CALLS))
        collector.stop()
        failed += sum(outcome(call) != "OK" for _ in range(TROUBLED_CALLS))
    detail = f"{TROUBLED_CALLS} calls, each traced on both sides, with either"
    yield Row("calls failed, collector hung or gone", failed, 0, "", detail)


def many_spans() -> Iterator[Row]:
    """Send spans from other processes to the lab's collector as fast as it goes."""
    seconds, lost, missing = [], 0, 0
    for _ in range(3):
        with Lab() as lab:
            collector = lab.serve_collector()
            command = [sys.executable, "-c", SERVICE, collector.endpoint, str(SPANS // SERVICES)]
            with ThreadPoolExecutor(SERVICES) as pool:
                done = list(pool.map(_output, [command] * SERVICES))
            seconds.append(max(took for took, _, _ in done))
            lost_here = sum(int(gone) for _, _, gone in done)
            ended = sum(int(count) for _, count, _ in done)
            lost += lost_here
            missing += ended - lost_here - collector.stats.received
    detail = f"median of 3 runs, {min(seconds):.1f} to {max(seconds):.1f} s; {lost} lost"
    what = f"{SPANS:,} spans, {SERVICES} services to collector"
    yield Row(what, statistics.median(seconds), 10, "s", detail)
    detail = f"of {3 * SPANS:,}, {lost} of them counted as lost"
    yield Row("spans neither received nor counted as lost", abs(missing), 0, "", detail)


def _output(command: list[str]) -> tuple[float, ...]:
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return tuple(map(float, done.stdout.split()))


def telemetry() -> Iterator[Row]:
    """Do all of it."""
    yield from traced_calls()
    yield from troubled_calls()
    yield from many_spans()
