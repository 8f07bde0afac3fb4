"""The one address that everything here listens on, how to keep a port of it, how to reset."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from asyncio.trsock import TransportSocket

HOST = "127.0.0.1"


def hold(port: int) -> socket.socket:
    """Take a port, 0 for any free one. Until somebody listens on it, the system refuses who comes.

    Raises:
        OSError: another program listens on it.

    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name != "nt":  # there it would let two programs share the port
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
    except OSError:
        held.close()
        raise
    return held


def free_port(wanted: int = 0) -> int:
    """Return `wanted`, or a free port for 0: for a program that takes its port as an argument.

    Raises:
        OSError: another program listens on it.

    """
    with hold(wanted) as held:
        port: int = held.getsockname()[1]
        return port


def reset_on_close(connection: socket.socket | TransportSocket) -> None:
    """Make `close` send RST in place of FIN, as a crashed machine or a firewall does.

    A linger time of 0 does that; the two fields are 16 bits wide on Windows.

    Raises:
        OSError: the connection is gone already.

    """
    linger = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
