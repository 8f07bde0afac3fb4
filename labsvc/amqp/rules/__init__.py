"""The rules of exchanges and queues: no socket, no file; the time is injected.

`vhost` has the names of queues and `exchanges` those of exchanges, with what may be called so
(`names`). A `message` goes from an `exchange` over bindings (`matching`) to queues: `router`.
A `queue` is declared with `arguments`, read into `settings`; what waits in it is its `backlog`,
bounded by `limits`, ended by `expiry`, sent on by `deadletter`. Its `consumers` take turns
(`rotation`). Around it: `clock`, `memory`, `counters`, and the `journal` that is told of each
change, and `traced`, which notes on a timeline what happens to a message.
"""

from __future__ import annotations

__all__ = [
    "arguments",
    "backlog",
    "clock",
    "consumers",
    "counters",
    "deadletter",
    "exchange",
    "exchanges",
    "expiry",
    "journal",
    "limits",
    "matching",
    "memory",
    "message",
    "names",
    "queue",
    "rotation",
    "router",
    "settings",
    "traced",
    "vhost",
]
