"""An event that is sent if, and only if, its transaction was committed.

A program that writes to its database and then publishes loses the event when it dies in between.
The other order announces what never happened. So the event becomes a row of the same transaction,
and a relay publishes it later, as often as it takes. Notebook 51, claims C27 and C30.

    with db:
        db.execute("INSERT INTO orders VALUES (?)", (order_id,))
        outbox.add(order_id.encode(), routing_key="order.placed", message_id=order_id)
    ...
    await outbox.relay(exchange)

A relay that dies between the confirm and the mark publishes that event again, with the same
message id: consumers have to be idempotent (`labsvc.delivery.idempotent`). Run one relay at a time,
or events change their order.
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode, Message
from aio_pika.exceptions import DeliveryError
from pamqp.commands import Basic

if TYPE_CHECKING:
    import sqlite3

    from aio_pika.abc import AbstractExchange

SCHEMA = """
CREATE TABLE IF NOT EXISTS outbox (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    message_id TEXT NOT NULL UNIQUE,
    routing_key TEXT NOT NULL,
    body BLOB NOT NULL,
    sent INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS outbox_waiting ON outbox (seq) WHERE NOT sent;
"""


class AioOutbox:
    """Events in a table of the service's own database. Making one commits what was open."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        db.executescript(SCHEMA)

    def add(self, body: bytes, *, routing_key: str, message_id: str | None = None) -> str:
        """Add an event to the caller's transaction, and return its message id.

        Raises:
            RuntimeError: no transaction is open, so the event would be committed alone.

        """
        if not self._db.in_transaction:
            msg = "no transaction is open; write the order first, then its event, then commit"
            raise RuntimeError(msg)
        message_id = message_id or str(uuid.uuid4())
        self._db.execute(
            "INSERT INTO outbox (message_id, routing_key, body) VALUES (?, ?, ?)",
            (message_id, routing_key, body),
        )
        return message_id

    @property
    def waiting(self) -> int:
        """How many events are not sent yet."""
        count: int = self._db.execute("SELECT count(*) FROM outbox WHERE NOT sent").fetchone()[0]
        return count

    async def relay(self, exchange: AbstractExchange, *, publish_timeout: float = 5.0) -> int:
        """Publish what waits, oldest first, each one confirmed before the next.

        Args:
            exchange: of a channel with publisher confirms, which aio-pika has by default.
            publish_timeout: seconds to wait for one confirm.

        Returns:
            How many events were sent and marked.

        Raises:
            DeliveryError: the broker refused an event, or no queue takes it.
            TimeoutError: no confirm came in time; the event stays and is sent again.
            RuntimeError: the channel has no publisher confirms.

        """
        sent = 0
        while row := self._next():
            seq, message_id, routing_key, body = row
            event = Message(body, message_id=message_id, delivery_mode=DeliveryMode.PERSISTENT)
            confirm = await exchange.publish(
                event, routing_key=routing_key, timeout=publish_timeout
            )
            if confirm is None:
                msg = "open the channel with publisher_confirms=True: a mark needs a confirm"
                raise RuntimeError(msg)
            if not isinstance(confirm, Basic.Ack):  # the broker has returned the message
                raise DeliveryError(confirm, confirm.delivery)
            with self._db:
                self._db.execute("UPDATE outbox SET sent = 1 WHERE seq = ?", (seq,))
            sent += 1
        return sent

    def _next(self) -> tuple[int, str, str, bytes] | None:
        row: tuple[int, str, str, bytes] | None = self._db.execute(
            "SELECT seq, message_id, routing_key, body FROM outbox WHERE NOT sent"
            " ORDER BY seq LIMIT 1"
        ).fetchone()
        return row
