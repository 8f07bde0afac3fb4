"""`Lab`: what runs in this kernel, by name."""

from __future__ import annotations

import asyncio
import os
import secrets
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from labsvc.child import TempFolder
from labsvc.errors import LabError
from labsvc.hosts import etcd, objects, queue
from labsvc.hosts.dns import DnsService
from labsvc.hosts.grpc import GrpcService
from labsvc.hosts.http import HttpService
from labsvc.hosts.proxy import Proxy
from labsvc.hosts.service import LoopService, Service
from labsvc.kernel import NoProxy, StopButton
from labsvc.loop import Loop

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import grpc

S = TypeVar("S", bound=Service)


class Lab:
    """Hosts real services in this process, and ends them.

    A process has one lab at a time: a new one stops the one before, so that a cell may
    be run twice. The same `name=` again replaces what ran under that name, on the same
    port. `with Lab() as lab:` stops at the end of the block.
    """

    _current: ClassVar[Lab | None] = None
    _switch: ClassVar[threading.RLock] = threading.RLock()

    def __init__(self) -> None:
        with Lab._switch:
            if Lab._current is not None:
                with suppress(LabError):
                    Lab._current.stop()
            self._lock = threading.RLock()
            self._services: dict[str, Service] = {}
            self._folder: TempFolder | None = None
            self._amqp_password = secrets.token_urlsafe(12)
            self._cleanup = ExitStack()
            self._stopped = False
            self.loop = Loop.start()
            self.loop.on_end(self._farewell)
            self._cleanup.callback(self.loop.stop)
            self._cleanup.callback(self._remove_folder)
            for habit in (NoProxy(), StopButton()):
                habit.install()
                self._cleanup.callback(habit.remove)
            Lab._current = self

    @classmethod
    def current(cls) -> Lab | None:
        """Return the lab of this process, or None."""
        return cls._current

    def serve_grpc(
        self,
        *servicers: object,
        name: str = "grpc",
        workers: int | None = None,
        options: Sequence[tuple[str, Any]] = (),
        interceptors: Sequence[Any] = (),
        credentials: grpc.ServerCredentials | None = None,
        port: int = 0,
    ) -> GrpcService:
        """Serve gRPC, with health checking and reflection.

        Args:
            servicers: instances of classes derived from generated XServicer classes; one
                that derives from several is registered for each of them.
            name: the name to serve under.
            workers: None for a grpc.aio server (async handlers on the lab's loop), or the
                number of threads of a classic server (plain handlers).
            options: gRPC channel arguments, such as `("grpc.max_concurrent_streams", 10)`.
            interceptors: server interceptors, the first one outermost.
            credentials: for TLS; without them the server is plaintext.
            port: the port to listen on, 0 for any free one.

        Raises:
            TypeError: an argument is no servicer.
            PortInUseError: another program listens on `port`.

        """
        if not servicers:
            msg = "serve_grpc needs a servicer, such as serve_grpc(AioUserService(store))"
            raise TypeError(msg)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            msg = f"workers must be a number of threads such as 8, not {workers!r}"
            raise TypeError(msg)
        service = GrpcService(
            self.loop,
            name,
            servicers,
            workers=workers,
            options=options,
            interceptors=interceptors,
            credentials=credentials,
            port=port,
        )
        return self._host(name, service)

    def serve_http(
        self, app: Any, name: str = "http", *, tls: ssl.SSLContext | None = None
    ) -> HttpService:
        """Serve an ASGI app, such as FastAPI().

        Args:
            app: the app.
            name: the name to serve under.
            tls: a context for servers (`ssl.PROTOCOL_TLS_SERVER`), for HTTPS.

        Raises:
            TypeError: `app` is no ASGI app.
            LabError: the app's own start-up (lifespan) failed.

        """
        return self._host(name, HttpService(self.loop, name, app, tls=tls))

    def serve_queue(
        self, name: str = "queue", *, embedded: bool = False
    ) -> queue.QueueService | queue.ExternalQueue:
        """Serve AMQP 0-9-1, with a password and a data folder of this lab's own.

        With LAB_AMQP_URL set nothing is started, and `.url` is that; `embedded=True` starts the
        lab's own broker all the same, to be killed or restarted.
        """
        url = os.environ.get(queue.VARIABLE)
        if url and not embedded:
            return self._host(name, queue.ExternalQueue(name, url))
        folder = self._new_folder()
        return self._host(name, queue.QueueService(self.loop, name, self._amqp_password, folder))

    def serve_etcd(
        self, name: str = "etcd", nodes: int = 1, *, embedded: bool = False
    ) -> etcd.EtcdService | etcd.ExternalEtcd:
        """Serve etcd, as one node or as a cluster of 3.

        With ETCD_ENDPOINTS set nothing is started, and `.target` is the first of those;
        `embedded=True` starts nodes of the lab's own all the same, to be killed.

        Raises:
            EngineError: no etcd is installed, or it did not get ready.

        """
        endpoints = os.environ.get(etcd.VARIABLE)
        if endpoints and not embedded:
            return self._host(name, etcd.ExternalEtcd(name, endpoints))
        return self._host(name, etcd.EtcdService(name, self._new_folder(), nodes))

    def serve_objects(
        self, name: str = "objects"
    ) -> objects.ObjectsService | objects.ExternalObjects:
        """Serve an S3 object store, with a secret key of its own.

        With LAB_S3_ENDPOINT set nothing is started, and `.url` is that.

        Raises:
            EngineError: no rclone is installed, or it did not get ready.

        """
        endpoint = os.environ.get(objects.VARIABLE)
        if endpoint:
            return self._host(name, objects.ExternalObjects(name, endpoint))
        return self._host(name, objects.ObjectsService(name, self._new_folder()))

    def serve_dns(
        self, records: Mapping[str, Sequence[str]], name: str = "dns", *, ttl: int = 1
    ) -> DnsService:
        """Serve DNS for the names of `records`, each with its IPv4 addresses, over UDP.

        Args:
            records: such as {"users.test": ["127.0.0.1"]}; change `.records` while it runs.
            name: the name to serve under.
            ttl: seconds that a client may keep an answer.

        Raises:
            ValueError: an address is no IPv4 address.

        """
        return self._host(name, DnsService(self.loop, name, records, ttl))

    def proxy(self, upstream: object, name: str = "proxy") -> Proxy:
        """Put a TCP middlebox before a service.

        Args:
            upstream: a service of this lab (anything with a `.target`), or "host:port".
            name: the name to serve under.

        Raises:
            TypeError: `upstream` is neither.
            ValueError: it is no "host:port", or runs under that very name.

        """
        target = getattr(upstream, "target", upstream)
        if not isinstance(target, str):
            msg = f"a proxy needs a service or 'host:port', not {upstream!r}"
            raise TypeError(msg)
        with self._lock:
            old = self._services.get(name)
            if old is not None and old.target == target:
                msg = f"a proxy cannot replace its own upstream {name!r}; choose another name="
                raise ValueError(msg)
            return self._host(name, Proxy(self.loop, name, target))

    def folder(self, name: str) -> Path:
        """Return a new, empty folder of this lab; the same name again empties it.

        It is removed when the lab stops, and when the kernel is killed.

        Raises:
            ValueError: `name` is not the plain name of a folder.
            LabError: the lab was stopped, or a file in the folder cannot be removed.

        """
        self._check_name(name)
        return self._own_folder().empty(name)

    def remove(self, name: str) -> None:
        """Stop what runs under a name and forget it; if nothing does, do nothing."""
        with self._lock:
            self._vacate(name)

    def targets(self) -> dict[str, str]:
        """Return the "host:port" of everything that runs here, by name."""
        with self._lock:
            return {name: service.target for name, service in self._services.items()}

    def stop(self) -> None:
        """End everything: services, child processes, the loop, temporary files.

        A second call does nothing. What fails to stop does not keep the rest from it.

        Raises:
            LabError: a service did not stop in good order; the rest is stopped.

        """
        with Lab._switch, self._lock:
            self._stopped = True
            if Lab._current is self:
                Lab._current = None
            with self._cleanup:
                self._release_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        if self._stopped:
            return "<Lab stopped>"
        return f"<Lab {', '.join(map(repr, self._services.values())) or 'with nothing running'}>"

    def _host(self, name: str, service: S) -> S:
        with self._lock:
            port = self._vacate(name)
            service.start_in_place_of(port)
            self._services[name] = service
            return service

    def _vacate(self, name: str) -> int:
        """Stop what runs under a name; return the port it had, 0 if nothing ran."""
        self._check_name(name)
        old = self._services.pop(name, None)
        if old is None:
            return 0
        port = int(old.target.rpartition(":")[2])
        old.release()
        return port

    def _check_name(self, name: object) -> None:
        if not isinstance(name, str) or not name:
            msg = f"name= must be a string such as 'orders', not {name!r}"
            raise TypeError(msg)
        if self._stopped:
            msg = "this lab was stopped; make a new one: lab = Lab()"
            raise LabError(msg)

    def _release_all(self) -> None:
        try:
            with ExitStack() as each:
                for service in self._services.values():
                    each.callback(service.release)
        except Exception as error:
            msg = f"a service did not stop in good order ({error}); restart the kernel to be sure"
            raise LabError(msg) from error

    async def _farewell(self) -> None:
        services = [s for s in self._services.values() if isinstance(s, LoopService)]
        ends = await asyncio.gather(*(s.aclose() for s in services), return_exceptions=True)
        self.loop.log.extend(repr(end) for end in ends if end is not None)

    def _new_folder(self) -> Path:
        return self._own_folder().empty(f"service-{secrets.token_hex(4)}")

    def _own_folder(self) -> TempFolder:
        with self._lock:
            if self._folder is None:
                self._folder = TempFolder()
            return self._folder

    def _remove_folder(self) -> None:
        if self._folder is not None:
            self._folder.remove()
            self._folder = None
