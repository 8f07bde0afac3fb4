"""An etcd of three nodes, with a proxy between its clients and each of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
from pyetcd import etcdrpc
from pyetcd.utils import prefix_range_end

from labsvc.cells import until
from labsvc.discovery import Cluster
from labsvc.engines import find_etcd
from labsvc.hosts.etcd import EtcdService
from tests.needs import need
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.discovery.cluster import Node
    from labsvc.hosts.proxy import Proxy
    from labsvc.lab import Lab


class Stage:
    """The nodes, their proxies, and what a test asks them itself, past the proxies."""

    def __init__(self, lab: Lab) -> None:
        need(find_etcd)
        service = lab.serve_etcd(nodes=3, embedded=True)
        assert isinstance(service, EtcdService)
        self.etcd = service
        self.lab = lab
        self.doors = [lab.proxy(each, name=f"door {each}") for each in service.targets]
        self.endpoints = [door.target for door in self.doors]
        self.prefix = "/services/order/"
        self._killed: set[int] = set()

    def door(self, cluster: Cluster) -> Proxy:
        """Return the proxy of the node that a cluster uses now."""
        return self.doors[self.endpoints.index(cluster.node.address)]

    def blackhole(self, *, on: bool) -> None:
        """Let all nodes fall silent, or bring them back."""
        for door in self.doors:
            door.set(blackhole=on)

    def mend(self) -> None:
        """Bring all nodes back."""
        for node in sorted(self._killed):
            self.etcd.revive(node)
        self._killed.clear()
        for door in self.doors:
            door.clear()

    def leader(self) -> int:
        """Return the place of the node that leads."""
        found: list[int] = []

        def leading() -> list[int]:
            for place, target in enumerate(self.etcd.targets):
                with grpc.insecure_channel(target) as channel:
                    status = etcdrpc.MaintenanceStub(channel).Status
                    try:
                        said = status(etcdrpc.StatusRequest(), timeout=2)
                    except grpc.RpcError:
                        continue
                if said.leader == said.header.member_id:
                    found.append(place)
            return found

        until(leading, timeout=patience(10))
        return found[0]

    def kill(self, node: int) -> None:
        """Kill a node until `mend`."""
        self._killed.add(node)
        self.etcd.kill(node)

    def registered(self) -> list[str]:
        """Return what is under the prefix, as the nodes have it."""
        first = self.prefix.encode()
        request = etcdrpc.RangeRequest(key=first, range_end=prefix_range_end(first))
        found = self._ask(lambda node, how: node.kv.Range(request, **how))
        return [each.key.decode().removeprefix(self.prefix) for each in found.kvs]

    def put(self, name: str) -> int:
        """Write a key without a lease, and return the revision."""
        put = etcdrpc.PutRequest(key=f"{self.prefix}{name}".encode())
        return int(self._ask(lambda node, how: node.kv.Put(put, **how)).header.revision)

    def delete(self, name: str) -> int:
        """Delete a key, and return the revision."""
        gone = etcdrpc.DeleteRangeRequest(key=f"{self.prefix}{name}".encode())
        return int(self._ask(lambda node, how: node.kv.DeleteRange(gone, **how)).header.revision)

    def compact(self, revision: int) -> None:
        """Let etcd forget what was before a revision."""
        request = etcdrpc.CompactionRequest(revision=revision)
        self._ask(lambda node, how: node.kv.Compact(request, **how))

    def revoke(self, lease: int) -> None:
        """Take a lease away, and the keys with it."""
        request = etcdrpc.LeaseRevokeRequest(ID=lease)
        self._ask(lambda node, how: node.lease.LeaseRevoke(request, **how))

    def _ask(self, call: Callable[[Node, dict[str, Any]], Any]) -> Any:
        with Cluster(self.etcd.targets, timeout=patience(5)) as all_nodes:
            return all_nodes.ask(call)
