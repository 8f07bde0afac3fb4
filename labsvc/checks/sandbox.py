"""The private services of one check."""

from __future__ import annotations

import itertools
import logging
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from types import TracebackType

    from labsvc.hosts.collector import CollectorService
    from labsvc.hosts.etcd import EtcdService, ExternalEtcd
    from labsvc.hosts.grpc import GrpcService
    from labsvc.hosts.http import HttpService
    from labsvc.hosts.proxy import Proxy
    from labsvc.hosts.queue import ExternalQueue, QueueService
    from labsvc.hosts.rows import RowsService
    from labsvc.lab import Lab

T = TypeVar("T")

log = logging.getLogger(__name__)


class Sandbox:
    """Services for one scenario, beside what the learner runs and gone when the check ends.

    They run on the learner's `Lab` under names that start with "check-", or on a temporary `Lab`
    when none runs. Every check gets new ports, so that a connection which an earlier answer left
    behind never meets it. Keyword arguments are those of the `Lab` method of the same name.
    """

    _numbers = itertools.count(1)

    def __init__(self) -> None:
        self._number = next(self._numbers)
        self._lab: Lab | None = None
        self._temporary = False
        self._names: list[str] = []
        self._things = ExitStack()

    @property
    def lab(self) -> Lab:
        """The lab that carries the services, started on first use."""
        from labsvc.lab import Lab

        if self._lab is None:
            self._lab = Lab.current()
            self._temporary = self._lab is None
            self._lab = self._lab or Lab()
        return self._lab

    @property
    def started_lab(self) -> Lab | None:
        """The lab that carries services, None while there are none."""
        return self._lab

    def serve_grpc(self, *servicers: Any, name: str = "grpc", **settings: Any) -> GrpcService:
        """Serve gRPC on 127.0.0.1 until the check ends."""
        return self.lab.serve_grpc(*servicers, name=self._own(name), **settings)

    def serve_http(self, app: Any, name: str = "http", **settings: Any) -> HttpService:
        """Serve an ASGI app until the check ends."""
        return self.lab.serve_http(app, name=self._own(name), **settings)

    def serve_queue(self, name: str = "queue", **settings: Any) -> QueueService | ExternalQueue:
        """Run a broker until the check ends."""
        return self.lab.serve_queue(name=self._own(name), **settings)

    def serve_etcd(self, name: str = "etcd", **settings: Any) -> EtcdService | ExternalEtcd:
        """Run etcd until the check ends."""
        return self.lab.serve_etcd(name=self._own(name), **settings)

    def serve_rows(self, name: str = "rows") -> RowsService:
        """Run a PostgreSQL of the check's own until it ends."""
        return self.lab.serve_rows(name=self._own(name), embedded=True)

    def serve_collector(self, name: str = "collector") -> CollectorService:
        """Run an OpenTelemetry collector until the check ends."""
        return self.lab.serve_collector(name=self._own(name))

    def proxy(self, upstream: Any, name: str = "proxy") -> Proxy:
        """Put a proxy in front of a service, for faults and counts."""
        return self.lab.proxy(upstream, name=self._own(name))

    def enter(self, thing: AbstractContextManager[T]) -> T:
        """Enter what the scenario needs besides services, such as a store, until the check ends."""
        return self._things.enter_context(thing)

    @property
    def services(self) -> dict[str, str]:
        """The "host:port" of what runs for this check, by name."""
        return {name: target for name, target in self.lab.targets().items() if name in self._names}

    def _own(self, name: str) -> str:
        own = f"check-{self._number}-{name}"
        self._names.append(own)
        self._things.callback(self._remove, own)
        return own

    def _remove(self, name: str) -> None:
        with self._logged():
            self.lab.remove(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End what was started or entered, the last first; what fails to end is only logged."""
        with self._logged():
            self._things.close()
        if self._lab is not None and self._temporary:
            with self._logged():
                self._lab.stop()

    @staticmethod
    @contextmanager
    def _logged() -> Iterator[None]:
        try:
            yield
        except Exception:  # the verdict stands all the same
            log.debug("a service of a check did not stop", exc_info=True)
