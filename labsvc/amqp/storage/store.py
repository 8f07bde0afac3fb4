"""The store: what is durable, in one SQLite file.

The changes of a turn of the loop, over all connections, are collected in memory and written
by `commit` in one transaction: a group commit. What came and went within the turn is never
written. A message is written once, however many queues hold it.

A commit survives a kill of the process at any moment; `database` says what a power cut does.
The messages stay in memory as well: the file is read at the next start only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from labsvc.amqp.storage.database import FILE, open_database

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from labsvc.amqp.rules.backlog import Entry
    from labsvc.amqp.rules.message import Message
    from labsvc.amqp.rules.queue import Queue

_COUNT = "UPDATE entries SET deliveries=? WHERE queue=? AND position=?"

Place = tuple[int, int]  # a queue's id and a position in it
Row = tuple[Any, ...]


class Store:
    """The file, and the changes that are not in it yet.

    `pending` tells whether there are any, `clean` whether the run before this one ended in
    good order. Belongs to one thread.

    Args:
        folder: where the file is, or is to be.
        flush: each commit waits until it is on the disk, so that it survives a power cut too.

    Raises:
        LabError: another broker uses the folder, or its file cannot be read.

    """

    def __init__(self, folder: Path, *, flush: bool = False) -> None:
        self.pending = False
        self._closed = False
        self._topology: list[tuple[str, Row]] = []
        self._ids: dict[Message, int] = {}  # of all messages that some queue holds
        self._messages: dict[int, Message] = {}  # to be written
        self._entries: dict[Place, Entry] = {}  # to be written
        self._counted: dict[Place, int] = {}  # delivery counts to be written
        self._left: list[Place] = []  # entries to be deleted
        self._gone: list[tuple[int]] = []  # messages to be deleted
        self._shared: dict[int, int] = {}  # message -> queues that hold it, beyond the first
        folder.mkdir(parents=True, exist_ok=True)
        self._database = open_database(folder / FILE, flush=flush)
        self.clean = bool(self._largest("SELECT clean FROM ends"))
        self._database.execute("UPDATE ends SET clean = 0")
        self._last_queue = self._largest("SELECT max(id) FROM queues")
        self._last_message = self._largest("SELECT max(id) FROM messages")

    def commit(self) -> None:
        """Store the changes.

        Raises:
            sqlite3.Error: the disk is full or broken. The changes stay pending.

        """
        if not self.pending:
            return
        if self._closed:
            self.forget()
            return
        with self._database as database:  # commits, or rolls back
            database.execute("BEGIN")
            for statement, rows in (
                ("INSERT INTO messages VALUES (?, ?, ?, ?)", _message_rows(self._messages)),
                ("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", self._entry_rows()),
                (_COUNT, ((count, *place) for place, count in self._counted.items())),
                ("DELETE FROM entries WHERE queue=? AND position=?", self._left),
                ("DELETE FROM messages WHERE id=?", self._gone),
            ):
                database.executemany(statement, rows)
            for statement, row in self._topology:
                database.execute(statement, row)
        self.forget()

    def forget(self) -> None:
        """Drop the changes that are not stored."""
        for changes in (self._messages, self._entries, self._counted):
            changes.clear()
        for gone in (self._left, self._gone, self._topology):
            gone.clear()
        self.pending = False

    def settle(self, queues: Iterable[Queue]) -> None:
        """Store, at the end in good order of a run, what was delivered before."""
        for queue in queues:
            if queue.stored_id and not queue.quorum:
                for entry in queue.waiting():
                    if entry.redelivered:
                        self.count((queue.stored_id, entry.position), 1)
        self.change("UPDATE ends SET clean = 1", ())
        self.commit()

    def close(self) -> None:
        """Close the file. What is pending, or comes later, is lost, as in a crash."""
        self._closed = True
        self._database.close()

    # What the journals call

    def next_queue(self) -> int:
        """Return an id for a new queue."""
        self._last_queue += 1
        return self._last_queue

    def change(self, statement: str, row: Row) -> None:
        """Note a change of names and bindings."""
        self._topology.append((statement, row))
        self.pending = True

    def forget_queue(self, queue: int) -> None:
        """Forget a queue with all its entries."""
        for place in [place for place in self._entries if place[0] == queue]:
            del self._entries[place]
        self.change("DELETE FROM entries WHERE queue=?", (queue,))
        self.change("DELETE FROM queues WHERE id=?", (queue,))

    def add(self, place: Place, entry: Entry) -> None:
        """Note a new entry, and its message unless another queue holds it already."""
        message = entry.message
        if message in self._ids:
            self.share(message)
        else:
            self._last_message += 1
            self.know(message, self._last_message)
            self._messages[self._last_message] = message
        self._entries[place] = entry
        self.pending = True

    def know(self, message: Message, number: int) -> None:
        """Note the id of a message that a first queue holds."""
        self._ids[message] = number

    def share(self, message: Message) -> None:
        """Count one more queue that holds a message."""
        number = self._ids[message]
        self._shared[number] = self._shared.get(number, 0) + 1

    def count(self, place: Place, deliveries: int) -> None:
        """Note how often an entry was delivered."""
        self._counted[place] = deliveries
        self.pending = True

    def drop(self, place: Place, message: Message) -> None:
        """Forget an entry, and its message if no other queue holds it."""
        if self._entries.pop(place, None) is None and place[0]:
            self._left.append(place)
        self._counted.pop(place, None)
        number = self._ids[message]
        others = self._shared.pop(number, 0)
        if others > 1:
            self._shared[number] = others - 1
        elif not others:
            del self._ids[message]
            if self._messages.pop(number, None) is None:
                self._gone.append((number,))
        self.pending = True

    # What recovery reads

    def rows(self, query: str, *values: object) -> Iterable[Row]:
        """Run a query."""
        return self._database.execute(query, values)

    def _entry_rows(self) -> Iterable[Row]:
        return (
            (*place, self._ids[entry.message], entry.deliveries, entry.expires)
            for place, entry in self._entries.items()
        )

    def _largest(self, query: str) -> int:
        (number,) = self._database.execute(query).fetchone()
        return number or 0


def _message_rows(messages: Mapping[int, Message]) -> Iterable[Row]:
    return (
        (number, message.route, message.header, message.body)
        for number, message in messages.items()
    )
