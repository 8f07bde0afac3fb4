"""What a lab can host: a method for each kind of service."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from labsvc.hosts import cache, collector, etcd, log, objects, queue, rows
from labsvc.hosts.dns import DnsService
from labsvc.hosts.grpc import GrpcService
from labsvc.hosts.http import HttpService
from labsvc.hosts.proxy import Proxy
from labsvc.hosts.service import Service

if TYPE_CHECKING:
    import ssl
    import threading
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import grpc

    from labsvc.loop import Loop
    from labsvc.telemetry.tail import Keep

S = TypeVar("S", bound=Service)


class Serving(ABC):
    """The methods that start services. `Lab` owns what they start."""

    loop: Loop
    _lock: threading.RLock
    _password: str  # of this lab: its queue and its PostgreSQL have it

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
        return self._host(name, queue.QueueService(self.loop, name, self._password, folder))

    def serve_log(
        self, name: str = "log", *, embedded: bool = False
    ) -> log.LogService | log.ExternalLog:
        """Serve a log that speaks Kafka's protocol: a mock cluster, in memory, of one broker.

        With LAB_KAFKA_BOOTSTRAP set nothing is started, and `.bootstrap` is that; `embedded=True`
        starts the lab's own all the same, to be stopped. `new_topic` says how many partitions.

        Raises:
            EngineError: no confluent-kafka is installed, or its mock cluster did not start.

        """
        bootstrap = os.environ.get(log.VARIABLE)
        if bootstrap and not embedded:
            return self._host(name, log.ExternalLog(name, bootstrap))
        return self._host(name, log.LogService(name))

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

    @overload
    def serve_rows(self, name: str = ..., *, embedded: Literal[True]) -> rows.RowsService: ...

    @overload
    def serve_rows(
        self, name: str = ..., *, embedded: bool = ...
    ) -> rows.RowsService | rows.ExternalRows: ...

    def serve_rows(
        self, name: str = "rows", *, embedded: bool = False
    ) -> rows.RowsService | rows.ExternalRows:
        """Serve PostgreSQL, with a password and a data folder of this lab's own.

        With LAB_POSTGRES_DSN set nothing is started, and `.dsn` is that; `embedded=True` starts the
        lab's own all the same, to be stopped or followed by a replica.

        Raises:
            EngineError: no PostgreSQL is installed, or it did not get ready.

        """
        dsn = os.environ.get(rows.VARIABLE)
        if dsn and not embedded:
            return self._host(name, rows.ExternalRows(name, dsn))
        return self._host(name, rows.RowsService(name, self._new_folder(), self._password))

    def serve_replica(self, primary: rows.RowsService, name: str = "replica") -> rows.RowsService:
        """Serve a PostgreSQL that follows `primary` and takes reads alone.

        Raises:
            TypeError: `primary` is no PostgreSQL of this lab.
            EngineError: it could not copy what the primary has, or did not get ready.

        """
        if not isinstance(primary, rows.RowsService):
            msg = f"a replica needs what serve_rows(embedded=True) returned, not {primary!r}"
            raise TypeError(msg)
        return self._host(name, rows.ReplicaService(name, self._new_folder(), primary))

    def serve_cache(self, name: str = "cache") -> cache.CacheService | cache.ExternalCache:
        """Serve Redis, with a password of its own.

        With LAB_REDIS_URL set nothing is started, and `.url` is that.

        Raises:
            EngineError: no Redis is installed, or it did not get ready.

        """
        url = os.environ.get(cache.VARIABLE)
        if url:
            return self._host(name, cache.ExternalCache(name, url))
        return self._host(name, cache.CacheService(name, self._new_folder()))

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

    def serve_collector(
        self, name: str = "collector", *, keep: Keep | None = None, wait: float = 0.5
    ) -> collector.CollectorService:
        """Serve an OpenTelemetry collector: OTLP over gRPC and HTTP, for spans.

        With OTEL_EXPORTER_OTLP_ENDPOINT set, what it receives is sent on to that one too.

        Args:
            name: the name to serve under.
            keep: called once with each `Trace`, `wait` seconds after its first span came; what it
                returns is true for a trace to keep. None keeps all.
            wait: seconds to wait for the rest of a trace.

        Raises:
            LabError: OTEL_EXPORTER_OTLP_ENDPOINT is no address.

        """
        return self._host(name, collector.CollectorService(self.loop, name, keep, wait))

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
            if self.targets().get(name) == target:
                msg = f"a proxy cannot replace its own upstream {name!r}; choose another name="
                raise ValueError(msg)
            return self._host(name, Proxy(self.loop, name, target))

    @abstractmethod
    def targets(self) -> dict[str, str]:
        """Return the "host:port" of everything that runs here, by name."""

    @abstractmethod
    def _host(self, name: str, service: S) -> S:
        """Start a service under this name, in the place of what ran under it."""

    @abstractmethod
    def _new_folder(self) -> Path:
        """Return a new folder of the lab, for one service."""
