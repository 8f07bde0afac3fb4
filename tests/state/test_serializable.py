from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import IsolationLevel
from psycopg.errors import SerializationFailure

from labsvc.state import serializable
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable

    Connect = Callable[..., psycopg.Connection[Any]]

READ = "SELECT units FROM stock"


def units(db: psycopg.Connection[Any]) -> int:
    """Return what is left."""
    row = db.execute(READ).fetchone()
    assert row is not None
    found: int = row[0]
    return found


@pytest.fixture
def stock(connect: Connect) -> psycopg.Connection[Any]:
    """Fill the table, and return a connection that sees what was committed."""
    db = connect(autocommit=True)
    db.execute("DROP TABLE IF EXISTS stock; CREATE TABLE stock (units int)")
    db.execute("INSERT INTO stock VALUES (5)")
    return db


def test_no_update_is_lost(connect: Connect, stock: psycopg.Connection[Any]) -> None:
    """Two that read the same are done one after the other: one of them twice."""
    both_have_read = threading.Barrier(2)
    tries: list[int] = []

    def sell(db: psycopg.Connection[Any]) -> int:
        left = units(db)
        tries.append(left)
        if left == 5 and len(tries) <= 2:
            both_have_read.wait(patience(10))
        db.execute("UPDATE stock SET units = %s", (left - 1,))
        return left

    with ThreadPoolExecutor() as pool:
        found = list(pool.map(serializable, [connect(), connect()], [sell, sell]))
    assert sorted(found) == [4, 5]
    assert sorted(tries) == [4, 5, 5]
    assert units(stock) == 3


def test_it_gives_up(connect: Connect, stock: psycopg.Connection[Any]) -> None:
    """After so many tries the error is the caller's, and nothing of them is left."""
    tries: list[int] = []

    def always_late(db: psycopg.Connection[Any]) -> None:
        tries.append(units(db))
        stock.execute("UPDATE stock SET units = units - 1")
        db.execute("UPDATE stock SET units = 100")

    db = connect()
    with pytest.raises(SerializationFailure):
        serializable(db, always_late, tries=3)
    assert tries == [5, 4, 3]
    assert units(stock) == 2
    assert db.isolation_level is None
    assert db.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_other_errors_are_not_tried_again(connect: Connect, stock: psycopg.Connection[Any]) -> None:
    """What the work raises is raised, after a rollback."""
    tries: list[int] = []

    def refuses(db: psycopg.Connection[Any]) -> None:
        tries.append(units(db))
        db.execute("UPDATE stock SET units = 100")
        msg = "no"
        raise ValueError(msg)

    db = connect()
    db.isolation_level = IsolationLevel.REPEATABLE_READ
    with pytest.raises(ValueError, match="no"):
        serializable(db, refuses)
    assert tries == [5]
    assert units(stock) == 5
    assert db.isolation_level == IsolationLevel.REPEATABLE_READ


def test_deadlocks_are_tried_again(connect: Connect, stock: psycopg.Connection[Any]) -> None:
    """Two that lock two rows in different orders both come through."""
    stock.execute("INSERT INTO stock VALUES (10)")
    stock.execute("ALTER TABLE stock ADD COLUMN sold int DEFAULT 0")
    stock.execute("ALTER SYSTEM SET deadlock_timeout = '10ms'")
    stock.execute("SELECT pg_reload_conf()")
    both_hold_one = threading.Barrier(2)
    tries: list[str] = []

    def sell(order: list[int]) -> Callable[[psycopg.Connection[Any]], None]:
        def work(db: psycopg.Connection[Any]) -> None:
            tries.append("try")
            first, second = order
            db.execute("UPDATE stock SET sold = sold + 1 WHERE units = %s", (first,))
            if len(tries) <= 2:
                both_hold_one.wait(patience(10))
            db.execute("UPDATE stock SET sold = sold + 1 WHERE units = %s", (second,))

        return work

    with ThreadPoolExecutor() as pool:
        works = [sell([5, 10]), sell([10, 5])]
        list(pool.map(serializable, [connect(), connect()], works))
    assert len(tries) >= 3
    assert stock.execute("SELECT sold FROM stock").fetchall() == [(2,), (2,)]


def test_a_transaction_that_is_open_is_refused(
    connect: Connect, stock: psycopg.Connection[Any]
) -> None:
    """A part of a transaction cannot be tried again."""
    assert units(stock) == 5
    db = connect()
    db.execute(READ)
    with pytest.raises(psycopg.ProgrammingError):
        serializable(db, units)
