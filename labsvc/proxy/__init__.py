"""A TCP middlebox between a client and a service: it passes, hurts and counts.

`Proxy` is what a notebook holds. Behind it, on the lab's loop: a `Box` listens and
keeps the table of connections, a `Link` is one connection, a `Lane` one direction
of it. The faults themselves are described in `labsvc.faults`.
"""

from labsvc.proxy._box import ProxyStats
from labsvc.proxy._proxy import Proxy

__all__ = ["Proxy", "ProxyStats"]
