"""An effect that happens once, though its message may be delivered twice.

A broker delivers at least once: a consumer that dies between its effect and its ack gets the
message again. So the effect and a note of the message's id go into one SQLite transaction: either
both are there, or neither is. Notebook 51, claim C30.

    issue = AioIdempotent(db, issue_coupon, consumer="coupons")
    await queue.consume(issue)

An effect outside the database, such as a mail, is not part of the transaction. Give the other side
the message's id, so that it can tell a repeat itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING

from aio_pika.abc import AbstractIncomingMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

Effect = Callable[[sqlite3.Connection, AbstractIncomingMessage], object]
"""Writes with the connection that it is given. It must not commit; what it returns is dropped."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS processed_messages (
    consumer TEXT NOT NULL,
    message_id TEXT NOT NULL,
    PRIMARY KEY (consumer, message_id)
) WITHOUT ROWID
"""


class AioIdempotent:
    """A callback for `queue.consume` that applies an effect once for each message id.

    Args:
        db: the connection on which the effect writes. It is used on the event loop's thread, so
            keep the effect short.
        effect: what to do. What it raises is raised on, after a rollback and a requeue; give the
            queue a delivery limit (`labsvc.delivery.deadletter`).
        consumer: who processes. Two consumers of one event on one database are counted apart.

    """

    def __init__(self, db: sqlite3.Connection, effect: Effect, *, consumer: str) -> None:
        self._db = db
        self._effect = effect
        self._consumer = consumer
        db.execute(SCHEMA)

    async def __call__(self, message: AbstractIncomingMessage) -> None:
        """Apply the effect unless it was applied before, then acknowledge.

        A message without an id cannot be told from its copy: it is rejected, and goes to the
        dead-letter queue where there is one.
        """
        if not message.message_id:
            await message.reject(requeue=False)
            return
        async with message.process(requeue=True):
            self.apply(message)

    def apply(self, message: AbstractIncomingMessage) -> bool:
        """Apply the effect and note the id in one transaction; return whether it was new."""
        with _transaction(self._db):
            noted = self._db.execute(
                "INSERT OR IGNORE INTO processed_messages VALUES (?, ?)",
                (self._consumer, message.message_id),
            )
            if noted.rowcount:
                self._effect(self._db, message)
        return bool(noted.rowcount)


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    # `with db:` alone begins nothing when the connection is in autocommit mode.
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        db.rollback()
        raise
    db.commit()
