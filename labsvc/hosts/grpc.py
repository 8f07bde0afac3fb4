"""gRPC servers: grpc.aio on the lab's loop, or the classic server with a thread pool."""

from __future__ import annotations

import asyncio
import inspect
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import (  # type: ignore[import-untyped]
    health,
    health_pb2,
    health_pb2_grpc,
)
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from labsvc.errors import LabError
from labsvc.hosts.service import LoopService
from labsvc.ports import HOST
from labsvc.rpc import decode, observe
from labsvc.rpc.observe import CallStats, Tally

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from labsvc.loop import Loop

# Without the first, two servers share a port and halve each other's calls; without the
# second, http_proxy catches calls to 127.0.0.1.
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0))

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Health:
    """What the server's health service answers (gRPC health checking protocol, grpc.health.v1)."""

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._serving: dict[str, bool] = {"": True}
        self._servicer: Any = None

    def set(self, service: str = "", *, serving: bool) -> None:
        """Answer SERVING or NOT_SERVING for a service, by its full name; "" is the whole server.

        The answer outlives a stop and a start.
        """
        self._serving[service] = serving
        if self._servicer is not None:
            done = self._servicer.set(service, _SERVING if serving else _NOT_SERVING)
            if inspect.iscoroutine(done):
                self._loop.run(done)

    async def attach(self, server: Any, services: Sequence[str], *, aio: bool) -> None:
        """Add the health service to a server that is about to start."""
        self._servicer = health.aio.HealthServicer() if aio else health.HealthServicer()
        for name in services:
            self._serving.setdefault(name, True)
        for name, serving in self._serving.items():
            done = self._servicer.set(name, _SERVING if serving else _NOT_SERVING)
            if inspect.iscoroutine(done):
                await done
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    async def leave(self) -> None:
        """Tell watching clients that the server is going away."""
        if self._servicer is not None:
            done = self._servicer.enter_graceful_shutdown()
            if inspect.iscoroutine(done):
                await done
            self._servicer = None


class GrpcService(LoopService):
    """A running gRPC server; `Lab.serve_grpc` makes one."""

    def __init__(
        self,
        loop: Loop,
        name: str,
        servicers: Sequence[object],
        *,
        workers: int | None = None,
        options: Sequence[tuple[str, Any]] = (),
        interceptors: Sequence[Any] = (),
        credentials: grpc.ServerCredentials | None = None,
        port: int = 0,
    ) -> None:
        super().__init__(loop, name, port)
        self.health = Health(loop)
        self._adders = [(each, add) for each in servicers for add in find_adders(each)]
        if workers is not None:
            _refuse_coroutines(servicers)
        self._workers = workers
        self._options = (*OPTIONS, *options)
        self._interceptors = tuple(interceptors)
        self._credentials = credentials
        self._tally = Tally(self.log, name)
        self._server: Any = None
        self._pool: ThreadPoolExecutor | None = None

    @property
    def stats(self) -> CallStats:
        """Calls since the first start, per method and per status code; health checks excepted."""
        return self._tally.snapshot()

    async def _aopen(self, port: int) -> int:
        aio = self._workers is None
        names = _Names()
        for servicer, add in self._adders:
            add(servicer, names)
        ours = {reflection.SERVICE_NAME, health.SERVICE_NAME} - set(names.seen)
        server = self._server = self._make_server(ours)
        for servicer, add in self._adders:
            add(servicer, server)
        if health.SERVICE_NAME in ours:
            await self.health.attach(server, names.seen, aio=aio)
        reflection.enable_server_reflection([*names.seen, *sorted(ours)], server)
        taken = self._bind(server, port)
        started = server.start()
        if aio:
            await started
        return taken

    def _make_server(self, hidden: set[str]) -> Any:
        if self._workers is None:
            aio_observer = observe.aio_server(self._tally, hidden)
            return grpc.aio.server(
                interceptors=[aio_observer, *self._interceptors, decode.aio_server()],
                options=self._options,
            )
        self._pool = ThreadPoolExecutor(self._workers, thread_name_prefix=f"labsvc-{self.name}")
        sync_observer = observe.server(self._tally, hidden)
        return grpc.server(
            self._pool,
            interceptors=[sync_observer, *self._interceptors, decode.server()],
            options=self._options,
        )

    def _bind(self, server: Any, port: int) -> int:
        address = f"{HOST}:{port}"
        try:
            taken: int = (
                server.add_insecure_port(address)
                if self._credentials is None
                else server.add_secure_port(address, self._credentials)
            )
        except RuntimeError as error:  # gRPC keeps the reason to itself
            if port:
                raise self._port_in_use() from error
            msg = "gRPC could not listen on 127.0.0.1; run `labsvc doctor` to find out why"
            if self._credentials is not None:
                msg = (
                    "gRPC does not take these credentials; private key and certificate must be"
                    " a pair, both in PEM, and the key comes first"
                )
            raise LabError(msg) from error
        return taken

    async def _aclose(self, grace: float) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        await self.health.leave()
        if self._workers is None:
            await server.stop(grace or None)
        else:
            await asyncio.to_thread(server.stop(grace or None).wait)
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


class _Names:
    """Stands in for a server, to learn which services a servicer registers."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def add_generic_rpc_handlers(self, handlers: Sequence[Any]) -> None:
        self.seen.extend(handler.service_name() for handler in handlers)

    def add_registered_method_handlers(self, name: str, handlers: object) -> None:
        """Take no notice: the generic handlers name the same service."""


def find_adders(servicer: object) -> list[Callable[[Any, Any], None]]:
    """Find the generated add_XServicer_to_server for each XServicer that a class derives from.

    Raises:
        TypeError: `servicer` is a class, or no servicer at all.

    """
    if isinstance(servicer, type):
        msg = f"serve_grpc takes instances: write {servicer.__name__}(), not {servicer.__name__}"
        raise TypeError(msg)
    found = [
        getattr(sys.modules.get(base.__module__), f"add_{base.__name__}_to_server", None)
        for base in type(servicer).__mro__
    ]
    # A subclass of the same name, beside an imported adder, would find that one again.
    adders = list(dict.fromkeys(adder for adder in found if adder is not None))
    if not adders:
        msg = (
            f"{servicer!r} is no gRPC servicer; derive its class from the generated one,"
            " such as user_pb2_grpc.UserServiceServicer"
        )
        raise TypeError(msg)
    return adders


def _refuse_coroutines(servicers: Sequence[object]) -> None:
    for servicer in servicers:
        for name in dir(servicer):
            method = getattr(servicer, name)
            if not name.startswith("_") and (
                inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method)
            ):
                msg = (
                    f"{type(servicer).__name__}.{name} is async, and threads cannot run it;"
                    " leave workers= out, or write it as a plain function"
                )
                raise TypeError(msg)
