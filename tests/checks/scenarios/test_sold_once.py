from __future__ import annotations

import os
import sys
import threading
import time
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import cloudpickle
import psycopg
import pytest
from psycopg import AsyncConnection, IsolationLevel
from psycopg.errors import LockNotAvailable, SerializationFailure, UniqueViolation

from labsvc.checks import run_check
from labsvc.engines import find_postgres
from labsvc.lab import Lab
from labsvc.state import serializable
from tests.needs import need
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Sell = Callable[[str, str, str], Any]

# An answer that is stopped just as it connects leaves a connection to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

EXERCISE = "52-sold-once"
LOOK = "SELECT buyer FROM seats WHERE seat = %s"
TAKE = "UPDATE seats SET buyer = %s WHERE seat = %s"
TAKE_IF_FREE = f"{TAKE} AND buyer IS NULL"
KEY = "hashtext(%s)"

HELD: list[Any] = []
"""What a wrong answer holds on to."""

LOCK = threading.Lock()

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


@pytest.fixture(scope="module", autouse=True)
def postgres() -> None:
    """Leave the tests out where there is no PostgreSQL."""
    need(find_postgres)


def with_condition(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with one statement."""
    with psycopg.connect(dsn) as db:
        return db.execute(TAKE_IF_FREE, (buyer, seat)).rowcount == 1


async def with_condition_by_asyncio(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with one statement, and await it."""
    async with await AsyncConnection.connect(dsn) as db:
        return (await db.execute(TAKE_IF_FREE, (buyer, seat))).rowcount == 1


def in_autocommit(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it without a transaction of its own."""
    with psycopg.connect(dsn, autocommit=True) as db:
        return db.execute(f"{TAKE_IF_FREE} RETURNING 1", (buyer, seat)).fetchone() is not None


def look_and_take(
    before: str = "", look: str = LOOK, *, take: str = TAKE, level: IsolationLevel | None = None
) -> Sell:
    """Return an answer that checks, then acts, in one transaction, after the statement `before`."""

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        with psycopg.connect(dsn) as db:
            db.isolation_level = level
            if before:
                db.execute(before, (seat,) if "%s" in before else None)
            if db.execute(look, (seat,)).fetchone() != (None,):
                return False
            db.execute(take, (buyer, seat))
            return True

    return sell_seat


def tried_again(level: IsolationLevel) -> Sell:
    """Return an answer that does all of it again when it was refused."""
    once = look_and_take(level=level)

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        for _ in range(10):
            try:
                return bool(once(dsn, seat, buyer))
            except SerializationFailure:
                time.sleep(0.001)
        raise TimeoutError

    return sell_seat


def by_the_module(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with what the course has."""

    def work(db: psycopg.Connection[Any]) -> bool:
        free = db.execute(LOOK, (seat,)).fetchone() == (None,)
        return free and db.execute(TAKE, (buyer, seat)).rowcount == 1

    with psycopg.connect(dsn) as db:
        return serializable(db, work)


def refused_is_taken(level: IsolationLevel) -> Sell:
    """Return an answer that takes every refusal for a sale of another one."""
    once = look_and_take(level=level)

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        try:
            return bool(once(dsn, seat, buyer))
        except SerializationFailure:
            return False

    return sell_seat


def asks_again_and_again(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with a lock that is asked for until it comes."""
    while True:
        with psycopg.connect(dsn) as db:
            try:
                (held,) = db.execute(f"{LOOK} FOR UPDATE NOWAIT", (seat,)).fetchone() or ("?",)
            except LockNotAvailable:
                db.rollback()
                time.sleep(0.02)
                continue
            if held is not None:
                return False
            db.execute(TAKE, (buyer, seat))
            return True


def with_a_session_lock(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with a lock of the session, around a transaction."""
    with psycopg.connect(dsn, autocommit=True) as db:
        db.execute(f"SELECT pg_advisory_lock({KEY})", (seat,))
        with db.transaction():
            free = db.execute(LOOK, (seat,)).fetchone() == (None,)
            if free:
                db.execute(TAKE, (buyer, seat))
        db.execute(f"SELECT pg_advisory_unlock({KEY})", (seat,))
        return free


def unlocks_early(dsn: str, seat: str, buyer: str) -> bool:
    """Give the lock back before the commit."""
    with psycopg.connect(dsn) as db:
        db.execute(f"SELECT pg_advisory_lock({KEY})", (seat,))
        free = db.execute(LOOK, (seat,)).fetchone() == (None,)
        if free:
            db.execute(TAKE, (buyer, seat))
        db.execute(f"SELECT pg_advisory_unlock({KEY})", (seat,))
        return free


def locks_late(dsn: str, seat: str, buyer: str) -> bool:
    """Check, then lock, then act."""
    with psycopg.connect(dsn) as db:
        if db.execute(LOOK, (seat,)).fetchone() != (None,):
            return False
        db.execute(f"{LOOK} FOR UPDATE", (seat,))
        db.execute(TAKE, (buyer, seat))
        return True


def lets_the_row_go(dsn: str, seat: str, buyer: str) -> bool:
    """Lock the row for the length of one statement."""
    with psycopg.connect(dsn, autocommit=True) as db:
        if db.execute(f"{LOOK} FOR UPDATE", (seat,)).fetchone() != (None,):
            return False
        db.execute(TAKE, (buyer, seat))
        return True


def with_a_lock_of_python(dsn: str, seat: str, buyer: str) -> bool:
    """Lock out the threads of this process, and nobody else."""
    with LOCK:
        return bool(look_and_take()(dsn, seat, buyer))


def looks_afterwards(dsn: str, seat: str, buyer: str) -> bool:
    """Act, commit, and look who has it."""
    with psycopg.connect(dsn, autocommit=True) as db:
        if db.execute(LOOK, (seat,)).fetchone() != (None,):
            return False
        db.execute(TAKE, (buyer, seat))
        return db.execute(LOOK, (seat,)).fetchone() == (buyer,)


def marks_first(dsn: str, seat: str, buyer: str) -> bool:
    """Put a mark into the seat, and then the buyer."""
    with psycopg.connect(dsn, autocommit=True) as db:
        if not db.execute(TAKE_IF_FREE, ("being sold", seat)).rowcount:
            return False
        db.execute(TAKE, (buyer, seat))
        return True


def waits_for_the_mark(dsn: str, seat: str, buyer: str) -> bool:
    """Do the same, and wait until the mark is gone."""
    with psycopg.connect(dsn, autocommit=True) as db:
        while not db.execute(TAKE_IF_FREE, ("being sold", seat)).rowcount:
            if db.execute(LOOK, (seat,)).fetchone() != ("being sold",):
                return False
            time.sleep(0.01)
        db.execute(TAKE, (buyer, seat))
        return True


def one_statement(sale: str) -> Sell:
    """Return an answer that is one statement, without a transaction of its own."""

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        with psycopg.connect(dsn, autocommit=True) as db:
            return db.execute(sale, {"seat": seat, "buyer": buyer}).rowcount == 1

    return sell_seat


FREE = "SELECT seat FROM seats WHERE seat = %(seat)s AND buyer IS NULL"
TAKE_FOUND = "UPDATE seats SET buyer = %(buyer)s"


def gives_up(before: str = "SELECT 1", look: str = LOOK) -> Sell:
    """Return an answer that takes a row which is locked for one that is sold."""
    once = look_and_take(before, look)

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        try:
            return bool(once(dsn, seat, buyer))
        except LockNotAvailable:
            return False

    return sell_seat


def skips_and_looks(dsn: str, seat: str, buyer: str) -> bool:
    """Solve it with a row that is skipped, and looked at, until it is sold or had."""
    while True:
        with psycopg.connect(dsn) as db:
            if db.execute(f"{LOOK} AND buyer IS NULL FOR UPDATE SKIP LOCKED", (seat,)).fetchone():
                db.execute(TAKE, (buyer, seat))
                return True
            if db.execute(LOOK, (seat,)).fetchone() != (None,):
                return False
        time.sleep(0.02)


def with_a_lease(seconds: float, *, fence: bool = False, mark: str = "leases") -> Sell:
    """Return an answer that takes a seat for so long, in a row of its own, and then sells it."""
    take = (
        f"INSERT INTO {mark} AS held VALUES (%s, clock_timestamp() + %s * interval '1 s', %s)"  # noqa: S608
        " ON CONFLICT (seat) DO UPDATE SET until = excluded.until, token = excluded.token"
        " WHERE held.until < clock_timestamp()"
    )
    still = f" AND EXISTS (SELECT 1 FROM {mark} WHERE seat = %s AND token = %s FOR UPDATE)"  # noqa: S608

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        token = uuid.uuid4().hex
        with psycopg.connect(dsn, autocommit=True) as db:
            with suppress(UniqueViolation):  # two at once
                db.execute(
                    f"CREATE TABLE IF NOT EXISTS {mark}"
                    " (seat text PRIMARY KEY, until timestamptz, token text)"
                )
            while not db.execute(take, (seat, seconds, token)).rowcount:
                time.sleep(0.05)
            if db.execute(LOOK, (seat,)).fetchone() != (None,):
                db.execute(f"DELETE FROM {mark} WHERE token = %s", (token,))  # noqa: S608
                return False
            if fence:
                return db.execute(TAKE_IF_FREE + still, (buyer, seat, seat, token)).rowcount == 1
            db.execute(TAKE, (buyer, seat))
            db.execute(f"DELETE FROM {mark} WHERE token = %s", (token,))  # noqa: S608
            return True

    return sell_seat


def creates(create: str) -> Sell:
    """Return an answer that makes a table of its own in the transaction of the sale."""

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        with psycopg.connect(dsn) as db:
            db.execute(create)
            return db.execute(TAKE_IF_FREE, (buyer, seat)).rowcount == 1

    return sell_seat


def creates_and_catches(dsn: str, seat: str, buyer: str) -> bool:
    """Take any error of the database for a sale of another one."""
    try:
        return bool(creates(OWN_TABLE)(dsn, seat, buyer))
    except psycopg.Error:
        return False


OWN_TABLE = "CREATE TABLE IF NOT EXISTS sales (seat text PRIMARY KEY, buyer text)"


def refused_is_sold(dsn: str, seat: str, buyer: str) -> bool:
    """Take a refusal for a sale of its own."""
    level = IsolationLevel.SERIALIZABLE
    try:
        return bool(look_and_take(level=level)(dsn, seat, buyer))
    except SerializationFailure:
        return True


def goes_on_after_an_error(dsn: str, seat: str, buyer: str) -> bool:
    """Try again inside the transaction that was refused."""
    with psycopg.connect(dsn) as db:
        db.isolation_level = IsolationLevel.REPEATABLE_READ
        while True:
            try:
                free = db.execute(LOOK, (seat,)).fetchone() == (None,)
                return free and db.execute(TAKE, (buyer, seat)).rowcount == 1
            except SerializationFailure:
                time.sleep(0.001)


def changed(how: Callable[[str], str]) -> Sell:
    """Return an answer that writes the buyer in another form."""

    def sell_seat(dsn: str, seat: str, buyer: str) -> bool:
        return with_condition(dsn, seat, how(buyer))

    return sell_seat


def empty_is_free(dsn: str, seat: str, buyer: str) -> bool:
    """Take an empty text for nobody."""
    with psycopg.connect(dsn) as db:
        sale = f"{TAKE} AND coalesce(buyer, '') = ''"
        return db.execute(sale, (buyer, seat)).rowcount == 1


def empty_is_nobody(dsn: str, seat: str, buyer: str) -> bool:
    """Sell nothing to a buyer whose name is empty."""
    return bool(buyer) and with_condition(dsn, seat, buyer)


def short_names_only(dsn: str, seat: str, buyer: str) -> bool:
    """Sell nothing to a buyer with a long name."""
    return len(buyer) < 100 and with_condition(dsn, seat, buyer)


def between_dollars(dsn: str, seat: str, buyer: str) -> bool:
    """Put what a stranger typed into the statement, between other quotes."""
    with psycopg.connect(dsn) as db:
        sale = f"UPDATE seats SET buyer = $${buyer}$$ WHERE seat = $${seat}$$ AND buyer IS NULL"  # noqa: S608
        return db.execute(sale.encode()).rowcount == 1


def true_for_the_same(dsn: str, seat: str, buyer: str) -> bool:
    """Say True to who has the seat already."""
    with psycopg.connect(dsn) as db:
        sale = f"{TAKE} AND (buyer IS NULL OR buyer = %s)"
        return db.execute(sale, (buyer, seat, buyer)).rowcount == 1


def removes_and_adds(dsn: str, seat: str, buyer: str) -> bool:
    """Take the row away, and put another one there."""
    with psycopg.connect(dsn, autocommit=True) as db:
        gone = db.execute("DELETE FROM seats WHERE seat = %s AND buyer IS NULL", (seat,)).rowcount
        if gone:
            db.execute("INSERT INTO seats VALUES (%s, %s)", (seat, buyer))
        return bool(gone)


def always_true(dsn: str, seat: str, buyer: str) -> bool:
    """Forget to look whether a row has changed."""
    with psycopg.connect(dsn) as db:
        db.execute(TAKE_IF_FREE, (buyer, seat))
    return True


def any_seat_is_there(dsn: str, seat: str, buyer: str) -> bool:
    """Take a seat that is not there for a free one."""
    with psycopg.connect(dsn) as db:
        found = db.execute(f"{LOOK} FOR UPDATE", (seat,)).fetchone()
        if found is not None and found[0] is not None:
            return False
        db.execute(TAKE, (buyer, seat))
        return True


def never_true(dsn: str, seat: str, buyer: str) -> bool:
    """Sell, and say that nothing was sold."""
    with psycopg.connect(dsn) as db:
        db.execute(TAKE_IF_FREE, (buyer, seat))
    return False


def sells_again(dsn: str, seat: str, buyer: str) -> bool:
    """Forget the condition."""
    with psycopg.connect(dsn) as db:
        return db.execute(TAKE, (buyer, seat)).rowcount == 1


def sells_all(dsn: str, seat: str, buyer: str) -> bool:
    """Forget which seat."""
    with psycopg.connect(dsn) as db:
        there = db.execute(f"{LOOK} FOR UPDATE", (seat,)).fetchone() == (None,)
        if there:
            db.execute("UPDATE seats SET buyer = %s WHERE buyer IS NULL OR seat = 'A1'", (buyer,))
        return there


def writes_less(dsn: str, seat: str, buyer: str) -> bool:
    """Leave out of the buyer what seems to be dangerous."""
    return with_condition(dsn, seat, buyer.replace("'", ""))


def never_commits(dsn: str, seat: str, buyer: str) -> bool:
    """Close the connection in the middle of a transaction."""
    db = psycopg.connect(dsn)
    done = db.execute(TAKE_IF_FREE, (buyer, seat)).rowcount == 1
    db.close()
    return done


def stays_open(dsn: str, seat: str, buyer: str) -> bool:
    """Keep the connection, for the next call."""
    db = psycopg.connect(dsn, autocommit=True)
    HELD.append(db)
    return db.execute(TAKE_IF_FREE, (buyer, seat)).rowcount == 1


def writes_sql(dsn: str, seat: str, buyer: str) -> bool:
    """Put what a stranger typed into the statement."""
    with psycopg.connect(dsn) as db:
        sale = f"UPDATE seats SET buyer = '{buyer}' WHERE seat = '{seat}' AND buyer IS NULL"  # noqa: S608
        return db.execute(sale.encode()).rowcount == 1


def returns_a_number(dsn: str, seat: str, buyer: str) -> int:
    """Return how many rows have changed."""
    with psycopg.connect(dsn) as db:
        return db.execute(TAKE_IF_FREE, (buyer, seat)).rowcount


def says_nothing_when_refused(dsn: str, seat: str, buyer: str) -> bool | None:
    """Return nothing after a refusal."""
    try:
        return bool(look_and_take(level=IsolationLevel.REPEATABLE_READ)(dsn, seat, buyer))
    except SerializationFailure:
        return None


def waits_for_a_free_seat(dsn: str, seat: str, buyer: str) -> bool:
    """Try until the seat is free, which a seat that is sold never is."""
    while not with_condition(dsn, seat, buyer):
        time.sleep(0.01)
    return True


def raises_when_taken(dsn: str, seat: str, buyer: str) -> bool:
    """Raise what is no error."""
    if not with_condition(dsn, seat, buyer):
        msg = f"{seat} is taken"
        raise ValueError(msg)
    return True


def ends_the_process(dsn: str, seat: str, buyer: str) -> bool:
    """End the process, where it is not the kernel's."""
    if Lab.current() is None:
        os._exit(0)
    return with_condition(dsn, seat, buyer)


def holds_on(dsn: str, seat: str, buyer: str) -> bool:
    """Use what is in this process alone."""
    assert len(HELD) == 1
    return with_condition(dsn, seat, buyer)


def test_sold_once_solved() -> None:
    """A condition in the UPDATE solves the exercise."""
    assert str(run_check(EXERCISE, with_condition)) == (
        "solved\n"
        "  each seat was sold once, whoever came in between or died\n"
        "  counts: cases 15, sold twice 0"
    )


@pytest.mark.parametrize(
    "answer",
    [
        with_condition_by_asyncio,
        in_autocommit,
        look_and_take(look=f"{LOOK} FOR UPDATE"),
        look_and_take("LOCK TABLE seats IN EXCLUSIVE MODE"),
        look_and_take(f"SELECT pg_advisory_xact_lock({KEY})"),
        with_a_session_lock,
        tried_again(IsolationLevel.REPEATABLE_READ),
        tried_again(IsolationLevel.SERIALIZABLE),
        by_the_module,
        refused_is_taken(IsolationLevel.REPEATABLE_READ),
        asks_again_and_again,
        skips_and_looks,
        one_statement(f"{TAKE_FOUND} WHERE seat = ({FREE} FOR UPDATE)"),
        with_a_lease(1, fence=True),
    ],
    ids=[
        "asyncio",
        "autocommit",
        "for-update",
        "table",
        "advisory",
        "session-lock",
        "repeatable-read",
        "serializable",
        "module",
        "refused-at-repeatable-read",
        "nowait",
        "skip-locked",
        "locked-in-a-subquery",
        "lease-with-a-fence",
    ],
)
def test_sold_once_solved_otherwise(answer: Sell) -> None:
    """The means are the learner's choice."""
    assert_solved(EXERCISE, answer)


def test_sold_once_stub() -> None:
    """The stub is not attempted."""

    def stub(dsn: str, seat: str, buyer: str) -> bool:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (look_and_take(), "statement 3 waited", "no longer true when it wrote"),
        (look_and_take(), "one seat was sold to two buyers", "who keeps the row"),
        (with_a_lock_of_python, "one seat was sold to two buyers", "who keeps the row"),
        (look_and_take("SELECT 1"), "statement 4 waited", "no longer true when it wrote"),
        (lets_the_row_go, "one seat was sold to two buyers", "until the commit"),
        (locks_late, "one seat was sold to two buyers", "Where is the condition checked"),
        (unlocks_early, "one seat was sold to two buyers", "until the commit"),
        (looks_afterwards, "one seat was sold to two buyers", "Where is the condition checked"),
        (
            look_and_take(level=IsolationLevel.REPEATABLE_READ),
            "raised SerializationFailure",
            "Who tries again",
        ),
        (
            look_and_take(level=IsolationLevel.SERIALIZABLE),
            "raised SerializationFailure",
            "Who tries again",
        ),
        (
            look_and_take(
                f"SELECT pg_advisory_xact_lock({KEY})", level=IsolationLevel.REPEATABLE_READ
            ),
            "raised SerializationFailure",
            "Who tries again",
        ),
        (
            refused_is_taken(IsolationLevel.SERIALIZABLE),
            "one of them was sent away",
            "an error that you catch",
        ),
        (
            one_statement(f"{TAKE_FOUND} WHERE seat = ({FREE})"),
            "a third buyer held the seat for a second, and was rolled back: one seat was sold",
            "not into a subquery",
        ),
        (
            one_statement(
                f"WITH free AS ({FREE}) {TAKE_FOUND} FROM free WHERE seats.seat = free.seat"
            ),
            "one seat was sold to two buyers",
            "not into a subquery",
        ),
        (
            gives_up(look=f"{LOOK} FOR UPDATE NOWAIT"),
            "neither of them got it",
            "A lock that you do not get",
        ),
        (
            look_and_take(look=f"{LOOK} FOR UPDATE SKIP LOCKED"),
            "neither of them got it",
            "Look again before you say no",
        ),
        (
            gives_up("SET lock_timeout = '300ms'", f"{LOOK} FOR UPDATE"),
            "neither of them got it",
            "A lock that you do not get",
        ),
        (with_a_lease(2), "one seat was sold to two buyers", "no longer true when it wrote"),
        (with_a_lease(30), "a buyer still waited for it", "as a mark or a lease does"),
        (creates(OWN_TABLE), "pg_type_typname_nsp_index", "two at once both find nothing"),
        (creates_and_catches, "one of them was sent away", "an error that you catch"),
        (refused_is_sold, "one seat was sold to two buyers", "catch an error, and say True"),
        (goes_on_after_an_error, "raised InFailedSqlTransaction", "Roll back, and begin it again"),
        (empty_is_free, "an empty text, and sold once more", "empty text is a buyer as well"),
        (empty_is_nobody, "an empty text was told False", "empty text is a buyer as well"),
        (short_names_only, "with a long name was told False", "Any text can be a buyer"),
        (changed(str.strip), "stands there in another form", "takes any text"),
        (changed(lambda buyer: buyer[:200]), "stands there in another form", "takes any text"),
        (changed(lambda buyer: buyer or " "), "stands there in another form", "takes any text"),
        (between_dollars, "SyntaxError", "line"),
        (true_for_the_same, "asked again for their own seat", "this call sold the seat"),
        (look_and_take(look=f"{LOOK} FOR SHARE"), "raised DeadlockDetected", "stronger lock"),
        (
            look_and_take(look=f"{LOOK} FOR UPDATE NOWAIT"),
            "raised LockNotAvailable",
            "raise where others wait",
        ),
        (marks_first, "is not sold, and nobody can buy it", "A mark that is committed stays"),
        (waits_for_the_mark, "a buyer still waited for it", "Who is dead gives nothing back"),
        (removes_and_adds, "is not sold, and nobody can buy it", "leave behind"),
        (always_true, "True for a seat that another one has", "rowcount"),
        (any_seat_is_there, "for a seat that is not there", "rowcount"),
        (never_true, "returned False", "Return True when"),
        (sells_again, "sold once more", "as long as its buyer is NULL"),
        (sells_all, "rows of others have changed", "Change one row"),
        (writes_less, "another buyer stands there", "the buyer as it is"),
        (never_commits, "the seat has no buyer", "Is the transaction committed"),
        (stays_open, "its connection is still open", "Who closes it"),
        (writes_sql, "SyntaxError", "line"),
        (returns_a_number, "returned an int", "asks for a bool"),
        (says_nothing_when_refused, "returned None", "on every way"),
        (waits_for_a_free_seat, "did not return in time", "a loop without an end"),
        (raises_when_taken, "raised ValueError", "line"),
        (ends_the_process, "ended without a word", "ends the process"),
        (holds_on, "`HELD` cannot go into another process", "nothing of the notebook"),
    ],
)
def test_sold_once_wrong(lab: Lab, answer: Sell, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    HELD[:] = [lab]
    assert_wrong(EXERCISE, answer, guarantee, hint)
    for left in HELD[1:]:
        left.close()
