from __future__ import annotations

import sqlite3
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

import cloudpickle
import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Step = Callable[[sqlite3.Connection, str, str, str, int], Any]

TAKE = "UPDATE vouchers SET cents = cents - ? WHERE code = ? AND cents >= ?"
GIVE = "UPDATE vouchers SET cents = cents + ? WHERE code = ?"
NOTE = "INSERT OR IGNORE INTO calls VALUES (?, ?)"
FIND = "SELECT 1 FROM calls WHERE saga_id = ? AND kind = ?"
LOCK = threading.Lock()
SEEN: set[tuple[str, str]] = set()
TAKEN: dict[str, int] = {}
"""What wrong answers keep in memory."""


class Memory:
    """The same; it is not copied with a function."""

    undone: ClassVar[set[str]] = set()


cloudpickle.register_pickle_by_value(sys.modules[__name__])  # as what a notebook defines


@pytest.fixture(autouse=True)
def nothing_is_left() -> None:
    """Forget what wrong answers remember."""
    SEEN.clear()
    TAKEN.clear()
    Memory.undone.clear()


def voucher_step(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Solve it as the notebook does."""
    with db:
        first = db.execute(NOTE, (saga_id, "redeem")).rowcount
        if kind == "give back":
            new = db.execute(NOTE, (saga_id, kind)).rowcount
            if new and not first:
                db.execute(GIVE, (cents, code))
            return "done"
        if not first:
            return "refused" if db.execute(FIND, (saga_id, "give back")).fetchone() else "done"
        if not db.execute(TAKE, (cents, code, cents)).rowcount:
            db.rollback()
            return "refused"
        return "done"


def step(  # noqa: C901, PLR0912  # the rules of the exercise, each of which can be left out
    db: sqlite3.Connection,
    kind: str,
    saga_id: str,
    code: str,
    cents: int,
    *,
    begin: str = "BEGIN IMMEDIATE",
    again: bool = True,
    late: bool = True,
    mark: bool = True,
    only_taken: bool = True,
    back_once: bool = True,
    checks: bool = True,
    strict: bool = False,
    notes_refused: bool = False,
    told_again: str = "done",
    told_late: str = "refused",
    told_empty: str = "done",
    told_poor: str = "refused",
    ends: str = "COMMIT",
) -> str:
    """Solve it with rows that are read first; a keyword takes one rule out."""
    if begin:
        db.execute(begin)
    try:
        acted = db.execute(FIND, (saga_id, "redeem")).fetchone()
        undone = db.execute(FIND, (saga_id, "give back")).fetchone()
        said = "done"
        if kind == "redeem":
            if undone and late:
                said = told_late
            elif acted and again:
                said = told_again
            else:
                take = TAKE if checks else TAKE.replace("AND cents >= ?", "AND ?")
                take = take.replace(">=", ">") if strict else take
                taken = db.execute(take, (cents, code, cents)).rowcount
                said = "done" if taken else told_poor
                if taken or notes_refused:
                    db.execute(NOTE, (saga_id, kind))
        elif not undone or not back_once:
            if acted or not only_taken:
                db.execute(GIVE, (cents, code))
            elif not mark:
                said = told_empty
            if acted or mark:
                db.execute(NOTE, (saga_id, kind))
            said = "done" if acted else told_empty
        if ends:
            db.execute(ends)
    except BaseException:
        if db.in_transaction:
            db.rollback()
        raise
    return said


def without(**rules: Any) -> Step:
    """Return `step` with rules taken out."""

    def voucher_step(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
        return step(db, kind, saga_id, code, cents, **rules)

    return voucher_step


def with_a_lock(db: sqlite3.Connection, *args: Any) -> str:
    """Solve it with a lock beside the transaction."""
    with LOCK:
        return step(db, *args)


def by_hand(db: sqlite3.Connection, *args: Any) -> str:
    """Solve it in autocommit mode."""
    db.isolation_level = None
    return step(db, *args, begin="BEGIN EXCLUSIVE")


def by_the_key(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Solve it by the error of the unique key."""
    with db:
        try:
            db.execute("INSERT INTO calls VALUES (?, 'redeem')", (saga_id,))
            first = True
        except sqlite3.IntegrityError:
            first = False
        if kind == "give back":
            with suppress(sqlite3.IntegrityError):
                db.execute("INSERT INTO calls VALUES (?, 'give back')", (saga_id,))
                if not first:
                    db.execute(GIVE, (cents, code))
            return "done"
        if first and db.execute(TAKE, (cents, code, cents)).rowcount:
            return "done"
        if first:
            db.rollback()
            return "refused"
        return "refused" if db.execute(FIND, (saga_id, "give back")).fetchone() else "done"


def moves_its_row(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Solve it with one row for a saga, which a give back changes."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT kind FROM calls WHERE saga_id = ?", (saga_id,)).fetchone()
        if kind == "give back":
            if row == ("redeem",):
                db.execute("UPDATE calls SET kind = ? WHERE saga_id = ?", (kind, saga_id))
                db.execute(GIVE, (cents, code))
            db.execute(NOTE, (saga_id, kind))
            return "done"
        if row or not db.execute(TAKE, (cents, code, cents)).rowcount:
            return "done" if row == (kind,) else "refused"
        db.execute(NOTE, (saga_id, kind))
        return "done"


def tries_again(db: sqlite3.Connection, *args: Any) -> str:
    """Try a few times while the database is locked, and let the last error out."""
    for _ in range(3):
        with suppress(sqlite3.OperationalError):
            return voucher_step(db, *args)
    return voucher_step(db, *args)


def reads_then_writes(db: sqlite3.Connection, *args: Any) -> str:
    """Read outside of the transaction: `with db:` begins it at the first write."""
    with db:
        return step(db, *args, begin="", ends="")


def asks_for_money_first(db: sqlite3.Connection, kind: str, *args: Any) -> str:
    """Look for enough money before it looks whether this call was done."""
    cents = args[-1]
    with db:
        db.execute("BEGIN IMMEDIATE")
        find = "SELECT 1 FROM vouchers WHERE code = ? AND cents >= ?"
        if kind == "redeem" and not db.execute(find, (args[1], cents)).fetchone():
            return "refused"
        return step(db, kind, *args, begin="", ends="")


def writes_what_it_read(
    db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int
) -> str:
    """Write what is left by a number that was read before the transaction began."""
    look = "SELECT cents FROM vouchers WHERE code = ?"
    (old,) = db.execute(look, (code,)).fetchone() or (0,)
    with db:
        db.execute("BEGIN IMMEDIATE")
        before = db.execute(look, (code,)).fetchone()
        said = step(db, kind, saga_id, code, cents, begin="", ends="")
        if kind == "redeem" and db.execute(look, (code,)).fetchone() != before:
            db.execute("UPDATE vouchers SET cents = ? WHERE code = ?", (old - cents, code))
        return said


def lock_alone(db: sqlite3.Connection, *args: Any) -> str:
    """Take a lock of this process for one that all share."""
    with LOCK:
        return reads_then_writes(db, *args)


def in_memory(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Keep what is done in a variable."""
    said = "done"
    with LOCK, db:
        if kind == "give back":
            if (saga_id, "redeem") in SEEN and (saga_id, kind) not in SEEN:
                db.execute(GIVE, (cents, code))
            SEEN.add((saga_id, kind))
        elif (saga_id, "give back") in SEEN:
            said = "refused"
        elif (saga_id, kind) not in SEEN:
            if db.execute(TAKE, (cents, code, cents)).rowcount:
                SEEN.add((saga_id, kind))
            else:
                said = "refused"
    return said


def commits_each_by_itself(
    db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int
) -> str:
    """Commit the row, and then the money."""
    with LOCK:
        with db:
            first = db.execute(NOTE, (saga_id, "redeem")).rowcount
            new = kind == "redeem" or db.execute(NOTE, (saga_id, kind)).rowcount
        if kind == "give back":
            if new and not first:
                try:
                    with db:
                        db.execute(GIVE, (cents, code))
                except BaseException:
                    with db:
                        db.execute("DELETE FROM calls WHERE kind = ?", (kind,))
                    raise
            return "done"
        if not first:
            return "refused" if db.execute(FIND, (saga_id, "give back")).fetchone() else "done"
        try:
            with db:
                if db.execute(TAKE, (cents, code, cents)).rowcount:
                    return "done"
        except BaseException:
            with db:
                db.execute("DELETE FROM calls WHERE saga_id = ?", (saga_id,))
            raise
        with db:
            db.execute("DELETE FROM calls WHERE saga_id = ?", (saga_id,))
        return "refused"


def asks_a_cache(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Answer by a variable what it was asked before."""
    if kind == "give back":
        SEEN.discard((saga_id, "redeem"))
    elif (saga_id, kind) in SEEN:
        return "done"
    said = voucher_step(db, kind, saga_id, code, cents)
    if kind == "redeem" and said == "done":
        SEEN.add((saga_id, kind))
    return said


def keeps_the_amount(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Give back what a variable holds."""
    said = voucher_step(db, kind, saga_id, code, TAKEN.get(saga_id, 0) if "b" in kind else cents)
    if kind == "redeem" and said == "done":
        TAKEN[saga_id] = cents
    return said


def looks_up_the_amount(
    db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int
) -> str:
    """Give back what a variable has to hold."""
    if kind == "give back" and db.execute(FIND, (saga_id, "redeem")).fetchone():
        cents = TAKEN[saga_id]
    TAKEN[saga_id] = cents
    return voucher_step(db, kind, saga_id, code, cents)


def bars_in_memory(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Keep what is over in a class."""
    with LOCK, db:
        db.execute("BEGIN IMMEDIATE")
        acted = db.execute(FIND, (saga_id, "redeem")).fetchone()
        if kind == "give back":
            if acted and saga_id not in Memory.undone:
                db.execute(GIVE, (cents, code))
            Memory.undone.add(saga_id)
            return "done"
        if saga_id in Memory.undone:
            return "refused"
        if not acted and not db.execute(TAKE, (cents, code, cents)).rowcount:
            return "refused"
        db.execute(NOTE, (saga_id, kind))
        return "done"


def takes_all_codes(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Look for too little, and not for no voucher."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        row = db.execute("SELECT cents FROM vouchers WHERE code = ?", (code,)).fetchone()
        if kind == "give back" or row:
            return step(db, kind, saga_id, code, cents, begin="", ends="")
        return "done"


def needs_a_voucher(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Read the row of a voucher that may not be there."""
    db.execute("SELECT cents FROM vouchers WHERE code = ?", (code,)).fetchone()[0]
    return voucher_step(db, kind, saga_id, code, cents)


def makes_a_voucher(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Make sure that there is a row to change."""
    with db:
        db.execute("INSERT OR IGNORE INTO vouchers VALUES (?, 0)", (code,))
    return voucher_step(db, kind, saga_id, code, cents)


def swallows(db: sqlite3.Connection, *args: Any) -> str:
    """Take an error of the database for a refusal."""
    try:
        return voucher_step(db, *args)
    except sqlite3.Error:
        return "refused"


def takes_locked_for_no(db: sqlite3.Connection, *args: Any) -> str:
    """Take `database is locked` for a refusal."""
    try:
        return voucher_step(db, *args)
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return "refused"
        raise


def gives_back_whatever_happens(db: sqlite3.Connection, kind: str, *args: Any) -> str:
    """Know that a give back is always "done"."""
    try:
        return voucher_step(db, kind, *args)
    except sqlite3.OperationalError:
        if kind == "give back":
            return "done"
        raise


def never_gives_up(db: sqlite3.Connection, *args: Any) -> str:
    """Try again without an end."""
    while True:
        with suppress(sqlite3.OperationalError):
            return voucher_step(db, *args)


def commits_whatever_happens(db: sqlite3.Connection, *args: Any) -> str:
    """Commit also when a statement failed."""
    try:
        return never_undoes(db, *args)
    finally:
        db.commit()


def moves_money_alone(
    db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int
) -> str:
    """Commit the money, and then the row."""
    acted = db.execute(FIND, (saga_id, "redeem")).fetchone()
    undone = db.execute(FIND, (saga_id, "give back")).fetchone()
    if kind == "redeem" and (acted or undone):
        return "refused" if undone else "done"
    with db:
        if kind == "redeem" and not db.execute(TAKE, (cents, code, cents)).rowcount:
            return "refused"
        if kind == "give back" and acted and not undone:
            db.execute(GIVE, (cents, code))
    with db:
        db.execute(NOTE, (saga_id, kind))
    return "done"


def never_undoes_a_give_back(db: sqlite3.Connection, kind: str, *args: Any) -> str:
    """Leave the transaction of a give back open after an error."""
    answer = voucher_step if kind == "redeem" else never_undoes
    return answer(db, kind, *args)


def never_undoes_its_row(
    db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int
) -> str:
    """Undo money that could not be moved, and forget that a row can fail too."""
    db.execute("BEGIN IMMEDIATE")
    acted = db.execute(FIND, (saga_id, "redeem")).fetchone()
    undone = db.execute(FIND, (saga_id, "give back")).fetchone()
    said = "done"
    try:
        if kind == "give back" and acted and not undone:
            db.execute(GIVE, (cents, code))
        if kind == "redeem" and not acted and not undone:
            said = "done" if db.execute(TAKE, (cents, code, cents)).rowcount else "refused"
    except BaseException:
        db.rollback()
        raise
    if kind == "redeem" and undone:
        said = "refused"
    if said == "done":
        db.execute(NOTE, (saga_id, kind))
    db.commit()
    return said


def never_undoes(db: sqlite3.Connection, *args: Any) -> str:
    """Leave the transaction open after an error."""
    kind, saga_id, code, cents = args
    first = db.execute(NOTE, (saga_id, "redeem")).rowcount
    if kind == "give back":
        new = db.execute(NOTE, (saga_id, kind)).rowcount
        if new and not first:
            db.execute(GIVE, (cents, code))
        db.commit()
        return "done"
    if not first:
        db.commit()
        return "refused" if db.execute(FIND, (saga_id, "give back")).fetchone() else "done"
    if not db.execute(TAKE, (cents, code, cents)).rowcount:
        db.rollback()
        return "refused"
    db.commit()
    return "done"


def one_row_for_all(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
    """Note by the voucher, not by the saga."""
    assert saga_id
    return voucher_step(db, kind, code, code, cents)


def returns_nothing(db: sqlite3.Connection, *args: Any) -> None:
    """Forget the answer."""
    voucher_step(db, *args)


def does_nothing(_: sqlite3.Connection, *__: Any) -> str:
    """Say that all is well."""
    return "done"


async def awaits(db: sqlite3.Connection, *args: Any) -> str:
    """Be a coroutine function."""
    return voucher_step(db, *args)


def closes_it(db: sqlite3.Connection, *args: Any) -> str:
    """Close what belongs to whoever called."""
    said = voucher_step(db, *args)
    db.close()
    return said


def test_voucher_solved() -> None:
    """The notebook's solution solves the exercise."""
    assert str(run_check("53-redeem-voucher", voucher_step)) == (
        "solved\n"
        "  each saga paid once or not at all, in whatever order its calls came\n"
        "  counts: cases 39"
    )


@pytest.mark.parametrize(
    "answer",
    [
        without(),
        without(begin="BEGIN"),
        with_a_lock,
        by_hand,
        by_the_key,
        moves_its_row,
        tries_again,
    ],
    ids=["immediate", "deferred", "lock", "autocommit", "key", "one-row", "again"],
)
def test_voucher_solved_otherwise(answer: Step) -> None:
    """A lock beside it, autocommit, the unique key, one row and more tries are as good."""
    assert_solved("53-redeem-voucher", answer)


def test_voucher_stub() -> None:
    """The stub is not attempted."""

    def stub(db: sqlite3.Connection, kind: str, saga_id: str, code: str, cents: int) -> str:
        raise NotImplementedError

    assert_not_attempted("53-redeem-voucher", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (does_nothing, "a redeem came: the voucher has 100", "Take `cents`"),
        (without(again=False), "and the redeem came again", "in `calls`"),
        (without(told_again="refused"), "answered 'refused'", "that the first one got"),
        (without(late=False), "after its give back", "leaves a row"),
        (without(mark=False), "after its give back", "leaves a row"),
        (without(told_late="done"), "it was answered 'done'", "the saga is over"),
        (without(only_taken=False), "whose redeem never had", "Only a redeem that took"),
        (without(back_once=False), "the give back came again", "a row of its own"),
        (without(told_empty="refused"), "answered 'refused'", 'always "done"'),
        (without(checks=False), "for more than there is", "AND cents >= ?"),
        (without(told_poor="done"), "answered 'done'", "too little on the voucher"),
        (without(notes_refused=True), "was refused, and came again", "leaves no row"),
        (without(ends=""), "in the middle of a transaction", "Commit before"),
        (reads_then_writes, "before statement", "BEGIN IMMEDIATE"),
        (lock_alone, "before statement", "BEGIN IMMEDIATE"),
        (
            asks_for_money_first,
            "the redeem came again: it was answered 'refused'",
            "that the first",
        ),
        (writes_what_it_read, "another saga redeemed in another process", "in one statement"),
        (without(strict=True), "a redeem came: the voucher has 100 cents, not 0", "Take `cents`"),
        (in_memory, "two processes served", "A variable is empty"),
        (asks_a_cache, "two processes served", "A variable is empty"),
        (keeps_the_amount, "two processes served", "A variable is empty"),
        (looks_up_the_amount, "a give back raised KeyError", "A variable is empty"),
        (bars_in_memory, "wrote nothing into `calls`", "A variable is empty"),
        (takes_all_codes, "no voucher has the code", "has the rowcount 0"),
        (needs_a_voucher, "your function raised TypeError", "finds none, None"),
        (makes_a_voucher, "the table vouchers has changed", "make none"),
        (commits_each_by_itself, "the process was killed", "one commit"),
        (swallows, "the database failed to write `calls` in a redeem", "Let the error out"),
        (takes_locked_for_no, "(`database is locked`) in a redeem", "may soon be over"),
        (gives_back_whatever_happens, "in a give back, and it was answered", "Let the error out"),
        (never_gives_up, "your function did not come back", "Let the error out"),
        (commits_whatever_happens, "it came again, was answered", "one transaction for both"),
        (moves_money_alone, "the cents have changed", "one transaction for both"),
        (never_undoes, "its transaction is still open", "Who does it here"),
        (never_undoes_a_give_back, "in a give back, the error left", "Who does it here"),
        (never_undoes_its_row, "its transaction is still open", "Who does it here"),
        (one_row_for_all, "two sagas redeemed", "one saga_id and one kind"),
        (returns_nothing, "answered None", 'Return "done"'),
        (awaits, "has to be a plain `def`", "nobody awaits it"),
        (closes_it, "closed the database that it was given", "Whoever opened it closes it"),
    ],
    ids=[
        "nothing",
        "no-note",
        "told-no",
        "late",
        "no-mark",
        "late-done",
        "empty",
        "back-twice",
        "empty-no",
        "no-check",
        "poor-done",
        "notes-no",
        "no-commit",
        "read-first",
        "lock-alone",
        "money-first",
        "old-number",
        "strict",
        "memory",
        "cache",
        "amount",
        "key-error",
        "class",
        "no-voucher",
        "no-row",
        "makes-one",
        "two-commits",
        "swallows",
        "locked",
        "back-done",
        "no-end",
        "commits",
        "money-alone",
        "open",
        "open-back",
        "open-row",
        "by-voucher",
        "no-answer",
        "awaits",
        "closes",
    ],
)
def test_voucher_wrong(answer: Any, guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("53-redeem-voucher", answer, guarantee, hint)
