"""A write that a lock's holder cannot make any more once another holds the lock.

A lock with a lease is given to the next one when its holder does not refresh it, and a holder that
was paused does not know. So each holder gets a token that is larger than all before, and shows it
with each write; the store refuses a token that is smaller than one that it has seen. The revision
at which etcd wrote the key of a lock is such a token (`lock.revision` of pyetcd), and so is what
INCR returns in Redis. Notebook 52, claim C17.

    fence = Fence("prices")
    with etcd.lock("prices", ttl=10) as lock, psycopg.connect(dsn) as db:
        fence.enter(db, lock.revision)
        db.execute("UPDATE prices SET cents = 1200 WHERE sku = 'sku-1'")

The token and the write have to be in one transaction. A store that cannot refuse cannot be fenced.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from psycopg import Connection

SCHEMA = "CREATE TABLE IF NOT EXISTS fences (resource text PRIMARY KEY, token bigint NOT NULL)"
SHOW = """
INSERT INTO fences AS known VALUES (%s, %s)
ON CONFLICT (resource) DO UPDATE SET token = excluded.token WHERE known.token <= excluded.token
"""


class StaleTokenError(Exception):
    """Another one has held the lock since. Nothing was written; whoever was paused starts anew."""


class Fence:
    """Keeps the largest token that was shown for one resource, in the table `fences`.

    Args:
        resource: what the lock protects; one fence for each lock.

    """

    def __init__(self, resource: str) -> None:
        self.resource = resource

    def prepare(self, db: Connection[Any]) -> None:
        """Make the table, where it is not there; at deployment, by one process."""
        db.execute(SCHEMA)

    def enter(self, db: Connection[Any], token: int) -> None:
        """Show a token, as the first statement of a transaction that writes.

        The holder of a larger one waits until this transaction has ended.

        Raises:
            StaleTokenError: a larger one was shown before; roll back.

        """
        if not db.execute(SHOW, (self.resource, token)).rowcount:
            msg = f"token {token} for {self.resource!r} is too old: another one holds the lock"
            raise StaleTokenError(msg)
