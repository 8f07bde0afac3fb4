"""A read that sees what its own caller has written, though replicas lag.

A commit has a place in PostgreSQL's log, its LSN. Whoever writes keeps the place; whoever reads for
the same user asks a replica whether it has come so far, and reads from the primary if it has not.
Notebook 52, claim C17.

    with psycopg.connect(primary) as db:
        db.execute("INSERT INTO orders VALUES (%s)", (order_id,))
    place = position(primary_db)        # goes into the user's session, or the answer
    ...
    rows = reader(primary_db, replica_db, place).execute("SELECT ...")
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

PROBE_SECONDS = 0.01


def position(primary: Connection[Any]) -> str:
    """Return a place in the log behind all that is committed by now, such as "0/3000148".

    Ask after the commit: what is written in an open transaction is not there for readers.
    """
    return str(_one(primary, "SELECT pg_current_wal_insert_lsn()::text"))


def has_replayed(replica: Connection[Any], place: str) -> bool:
    """Return whether a replica shows all that was committed before a place in the log."""
    return bool(_one(replica, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", place))


def reader(
    primary: Connection[Any], replica: Connection[Any], place: str, *, wait: float = 0.0
) -> Connection[Any]:
    """Return the replica when it has come to a place in the log, otherwise the primary.

    Args:
        primary: takes the reads that no replica can answer yet. If many lag, it takes them all.
        replica: in autocommit mode: an open transaction may not see what is replayed after it.
        place: what `position` returned after the write.
        wait: seconds that the replica has to come there.

    """
    give_up_at = time.monotonic() + wait
    while not has_replayed(replica, place):
        if time.monotonic() >= give_up_at:
            return primary
        time.sleep(PROBE_SECONDS)
    return replica


def _one(db: Connection[Any], query: Any, *values: str) -> Any:
    row = db.execute(query, values).fetchone()
    assert row is not None
    return row[0]
