"""Registration and discovery on etcd: who serves, and under which address.

    `cluster`       the nodes of one etcd, of which any may fail; where ETCD_ENDPOINTS is read
    `registration`  a lease, kept alive, registered anew when it was lost, revoked at the end
    `watch`         the members of a service, followed through outages of etcd

    with Cluster(endpoints()) as etcd, Balancer(grpc.insecure_channel) as orders:
        with Watch(etcd, "/services/order/", orders.update):
            OrderServiceStub(orders).GetOrder(...)

Used by notebook 42, claims C42, C44 and C63; `labsvc.rpc.balance` has the balancer. All of it is
plain etcd v3 over gRPC, on the generated stubs of etcd-sdk-python (`pyetcd.etcdrpc`). Its client
is left aside: with several endpoints it avoids one that failed for 300 s, a call that fails over
closes the watches of all others, whose loops then end without an error, and a watch that etcd
cancels for another reason than a compaction waits for ever.
"""

import logging

from labsvc.discovery.cluster import Cluster, endpoints
from labsvc.discovery.registration import Registration
from labsvc.discovery.watch import Watch

__all__ = ["Cluster", "Registration", "Watch", "endpoints"]

logging.getLogger(__name__).addHandler(logging.NullHandler())  # quiet where nobody set logging up
