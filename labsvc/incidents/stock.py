"""The stock service: few places to work at once, and an address in etcd for as long as it lives."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from pyetcd import etcdrpc
from pyetcd.utils import prefix_range_end

from labsvc.discovery.registration import Registration
from labsvc.shop.v1 import inventory_pb2, inventory_pb2_grpc

if TYPE_CHECKING:
    from labsvc.discovery.cluster import Cluster

PLACES = 2
SECONDS = 0.08  # for one reservation: 25 in a second, whoever asks
PREFIX = "/shop/stock/"
TTL = 2


class Stock(inventory_pb2_grpc.InventoryServiceServicer):
    """Reserves goods, once for each order id."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(PLACES)
        self._lock = threading.Lock()
        self._reserved: set[str] = set()

    @property
    def reserved(self) -> set[str]:
        """The orders for which goods were taken."""
        return self._reserved

    def ReserveStock(
        self, request: inventory_pb2.ReserveStockRequest, _: Any
    ) -> inventory_pb2.ReserveStockResponse:
        """Take the goods of an order, if they are not taken yet."""
        with self._places:
            time.sleep(SECONDS)
        with self._lock:
            self._reserved.add(request.order_id)
        return inventory_pb2.ReserveStockResponse()

    def stall(self, seconds: float) -> None:
        """Be busy with something else for so long, as in a pause of the garbage collector."""

        def hold() -> None:
            with self._places:
                time.sleep(seconds)

        for _ in range(PLACES):
            threading.Thread(target=hold, daemon=True).start()


class Address:
    """The address of the stock service in etcd, which lives as long as its lease."""

    def __init__(self, etcd: Cluster, target: str) -> None:
        self._etcd = etcd
        self._key = PREFIX + target
        self._registration: Registration | None = None
        self.renewed = True

    @property
    def renewed(self) -> bool:
        """Whether somebody renews the lease. Setting it registers the address anew."""
        return self._registration is not None

    @renewed.setter
    def renewed(self, value: bool) -> None:
        self.close()
        if value:
            self._registration = Registration(self._etcd, self._key, ttl=TTL).start()
            self._registration.wait(5)
        else:
            ask = etcdrpc.LeaseGrantRequest(TTL=TTL)
            lease = self._etcd.ask(lambda node, settings: node.lease.LeaseGrant(ask, **settings))
            put = etcdrpc.PutRequest(key=self._key.encode(), lease=lease.ID)
            self._etcd.ask(lambda node, settings: node.kv.Put(put, **settings))

    def lose_lease(self) -> None:
        """Let the lease expire at once, as after an outage of etcd that was longer than it."""
        ask = etcdrpc.RangeRequest(key=self._key.encode())
        answer = self._etcd.ask(lambda node, settings: node.kv.Range(ask, **settings))
        if answer.kvs:
            revoke = etcdrpc.LeaseRevokeRequest(ID=answer.kvs[0].lease)
            self._etcd.ask(lambda node, settings: node.lease.LeaseRevoke(revoke, **settings))

    def close(self) -> None:
        """Take the address out."""
        if self._registration is not None:
            self._registration.close()
            self._registration = None


def addresses(etcd: Cluster) -> list[str]:
    """Return the addresses that are in etcd now."""
    ask = etcdrpc.RangeRequest(
        key=PREFIX.encode(), range_end=prefix_range_end(PREFIX.encode()), keys_only=True
    )
    answer = etcd.ask(lambda node, settings: node.kv.Range(ask, **settings))
    return [each.key.decode().removeprefix(PREFIX) for each in answer.kvs]
