"""What a timeline costs the calls that it records: nothing outside of its block, little inside."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Any

import grpc

from labsvc import Lab, closed_loop
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

CALLS = 200
ROUNDS = 30
REQUEST = user_pb2.GetUserRequest(user_id="u-1")


class Echo(user_pb2_grpc.UserServiceServicer):
    """The same message for every call: what is left is the cost of the way."""

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        """Answer at once."""
        return user_pb2.GetUserResponse()


def timeline() -> Iterator[Row]:
    """Record every second round of unary calls; the rounds take turns."""
    with Lab() as lab, grpc.insecure_channel(lab.serve_grpc(Echo()).target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)

        def median() -> float:
            load = closed_loop(lambda: stub.GetUser(REQUEST, timeout=5), calls=CALLS, warmup=20)
            return load.latency.quantile(0.5)

        bare, recorded = [median()], []
        for _ in range(ROUNDS):
            with lab.timeline():
                recorded.append(median())
            bare.append(median())
    pairs = zip(recorded, bare, bare[1:], strict=False)
    ratio = statistics.median(2 * mine / (before + after) for mine, before, after in pairs)
    detail = (
        f"p50 {statistics.median(recorded) * 1e6:.0f} us against"
        f" {statistics.median(bare) * 1e6:.0f} us, {ROUNDS} rounds of {CALLS} calls each"
    )
    yield Row("unary call, recorded by a timeline over not", ratio, 1.3, "x", detail)
