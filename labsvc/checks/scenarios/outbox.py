"""Exercise of notebook 51: the relay of an outbox, over broken links, and killed (C30)."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from aio_pika import DeliveryMode
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import live
from labsvc.checks.queue_sandbox import QueueSandbox, database, file_of, names
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.sweep import Database

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

OUTBOX = """
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY, message_id TEXT, body TEXT, sent INTEGER DEFAULT 0
);
"""
EVENTS = 3
RUN_SECONDS = 6.0  # for one call; with a lock of its own each waits for those beside it


@exercise("51-outbox", title="Relay an outbox without losing an event", deadline=40)
def outbox(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`send_outbox(db, url, queue_name)`: every event arrives, wherever it is stopped."""
    cases = Cases(answer, sandbox)
    return (
        cases.broken(_links_break, only=("lost",), within=3 * RUN_SECONDS)
        or cases.broken(_is_killed, only=("killed",), within=3 * RUN_SECONDS)
        or solved(
            "every event arrived, in order, and is marked, wherever the relay was stopped",
            cases=cases.count,
            lost=0,
        )
    )


def _links_break(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Call the relay while its connections break at publishes and confirms."""
    box = _Outbox(answer, room, run)
    for _ in run.plan:
        if verdict := box.relay():
            return verdict
    return box.relay() or box.relay() or box.is_wrong()  # the last call finds nothing to do


def _is_killed(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Kill the relay at publishes, confirms and commits; call it again."""
    box = _Outbox(answer, room, run)
    args = Database(box.path), box.url, box.desk.queue
    return live(run, answer.function, answer.function, *args) or box.relay() or box.is_wrong()


class _Outbox:
    """Rows that wait, the queue that they go to, and the door on the way."""

    def __init__(self, answer: Submission, room: Sandbox, run: Run) -> None:
        self.desk = room.enter(QueueSandbox(room))
        self.url = run.door(self.desk.broker).url
        self._db = room.enter(database(OUTBOX))
        self._db.execute("PRAGMA reverse_unordered_selects = ON")  # a SELECT promises no order
        self.path = Path(file_of(self._db))
        self._answer = answer
        self._run = run
        ids = names("e", EVENTS)  # two events say the same, and both have to go out
        self._rows = [(each, f"event {min(n, EVENTS - 2)}") for n, each in enumerate(ids)]
        with self._db:
            add = "INSERT INTO outbox (message_id, body) VALUES (?, ?)"
            self._db.executemany(add, self._rows)

    def relay(self) -> Verdict | None:
        """Call the answer; it may raise when its link breaks, and must if it has not sent all."""
        struck = len(self._run.struck)
        attempt = self._answer.start(
            self._db, self.url, self.desk.queue, within=RUN_SECONDS, allow=CONNECTION_EXCEPTIONS
        )
        outcome = attempt.outcome()
        attempt.stop()
        is_struck = len(self._run.struck) > struck
        if outcome.error is not None:
            if not is_struck:
                raise self._answer.fault(outcome.error)
            self._db.rollback()  # as a crash does
            return None
        if outcome.hung and not is_struck:
            raise attempt.hang()
        unsent = self._count("SELECT count(*) FROM outbox WHERE NOT sent")
        return first_broken(
            (
                outcome.hung,
                "events waited, the link broke, and your function did not return",
                "Let the error out, or bound what repeats: publish takes a timeout.",
            ),
            (
                self._db.in_transaction,
                (
                    "your function returned in the middle of a transaction, and a crash would undo"
                    " the marks"
                ),
                "Commit each mark: `with db:` does it at its end.",
            ),
            (
                bool(unsent),
                (
                    f"your function returned as if all was well: {unsent} of {EVENTS} events still"
                    " wait"
                ),
                (
                    "Nobody calls it again if it raises nothing. Which error did you catch, or"
                    " which rows did you leave out or not mark?"
                ),
            ),
            events=EVENTS,
            unsent=unsent,
        )

    def is_wrong(self) -> Verdict | None:
        """Return what is wrong with the queue and the table in the end, when no row waits."""
        messages = self.desk.look()
        came = [message.message_id for message in messages]
        ids = [each for each, _ in self._rows]
        lost = len({*ids} - {*came})
        copies = len(came) - len({*came})
        gone = EVENTS - self._count("SELECT count(*) FROM outbox")
        transient = sum(m.delivery_mode != DeliveryMode.PERSISTENT for m in messages)
        return first_broken(
            (
                not messages and not self._run.plan,
                "your function was called, and no event arrived",
                (
                    "Await each publish to the default exchange, with the name of the queue as"
                    " routing key."
                ),
            ),
            (
                bool({*came} - {*ids}),
                "the events came with other ids than their rows have",
                "Give each Message the message_id of its row: without one, aio-pika makes one up.",
            ),
            (
                bool(lost),
                f"{lost} events are marked as sent that never arrived",
                (
                    "Mark a row when its publish has returned, on a channel with confirms, and not"
                    " before."
                ),
            ),
            (
                any(
                    (m.message_id, m.body.decode(errors="replace")) not in self._rows
                    for m in messages
                ),
                "an event came with another body than its row has",
                "The body of a message is that of its row, encoded.",
            ),
            (
                bool(gone),
                f"every event arrived, and {gone} of {EVENTS} rows are no longer in the outbox",
                "Set sent = 1, and leave the row: it says what went out.",
            ),
            (
                copies > len(self._run.plan),
                f"{copies} events came a second time",
                "Mark each row, and commit, as soon as its own event is confirmed.",
            ),
            (
                list(dict.fromkeys(came)) != ids,
                "the events arrived in another order than they were written",
                "Read the rows ORDER BY seq, and wait for each confirm before the next publish.",
            ),
            (
                bool(transient),
                f"{transient} events would not survive a restart of the broker",
                "A Message is transient unless its delivery_mode says something else.",
            ),
            events=EVENTS,
            lost=lost,
            copies=copies,
        )

    def _count(self, query: str) -> int:
        """Return a number as another connection sees it."""
        with closing(sqlite3.connect(self.path)) as other:
            found: int = other.execute(query).fetchone()[0]
            return found
