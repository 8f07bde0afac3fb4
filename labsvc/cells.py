"""What cells of many notebooks use: wait for a condition, call and read how it ended.

Notebook 00 shows both in full before it imports them. They hide nothing of gRPC: a call that
fails still raises everywhere else.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["aio_outcome", "aio_until", "outcome", "until"]


def until(condition: Callable[[], object], timeout: float = 10) -> None:
    """Return as soon as `condition()` is true.

    Args:
        condition: asked every 10 ms.
        timeout: seconds to wait at most.

    Raises:
        LabError: it did not become true in time.

    """
    give_up_at = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up_at:
            raise _in_vain(timeout)
        time.sleep(0.01)


async def aio_until(
    condition: Callable[[], object],
    timeout: float = 10,  # noqa: ASYNC109  # as `until` has it
) -> None:
    """Return as soon as `condition()` is true, as `until` does; other coroutines go on meanwhile.

    Raises:
        LabError: it did not become true in time.

    """
    give_up_at = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > give_up_at:
            raise _in_vain(timeout)
        await asyncio.sleep(0.01)


def outcome(call: Callable[..., object], *args: Any, **settings: Any) -> str:
    """Make a call and return how it ended: "OK", or the name of its status code.

    `outcome(stub.GetUser, request, timeout=1)` calls `stub.GetUser(request, timeout=1)`. Only
    grpc.RpcError is an outcome; any other exception is raised.
    """
    try:
        call(*args, **settings)
    except grpc.RpcError as error:
        return _code(error)
    return "OK"


async def aio_outcome(call: Awaitable[object]) -> str:
    """Await a call and return how it ended, as `outcome` does.

    `await aio_outcome(stub.GetUser(request, timeout=1))` with the stub of a grpc.aio channel.
    """
    try:
        await call
    except grpc.RpcError as error:
        return _code(error)
    return "OK"


def _in_vain(timeout: float) -> LabError:
    msg = f"what this cell waits for did not happen in {timeout} s; run the cell again"
    return LabError(msg)


def _code(error: Any) -> str:
    # Every grpc.RpcError that a call raises is a grpc.Call too.
    name: str = error.code().name
    return name
