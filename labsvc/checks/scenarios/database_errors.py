"""Notebook 62: the database fails while events are applied, and the error has to leave."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.effects import what_is_wrong
from labsvc.checks.scenarios.event_log import MANY, Stage
from labsvc.checks.verdict import Verdict, broken

if TYPE_CHECKING:
    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

LATE = 150  # fewer than MANY makes


@dataclass(frozen=True)
class Failure:
    """What fails, in words, and how: after the script `begin` it fails, after `end` no more."""

    what: str
    begin: str
    end: str
    pairs: int = 2
    may_stay_open: bool = False  # as a transaction does whose COMMIT fails: few think of that


_ADDED = "CREATE TRIGGER added BEFORE INSERT ON {} {} BEGIN SELECT {}; END;"
_FROM = "WHEN (SELECT count(*) FROM effects) >= {}"
_CHANGED = "CREATE TRIGGER changed BEFORE UPDATE ON {} BEGIN SELECT {}; END;"


def _write(table: str, how: str) -> Failure:
    return Failure(
        f"the table {table} could not be written",
        _ADDED.format(table, "", how) + _CHANGED.format(table, how),
        "DROP TRIGGER added; DROP TRIGGER changed",
    )


REFUSED = "RAISE(ABORT, 'disk full')"  # an IntegrityError
OVERFLOW = "abs(-9223372036854775807 - 1)"  # an OperationalError
FAILURES = (
    _write("effects", REFUSED),
    _write("effects", OVERFLOW),
    _write("positions", REFUSED),
    _write("positions", OVERFLOW),
    Failure(
        "a commit failed",  # a key that refers to nothing is found there
        "CREATE TABLE firsts (id INTEGER PRIMARY KEY);"
        "CREATE TABLE seconds (id REFERENCES firsts DEFERRABLE INITIALLY DEFERRED);"
        "CREATE TRIGGER added AFTER INSERT ON effects BEGIN INSERT INTO seconds VALUES (1); END;",
        "DROP TRIGGER added",
        may_stay_open=True,
    ),
    Failure(
        "the table positions could not be read",  # bytes that are no text
        "CREATE TABLE kept AS SELECT * FROM positions;"
        "UPDATE positions SET next = CAST(x'ff' AS TEXT);",
        "DELETE FROM positions; INSERT INTO positions SELECT * FROM kept",
    ),
    Failure(
        f"the database failed behind {LATE} effects",
        _ADDED.format("effects", _FROM.format(LATE), OVERFLOW),
        "DROP TRIGGER added",
        MANY,
    ),
)


def failures() -> list[Case]:
    """Return the cases, one for each failure."""
    return [partial(_fails, failure) for failure in FAILURES]


def _fails(failure: Failure, answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Let the database fail once behind a few events, and call the answer again."""
    stage = Stage(answer, room)
    stage.log.write(1)
    stage.call()
    stage.log.write(failure.pairs)
    stage.script(failure.begin)
    error = stage.fails()
    if error is None and not stage.is_right():
        return broken(
            f"{failure.what}, and your function returned as if all was well",
            "Let the error out: who calls has to know, and to call again.",
        )
    if error is not None and not isinstance(error, sqlite3.Error):
        return broken(
            f"{failure.what}, and {type(error).__name__} left your function, not the database's"
            " own error",
            "Let the database's error out as it is: who calls tells errors apart by their class.",
        )
    if failure.may_stay_open:
        stage.undo()
    if stage.is_open():
        return broken(
            "an error of the database left your function, and a transaction is still open: the next"
            " commit keeps what is in it",
            "`with db:` undoes everything when its block raises. Who does it here?",
        )
    stage.script(failure.end)
    stage.call()
    return what_is_wrong(stage, f"{failure.what} once, it was called again")
