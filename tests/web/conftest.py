"""A gateway on uvicorn before a gRPC server, both on one background loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import httpx2
import pytest
import uvicorn
from grpc_health.v1 import health, health_pb2_grpc  # type: ignore[import-untyped]
from starlette.applications import Starlette
from starlette.routing import Mount

from labsvc.loop import Loop
from labsvc.web.gateway import Gateway
from labsvc.web.health import Health
from tests.patience import patience
from tests.web.service import SERVICE, Things

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
OPTIONS = (("grpc.so_reuseport", 0), ("grpc.enable_http_proxy", 0))
PREFIX = "/below"


class Faces:
    """A service with two faces: `client` asks the gateway, which is also mounted at PREFIX."""

    def __init__(self) -> None:
        self.things = Things()
        self.loop = Loop.start()
        self.loop.run(self._start())

    async def _start(self) -> None:
        self.server = grpc.aio.server(options=OPTIONS)
        self.things.register(self.server)
        self.grpc_health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.grpc_health, self.server)
        self.grpc_port = self.server.add_insecure_port(f"{HOST}:0")
        await self.server.start()
        target = f"{HOST}:{self.grpc_port}"
        self.channel = grpc.aio.insecure_channel(target, OPTIONS)
        gateway = Gateway(self.channel, [SERVICE], timeout=2)
        self.health = Health(self.channel, [SERVICE.full_name])
        app = Starlette(
            routes=[*self.health.routes, Mount(PREFIX, gateway), Mount("/", gateway)],
        )
        config = uvicorn.Config(app, host=HOST, port=0, log_config=None)
        self.uvicorn = uvicorn.Server(config)
        self.served = asyncio.ensure_future(self.uvicorn.serve())
        while not self.uvicorn.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.005)
        self.port = self.uvicorn.servers[0].sockets[0].getsockname()[1]
        self.client = httpx2.Client(
            base_url=f"http://{HOST}:{self.port}", timeout=patience(10), trust_env=False
        )

    def says(self, service: str, status: Any) -> None:
        """Let the gRPC health service say this of a service."""
        self.loop.run(self.grpc_health.set(service, status))

    def close(self) -> None:
        """Stop everything."""
        self.client.close()
        self.loop.run(self._stop())
        self.loop.stop()

    async def _stop(self) -> None:
        self.uvicorn.should_exit = True
        await self.served
        await self.channel.close()
        await self.server.stop(0)


@pytest.fixture(scope="module")
def faces() -> Iterator[Faces]:
    """Run one for the tests of a module."""
    running = Faces()
    yield running
    running.close()
