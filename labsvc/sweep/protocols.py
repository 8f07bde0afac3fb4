"""Which protocol a connection speaks, and the gate that finds the points in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.sweep.amqp_gate import AmqpGate
from labsvc.sweep.http1_gate import Http1Gate
from labsvc.sweep.http2_gate import Http2Gate
from labsvc.sweep.postgres_gate import PostgresGate

if TYPE_CHECKING:
    from labsvc.proxy.gate import Gate, Line
    from labsvc.sweep.points import RivalPoints

_HTTP2 = b"PRI "  # RFC 9113, section 3.4; no method of HTTP/1.1 is called so


class GateOf:
    """Finds out which protocol a connection speaks, from the client's first bytes."""

    def __init__(self, line: Line, run: RivalPoints) -> None:
        self._line = line
        self._run = run
        self._gate: Gate | None = None
        self._said = b""  # what the client said, as long as that tells nothing
        self._early = b""  # what the server said first

    def up(self, data: bytes) -> None:
        """Take bytes from the client."""
        if self._gate is None:
            self._said += data
            if len(self._said) < len(_HTTP2):
                return
            data, self._said = self._said, b""
            self._gate = self._choose(data)
            self._gate.down(self._early)
        self._gate.up(data)

    def down(self, data: bytes) -> None:
        """Take bytes from the server."""
        if self._gate is None:
            self._early += data
        else:
            self._gate.down(data)

    def _choose(self, first: bytes) -> Gate:
        if first.startswith(_HTTP2):
            return Http2Gate(self._line, self._run)
        if first.startswith(b"AMQP"):
            return AmqpGate(self._line, self._run)
        if first.startswith(b"\0"):  # the length of a message, which in no other comes first
            return PostgresGate(self._line, self._run)
        return Http1Gate(self._line, self._run) if first[:1].isupper() else _Open(self._line)


class _Open:
    """Lets through a protocol in which it sees no points."""

    def __init__(self, line: Line) -> None:
        self._line = line

    def up(self, data: bytes) -> None:
        """Let it through."""
        self._line.pass_up(data)

    def down(self, data: bytes) -> None:
        """Let it through."""
        self._line.pass_down(data)
