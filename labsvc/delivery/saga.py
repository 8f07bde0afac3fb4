"""One business step over several services: all of it, or all of it taken back.

A program that calls three services in a row and dies in between leaves the step half done. So the
orchestrator notes in a journal how far it came: a new process goes on from there, forward or back.
Notebook 53, claim C20; Garcia-Molina and Salem, "Sagas", 1987.

    steps = [Step("reserve", reserve, release), Step("charge", charge, refund)]
    saga = Saga(sqlite3.connect("sagas.db", check_same_thread=False), steps)
    saga.recover()  # at the start, and once a minute: what an earlier process has left
    saga.run(order_id, {"sku": "book-1", "cents": 1500}).state

The idempotency key of a call is the saga's id and the step's name: after a lost answer, and after a
crash, it is made again. It may overtake another call, so the other side needs a barrier
(`labsvc.delivery.barrier`). Others see what a step did before the saga ends. One process at a time
may drive a journal, and changed steps need another one.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator, Sequence

State = Literal["running", "undoing", "done", "undone"]
"""`done`: every action took effect. `undone`: none did, or each was compensated."""

Call = Callable[[str, Mapping[str, Any]], object]
"""Makes a call for the saga with this id and data. What it raises means that it may have happened,
unless that is Refused; so bound each call with a timeout."""

PAUSES = (0.05, 0.1, 0.2, 0.4)

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = FULL;
CREATE TABLE IF NOT EXISTS sagas (
    saga_id TEXT PRIMARY KEY,
    data TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'running',
    steps INTEGER NOT NULL DEFAULT 0,  -- that are finished; when undoing, that are to be undone
    reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS sagas_open ON sagas (saga_id) WHERE state IN ('running', 'undoing');
"""


class Refused(Exception):  # noqa: N818  # it is an answer, not an error
    """The other side said no, and a second try would hear the same; an action raises it."""


@dataclass(frozen=True)
class Step:
    """A step: its action, and the compensation that takes it back, or has nothing to take back."""

    name: str
    action: Call
    compensation: Call


@dataclass(frozen=True)
class Result:
    """How far a saga is. `reason` says why it is not done, or why its undoing does not go on."""

    saga_id: str
    state: State
    reason: str = ""


class Saga:
    """An orchestrator. It may be used from several threads.

    Args:
        db: where the journal is, open for all threads and for nothing else. Each note is flushed
            to the disk before the next call.
        steps: in their order.
        pauses: seconds between the tries of a call, each drawn between a half of it and all.

    """

    def __init__(
        self, db: sqlite3.Connection, steps: Sequence[Step], *, pauses: Sequence[float] = PAUSES
    ) -> None:
        self._db = db
        self._steps = tuple(steps)
        self._pauses = tuple(pauses)
        self._free = threading.Condition()
        self._driven: set[str] = set()
        db.executescript(SCHEMA)

    def run(self, saga_id: str, data: Mapping[str, Any]) -> Result:
        """Run a saga to its end, or go on with it where it is; the same id answers the same.

        Args:
            saga_id: chosen by the caller, who may ask again after a crash.
            data: what the calls need; it has to survive JSON.

        Raises:
            ValueError: the id belongs to a saga with other data.

        """
        said = json.dumps(data, sort_keys=True)
        begin = "INSERT INTO sagas (saga_id, data) VALUES (?, ?) ON CONFLICT DO NOTHING"
        self._write(begin, saga_id, said)
        if self._read(saga_id)[0] != said:
            msg = f"saga {saga_id} has other data; choose a new id"
            raise ValueError(msg)
        return self._go_on(saga_id)

    def recover(self) -> list[Result]:
        """Go on with every saga that has not ended; return how far each is."""
        return [self._go_on(result.saga_id) for result in self.unfinished()]

    def unfinished(self) -> list[Result]:
        """Return the sagas that have not ended."""
        sql = "SELECT saga_id, state, reason FROM sagas WHERE state IN ('running', 'undoing')"
        with self._free:
            return [Result(*row) for row in self._db.execute(sql).fetchall()]

    def _go_on(self, saga_id: str) -> Result:
        with self._alone(saga_id):
            said, state, steps, reason = self._read(saga_id)
            data = json.loads(said)
            if state == "running":
                state, steps, reason = self._forward(saga_id, data, steps)
            if state == "undoing":
                state, reason = self._back(saga_id, data, steps, reason)
            return Result(saga_id, state, reason)

    def _forward(self, saga_id: str, data: Any, finished: int) -> tuple[State, int, str]:
        for number, step in enumerate(self._steps[finished:], finished + 1):
            try:
                self._make(step.action, saga_id, data)
            except Exception as error:  # noqa: BLE001  # it may have happened, whatever it is
                # This step too is undone: a refusal can come after a try whose answer was lost.
                return self._note(saga_id, "undoing", number, f"{step.name}: {error}")
            self._note(saga_id, "done" if number == len(self._steps) else "running", number)
        return "done", len(self._steps), ""

    def _back(self, saga_id: str, data: Any, left: int, reason: str) -> tuple[State, str]:
        for number in range(left, 0, -1):
            step = self._steps[number - 1]
            try:
                self._make(step.compensation, saga_id, data)
            except Exception as error:  # noqa: BLE001  # the journal keeps it for the next recovery
                return "undoing", f"{step.name} is not undone yet: {error}"
            self._note(saga_id, "undoing" if number > 1 else "undone", number - 1, reason)
        return "undone", reason

    def _make(self, call: Call, saga_id: str, data: Any) -> None:
        for pause in self._pauses:
            try:
                call(saga_id, data)
            except Refused:
                raise
            except Exception:  # noqa: BLE001  # it may pass
                time.sleep(pause * random.uniform(0.5, 1))  # noqa: S311  # no secret
            else:
                return
        call(saga_id, data)

    def _note(
        self, saga_id: str, state: State, steps: int, reason: str = ""
    ) -> tuple[State, int, str]:
        note = "UPDATE sagas SET state = ?, steps = ?, reason = ? WHERE saga_id = ?"
        self._write(note, state, steps, reason, saga_id)
        return state, steps, reason

    def _write(self, sql: str, *values: object) -> None:
        with self._free, self._db:
            self._db.execute(sql, values)

    def _read(self, saga_id: str) -> tuple[str, State, int, str]:
        sql = "SELECT data, state, steps, reason FROM sagas WHERE saga_id = ?"
        with self._free:
            row: tuple[str, State, int, str] = self._db.execute(sql, (saga_id,)).fetchone()
        return row

    @contextmanager
    def _alone(self, saga_id: str) -> Iterator[None]:
        """Keep other threads from the same saga."""
        with self._free:
            self._free.wait_for(lambda: saga_id not in self._driven)
            self._driven.add(saga_id)
        try:
            yield
        finally:
            with self._free:
                self._driven.discard(saga_id)
                self._free.notify_all()
