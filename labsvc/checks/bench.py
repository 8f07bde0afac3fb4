"""The private services of one check."""

from __future__ import annotations

import itertools
import logging
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from types import TracebackType

    from labsvc.hosts.grpc import GrpcService
    from labsvc.hosts.http import HttpService
    from labsvc.hosts.queue import ExternalQueue, QueueService
    from labsvc.lab import Lab
    from labsvc.proxy import Proxy

T = TypeVar("T")

log = logging.getLogger(__name__)


class Bench:
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
        self._running: list[Any] = []

    @property
    def lab(self) -> Lab:
        """The lab that carries the services, started on first use."""
        from labsvc.lab import Lab

        if self._lab is None:
            self._lab = Lab.current()
            self._temporary = self._lab is None
            self._lab = self._lab or Lab()
        return self._lab

    def serve_grpc(self, *servicers: Any, name: str = "grpc", **settings: Any) -> GrpcService:
        """Serve gRPC on 127.0.0.1 until the check ends."""
        return self._keep(self.lab.serve_grpc(*servicers, name=self._own(name), **settings))

    def serve_http(self, app: Any, name: str = "http", **settings: Any) -> HttpService:
        """Serve an ASGI app until the check ends."""
        return self._keep(self.lab.serve_http(app, name=self._own(name), **settings))

    def serve_queue(self, name: str = "queue", **settings: Any) -> QueueService | ExternalQueue:
        """Run a broker until the check ends."""
        return self._keep(self.lab.serve_queue(name=self._own(name), **settings))

    def proxy(self, upstream: Any, name: str = "proxy") -> Proxy:
        """Put a proxy in front of a service, for faults and counts."""
        return self._keep(self.lab.proxy(upstream, name=self._own(name)))

    def _own(self, name: str) -> str:
        return f"check-{self._number}-{name}"

    def _keep(self, service: T) -> T:
        self._running.append(service)
        return service

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop what was started, the last first; a service that fails to stop is only logged."""
        for service in reversed(self._running):
            self._stop(service)
        if self._temporary and self._lab is not None:
            self._stop(self._lab)

    @staticmethod
    def _stop(service: Any) -> None:
        try:
            service.stop()
        except Exception:  # the verdict stands all the same
            log.debug("a service of a check did not stop", exc_info=True)
