"""One client and its socket, from the frames that come to the frames that go.

`transport` carries frames in turns, and `group_commit` stores what a turn did before it is
answered. A `connection` begins with the `handshake`, is kept alive by the `heartbeat` and ends
with a `farewell`. Its `channels` give each `channel` its frames: an `assembly` of content goes
to `publish` (and is answered by `confirms`), a method to where `methods` says: `declare`,
`consume`, which makes a `consumer`, `acknowledge`, which settles what is `unacked`, and
`transact`, which lets a `transaction` take effect.
"""

from __future__ import annotations

__all__ = [
    "acknowledge",
    "assembly",
    "channel",
    "channels",
    "confirms",
    "connection",
    "consume",
    "consumer",
    "declare",
    "farewell",
    "group_commit",
    "handshake",
    "heartbeat",
    "methods",
    "publish",
    "transact",
    "transaction",
    "transport",
    "unacked",
]
