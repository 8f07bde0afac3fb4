"""A transaction at SERIALIZABLE, tried again when PostgreSQL refuses it.

At this level, transactions that were committed have the effect of some order, one after the other.
Where there is no such order PostgreSQL refuses one of them with SQLSTATE 40001, and the whole of
it has to be done again: what it had read is no longer true. Notebook 52, claim C17.

    with psycopg.connect(dsn) as db:
        is_sold = serializable(db, lambda db: sell(db, "row 1 seat 2"))

A mail that the work sends is sent once for each try: give it back, and send it afterwards.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg import IsolationLevel
from psycopg.errors import DeadlockDetected, SerializationFailure

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection

T = TypeVar("T")

TRIES = 10
FIRST_PAUSE = 0.005  # seconds at most, doubled with each try: rivals that retry at once meet again


def serializable(
    db: Connection[Any], work: Callable[[Connection[Any]], T], *, tries: int = TRIES
) -> T:
    """Return what `work(db)` returned in the try that was committed.

    Args:
        db: a connection without an open transaction; its isolation level is put back at the end.
        work: reads and writes on the connection that it is given. It does not commit.
        tries: how many there are at most.

    Raises:
        psycopg.errors.SerializationFailure: no try was committed. A deadlock counts the same, and
            is raised as `DeadlockDetected`.
        psycopg.ProgrammingError: a transaction is open: a part of one cannot be tried again.

    """
    before = db.isolation_level
    db.isolation_level = IsolationLevel.SERIALIZABLE
    try:
        for failed in range(tries - 1):
            try:
                return _once(db, work)
            except (SerializationFailure, DeadlockDetected):
                time.sleep(random.uniform(0, FIRST_PAUSE * 2**failed))  # noqa: S311  # no secret
        return _once(db, work)
    finally:
        if not db.closed:
            db.isolation_level = before


def _once(db: Connection[Any], work: Callable[[Connection[Any]], T]) -> T:
    with db.transaction():
        return work(db)
