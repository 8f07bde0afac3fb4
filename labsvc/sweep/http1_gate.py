"""Requests and answers on a connection of HTTP/1.1, found with h11 (RFC 9112).

A client of HTTP/1.1 waits for an answer before it sends the next request on a connection, so what
comes from the server belongs to the last request. A request is struck at its headers, before the
server sees anything of it; an answer at its first byte. Paths are left out of a point's name: they
hold ids, which differ from run to run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import h11

if TYPE_CHECKING:
    from labsvc.proxy.gate import Line
    from labsvc.sweep.points import Points

_UNAVAILABLE = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"


class Http1Gate:
    """Watches one connection; `run` decides what happens at each point."""

    def __init__(self, line: Line, run: Points) -> None:
        self._line = line
        self._run = run
        self._client = h11.Connection(h11.SERVER)  # reads what a client sends
        self._unsent = b""  # of a request, up to where its headers have come
        self._passing = False  # whether the server gets the rest of it
        self._asked: tuple[str, int] | None = None  # method and number of a request under way
        self._silent = False  # nothing comes from the server any more
        self._over = False

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._over:
            return
        if self._passing:
            self._line.pass_up(data)
        else:
            self._unsent += data
        try:
            self._client.receive_data(data)
            self._read()
        except h11.RemoteProtocolError:  # the server has to say so
            self._passing = True
            self._line.pass_up(self._unsent)
            self._unsent = b""

    def down(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self._over or self._silent:
            return
        if self._asked is not None and not data.startswith(b"HTTP/1.1 1"):  # 100 (Continue)
            _, fault = self._run.reach("answer", *self._asked)
            self._asked = None
            if fault == "late":
                self._silent = True  # until the client has left, and with it the connection
                return
            if fault is not None:
                self._break()
                return
        self._line.pass_down(data)

    def _read(self) -> None:
        while not self._over:
            event = self._client.next_event()
            if isinstance(event, h11.Request):
                self._request(event.method.decode())
            elif isinstance(event, h11.EndOfMessage):
                self._whole()
            elif not isinstance(event, h11.Event):
                return  # more is needed

    def _request(self, method: str) -> None:
        number, fault = self._run.reach("request", method)
        if fault in ("lost", "killed"):
            self._break()
            return
        self._passing = fault is None
        if self._passing:
            self._asked = method, number
            self._line.pass_up(self._unsent)
        self._unsent = b""

    def _whole(self) -> None:
        """Get ready for the next request; answer one that the server did not get."""
        if not self._passing:
            self._line.pass_down(_UNAVAILABLE)
        self._passing = False
        self._unsent = b""
        self._client.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
        self._client.send(h11.EndOfMessage())
        if self._client.our_state is h11.DONE:
            self._client.start_next_cycle()

    def _break(self) -> None:
        self._over = True
        self._line.reset()
