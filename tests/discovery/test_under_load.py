"""Faults of etcd under load: no call fails that a live backend could have served.

The nodes are struck in a random order: the leader is killed, a node is cut off from its clients,
or all nodes are away. One of the backends is released anew in each round, as it should be: out of
the list, then stopped, started, registered. `make away` strikes 50 times.
"""

from __future__ import annotations

import itertools
import os
import random
import threading
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Self

import grpc
import pytest

from labsvc.cells import until
from labsvc.discovery import Cluster, Registration, Watch
from labsvc.rpc.balance import Balancer
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.hosts.grpc import GrpcService
    from tests.discovery.stage import Stage

ROUNDS = int(os.environ.get("FAULT_ROUNDS", "4"))
AWAY = 2.0  # seconds
TTL = 2  # so that leases end while all nodes are away
CALLERS = 4
DEADLINE = 10
FAULTS = ("leader killed", "cut off", "all away")
DICE = random.SystemRandom()
REQUEST = user_pb2.GetUserRequest(user_id="u-1")


class Load:
    """Calls without a pause from some threads, until the block ends; `told` has how they ended."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.told: Counter[str] = Counter()
        self._ask = user_pb2_grpc.UserServiceStub(channel).GetUser
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._call) for _ in range(CALLERS)]

    def _call(self) -> None:
        while not self._over.wait(0.005):
            try:
                self._ask(REQUEST, timeout=patience(DEADLINE))
                told = "OK"
            except grpc.RpcError as error:
                told = f"{error.code().name} {error.details()}"
            self.told[told] += 1

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Members:
    """The backends, each registered over a cluster of its own, as processes would be."""

    def __init__(self, stage: Stage, services: list[GrpcService]) -> None:
        self._stage = stage
        self._services = services
        self._open: dict[str, ExitStack] = {}

    def enter(self, service: GrpcService) -> None:
        """Register one."""
        stack = self._open[service.target] = ExitStack()
        cluster = stack.enter_context(Cluster(self._stage.endpoints))
        stack.enter_context(Registration(cluster, f"{self._stage.prefix}{service.target}", ttl=TTL))

    def leave(self, service: GrpcService) -> None:
        """Take one out of the list, or leave it to its lease if etcd is away."""
        self._open.pop(service.target).close()

    def __enter__(self) -> Self:
        for service in self._services:
            self.enter(service)
        return self

    def __exit__(self, *_: object) -> None:
        for service in self._services:
            self.leave(service)


def strike(stage: Stage, fault: str) -> None:
    """Let one fault happen for a while."""
    if fault == "leader killed":
        stage.kill(stage.leader())
    doors = {"cut off": [DICE.choice(stage.doors)], "all away": stage.doors}
    for door in doors.get(fault, []):
        door.set(blackhole=True)
    time.sleep(AWAY)
    stage.mend()


def is_out(watch: Watch, address: str) -> bool:
    """Say whether an address is used no more."""
    return address not in watch.used


@pytest.fixture
def services(stage: Stage) -> Iterator[list[GrpcService]]:
    """Serve three backends in the stage's lab."""
    store = Store.seeded()
    names = [f"backend {number}" for number in range(3)]
    yield [stage.lab.serve_grpc(AioUserService(store), name=name) for name in names]
    for name in names:
        stage.lab.remove(name)


@pytest.mark.timeout(60 + 30 * ROUNDS)
def test_no_call_fails_because_of_etcd(stage: Stage, services: list[GrpcService]) -> None:
    """Whatever happens to etcd, callers reach the backends that live."""
    faults = [*FAULTS, *DICE.choices(FAULTS, k=ROUNDS)][:ROUNDS]
    with (
        Cluster(stage.endpoints) as etcd,
        Balancer(grpc.insecure_channel, "least_loaded") as balancer,
        Members(stage, services) as members,
        Watch(etcd, stage.prefix, balancer.update) as watch,
    ):
        until(lambda: len(balancer.connected) == len(services), timeout=patience(20))
        with Load(balancer) as load:
            for fault, service in zip(faults, itertools.cycle(services), strict=False):
                strike(stage, fault)
                members.leave(service)
                until(partial(is_out, watch, service.target), timeout=patience(30))
                service.stop(grace=patience(5))
                service.start()
                members.enter(service)
                until(lambda: len(balancer.connected) == len(services), timeout=patience(30))
        assert load.told.keys() == {"OK"}, (faults, load.told)
        assert load.told["OK"] > 100 * ROUNDS
