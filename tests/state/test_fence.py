from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.cells import until
from labsvc.state import Fence, StaleTokenError
from tests.patience import patience

if TYPE_CHECKING:
    from collections.abc import Callable

    import psycopg

    Connect = Callable[..., psycopg.Connection[Any]]


@pytest.fixture
def fence(connect: Connect) -> Fence:
    """Return a fence that has seen nothing."""
    db = connect(autocommit=True)
    db.execute("DROP TABLE IF EXISTS fences")
    made = Fence("prices")
    made.prepare(db)
    made.prepare(db)  # a second time does no harm
    return made


def test_a_smaller_token_is_refused(connect: Connect, fence: Fence) -> None:
    """A larger one, or the same again, passes; then a smaller one does not."""
    db = connect(autocommit=True)
    for token in (7, 7, 9):
        fence.enter(db, token)
    with pytest.raises(StaleTokenError, match="token 8 for 'prices' is too old"):
        fence.enter(db, 8)
    Fence("stock").enter(db, 8)  # another lock has tokens of its own
    fence.enter(db, 9)


def test_a_write_that_was_undone_shows_no_token(connect: Connect, fence: Fence) -> None:
    """The token is part of the transaction."""
    db = connect()
    fence.enter(db, 9)
    db.rollback()
    fence.enter(db, 8)
    db.commit()


def test_the_next_holder_waits_for_a_transaction_under_way(connect: Connect, fence: Fence) -> None:
    """Otherwise the old holder's write could come after the new one's."""
    old, new, watcher = connect(), connect(), connect(autocommit=True)
    fence.enter(old, 7)
    entered: list[int] = []

    def take_over() -> None:
        fence.enter(new, 8)
        entered.append(8)

    thread = threading.Thread(target=take_over, daemon=True)
    thread.start()
    waiting = "SELECT 1 FROM pg_locks WHERE pid = %s AND NOT granted"
    pid = new.info.backend_pid
    until(lambda: watcher.execute(waiting, (pid,)).fetchone(), timeout=patience(10))
    assert entered == []
    old.commit()
    thread.join(patience(10))
    assert entered == [8]
    new.commit()
    with pytest.raises(StaleTokenError):
        fence.enter(old, 7)
