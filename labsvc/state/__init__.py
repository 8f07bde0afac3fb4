"""State that several processes share, kept right by the store that holds it, in plain psycopg.

    `serializable`  a transaction at SERIALIZABLE, tried again when PostgreSQL refuses it
    `fence`         a write that a lock's holder cannot make any more once another holds the lock
    `replica`       a read that sees what its own caller has written

Used by notebook 52, claim C17. Each module stands alone, to take to work. A change that depends on
what it changes needs none of them where one statement does it: `UPDATE ... WHERE units > 0`.
"""

from labsvc.state.fence import Fence, StaleTokenError
from labsvc.state.replica import has_replayed, position, reader
from labsvc.state.serializable import serializable

__all__ = [
    "Fence",
    "StaleTokenError",
    "has_replayed",
    "position",
    "reader",
    "serializable",
]
