"""Stage of 30 and T3: an HTTP/1.1 server that can lose a connection, and that sees what is open.

It is written by hand, because an ASGI app can do neither.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from labsvc.checks.sandbox import Sandbox

PLACES = 4  # as both exercises say
MEET_SECONDS = 0.3  # for the first requests to wait for each other
STEP_SECONDS = 0.02


@dataclass(frozen=True)
class Request:
    """What came: the names of the headers are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ByHand:
    """Reads requests, and lets `answer` of a subclass write what it likes, or raise an OSError.

    It counts `connections` and those `open`, the requests that `came`, those `under_way` and the
    `most` of these at a time. The last one ended at `answered_at`.
    """

    def __init__(self, room: Sandbox, name: str) -> None:
        self.connections = self.open = self.came = self.under_way = self.most = 0
        self.answered_at = 0.0
        self._lines: set[asyncio.WriteTransport] = set()
        self._loop = room.lab.loop
        self.url = room.proxy(room.enter(self._served()), name=name).url

    async def answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer one request; an OSError ends the connection."""
        raise NotImplementedError

    async def meet(self, number: int) -> None:
        """Let the first requests be under way together."""
        for _ in range(round(MEET_SECONDS / STEP_SECONDS)):
            await asyncio.sleep(STEP_SECONDS)
            if self.came >= min(PLACES, number):
                return

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
                await self._requested(await _read(reader), reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            self.open -= 1
            self._lines.discard(writer.transport)
            writer.transport.abort()

    async def _requested(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.came += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            await self.answer(request, reader, writer)
        finally:
            self.under_way -= 1
            self.answered_at = time.monotonic()


def head(status: int, length: int, *lines: str, form: str = "application/json") -> bytes:
    """Return the head of an answer with so many bytes, and more header lines."""
    every = (f"content-type: {form}", f"content-length: {length}", *lines)
    return "\r\n".join((f"HTTP/1.1 {status} -", *every, "", "")).encode()


async def silence(reader: asyncio.StreamReader) -> None:
    """Say nothing until the client leaves."""
    await reader.read(1)
    raise ConnectionResetError


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with one byte after the other, without an end."""
    writer.write(head(200, 10_000))
    while not reader.at_eof():
        writer.write(b" ")
        await writer.drain()  # raises when the client has left
        await asyncio.sleep(STEP_SECONDS)
    raise ConnectionResetError


async def _read(reader: asyncio.StreamReader) -> Request:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").splitlines()
    method, path, _ = first.split(" ", 2)
    pairs = [line.partition(":") for line in lines if line]
    headers = {name.lower(): value.strip() for name, _, value in pairs}
    return Request(method, path, headers, await reader.readexactly(_length(headers)))


def _length(headers: Mapping[str, str]) -> int:
    return int(headers.get("content-length", "0"))
