"""The nodes of one etcd cluster: a question goes to one that answers (notebook 42).

Every request that goes through here may be sent twice: a read, the grant of a lease (a second one
expires unused), a key that gets the same value again. So whatever became of a try, the next node
may be asked. Do not send a transaction this way whose effect must happen once.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from pyetcd import etcdrpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

T = TypeVar("T")

VARIABLE = "ETCD_ENDPOINTS"

# A node that comes back is used again soon; gRPC alone waits for up to two minutes.
OPTIONS = [(f"grpc.{which}_reconnect_backoff_ms", 500) for which in ("initial", "min", "max")]

# A node that is cut off from the others says so, instead of waiting with us for their news.
NEEDS_LEADER = (("hasleader", "true"),)

MOVE_ON = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


def endpoints(environ: Mapping[str, str] = os.environ) -> list[str]:
    """Return the addresses in ETCD_ENDPOINTS, "etcd1:2379,etcd2:2379", as etcdctl reads them.

    Raises:
        LookupError: the variable is missing or empty. No address is guessed.

    """
    found = [each.strip().rpartition("//")[2] for each in environ.get(VARIABLE, "").split(",")]
    if not all(found):
        msg = f"set {VARIABLE} to the addresses of etcd, such as etcd1:2379,etcd2:2379"
        raise LookupError(msg)
    return found


class Node:
    """One node: its address and the services it offers."""

    def __init__(self, address: str, channel: grpc.Channel) -> None:
        self.address = address
        self.channel = channel
        self.kv = etcdrpc.KVStub(channel)
        self.lease = etcdrpc.LeaseStub(channel)
        self.watch = etcdrpc.WatchStub(channel)


class Cluster:
    """All nodes of one cluster, with one channel each. Safe to share between threads.

    Args:
        endpoints: "host:port" of each node.
        credentials: for TLS; without them plaintext.
        timeout: seconds that one node has for an answer. A question takes as many times that, at
            most, as there are nodes; keep the product under the TTL of your leases.

    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float = 0.5,
    ) -> None:
        if isinstance(endpoints, str) or not endpoints:
            msg = f"endpoints must be a list such as ['etcd1:2379'], not {endpoints!r}"
            raise ValueError(msg)
        self._timeout = timeout
        self._nodes = [Node(each, _channel(each, credentials)) for each in endpoints]
        self.node = self._nodes[0]

    def ask(self, call: Callable[[Node, dict[str, Any]], T]) -> T:
        """Return `call(node, settings)` of the first node that answers, beginning with the last.

        `settings` are the keyword arguments for a method of a stub: timeout and metadata.

        Raises:
            grpc.RpcError: no node answered (the last one's error), or one refused.

        """
        settings = {"timeout": self._timeout, "metadata": NEEDS_LEADER}
        for _ in self._nodes[1:]:
            node = self.node
            try:
                return call(node, settings)
            except grpc.RpcError as error:
                if error.code() not in MOVE_ON:
                    raise
                self.leave(node)
        node = self.node
        try:
            return call(node, settings)
        except grpc.RpcError:
            self.leave(node)
            raise

    def leave(self, node: Node) -> None:
        """Use the next node from now on, if this one is still the one in use."""
        if self.node is node:
            self.node = self._nodes[(self._nodes.index(node) + 1) % len(self._nodes)]

    def close(self) -> None:
        """Close all channels. Stop what uses them first."""
        for node in self._nodes:
            node.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _channel(address: str, credentials: grpc.ChannelCredentials | None) -> grpc.Channel:
    if credentials is None:
        return grpc.insecure_channel(address, options=OPTIONS)
    return grpc.secure_channel(address, credentials, options=OPTIONS)
