"""The one address that everything here listens on, and how to keep a port of it."""

from __future__ import annotations

import os
import socket

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
