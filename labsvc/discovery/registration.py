"""A place in the list of members, held by a lease (notebook 42, claim C42).

    server.start()
    with Registration(etcd, "/services/order/10.0.0.7:50051", ttl=5):
        stopping.wait()
        # the block ends: out of the list first, and only then drain and stop the server
    drain(server, health, notice=1, grace=30)

The key lives as long as its lease, and the lease as long as somebody refreshes it. A refresh of a
lease that has expired is no error for etcd: the answer says TTL 0. So the keeper reads the answer,
and registers anew. That mends whatever made it late: an outage, a suspended machine, a debugger.
"""

from __future__ import annotations

import logging
import random
import threading
from typing import TYPE_CHECKING, Any, Self

import grpc
from pyetcd import etcdrpc

if TYPE_CHECKING:
    from labsvc.discovery.cluster import Cluster, Node

log = logging.getLogger(__name__)

AGAIN = (0.1, 0.3)  # seconds until the next try while etcd is away; many servers wait beside us


class Registration:
    """Keeps one key in etcd from the start to the end of a `with` block, in a thread of its own.

    The start does not wait for etcd: a service that works is not kept from starting because etcd
    is away, and is registered when that is back. The end revokes the lease, which takes the key
    only if it is still this lease's own: a successor under the same key keeps it. If etcd is away
    then, the lease expires by itself.

    Args:
        etcd: the cluster, which the caller owns and closes afterwards.
        key: the prefix of the service and the address, "/services/order/10.0.0.7:50051".
        value: what else others may want to know.
        ttl: whole seconds after which a member that died is no longer listed. It is refreshed
            three times in that time. etcd raises it to its own minimum, which is 1 or 2.

    Raises:
        ValueError: ttl is no whole number of seconds.

    """

    def __init__(self, etcd: Cluster, key: str, value: str = "", *, ttl: int = 5) -> None:
        if not isinstance(ttl, int) or ttl < 1:
            msg = f"ttl must be whole seconds, 1 or more, not {ttl!r}"
            raise ValueError(msg)
        self._etcd = etcd
        self._key, self._value, self._ttl = key.encode(), value.encode(), ttl
        self._lease = 0
        self._registered = threading.Event()
        self._stopping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name=f"keeps {key}", daemon=True)

    def start(self) -> Self:
        """Begin, as a `with` block does; once only."""
        self._keeper.start()
        return self

    def wait(self, timeout: float) -> bool:
        """Wait until the key is in etcd for the first time; return whether it is."""
        return self._registered.wait(timeout)

    def close(self) -> None:
        """Take the key out of etcd, or leave it to its lease if that takes too long."""
        self._stopping.set()
        if self._keeper.ident is not None:
            self._keeper.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _keep(self) -> None:
        while not self._stopping.is_set():
            pause = self._ttl / 3
            try:
                if not (self._lease and self._etcd.ask(self._refresh)):
                    self._register()
            except grpc.RpcError as error:
                log.warning("%s is not refreshed: %s", self._key, error.details())
                pause = min(pause, random.uniform(*AGAIN))  # noqa: S311  # no secret
            self._stopping.wait(pause)
        try:
            self._etcd.ask(self._revoke)
        except grpc.RpcError as error:
            log.warning("%s is left to its lease: %s", self._key, error.details())

    def _register(self) -> None:
        self._lease = 0
        lease = self._etcd.ask(self._grant)
        put = etcdrpc.PutRequest(key=self._key, value=self._value, lease=lease)
        self._etcd.ask(lambda node, settings: node.kv.Put(put, **settings))
        self._lease = lease
        self._registered.set()

    def _grant(self, node: Node, settings: dict[str, Any]) -> int:
        lease: int = node.lease.LeaseGrant(etcdrpc.LeaseGrantRequest(TTL=self._ttl), **settings).ID
        return lease

    def _refresh(self, node: Node, settings: dict[str, Any]) -> int:
        """Return the seconds that the lease has now, 0 if there is no such lease."""
        ask = iter([etcdrpc.LeaseKeepAliveRequest(ID=self._lease)])
        return max((each.TTL for each in node.lease.LeaseKeepAlive(ask, **settings)), default=0)

    def _revoke(self, node: Node, settings: dict[str, Any]) -> None:
        if self._lease:
            node.lease.LeaseRevoke(etcdrpc.LeaseRevokeRequest(ID=self._lease), **settings)
