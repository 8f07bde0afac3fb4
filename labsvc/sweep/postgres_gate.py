"""Statements and their results on a connection to PostgreSQL, found in its messages (protocol 3).

A statement is what the server is asked to do by one simple query, or by the messages up to one
Execute; it is struck before the server sees anything of it. What several statements in one simple
query do is one point, with a result for each. All before the server is ready for the first time is
let through: who connects is no point.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from labsvc.sweep.frames import Frames

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.proxy.gate import Line
    from labsvc.sweep.points import RivalPoints

_FIRST_HEAD = 8  # of the first messages, which have no type: their length, and what they ask for
_HEAD = 5  # of all others: a type, then the length
_IN_ONE_BYTE = (80877103, 80877104)  # SSLRequest and GSSENCRequest are answered by one byte
_NO = b"N"
_QUERY, _EXECUTE, _CALL, _SYNC = b"Q", b"E", b"F", b"S"
_BEGIN = (_QUERY, _CALL, b"P", b"B", _EXECUTE)  # parse, bind
_END = (_QUERY, _CALL, _EXECUTE, _SYNC)
_READY = b"Z"
_DONE = (b"C", b"E", b"I", b"s")  # complete, an error, empty, and suspended


class PostgresGate:
    """Watches one connection; `run` decides what happens at each point."""

    def __init__(self, line: Line, run: RivalPoints) -> None:
        self._line = line
        self._run = run
        self._first = Frames(_FIRST_HEAD, lambda head: int.from_bytes(head[:4]))
        self._from_client = Frames(_HEAD, lambda head: 1 + int.from_bytes(head[1:]))
        self._from_server = Frames(_HEAD, lambda head: 1 + int.from_bytes(head[1:]))
        self._starts = True  # the client's messages have no type yet
        self._bytes_to_come = 0  # answers of one byte
        self._sealed = False  # both sides have agreed on encryption
        self._ready = False
        self._inside = False  # a statement, of which the server has seen the beginning
        self._held: list[bytes] | None = None  # what waits while a rival is at work
        self._over = False

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._sealed:
            self._line.pass_up(data)
            return
        if self._starts:
            for raw in self._first.split(data):
                asks = int.from_bytes(raw[4:8])
                self._bytes_to_come += asks in _IN_ONE_BYTE
                self._line.pass_up(raw)
                if asks not in _IN_ONE_BYTE:
                    self._starts = False
                    break
            data = b"" if self._starts else self._first.rest()
        for raw in self._from_client.split(data):
            self._take(raw)

    def down(self, data: bytes) -> None:
        """Take bytes from the server."""
        while self._bytes_to_come and data:
            self._bytes_to_come -= 1
            self._sealed = self._sealed or data[:1] != _NO
            self._line.pass_down(data[:1])
            data = data[1:]
        if self._sealed:
            self._line.pass_down(data)
            return
        for raw in self._from_server.split(data):
            if self._over:
                return
            kind = raw[:1]
            if self._ready and kind in _DONE and self._run.reach("result")[1] is not None:
                self._break()
                return
            self._ready = self._ready or kind == _READY
            self._line.pass_down(raw)

    def _take(self, raw: bytes) -> None:
        if self._over:
            return
        if self._held is not None:
            self._held.append(raw)
            return
        if self._ready and not self._inside and raw[:1] in _BEGIN:
            _, fault = self._run.reach("statement")
            if fault == "overtaken":
                self._held = [raw]
                loop = asyncio.get_running_loop()
                self._run.overtake(partial(_soon, loop, self._go_on))
                return
            if fault is not None:
                self._break()
                return
        self._send(raw)

    def _send(self, raw: bytes) -> None:
        kind = raw[:1]
        if kind in _BEGIN or kind in _END:
            self._inside = kind not in _END
        self._line.pass_up(raw)

    def _go_on(self) -> None:
        """Send what waited: the statement that was held, and whatever came after it."""
        held, self._held = self._held or [], None
        if not self._over:
            self._send(held[0])
            for raw in held[1:]:
                self._take(raw)

    def _break(self) -> None:
        self._over = True
        self._line.reset()


def _soon(loop: asyncio.AbstractEventLoop, work: Callable[[], object]) -> None:
    with suppress(RuntimeError):  # the lab was stopped meanwhile
        loop.call_soon_threadsafe(work)
