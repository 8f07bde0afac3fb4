"""Stop a server without failing a call: say so first, then wait, then stop (notebook 29).

Balancers learn from the health service (gRPC health checking protocol, grpc.health.v1) that they
should send nothing more. They need a moment to hear it; until then calls still arrive, and are
served. Only then does the server stop taking calls, and those under way get time to finish.

    loop.add_signal_handler(SIGTERM, stopping.set)
    await stopping.wait()
    await aio_drain(server, health, notice=5, grace=30)
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import grpc
    from grpc_health.v1 import health as grpc_health  # type: ignore[import-untyped]


async def aio_drain(
    server: grpc.aio.Server, health: grpc_health.aio.HealthServicer, *, notice: float, grace: float
) -> None:
    """Stop a grpc.aio server: NOT_SERVING, `notice` seconds as before, then stop.

    Calls that are under way after `notice` have `grace` seconds left, and are then cancelled.
    Returns when all have ended. `notice` covers the time in which callers notice: two periods of
    a health check that polls, a fraction of a second for clients that watch. Both together must
    stay under the time that the platform leaves the process (30 s in Kubernetes).
    """
    await health.enter_graceful_shutdown()
    await asyncio.sleep(notice)
    await server.stop(grace)


def drain(
    server: grpc.Server, health: grpc_health.HealthServicer, *, notice: float, grace: float
) -> None:
    """Do what `aio_drain` does, for grpc.server."""
    health.enter_graceful_shutdown()
    time.sleep(notice)
    server.stop(grace).wait()
