"""Stage of notebook 30's exercise: a third party over HTTP/1.1, in trouble when it is asked to be.

A server by hand, because an ASGI app cannot lose a connection, nor see which ones are open.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from contextlib import closing, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from labsvc.errors import LabError
from labsvc.ports import hold

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labsvc.checks.sandbox import Sandbox

Trouble = Literal["error", "lost", "cut", "silent", "drips", "slow"]

PLACES = 4  # as the exercise says
SLOW_SECONDS = 0.5
MEET_SECONDS = 0.3  # for the first requests to wait for each other
STEP_SECONDS = 0.02

_numbers = itertools.count(1)
_names = ("tea", "pen", "cup", "ink", "jar", "hat", "map", "bag")


class ThirdParty:
    """Answers with the price of an item; `trouble` says what happens to some of them.

    It counts `connections` and those `open`, the requests `under_way` and the `most` of these at a
    time. `asked` are the items in the order of the requests; the last ended at `answered_at`.
    """

    def __init__(
        self, room: Sandbox, trouble: Mapping[int, Trouble] | None = None, *, items: int = 8
    ) -> None:
        names = random.sample(_names, items)
        self.prices = {f"{name}-{random.randrange(100, 999)}": _cents() for name in names}
        self.items = list(self.prices)
        self.trouble = {self.items[place]: kind for place, kind in (trouble or {}).items()}
        self.asked: list[str] = []
        self.connections = self.open = self.under_way = self.most = 0
        self.answered_at = 0.0
        self._lines: set[asyncio.WriteTransport] = set()
        self._loop = room.lab.loop
        name = "-".join(["prices", *set(self.trouble.values()), str(next(_numbers))])
        self.url = room.proxy(room.enter(self._served()), name=name).url  # a replay names it

    @property
    def there(self) -> dict[str, int]:
        """The prices that can be had."""
        gone = {item for item, kind in self.trouble.items() if kind != "slow"}
        return {item: cents for item, cents in self.prices.items() if item not in gone}

    @contextmanager
    def _served(self) -> Iterator[str]:
        server = self._loop.run(asyncio.start_server(self._connected, "127.0.0.1", 0))
        port = server.sockets[0].getsockname()[1]
        try:
            yield f"127.0.0.1:{port}"
        finally:
            with suppress(LabError):  # the lab has gone, and all that ran on it
                self._loop.run(self._close(server))

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for line in self._lines:
            line.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._lines.add(writer.transport)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await self._requested(head.split()[1].decode(), reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            self.open -= 1
            self._lines.discard(writer.transport)
            writer.transport.abort()

    async def _requested(
        self, path: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        item = path.removeprefix("/prices/")
        self.asked.append(item)
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self._meet()
            await self._answer(item, reader, writer)
        finally:
            self.under_way -= 1
            self.answered_at = time.monotonic()

    async def _meet(self) -> None:
        """Let the first requests be under way together."""
        for _ in range(round(MEET_SECONDS / STEP_SECONDS)):
            await asyncio.sleep(STEP_SECONDS)
            if len(self.asked) >= min(PLACES, len(self.items)):
                return

    async def _answer(
        self, item: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        kind = self.trouble.get(item)
        if kind == "silent":
            await reader.read(1)  # until the client leaves
        if kind in ("silent", "lost"):
            raise ConnectionResetError
        if kind == "drips":
            writer.write(_head(200, 10_000))
            while not reader.at_eof():
                writer.write(b" ")
                await writer.drain()  # raises when the client has left
                await asyncio.sleep(STEP_SECONDS)
            raise ConnectionResetError
        if kind == "slow":
            await asyncio.sleep(SLOW_SECONDS)
        body = json.dumps({"cents": self.prices.get(item, 0)}).encode()
        status = 500 if kind == "error" else 200 if item in self.prices else 404
        if kind == "cut":
            writer.write(_head(status, len(body)) + body[:-2])
            await writer.drain()
            raise ConnectionResetError
        writer.write(_head(status, len(body)) + body)
        await writer.drain()


@contextmanager
def cheap_clients() -> Iterator[None]:
    """Let all clients share the certificates that they trust.

    To load them takes 50 ms of a processor for each client, and here all are plain HTTP.
    """
    module: Any = import_module("httpx2._transports.default")
    original = module.create_ssl_context
    shared = original()
    module.create_ssl_context = lambda *_, **__: shared
    try:
        yield
    finally:
        module.create_ssl_context = original


def closed_port(room: Sandbox) -> str:
    """Return an address that takes no connections."""
    held = room.enter(closing(hold(0)))
    return f"http://127.0.0.1:{held.getsockname()[1]}"


def _head(status: int, length: int) -> bytes:
    return (
        f"HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
    ).encode()


def _cents() -> int:
    return random.randrange(100, 10_000)
