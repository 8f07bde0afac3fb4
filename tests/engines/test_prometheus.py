"""A real Prometheus scrapes a lab's /metrics, and computes what notebook 61 computes by hand."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Histogram, make_asgi_app

from labsvc import Lab, outcome, until
from labsvc.rpc import context as call_context
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from labsvc.telemetry import metrics
from tests.engines.prometheus import missing, prometheus
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.engines.prometheus import Prometheus

pytestmark = pytest.mark.skipif(missing() is not None, reason=str(missing()))

QUICK, SLOW, FAILED, BROKEN = 200, 10, 30, "u-broken"
SECONDS = "grpc_server_handling_seconds"
TRACE = "0af7651916cd43dd8448eb211c80319c"


class Instance(user_pb2_grpc.UserServiceServicer):
    """An instance of the users service that needs its time, and serves its metrics."""

    def __init__(self, lab: Lab, name: str, pause: float) -> None:
        self.pause = pause
        registry = CollectorRegistry()
        red = metrics.Red(registry, buckets=(0.1, 0.25, 0.5))
        served = lab.serve_grpc(
            self,
            name=name,
            workers=8,
            interceptors=[metrics.server(red), call_context.server()],
        )
        self.per_user = Histogram("shop_seconds", "Of a call.", ["user"], registry=registry)
        self.metrics = lab.serve_http(make_asgi_app(registry), name=f"{name}-metrics").target
        self.channel = grpc.insecure_channel(served.target)
        self.stub = user_pb2_grpc.UserServiceStub(self.channel)

    def GetUser(self, request: Any, context: Any) -> Any:
        """Answer late, or fail."""
        time.sleep(self.pause)
        if request.user_id == BROKEN:
            context.abort(grpc.StatusCode.UNAVAILABLE, "no database")
        return user_pb2.GetUserResponse()

    def call(self, user: str, *metadata: tuple[str, str]) -> str:
        """Ask for a user, and return how it ended."""
        request = user_pb2.GetUserRequest(user_id=user)
        return outcome(self.stub.GetUser, request, timeout=10, metadata=metadata)

    def calls(self, number: int, user: str = "u-1") -> None:
        """Make so many calls, four at a time."""
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(self.call, [user] * number))


@pytest.fixture(scope="module")
def instances() -> Iterator[list[Instance]]:
    """Run two instances, one of them slow."""
    with Lab() as lab:
        both = [Instance(lab, "quick", 0), Instance(lab, "slow", 0.3)]
        yield both
        for each in both:
            each.channel.close()


@pytest.fixture(scope="module")
def engine(instances: list[Instance]) -> Iterator[Prometheus]:
    """Run a Prometheus that has seen the instances before their first call, and calls after it."""
    quick, slow = instances
    with prometheus([each.metrics for each in instances]) as running:
        quick.call("u-1")
        slow.call("u-1")
        quick.call(BROKEN)
        seen = f"count({SECONDS}_count)"
        until(lambda: running.value(seen) == 3, timeout=patience(20))
        quick.calls(QUICK)
        quick.calls(FAILED, BROKEN)
        slow.calls(SLOW - 1)
        slow.call("u-1", ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01"))
        total = QUICK + SLOW + FAILED + 3
        until(
            lambda: running.value("sum(grpc_server_handled_total)") == total, timeout=patience(20)
        )
        yield running


def test_counts_arrive(engine: Prometheus) -> None:
    """Each method and code has a series in each instance, and they are few."""
    found = engine.query("sum by (method, code) (grpc_server_handled_total)")
    method = "labsvc.shop.v1.UserService/GetUser"
    assert found == {
        json.dumps({"code": "OK", "method": method}): QUICK + SLOW + 2,
        json.dumps({"code": "UNAVAILABLE", "method": method}): FAILED + 1,
    }


def test_rate(engine: Prometheus) -> None:
    """The rate of calls is per second, and there is one for each instance."""
    found = engine.query("sum by (instance) (rate(grpc_server_handled_total[1m]))")
    assert len(found) == 2
    assert all(value > 0 for value in found.values())


def test_errors(engine: Prometheus) -> None:
    """The share that failed is that of the calls that were made since the first scrape."""
    share = (
        'sum(increase(grpc_server_handled_total{code="UNAVAILABLE"}[1m]))'
        " / sum(increase(grpc_server_handled_total[1m]))"
    )
    assert engine.value(share) == pytest.approx(FAILED / (FAILED + QUICK + SLOW), rel=0.05)


def test_percentile_across_instances(engine: Prometheus) -> None:
    """With 4 % of slow calls the merged p99 is slow; averages of percentiles are elsewhere."""
    by_le = f"sum by (le) ({SECONDS}_bucket)"
    merged = engine.value(f"histogram_quantile(0.99, {by_le})")
    assert 0.25 < merged <= 0.5
    assert engine.value(f"histogram_quantile(0.9, {by_le})") <= 0.1
    each = f"histogram_quantile(0.9, sum by (le, instance) ({SECONDS}_bucket))"
    assert engine.value(f"avg({each})") > 0.25


def test_exemplars(engine: Prometheus) -> None:
    """The exemplars of the slow instance lead to traces, that of the last call among them."""
    until(lambda: TRACE in _traces(engine), timeout=patience(20))
    slow = next(one for one in _exemplars(engine) if one["labels"]["trace_id"] == TRACE)
    assert float(slow["value"]) > 0.28


def test_a_label_for_each_user(engine: Prometheus, instances: list[Instance]) -> None:
    """Each user makes 18 series, and those with few labels stay as they were."""
    red = '{__name__=~"grpc_server_.*"}'
    before = engine.value(f"count({red})")
    for number in range(40):
        instances[0].per_user.labels(f"u-{number}").observe(0.01)
    users = '{__name__=~"shop_seconds.*"}'
    until(lambda: engine.value(f"count({users})") == 40 * 18, timeout=patience(20))
    assert engine.value(f"count({red})") == before


def _exemplars(engine: Prometheus) -> list[dict[str, Any]]:
    return engine.exemplars(f"{SECONDS}_bucket")


def _traces(engine: Prometheus) -> set[str]:
    return {one["labels"]["trace_id"] for one in _exemplars(engine)}
