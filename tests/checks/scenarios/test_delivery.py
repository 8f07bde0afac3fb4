from __future__ import annotations

import contextlib
import os
import sqlite3
import sys
import threading
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Issue = Callable[[sqlite3.Connection, Any], None]

SEEN: set[str] = set()
"""What a wrong answer keeps in memory."""
LOCK = threading.Lock()
HELD: list[Any] = []
"""What a wrong answer holds on to, as to a connection of the notebook."""

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


pytestmark = pytest.mark.usefixtures("answers_have_ended")


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """Forget what wrong answers remember."""
    SEEN.clear()


def add(db: sqlite3.Connection, message: Any) -> None:
    """Insert the coupon."""
    db.execute("INSERT INTO coupons VALUES (?)", (message.body.decode(),))


def note(db: sqlite3.Connection, message: Any) -> bool:
    """Insert the note; return whether it was new."""
    new = db.execute("INSERT OR IGNORE INTO processed VALUES (?)", (message.message_id,))
    return bool(new.rowcount)


def issue_coupon(db: sqlite3.Connection, message: Any) -> None:
    """Solve the exercise."""
    with db:
        if note(db, message):
            add(db, message)


def by_the_error(db: sqlite3.Connection, message: Any) -> None:
    """Solve it with the error of the unique key."""
    try:
        with db:
            db.execute("INSERT INTO processed VALUES (?)", (message.message_id,))
            add(db, message)
    except sqlite3.IntegrityError:
        pass


def no_note(db: sqlite3.Connection, message: Any) -> None:
    """Issue a coupon for each delivery."""
    with db:
        add(db, message)


def skips_redelivered(db: sqlite3.Connection, message: Any) -> None:
    """Take the broker's flag for a note."""
    if not message.redelivered:
        no_note(db, message)


def notes_first(db: sqlite3.Connection, message: Any) -> None:
    """Commit the note, then the coupon."""
    with db:
        new = note(db, message)
    if new:
        no_note(db, message)


def notes_last(db: sqlite3.Connection, message: Any) -> None:
    """Commit the coupon, then the note."""
    found = db.execute("SELECT 1 FROM processed WHERE message_id = ?", (message.message_id,))
    if not found.fetchone():
        no_note(db, message)
        with db:
            note(db, message)


def in_memory(db: sqlite3.Connection, message: Any) -> None:
    """Keep the ids in a variable."""
    if message.message_id not in SEEN:
        no_note(db, message)
        SEEN.add(message.message_id)


def in_memory_first(db: sqlite3.Connection, message: Any) -> None:
    """Keep the ids in a variable, and note them before the work."""
    if message.message_id not in SEEN:
        SEEN.add(message.message_id)
        no_note(db, message)


def swallows(db: sqlite3.Connection, message: Any) -> None:
    """Hide every error of the database."""
    with contextlib.suppress(sqlite3.Error):
        issue_coupon(db, message)


def in_two_steps(db: sqlite3.Connection, message: Any) -> None:
    """Solve it in two transactions, of which each can be repeated."""
    by_business_id(db, message)
    with db:
        note(db, message)


def with_a_lock(db: sqlite3.Connection, message: Any) -> None:
    """Solve it, one message at a time."""
    with LOCK:
        issue_coupon(db, message)


def notes_first_and_takes_it_back(db: sqlite3.Connection, message: Any) -> None:
    """Commit the note, then the coupon; after an error take the note back."""
    with db:
        new = note(db, message)
    try:
        if new:
            no_note(db, message)
    except sqlite3.Error:
        with db:
            db.execute("DELETE FROM processed WHERE message_id = ?", (message.message_id,))
        raise


def holds_on(db: sqlite3.Connection, message: Any) -> None:
    """Keep something that only lives in this process."""
    assert len(HELD) == 1
    issue_coupon(db, message)


def ends_the_process(db: sqlite3.Connection, message: Any) -> None:
    """End the process, where it is not the kernel's."""
    if Lab.current() is None:
        os._exit(0)
    issue_coupon(db, message)


def never_commits(db: sqlite3.Connection, message: Any) -> None:
    """Leave the transaction open."""
    if note(db, message):
        add(db, message)


def does_nothing(db: sqlite3.Connection, message: Any) -> None:
    """Write nothing."""


def by_business_id(db: sqlite3.Connection, message: Any) -> None:
    """Solve it with a look at the coupons, in one statement."""
    order_id = message.body.decode()
    once = (
        "INSERT INTO coupons SELECT ? WHERE NOT EXISTS (SELECT 1 FROM coupons WHERE order_id = ?)"
    )
    with db:
        db.execute(once, (order_id, order_id))


