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
CREATE TABLE orders (order_id TEXT PRIMARY KEY, state TEXT, sku TEXT, units INTEGER);
CREATE TABLE handled (message_id TEXT PRIMARY KEY);
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, message_id TEXT, body TEXT, sent INTEGER DEFAULT 0
);
"""
SKU, PLENTY, SPACED = "tea-100", "TEA-100", "tea-100 "  # three skus, for who takes them as they are
START = 10  # units of SKU in stock
STOCK = {SKU: START, PLENTY: 5000, SPACED: 40}
DELIVERIES = 5
WAITED = '{"outcome":"taken" , "order_id":"o-\u00fc"}'  # who makes it anew spells it in another way


@dataclass(frozen=True)
class Sent:
    """A message that can be read: an order, or the cancel of one, which has no units and no sku."""

    kind: str
    order_id: str
    units: int | None = 2
    sku: str | None = SKU

    @property
    def body(self) -> str:
        """What is in it."""
        return json.dumps({key: value for key, value in vars(self).items() if value is not None})

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

    `tale` says what is special about the messages, and `hint` where to look if an answer trips over
    that. Those that were put into the queue are in `sent`, with copies, and in `odd` if they cannot
    be read. `waiting` is what waits in the outbox from the start: the body of an event by its id.
    `failed` counts the calls that were struck by a fault other than those of the run.
    """

    def __init__(
        self,
        answer: Submission,
        room: Sandbox,
        run: Run,
        tale: str = "",
        *,
        waits: int = 1,
        hint: str = "",
    ) -> None:
        self.answer = answer
        self.run = run
        self.tale = tale
        self.hint = hint
        self.desk = room.enter(Desk(room, deliveries=DELIVERIES))
        self.url = run.door(self.desk.broker).url
        self.db = room.enter(database(SCHEMA))
        self.db.execute("PRAGMA reverse_unordered_selects = ON")  # a SELECT promises no order
        self.path = Path(file_of(self.db))
        self.sent: list[Sent] = []
        self.odd: list[bytes] = []
        self.failed = 0
        self.waiting = dict.fromkeys(names("waited", waits), WAITED)
        with self.db:
            self.db.executemany("INSERT INTO stock VALUES (?, ?)", STOCK.items())
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

    def should(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return the units that should be left, by sku, and the event's body for each message's id.

        What waited comes first.
        """
        left, known, taken = {**STOCK}, set[str](), dict[str, Sent]()
        bodies = {**self.waiting}
        for each in dict.fromkeys(self.sent):
            outcome = "refused"
            if each.kind == "cancel":
                outcome = "cancelled"
                if held := taken.pop(each.order_id, None):
                    left[str(held.sku)] += held.units or 0
            elif each.order_id not in known and (each.units or 0) <= left.get(each.sku or "", 0):
                outcome = "taken"
                taken[each.order_id] = each
                left[str(each.sku)] -= each.units or 0
            known.add(each.order_id)
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

    def units(self) -> dict[str, int]:
        """Return how many units are in stock, by sku."""
        return dict(self.rows("SELECT sku, units FROM stock"))


def orders(count: int, units: int = 2, sku: str = SKU) -> list[Sent]:
    """Return orders that no answer can know beforehand."""
    return [Sent("order", each, units, sku) for each in names("o", count)]


def cancel(order: Sent) -> Sent:
    """Return the cancel of an order."""
    return Sent("cancel", order.order_id, None, None)
