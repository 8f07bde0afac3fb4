"""The stage of notebook 53: a voucher, the calls that a saga makes to it, and what they should do.

A call is one of the two letters "r", redeem, and "g", give back.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from labsvc.checks.queue_sandbox import database, file_of, names
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

SCHEMA = """
CREATE TABLE vouchers (code TEXT PRIMARY KEY, cents INTEGER NOT NULL);
CREATE TABLE calls (saga_id TEXT, kind TEXT, PRIMARY KEY (saga_id, kind));
"""
NO_FLUSH = "PRAGMA synchronous = OFF"
"""A process is killed here, never the machine: what is committed need not be on the disk."""

KINDS = {"r": "redeem", "g": "give back"}
LONGEST = 3  # calls of one saga, in every order
START, PRICE = 100, 40  # enough for two redeems, which a check for too little would not stop

# What a call is, by what was before it: what is wrong if the cents are, and if the answer is.
CENTS = {
    "first": (
        "a redeem came",
        "Take `cents` from the voucher `code`, in the table vouchers, and commit.",
    ),
    "again": (
        "the answer to a redeem was lost, and the redeem came again",
        "What tells the second call from the first? A row in `calls`, written with the money.",
    ),
    "late": (
        "a redeem came after its give back, and nobody will give back again",
        "A give back leaves a row, also when it finds nothing: the redeem has to look for it.",
    ),
    "too much": (
        "a redeem came for more than there is",
        "One UPDATE with `AND cents >= ?` checks and takes; its rowcount says whether it did.",
    ),
    "too much again": (
        "a redeem was refused, and came again",
        "One UPDATE with `AND cents >= ?` checks and takes; its rowcount says whether it did.",
    ),
    "back": (
        "a redeem came, and its give back",
        "Put back what the redeem of this saga took, and commit.",
    ),
    "back again": (
        "the answer to a give back was lost, and the give back came again",
        "A give back has a row of its own in `calls`, written with the money.",
    ),
    "empty": (
        "a give back came whose redeem never had",
        "Only a redeem that took money can be undone. Where do you see that it did?",
    ),
    "back of refused": (
        "a redeem was refused, and its give back came",
        "What is refused leaves no row: a give back would take it for money that was taken.",
    ),
}
ANSWERS = {
    "first": 'Return "done" when the money was taken.',
    "again": "A call that comes again gets the answer that the first one got.",
    "late": 'Return "refused": its give back was here before, and the saga is over.',
    "too much": 'Return "refused" when there is too little on the voucher.',
    "too much again": (
        "What is refused leaves no row in `calls`: here it was taken for a redeem that was done."
    ),
}
NEVER_REFUSED = 'A give back is always "done", also when there is nothing to give back.'


def orders() -> list[str]:
    """Return every order of calls, the shorter ones first."""
    lengths = range(1, LONGEST + 1)
    return ["".join(o) for n in lengths for o in itertools.product(KINDS, repeat=n)]


class Desk:
    """One voucher of START cents, a saga that calls, and what should be on the voucher.

    Args:
        answer: the learner's function.
        room: where the database lives.
        price: cents that the saga redeems.

    """

    def __init__(self, answer: Submission, room: Sandbox, price: int = PRICE) -> None:
        self.db = room.enter(database(SCHEMA))
        self.db.execute(NO_FLUSH)
        self.path = Path(file_of(self.db))
        self._answer = answer
        self._room = room
        self.price = price
        self.renew()

    def renew(self) -> None:
        """Take another voucher and another saga, in the same database."""
        self.saga_id, self.code = names("v", 2)
        with self.db:
            self.db.execute("INSERT INTO vouchers VALUES (?, ?)", (self.code, START))
        self._others = self._all_cents() - START
        self.taken = self.undone = self.refused = False

    def connect(self, timeout: float = 5.0) -> sqlite3.Connection:
        """Open a connection, as another process would."""
        connection = sqlite3.connect(self.path, timeout=timeout, check_same_thread=False)
        connection.execute(NO_FLUSH)
        return self._room.enter(closing(connection))

    def args(self, call: str) -> tuple[str, str, str, int]:
        """Return what the answer is called with, beside the connection."""
        return KINDS[call], self.saga_id, self.code, self.price

    def cents(self) -> int:
        """Return what is on the voucher, and what is missing or too much on others."""
        return self._all_cents() - self._others

    def _all_cents(self) -> int:
        found: int = self.db.execute("SELECT sum(cents) FROM vouchers").fetchone()[0]
        return found

    @property
    def should(self) -> int:
        """What `cents` should return, after the calls that were noted."""
        return START - self.price * (self.taken and not self.undone)

    def expect(self, call: str) -> tuple[str, str]:
        """Note a call that is made; return what it is, and how it should be answered."""
        if call == "g":
            return self._expect_give_back(), "done"
        if self.undone:
            return "late", "refused"
        if self.taken:
            return "again", "done"
        if self.refused:
            return "too much again", "refused"
        self.taken = self.price <= START
        self.refused = not self.taken
        return ("first", "done") if self.taken else ("too much", "refused")

    def _expect_give_back(self) -> str:
        again, self.undone = self.undone, True
        if again:
            return "back again"
        if self.taken:
            return "back"
        return "back of refused" if self.refused else "empty"

    def call(self, call: str) -> Verdict | None:
        """Call the answer on a connection of its own; return what is wrong afterwards."""
        db = self.connect()
        said = self._answer(db, *self.args(call))
        return self.judge(call, said, open_ended=db.in_transaction)

    def judge(self, call: str, said: object, *, open_ended: bool = False) -> Verdict | None:
        """Return what is wrong after a call was answered."""
        what, wanted = self.expect(call)
        tale, hint = CENTS[what]
        has, should = self.cents(), self.should
        return first_broken(
            (
                open_ended,
                (
                    f"{tale}: your function returned in the middle of a transaction, and a crash"
                    " would undo it"
                ),
                "Commit before you return, on every way: `with db:` does it at its end.",
            ),
            (has != should, f"{tale}: the voucher has {has} cents, not {should}", hint),
            (
                said != wanted,
                f'{tale}: it was answered {said!r}, not "{wanted}"',
                ANSWERS.get(what, NEVER_REFUSED),
            ),
            cents=has,
        )
