"""Stage of T5-restart: messages in a queue, a database, and a queue for events."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labsvc.checks.queue_sandbox import QueueSandbox, database, file_of, names

if TYPE_CHECKING:
    from aio_pika.abc import AbstractChannel, AbstractConnection

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SCHEMA = """
CREATE TABLE stock (sku TEXT PRIMARY KEY, units INTEGER);
CREATE TABLE orders (order_id TEXT PRIMARY KEY, state TEXT);
CREATE TABLE handled (message_id TEXT PRIMARY KEY);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, message_id TEXT, body TEXT, sent INTEGER DEFAULT 0
);
"""
SKU = "tea-100"
START = 10  # units in stock
DELIVERIES = 5
UNREADABLE = (
    b'{"kind": "order", "ord',
    b"[]",
    b"3",
    b'{"kind": "order", "order_id": "caf\xe9", "sku": "tea-100", "units": 1}',  # Latin-1
    b'{"kind": "order", "order_id": "o-1", "sku": "tea-100"}',
    b'{"kind": "gift", "order_id": "o-1", "sku": "tea-100", "units": 1}',
)


@dataclass(frozen=True)
class Sent:
    """A message that can be read: an order, or the cancel of one."""

    kind: str
    order_id: str
    units: int = 2
    sku: str = SKU

    @property
    def body(self) -> str:
        """What is in it."""
        return json.dumps(vars(self))

    @property
    def id(self) -> str:
        """Its message_id."""
        return f"id of {self.body}"


class Desk(QueueSandbox):
    """The queue of the messages, with its dead letters, and `events` on the same broker."""

    @property
    def events(self) -> str:
        """The queue that events go to."""
        return f"{self.queue}-events"

    async def _open(self) -> tuple[AbstractConnection, AbstractChannel]:
        connection, channel = await super()._open()
        await channel.declare_queue(self.events, durable=True)
        return connection, channel

    async def _close(self) -> None:
        await self._channel.queue_delete(self.events, timeout=5)
        await super()._close()


class Stage:
    """What the answer is called with, and what should have come of it.

    `tale` says what is special about the messages. Those that were put into the queue are in
    `sent`, with copies, and in `odd` if they cannot be read. `waiting` is what waits in the outbox
    from the start: the body of an event by its id.
    """

    def __init__(
        self, answer: Submission, room: Sandbox, run: Run, tale: str = "", *, waits: int = 1
    ) -> None:
        self.answer = answer
        self.run = run
        self.tale = tale
        self.desk = room.enter(Desk(room, deliveries=DELIVERIES))
        self.url = run.door(self.desk.broker).url
        self.db = room.enter(database(SCHEMA))
        self.db.execute("PRAGMA reverse_unordered_selects = ON")  # a SELECT promises no order
        self.path = Path(file_of(self.db))
        self.sent: list[Sent] = []
        self.odd: list[bytes] = []
        self.waiting = dict.fromkeys(names("waited", waits), self.event("o-0", "taken"))
        with self.db:
            self.db.execute("INSERT INTO stock VALUES (?, ?)", (SKU, START))
            add = "INSERT INTO outbox (message_id, body) VALUES (?, ?)"
            self.db.executemany(add, self.waiting.items())

    @property
    def args(self) -> tuple[str, str, str]:
        """What the answer is called with, behind the database."""
        return self.url, self.desk.queue, self.desk.events

    def send(self, *messages: Sent | bytes) -> None:
        """Put messages into the queue."""
        self.desk.publish(*(m.body if isinstance(m, Sent) else m for m in messages))
        self.sent += [m for m in messages if isinstance(m, Sent)]
        self.odd += [m for m in messages if isinstance(m, bytes)]

    def should(self) -> tuple[int, dict[str, str]]:
        """Return the units that should be left, and the event's body for each message, by its id.

        What waited comes first.
        """
        left, states = START, dict[str, str]()
        bodies = {**self.waiting}
        for each in dict.fromkeys(self.sent):
            if each.kind == "cancel":
                if states.get(each.order_id) == "taken":
                    left += each.units
                outcome = "cancelled"
            elif each.order_id not in states and each.sku == SKU and each.units <= left:
                left -= each.units
                outcome = "taken"
            else:
                outcome = "refused"
            states[each.order_id] = outcome
            bodies[each.id] = self.event(each.order_id, outcome)
        return left, bodies

    @staticmethod
    def event(order_id: str, outcome: str) -> str:
        """Return the body of an event."""
        return json.dumps({"order_id": order_id, "outcome": outcome})

    def rows(self, query: str) -> list[Any]:
        """Return rows as another connection sees them."""
        with closing(sqlite3.connect(self.path)) as other:
            return other.execute(query).fetchall()

    def units(self) -> int:
        """Return how many units are in stock."""
        found: int = self.rows("SELECT sum(units) FROM stock")[0][0]
        return found


def orders(count: int, units: int = 2) -> list[Sent]:
    """Return orders that no answer can know beforehand."""
    return [Sent("order", each, units) for each in names("o", count)]


def cancel(order: Sent) -> Sent:
    """Return the cancel of an order."""
    return Sent("cancel", order.order_id, order.units, order.sku)
