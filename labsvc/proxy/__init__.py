"""A TCP middlebox between clients and one upstream: it passes, hurts and counts.

    `middlebox`     one upstream: the settings, and the table of connections
    `listener`      the port that clients come to
    `connection`    a client's connection and the one to the upstream that goes with it
    `pipe`          one direction of a connection: where bytes are delayed, throttled, dropped
    `gate`          who watches the events on a connection, and may break it there
    `stats`         what is counted

All of it runs on one asyncio loop. `labsvc.faults` describes the settings, and
`labsvc.hosts.proxy` is the service that a notebook holds.
"""

from labsvc.proxy.middlebox import Middlebox
from labsvc.proxy.stats import ProxyStats

__all__ = ["Middlebox", "ProxyStats"]
