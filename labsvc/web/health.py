"""Alive, and ready: two questions with two answers (claim C59, notebook 33).

/livez     200 as long as this process answers. Who asks restarts it otherwise, so nothing else
           is asked: no restart here mends a service that is down elsewhere.
/readyz    200 when this process can do its work, 503 otherwise. Who asks sends it calls, or
           not. It asks the health service of what is behind it (grpc.health.v1), now and each
           time, and says no while it drains.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from starlette.responses import JSONResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

_SERVING = "SERVING"
_FRESH = {"cache-control": "no-store"}


class Health:
    """The health of a gateway, or of any HTTP service with gRPC services behind it.

    Args:
        channel: to the services; it stays the caller's.
        services: their full names. Name those only without which nothing here works.
        timeout: seconds for their answers, less than who asks will wait.

    """

    def __init__(
        self, channel: grpc.aio.Channel, services: Iterable[str], *, timeout: float = 0.5
    ) -> None:
        self._stub: Any = health_pb2_grpc.HealthStub(channel)
        self._services = tuple(services)
        self._timeout = timeout
        self._draining = False
        self.routes = [Route("/livez", self._alive), Route("/readyz", self._ready)]

    def drain(self) -> None:
        """Be ready no more. Call it first of all when the process is told to end."""
        self._draining = True

    async def _alive(self, _: Request) -> JSONResponse:
        return JSONResponse({"status": "alive"}, headers=_FRESH)

    async def _ready(self, _: Request) -> JSONResponse:
        said = await asyncio.gather(*map(self._ask, self._services))
        ready = not self._draining and all(each == _SERVING for each in said)
        document = {
            "status": "ready" if ready else "draining" if self._draining else "not ready",
            "services": dict(zip(self._services, said, strict=True)),
        }
        return JSONResponse(document, 200 if ready else 503, _FRESH)

    async def _ask(self, service: str) -> str:
        """Return what a service says of itself, or the code of the call that asked."""
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = await self._stub.Check(request, timeout=self._timeout)
        except grpc.RpcError as error:
            code: Any = error
            return str(code.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))