def by_hand(db: sqlite3.Connection, message: Any) -> None:
    """Solve it with a transaction of one's own."""
    db.isolation_level = None
    db.execute("BEGIN IMMEDIATE")
    try:
        if note(db, message):
            add(db, message)
    except sqlite3.Error:
        db.execute("ROLLBACK")
        raise
    db.execute("COMMIT")


def commits_each_by_itself(db: sqlite3.Connection, message: Any) -> None:
    """Switch transactions off: each statement is committed alone."""
    db.isolation_level = None
    known = db.execute("SELECT 1 FROM processed WHERE message_id = ?", (message.message_id,))
    if not known.fetchone():
        add(db, message)
        note(db, message)


def undoes_it_all(db: sqlite3.Connection, message: Any) -> None:
    """Roll back instead of committing."""
    never_commits(db, message)
    db.rollback()


def never_undoes(db: sqlite3.Connection, message: Any) -> None:
    """Commit at the end, and leave the transaction open on an error."""
    never_commits(db, message)
    db.commit()


def coupon_then_note(db: sqlite3.Connection, message: Any) -> None:
    """Leave the coupon in an open transaction when the note fails."""
    found = db.execute("SELECT count(*) FROM coupons WHERE order_id = ?", (message.body.decode(),))
    if not found.fetchone()[0]:
        add(db, message)
        note(db, message)
        db.commit()


def hides_a_failed_note(db: sqlite3.Connection, message: Any) -> None:
    """Take an error of the note for a message that was seen before."""
    add(db, message)
    try:
        db.execute("INSERT INTO processed VALUES (?)", (message.message_id,))
    except sqlite3.Error:
        db.rollback()
    db.commit()


def closes_it(db: sqlite3.Connection, message: Any) -> None:
    """Close what belongs to whoever called."""
    issue_coupon(db, message)
    db.close()


async def awaits(db: sqlite3.Connection, message: Any) -> None:
    """Be a coroutine function."""


def test_idempotent_solved() -> None:
    """A note in the transaction of the coupon solves the exercise."""
    assert str(run_check("51-idempotent", issue_coupon)) == (
        "solved\n  every order has one coupon\n  counts: cases 9"
    )


@pytest.mark.parametrize(
    "answer", [by_the_error, by_business_id, by_hand, in_two_steps, with_a_lock]
)
def test_idempotent_solved_otherwise(answer: Issue) -> None:
    """The unique key, the business id, and a transaction by hand are as good."""
    assert_solved("51-idempotent", answer)


def test_idempotent_stub() -> None:
    """The stub is not attempted."""

    def stub(db: sqlite3.Connection, message: Any) -> None:
        raise NotImplementedError

    assert_not_attempted("51-idempotent", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (no_note, "came again, and has 2 coupons", "Note message.message_id"),
        (skips_redelivered, "died before it began", "not that it is done"),
        (notes_first, "it has 0 coupons", "note must go when the effect fails"),
        (notes_last, "killed after commit 1: order", "the note is there when the coupon is"),
        (notes_first_and_takes_it_back, "has no coupon", "only when the coupon is"),
        (ends_the_process, "there it ended without a word", "ends the process"),
        (holds_on, "`HELD` cannot go into another process", "nothing of the notebook"),
        (in_memory, "on a new database", "empty after a restart"),
        (in_memory_first, "it has 0 coupons", "note must go when the effect fails"),
        (swallows, "returned as if all was well", "Let the error out"),
        (never_commits, "in the middle of a transaction", "commits at its end"),
        (does_nothing, "there is no coupon", "message.body.decode()"),
        (commits_each_by_itself, "killed after commit 1", "the note is there when the coupon is"),
        (undoes_it_all, "there is no coupon", "into coupons"),
        (never_undoes, "transaction that is still open", "Who does it here"),
        (coupon_then_note, "transaction that is still open", "when its block raises"),
        (hides_a_failed_note, "returned as if all was well", "Let the error out"),
        (awaits, "has to be a plain `def`", "nobody awaits it"),
        (closes_it, "closed the database that it was given", "Whoever opened it closes it"),
    ],
)
def test_idempotent_wrong(lab: Lab, answer: Issue, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    HELD[:] = [lab]
    assert_wrong("51-idempotent", answer, guarantee, hint)
