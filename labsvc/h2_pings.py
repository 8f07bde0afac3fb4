"""Ping a gRPC server over bare HTTP/2, as an over-eager client would.

grpc's own client never pings more often than once a second, so the server's answer to eager
pings (claim C03) is out of its reach. Notebook 21 uses this module to read that answer.
"""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ConnectionTerminated, Event, PingAckReceived

_PATIENCE = 10.0
_READ_SIZE = 65536


@dataclass(frozen=True, slots=True)
class Pings:
    """What became of the pings: how many were answered, and why the server hung up, if it did."""

    answered: int
    goaway: str | None

    def __str__(self) -> str:
        """Say it in a line that is the same on every run."""
        return f"{self.goaway}" if self.goaway else f"{self.answered} pings answered"


def send_pings(target: str, *, count: int, gap: float) -> Pings:
    """Open one HTTP/2 connection to `target` and send `count` pings, `gap` seconds apart.

    A ping is sent `gap` seconds after the answer to the one before, so that a slow machine
    spreads the pings out and never squeezes them together. Stops early when the server says
    GOAWAY (RFC 9113, section 6.8), whose debug data it returns. Raises OSError when there is
    no connection, and TimeoutError when the server falls silent for ten seconds.
    """
    host, port = target.rsplit(":", 1)
    connection = H2Connection(H2Configuration(client_side=True))
    connection.initiate_connection()
    answered = 0
    with socket.create_connection((host, int(port)), timeout=_PATIENCE) as wire:
        for number in range(count):
            connection.ping(number.to_bytes(8, "big"))
            wire.sendall(connection.data_to_send())
            wire.settimeout(_PATIENCE)
            goaway = _read_until(PingAckReceived, connection, wire)
            if goaway is None:
                answered += 1
                # The reason comes behind the last answer: listen during the pause, do not sleep.
                wire.settimeout(gap)
                with contextlib.suppress(TimeoutError):
                    goaway = _read_until(ConnectionTerminated, connection, wire)
            if goaway is not None:
                return Pings(answered, goaway)
    return Pings(answered, None)


def _read_until(wanted: type[Event], connection: H2Connection, wire: socket.socket) -> str | None:
    """Read until an event of the wanted kind came; return the reason if it was GOAWAY."""
    while data := wire.recv(_READ_SIZE):
        events = connection.receive_data(data)
        for event in events:
            if isinstance(event, ConnectionTerminated):
                return (event.additional_data or b"").decode() or f"GOAWAY {event.error_code}"
        wire.sendall(connection.data_to_send())
        if any(isinstance(event, wanted) for event in events):
            return None
    return "closed without GOAWAY"
