"""The participant's side of a saga: each action and each compensation takes effect once, in order.

Calls of a saga come twice, after a lost answer or a crash. A compensation may come for an action
that never arrived, and an action after its compensation. So a row for each (saga, step, kind) is
written in the transaction of the effect, and what comes later is judged by it:

    action, again          nothing; answers the same
    compensation, again    nothing
    compensation alone     nothing, and a mark stays: no action can follow
    action, too late       refused: its compensation was here before

Notebook 53, claim C20.

    barrier = Barrier(db)
    barrier.act(order_id, "charge", lambda db: take(db, cents))
    barrier.undo(order_id, "charge", lambda db: give_back(db, cents))

What a refused action raised is not noted: it changed nothing, and the saga compensates it.
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterator

SCHEMA = """
CREATE TABLE IF NOT EXISTS saga_calls (
    saga_id TEXT NOT NULL,
    step TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('action', 'compensation')),
    answer TEXT NOT NULL,
    PRIMARY KEY (saga_id, step, kind)
) WITHOUT ROWID
"""


class TooLate(Exception):  # noqa: N818  # it is an answer, not an error
    """The compensation of this action came first. The action did nothing, and never will."""


class Barrier:
    """The calls that took effect, in a table of the participant's own database.

    `db` is the connection on which the effects write, open for all threads that call. An effect
    must not commit; what it raises undoes all, and is raised on.
    """

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._lock = threading.Lock()
        db.execute(SCHEMA)

    def act(self, saga_id: str, step: str, effect: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what `effect` returned, now or when it took effect; it has to survive JSON.

        Raises:
            TooLate: the compensation was here before.

        """
        with self._transaction():
            if self._answer(saga_id, step, "compensation") is not None:
                msg = f"{step} of {saga_id} was compensated before it came"
                raise TooLate(msg)
            answer = self._answer(saga_id, step, "action")
            if answer is None:
                answer = json.dumps(effect(self._db))
                self._note(saga_id, step, "action", answer)
        return json.loads(answer)

    def undo(self, saga_id: str, step: str, effect: Callable[[sqlite3.Connection], object]) -> None:
        """Apply the compensation, once, if its action took effect; bar the action for good."""
        with self._transaction():
            if self._answer(saga_id, step, "compensation") is not None:
                return
            if self._answer(saga_id, step, "action") is not None:
                effect(self._db)
            self._note(saga_id, step, "compensation", "null")

    def _answer(self, saga_id: str, step: str, kind: str) -> str | None:
        sql = "SELECT answer FROM saga_calls WHERE saga_id = ? AND step = ? AND kind = ?"
        row: tuple[str] | None = self._db.execute(sql, (saga_id, step, kind)).fetchone()
        return row[0] if row else None

    def _note(self, saga_id: str, step: str, kind: str, answer: str) -> None:
        values = (saga_id, step, kind, answer)
        self._db.execute("INSERT INTO saga_calls VALUES (?, ?, ?, ?)", values)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Read and write as one: two calls of one step are never between each other."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.rollback()
                raise
            self._db.commit()
