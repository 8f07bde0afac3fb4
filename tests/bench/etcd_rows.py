"""What discovery promises: how soon etcd is ready, and how soon callers know of a change."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import grpc

from labsvc import Lab, until
from labsvc.discovery import Cluster, Registration, Watch
from labsvc.rpc.balance import Balancer
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from tests.bench.bench_row import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.hosts.grpc import GrpcService

PREFIX = "/services/users/"
TTL = 2
TRIES = 9
KEEPER = """
import sys
from labsvc.discovery import Cluster, Registration
_, target, key, ttl = sys.argv
with Cluster([target]) as etcd, Registration(etcd, key, ttl=int(ttl)) as member:
    print(member.wait(10), flush=True)
    sys.stdin.read()
"""


def three_nodes() -> Iterator[Row]:
    """Start a cluster in a running lab."""
    times = []
    with Lab() as lab:
        for number in range(TRIES):
            start = time.perf_counter()
            lab.serve_etcd(name=f"etcd-{number}", nodes=3, embedded=True)
            times.append(time.perf_counter() - start)
            lab.remove(f"etcd-{number}")
    detail = f"median of {TRIES}, {min(times):.2f} to {max(times):.2f} s"
    yield Row("three etcd nodes ready", statistics.median(times), 1, "s", detail)


def members() -> Iterator[Row]:
    """Time a balancer from a registration to its use, and from a death to the end of its use."""
    store = Store.seeded()
    with Lab() as lab:
        first, second = (lab.serve_grpc(AioUserService(store), name=name) for name in "ab")
        nodes = lab.serve_etcd(nodes=3, embedded=True)
        with (
            Cluster(nodes.targets) as etcd,
            Balancer(grpc.insecure_channel) as balancer,
            Watch(etcd, PREFIX, balancer.update) as watch,
            Registration(etcd, PREFIX + first.target, ttl=60) as member,
        ):
            member.wait(10)
            used = [_until_used(etcd, balancer, second) for _ in range(TRIES)]
            gone = [_until_gone(nodes.target, watch, second) for _ in range(TRIES)]
    detail = f"median of {TRIES}, longest {max(used):.0f} ms, its connection included"
    yield Row("a new member is used", statistics.median(used), 50, "ms", detail)
    detail = f"longest of {TRIES}, median {statistics.median(gone):.2f} s; its TTL is {TTL} s"
    yield Row("a member that was killed is out of use", max(gone), TTL + 1, "s", detail)


def _until_used(etcd: Cluster, balancer: Balancer, service: GrpcService) -> float:
    """Return the milliseconds from the registration of a service to its first place in turn."""
    with Registration(etcd, PREFIX + service.target, ttl=60) as member:
        member.wait(10)
        start = time.perf_counter()
        while service.target not in balancer.connected:
            time.sleep(0.0005)
        taken = (time.perf_counter() - start) * 1e3
    until(lambda: service.target not in balancer.connected)
    return taken


def _until_gone(target: str, watch: Watch, service: GrpcService) -> float:
    """Return the seconds from the kill of a process to the end of its use."""
    with _keeper(target, service) as process:
        until(lambda: service.target in watch.used)
        process.kill()
        start = time.perf_counter()
        until(lambda: service.target not in watch.used)
        return time.perf_counter() - start


@contextmanager
def _keeper(target: str, service: GrpcService) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", KEEPER, target, PREFIX + service.target, str(TTL)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


PARTS = [three_nodes, members]
