from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from labsvc.discovery import Cluster
from labsvc.lab import Lab
from tests.discovery.stage import Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

NUMBERS = itertools.count(1)


@pytest.fixture(scope="module")
def three_nodes() -> Iterator[Stage]:
    """Run etcd on three nodes, each behind a proxy, for the tests of a module."""
    with Lab() as lab:
        yield Stage(lab)


@pytest.fixture
def stage(three_nodes: Stage) -> Iterator[Stage]:
    """Give a test the stage with all nodes well, and a prefix of its own."""
    three_nodes.prefix = f"/services/{next(NUMBERS)}/"
    yield three_nodes
    three_nodes.mend()


@pytest.fixture
def etcd(stage: Stage) -> Iterator[Cluster]:
    """Connect to the nodes through their proxies."""
    with Cluster(stage.endpoints) as cluster:
        yield cluster
