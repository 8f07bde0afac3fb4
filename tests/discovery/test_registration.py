from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from pyetcd import etcdrpc

from labsvc.cells import until
from labsvc.discovery import Cluster, Registration
from tests.patience import patience

if TYPE_CHECKING:
    from labsvc.discovery.cluster import Node
    from tests.discovery.stage import Stage

TTL = 2
FAR = 60  # a TTL that does not end while a test runs


def clock(cluster: Cluster, stage: Stage) -> None:
    """Write a key with a lease that nobody keeps, and wait until etcd has taken it away."""
    with Registration(cluster, f"{stage.prefix}clock", ttl=TTL) as forgotten:
        assert forgotten.wait(patience(10))
        forgotten._stopping.set()
        forgotten._lease = 0  # nothing to revoke
        until(lambda: "clock" not in stage.registered(), timeout=patience(20))


def test_it_outlives_its_ttl_and_ends_with_its_block(stage: Stage, etcd: Cluster) -> None:
    """A lease is kept alive for as long as the block lasts, and is gone right after it."""
    with Registration(etcd, f"{stage.prefix}a:1", ttl=TTL) as member:
        assert member.wait(patience(10))
        clock(etcd, stage)
        assert stage.registered() == ["a:1"]
    assert stage.registered() == []


def test_a_lost_lease_is_replaced(stage: Stage, etcd: Cluster) -> None:
    """Whatever took the lease away, the key is back at the next refresh."""
    with Registration(etcd, f"{stage.prefix}a:1", ttl=TTL) as member:
        assert member.wait(patience(10))
        stage.revoke(member._lease)
        assert stage.registered() == []
        until(lambda: stage.registered() == ["a:1"], timeout=patience(10))


def test_a_successor_keeps_the_key(stage: Stage, etcd: Cluster) -> None:
    """A process that ends late does not take away what its successor has registered."""
    key = f"{stage.prefix}a:1"
    with Registration(etcd, key, ttl=FAR) as first:
        assert first.wait(patience(10))
        with Registration(etcd, key, ttl=FAR) as second:
            assert second.wait(patience(10))
            first.close()
            assert stage.registered() == ["a:1"]


def test_the_start_does_not_wait_for_etcd(stage: Stage) -> None:
    """While no node is there the service starts; it is registered when one is back."""
    for door in stage.doors:
        door.set(refuse=True)
    with (
        Cluster(stage.endpoints) as etcd,
        Registration(etcd, f"{stage.prefix}a:1", ttl=TTL) as member,
    ):
        assert not member.wait(0.3)
        stage.mend()
        assert member.wait(patience(10))


@pytest.mark.parametrize("fault", ["refuse", "blackhole"])
def test_a_node_that_fails_costs_no_lease(stage: Stage, etcd: Cluster, fault: str) -> None:
    """The node in use is cut off, and the lease goes on over another one."""
    with Registration(etcd, f"{stage.prefix}a:1", ttl=FAR) as member:
        assert member.wait(patience(10))
        lease, door = member._lease, stage.door(etcd)
        door.set(**{fault: True})
        door.cut()
        with Registration(etcd, f"{stage.prefix}b:1", ttl=TTL) as other:
            assert other.wait(patience(10))
        assert stage.door(etcd) is not door
        assert etcd.ask(member._refresh) > 0
        assert member._lease == lease


def test_the_leader_dies(stage: Stage, etcd: Cluster) -> None:
    """A new leader knows the leases of the old one."""
    with Registration(etcd, f"{stage.prefix}a:1", ttl=FAR) as member:
        assert member.wait(patience(10))
        lease = member._lease
        stage.kill(stage.leader())
        until(lambda: refreshed(etcd, member), timeout=patience(20))
        assert (stage.registered(), member._lease) == (["a:1"], lease)


def refreshed(etcd: Cluster, member: Registration) -> int:
    """Return the seconds of a refresh, 0 while there is no leader."""
    try:
        return etcd.ask(member._refresh)
    except grpc.RpcError:
        return 0


def test_the_end_does_not_wait_for_etcd(stage: Stage, etcd: Cluster) -> None:
    """With all nodes silent the block ends, after one timeout for each."""
    with Registration(etcd, f"{stage.prefix}a:1", ttl=FAR) as member:
        assert member.wait(patience(10))
        stage.blackhole(on=True)
        began = time.monotonic()
    assert time.monotonic() - began < patience(10)


def test_a_question_goes_on_to_the_next_node(stage: Stage, etcd: Cluster) -> None:
    """One question is enough, although the node in use is gone."""
    node, door = etcd.node, stage.door(etcd)
    door.set(refuse=True)
    door.cut()
    grant = etcdrpc.LeaseGrantRequest(TTL=FAR)
    assert etcd.ask(lambda node, how: node.lease.LeaseGrant(grant, **how)).ID
    assert etcd.node is not node


def test_a_refusal_is_not_asked_again(stage: Stage, etcd: Cluster) -> None:
    """What a node refuses it refuses for all: no other is asked."""
    asked = []
    revoke = etcdrpc.LeaseRevokeRequest(ID=4711)

    def ask(node: Node, how: dict[str, Any]) -> None:
        asked.append(node)
        node.lease.LeaseRevoke(revoke, **how)

    with pytest.raises(grpc.RpcError) as refused:
        etcd.ask(ask)
    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert asked == [etcd.node]


@pytest.mark.parametrize("ttl", [0, -1, 1.5])
def test_a_ttl_is_whole_seconds(stage: Stage, etcd: Cluster, ttl: int) -> None:
    """The protocol of etcd knows no fractions."""
    with pytest.raises(ValueError, match="whole seconds"):
        Registration(etcd, "/services/a/b:1", ttl=ttl)
