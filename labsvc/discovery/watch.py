"""Who the members of a service are, followed through whatever happens to etcd (notebook 42).

    with Watch(etcd, "/services/order/", balancer.update) as members:
        members.wait(5)

List once, then watch from the revision after that: nothing falls between the two. After a break
the watch goes on from the last revision seen, on another node. If etcd has thrown that revision
away (a compaction), it lists again. A node that says nothing is left: in a quiet time it is asked
for a sign of life (a progress request), and a node without a leader ends the watch (`hasleader`).

Absence is not believed at once. While etcd could not be reached, members could not refresh their
leases either, and look gone when it is back. So who was in use before a break stays in use until
`grace` seconds after it, and the last one left stays for good: the connection tells better whether
it lives, and a caller with nobody to ask is no better off.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any, Self

import grpc
from pyetcd import etcdrpc
from pyetcd.utils import prefix_range_end

from labsvc.discovery.cluster import NEEDS_LEADER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.discovery.cluster import Cluster, Node

log = logging.getLogger(__name__)

BEAT = 0.5  # seconds between two requests for a sign of life
SILENCE = 1.5  # seconds without an answer after which a node is left
AGAIN = 0.1  # seconds until the next try


class Watch:
    """Follows a prefix in a thread of its own, and hands on each change.

    Args:
        etcd: the cluster, which the caller owns and closes afterwards.
        prefix: with its slash at the end. What follows it in a key is the address.
        on_change: called in the watch's thread with all addresses to use, sorted, at each change.
            It must return soon. What it raises is logged.
        grace: seconds for members to come back after a break; the longest TTL that they use.

    """

    def __init__(
        self, etcd: Cluster, prefix: str, on_change: Callable[[list[str]], object], grace: float = 5
    ) -> None:
        self._etcd = etcd
        self._prefix = prefix.encode()
        self._end = prefix_range_end(self._prefix)
        self._on_change = on_change
        self._grace = grace
        self._listed: set[str] = set()  # as etcd has it, as far as we know
        self._used: set[str] = set()
        self._revision = 0  # the last one seen, 0: list first
        self._broken = False  # by a break since which nothing was heard
        self._believe_at = 0.0
        self._call: Any = None
        self._used_first = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"watches {prefix}", daemon=True)

    @property
    def used(self) -> list[str]:
        """The addresses that were handed on last."""
        return sorted(self._used)

    def start(self) -> Self:
        """Begin, as a `with` block does; once only."""
        self._thread.start()
        return self

    def wait(self, timeout: float) -> bool:
        """Wait until there is a member to use; return whether there is."""
        return self._used_first.wait(timeout)

    def close(self) -> None:
        """Stop; `on_change` is not called any more."""
        self._stopping.set()
        if self._call is not None:
            self._call.cancel()
        if self._thread.ident is not None:
            self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                if not self._revision:
                    self._list()
                self._follow(self._etcd.node)
                if not self._revision:
                    continue
            except grpc.RpcError as error:
                log.info("%s is not watched for a moment: %s", self._prefix, error.details())
            self._broken = True
            self._stopping.wait(AGAIN)

    def _list(self) -> None:
        ask = etcdrpc.RangeRequest(key=self._prefix, range_end=self._end, keys_only=True)
        answer = self._etcd.ask(lambda node, settings: node.kv.Range(ask, **settings))
        self._listed = {self._address(each.key) for each in answer.kvs}
        self._revision = answer.header.revision
        self._hand_on()

    def _follow(self, node: Node) -> None:
        """Take in what one stream tells, and leave the node at its end.

        A compaction ends it too: then there is no revision to go on from.

        Raises:
            grpc.RpcError: why the stream has ended.

        """
        heard = _Heard()
        self._call = node.watch.Watch(self._requests(heard), metadata=NEEDS_LEADER)
        if self._stopping.is_set():  # `close` may have come too early to cancel it
            self._call.cancel()
        try:
            for answer in self._call:
                heard.at = time.monotonic()
                if answer.compact_revision:
                    self._revision = 0
                    return
                for event in answer.events:
                    self._take(event)
                self._hand_on()
                if answer.canceled:
                    self._call.cancel()  # the next answer is the error
            self._etcd.leave(node)
        except grpc.RpcError:
            self._etcd.leave(node)
            raise
        finally:
            heard.ended.set()
            self._call.cancel()

    def _requests(self, heard: _Heard) -> Iterator[Any]:
        """Ask for the events, then for signs of life, until the stream ends or nothing comes."""
        create = etcdrpc.WatchCreateRequest(
            key=self._prefix, range_end=self._end, start_revision=self._revision + 1
        )
        yield etcdrpc.WatchRequest(create_request=create)
        while not heard.ended.wait(BEAT):
            if time.monotonic() - heard.at > SILENCE:
                self._call.cancel()
                return
            yield etcdrpc.WatchRequest(progress_request=etcdrpc.WatchProgressRequest())

    def _hand_on(self) -> None:
        now = time.monotonic()
        if self._broken:
            self._broken = False
            self._believe_at = now + self._grace
        used = self._listed if now > self._believe_at else self._listed | self._used
        if not used or used == self._used:
            return
        self._used = set(used)
        try:
            self._on_change(self.used)
        except Exception:
            log.exception("the members of %s were not taken", self._prefix)
        self._used_first.set()

    def _take(self, event: Any) -> None:
        address = self._address(event.kv.key)
        if event.type == event.PUT:
            self._listed.add(address)
        else:
            self._listed.discard(address)
        self._revision = event.kv.mod_revision

    def _address(self, key: bytes) -> str:
        return key.removeprefix(self._prefix).decode()


class _Heard:
    """When a stream last said something, and whether it has ended."""

    def __init__(self) -> None:
        self.at = time.monotonic()
        self.ended = threading.Event()
