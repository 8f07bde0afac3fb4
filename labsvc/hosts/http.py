"""HTTP services: any ASGI app on uvicorn, on the lab's loop."""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import traceback
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import uvicorn

from labsvc.errors import LabError
from labsvc.hosts.service import LoopService
from labsvc.ports import HOST
from labsvc.timeline.asgi import Noted

if TYPE_CHECKING:
    import ssl
    from collections import deque
    from collections.abc import Awaitable, Callable, MutableMapping

    from labsvc.loop import Loop

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]

TICK_SECONDS = 0.005


@dataclass(frozen=True)
class HttpStats:
    """Requests since the first start, and how many ended with which status."""

    requests: int
    statuses: dict[int, int]


class HttpService(LoopService):
    """An ASGI app that answers; `Lab.serve_http` makes one."""

    def __init__(
        self, loop: Loop, name: str, app: Any, *, tls: ssl.SSLContext | None = None, port: int = 0
    ) -> None:
        super().__init__(loop, name, port)
        self._tls = tls
        self._app = _Counted(Noted(_asgi(app), name), self.log)
        self._server: uvicorn.Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """The address as "http://127.0.0.1:port", with TLS as "https://127.0.0.1:port"."""
        return f"{'https' if self._tls else 'http'}://{self.target}"

    @property
    def stats(self) -> HttpStats:
        """Requests counted when they arrive, statuses when the answer begins."""
        return self._app.snapshot()

    async def _aopen(self, port: int) -> int:
        sock = _listener(port)
        config = uvicorn.Config(
            self._app, log_config=None, log_level=logging.CRITICAL, access_log=False
        )
        server = uvicorn.Server(config)
        config.load()
        config.ssl = self._tls  # uvicorn itself takes the names of files
        server.lifespan = config.lifespan_class(config)
        try:
            await server.startup(sockets=[sock])
        except BaseException as error:
            sock.close()
            if not isinstance(error, SystemExit):  # uvicorn's way to report a failed start-up
                raise
            lines = list(self.log)
            reason = f" ({lines[-1]})" if lines else ""
            msg = f"the app's start-up failed{reason}; mend its lifespan and serve it again"
            raise LabError(msg) from error
        self._server = server
        self._ticker = asyncio.create_task(server.main_loop())
        taken: int = sock.getsockname()[1]
        return taken

    async def _aclose(self, grace: float) -> None:
        server, self._server = self._server, None
        if server is None:
            return
        if self._ticker is not None:
            self._ticker.cancel()
            with suppress(asyncio.CancelledError):
                await self._ticker
        await _end(server, grace)
        for connection in list(server.server_state.connections):
            transport = connection.transport
            if transport is not None:
                transport.abort()


async def _end(server: uvicorn.Server, grace: float) -> None:
    """Do what `server.shutdown` does, which pauses for 0.1 s each time, however little is left."""
    state = server.server_state
    for listening in server.servers:
        listening.close()
    for connection in list(state.connections):
        connection.shutdown()
    with suppress(TimeoutError):
        async with asyncio.timeout(grace):
            while state.connections or state.tasks:  # noqa: ASYNC110  # uvicorn has no event
                await asyncio.sleep(TICK_SECONDS)
    for task in state.tasks:
        task.cancel()
    await server.lifespan.shutdown()


class _Counted:
    """An ASGI app around the learner's: counts, and keeps what would have been printed."""

    def __init__(self, app: Any, log: deque[str]) -> None:
        self._app = app
        self._log = log
        self._requests = 0
        self._statuses: Counter[int] = Counter()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        counted = scope["type"] == "http"
        status = 0

        async def watch(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                self._count(scope, status)
            elif message["type"] == "lifespan.startup.failed":
                self._log.extend(message.get("message", "").splitlines())
            await send(message)

        if counted:
            self._requests += 1
        try:
            await self._app(scope, receive, watch)
        except Exception as error:
            if counted or scope["type"] == "websocket":
                self._log.extend("".join(traceback.format_exception(error)).splitlines())
            if counted and not status:
                self._count(scope, 500)
            raise

    def _count(self, scope: Message, status: int) -> None:
        self._statuses[status] += 1
        self._log.append(f"{scope['method']} {scope['path']} {status}")

    def snapshot(self) -> HttpStats:
        return HttpStats(self._requests, dict(self._statuses))


def _asgi(app: Any) -> Any:
    call = app if inspect.isfunction(app) else getattr(app, "__call__", None)  # noqa: B004
    if isinstance(app, type) or not inspect.iscoroutinefunction(call):
        msg = f"{app!r} is no ASGI app; pass one, such as FastAPI() or an async function"
        raise TypeError(msg)
    return app


def _listener(port: int) -> socket.socket:
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it,
    # answers wait 40 ms for Nagle's algorithm.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if hasattr(socket, "SO_REUSEADDR") and not hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((HOST, port))
    except OSError:
        sock.close()
        raise
    return sock
