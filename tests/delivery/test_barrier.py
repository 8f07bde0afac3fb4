from __future__ import annotations

import itertools
import sqlite3
import threading
from contextlib import ExitStack, closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.delivery.barrier import Barrier, TooLate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    """Make the database of a participant."""
    connection = sqlite3.connect(":memory:", check_same_thread=False)
    connection.execute("CREATE TABLE effects (cents INTEGER)")
    yield connection
    connection.close()


def take(db: sqlite3.Connection) -> dict[str, int]:
    """Take money."""
    db.execute("INSERT INTO effects VALUES (100)")
    return {"rest": 900}


def give_back(db: sqlite3.Connection) -> None:
    """Give it back."""
    db.execute("INSERT INTO effects VALUES (-100)")


def cents(db: sqlite3.Connection) -> int:
    """Return what was taken in the end."""
    found: int = db.execute("SELECT coalesce(sum(cents), 0) FROM effects").fetchone()[0]
    return found


def test_an_action_takes_effect_once(db: sqlite3.Connection) -> None:
    """Again it does nothing, and answers the same; a new barrier knows it too."""
    for barrier in (Barrier(db), Barrier(db)):
        for _ in range(2):
            assert barrier.act("s-1", "charge", take) == {"rest": 900}
    assert cents(db) == 100
    assert not db.in_transaction


@pytest.mark.parametrize("calls", [*itertools.product("au", repeat=4)], ids="".join)
def test_every_order_of_calls(db: sqlite3.Connection, calls: tuple[str, ...]) -> None:
    """Once compensated, it stays so; until then, one action counts once."""
    barrier = Barrier(db)
    compensated = False
    for call in calls:
        if call == "u":
            barrier.undo("s-1", "charge", give_back)
            compensated = True
        elif compensated:
            with pytest.raises(TooLate, match="charge of s-1 was compensated before"):
                barrier.act("s-1", "charge", take)
        else:
            barrier.act("s-1", "charge", take)
        assert cents(db) == (0 if compensated else 100)


def test_sagas_and_steps_are_apart(db: sqlite3.Connection) -> None:
    """Another saga, or another step of it, is not the same call."""
    barrier = Barrier(db)
    for saga_id, step in (("s-1", "charge"), ("s-1", "tip"), ("s-2", "charge")):
        barrier.act(saga_id, step, take)
    barrier.undo("s-1", "tip", give_back)
    assert cents(db) == 200


@pytest.mark.parametrize("isolation", ["DEFERRED", None], ids=["legacy", "autocommit"])
def test_an_effect_that_fails_leaves_nothing(isolation: Any) -> None:
    """Neither a row of the effect nor its note; the next try is as good as the first."""

    def fail(db: sqlite3.Connection) -> None:
        take(db)
        msg = "no money"
        raise ValueError(msg)

    with closing(sqlite3.connect(":memory:", isolation_level=isolation)) as db:
        db.execute("CREATE TABLE effects (cents INTEGER)")
        barrier = Barrier(db)
        with pytest.raises(ValueError, match="no money"):
            barrier.act("s-1", "charge", fail)
        assert (cents(db), db.in_transaction) == (0, False)
        barrier.act("s-1", "charge", take)
        with pytest.raises(ValueError, match="no money"):
            barrier.undo("s-1", "charge", fail)
        assert cents(db) == 100
        barrier.undo("s-1", "charge", give_back)
        assert cents(db) == 0


def test_calls_at_the_same_time(tmp_path: Path) -> None:
    """Action and compensation meet on connections of their own: nothing is left of either."""
    path = tmp_path / "payment.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE effects (cents INTEGER)")
    dbs = [sqlite3.connect(path, timeout=30, check_same_thread=False) for _ in range(4)]
    barriers = [Barrier(db) for db in dbs]

    def call(number: int) -> None:
        for saga in range(20):
            if number % 2:
                barriers[number].undo(f"s-{saga}", "charge", give_back)
            else:
                with suppress(TooLate):
                    barriers[number].act(f"s-{saga}", "charge", take)

    threads = [threading.Thread(target=call, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cents(dbs[0]) == 0
    for db in dbs:
        db.close()


@pytest.mark.parametrize("others", [False, True], ids=["one connection", "one each"])
def test_a_call_in_the_middle_of_another_one(tmp_path: Path, *, others: bool) -> None:
    """It waits for the end of the first one before it reads, and finds what that did."""
    path = tmp_path / "payment.db"
    with ExitStack() as stack:
        dbs = [
            stack.enter_context(closing(sqlite3.connect(path, check_same_thread=False)))
            for _ in range(1 + others)
        ]
        dbs[0].execute("CREATE TABLE effects (cents INTEGER)")
        barriers = [Barrier(each) for each in dbs]
        told: list[object] = []
        second = threading.Thread(
            target=lambda: told.append(outcome(lambda: barriers[-1].act("s-1", "charge", take)))
        )

        def take_slowly(db: sqlite3.Connection) -> dict[str, int]:
            second.start()
            second.join(0.3)  # it has come to the lock by then; without one, it has gone further
            return take(db)

        first = outcome(lambda: barriers[0].act("s-1", "charge", take_slowly))
        second.join()
        assert (told, cents(dbs[0])) == ([first], 100)


def outcome(call: Callable[[], object]) -> object:
    """Return what a call returns or raises."""
    try:
        return call()
    except sqlite3.Error as error:
        return error
