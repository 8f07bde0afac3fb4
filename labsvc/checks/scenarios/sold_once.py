"""Exercise of notebook 52: a seat is sold once, by two processes (C17)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.in_child import cannot_travel
from labsvc.checks.scenarios.box_office import SEATS, BoxOffice
from labsvc.checks.scenarios.lone_seller import alone, strangers
from labsvc.checks.scenarios.seat_sellers import Seller, keep_waiting
from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.sweep import SweepError

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.box_office import Hall
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Ended, Run

SEAT, OTHER_SEAT, *_ = SEATS
FIRST, SECOND = "Ann", "D'Arcy"
WITHIN = 60.0  # seconds for one case, which takes less than one of them

LATE = (
    "What your function read was no longer true when it wrote. Where is the condition checked, and"
    " who keeps the row as it is from then until the commit?"
)
CAUGHT = f"{LATE} Or do you catch an error, and say True?"
STALE = (
    "Your statement waited for the row, and a part of it had found the seat free before that. After"
    " a wait PostgreSQL looks again at the WHERE of the UPDATE itself, and not into a subquery."
)
SAYS_NO = (
    "False says that the seat is sold, or not there. A lock that you do not get, or an error that"
    " you catch, says neither."
)
CREATE = (
    "IF NOT EXISTS looks first, and then creates: two at once both find nothing. Catch this error"
    " and go on, or do without what has to be created."
)
WAIT = "NOWAIT and timeouts raise where others wait. Is the seat sold then?"
ERRORS = {  # by what the first line of an error has in it
    "pg_type_": CREATE,
    "pg_class_": CREATE,
    "already exists": CREATE,
    "tuple concurrently updated": CREATE,
    "SerializationFailure": "40001 says: nothing of it was done, and it may be tried again, from"
    " the first SELECT on. Who tries again?",
    "DeadlockDetected": "Two transactions wait for each other. Take the stronger lock at once (FOR"
    " UPDATE instead of FOR SHARE), and several locks in one order.",
    "LockNotAvailable": WAIT,
    "QueryCanceled": WAIT,
    "InFailedSqlTransaction": "After an error the transaction is over, also when you catch it. Roll"
    " back, and begin it again.",
    "UniqueViolation": "Two did the same at once, and one was refused. What does it tell its"
    " buyer?",
}


@exercise("52-sold-once", title="Sell a seat once, by two processes", deadline=10, returns=bool)
def sold_once(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`sell_seat(dsn, seat, buyer) -> bool`, overtaken, killed, and waiting for a third."""
    office = BoxOffice()
    if verdict := alone(office, answer, sandbox):
        return verdict
    cases = Cases(answer, sandbox)
    same, other = partial(_two_buyers, office, SEAT), partial(_two_buyers, office, OTHER_SEAT)
    third = partial(_behind_a_third, office)
    return (
        cases.broken(same, only=("overtaken", "killed"), within=WITHIN, at_once=4)
        or cases.broken(other, only=("overtaken",), beside=(third,), within=WITHIN, at_once=4)
        or solved(
            "each seat was sold once, whoever came in between or died",
            cases=cases.count,
            sold_twice=0,
        )
    )


def _two_buyers(
    office: BoxOffice, wanted: str, answer: Submission, room: Sandbox, run: Run
) -> Verdict | None:
    """Let one process sell a seat, and a second one `wanted`: in between, or afterwards."""
    hall = room.enter(office.hall(room))
    rival = Seller(hall, run, answer.function, wanted, SECOND)
    run.rival(rival.overtake)
    try:
        first = run.child(answer.function, hall.door(run), SEAT, FIRST)
    except SweepError:
        return cannot_travel(answer.function, "two processes call your function:")
    if first.how == "killed" and not hall.is_left():
        msg = "PostgreSQL does not notice that a process is gone"
        raise TimeoutError(msg)
    second = rival.end()
    if second is not None and second.how == "killed" and run.struck:
        msg = "the case was given up: nothing else kills the second process"
        raise TimeoutError(msg)
    if second is None:
        return _endless(killed=first.how == "killed")
    return (
        _ended_badly(first, run)
        or _ended_badly(second, run)
        or _judged(first, second, hall, wanted)
    )


def _behind_a_third(
    office: BoxOffice, answer: Submission, room: Sandbox, run: Run
) -> Verdict | None:
    """Let two processes sell a seat that somebody else holds, who then gives it back.

    Both of them have begun their statement when the row is free again.
    """
    hall = room.enter(office.hall(room))
    sellers = [Seller(hall, run, answer.function, SEAT, buyer) for buyer in (FIRST, SECOND)]
    keep_waiting(hall, SEAT, sellers)
    first, second = (each.end() for each in sellers)
    if first is None or second is None:
        return _endless(killed=False)
    verdict = (
        _ended_badly(first, run) or _ended_badly(second, run) or _judged(first, second, hall, SEAT)
    )
    said = "a third buyer held the seat for a second, and was rolled back"
    if verdict is None:
        return None
    # Where only one of them waited, the same answer was right.
    hint = STALE if verdict.hint in (LATE, CAUGHT) else verdict.hint
    return replace(verdict, guarantee=f"{said}: {verdict.guarantee}", hint=hint)


def _endless(*, killed: bool) -> Verdict:
    """Return the verdict on a buyer who was not told."""
    if not killed:
        return broken(
            "a buyer waited without an end", "What does your function wait for, and who ends that?"
        )
    return broken(
        "four seconds after a process was killed, a buyer still waited for it",
        "Who is dead gives nothing back. PostgreSQL ends the locks of a connection that is gone;"
        " what was committed stays, as a mark or a lease does.",
    )


def _ended_badly(ended: Ended, run: Run) -> Verdict | None:
    """Return what is wrong with a process that came to another end than by telling its buyer."""
    error = ended.error.partition("\n")[0]
    return first_broken(
        (
            ended.how == "raised",
            f"in one of two processes your function raised {error}",
            next(
                (hint for said, hint in ERRORS.items() if said in error),
                "Use the arguments, and make inside the function what else it needs.",
            ),
        ),
        (
            ended.how == "killed" and not run.struck,
            "in one of two processes your function ended without a word",
            "What in it ends the process? Return True or False.",
        ),
        (
            ended.how == "returned" and not isinstance(ended.value, bool),
            f"in one of two processes your function returned {described(ended.value)}",
            "Return True or False, on every way through the function.",
        ),
    )


def _judged(first: Ended, second: Ended, hall: Hall, wanted: str) -> Verdict | None:
    """Return what is wrong with what two buyers were told. One that was killed was told nothing."""
    buyers = hall.buyers()
    was_told = {FIRST: first.value, SECOND: second.value}
    wanted_by = {FIRST: SEAT, SECOND: wanted}
    theirs = {buyer: buyers.get(seat) == buyer for buyer, seat in wanted_by.items()}
    killed = first.how == "killed"
    sold = [*was_told.values()].count(True)
    return first_broken(
        (
            wanted == SEAT and sold == len(was_told),
            "one seat was sold to two buyers",
            LATE if theirs[FIRST] else CAUGHT,  # who was overtaken wrote last, or not at all
        ),
        (
            any(was_told[buyer] and not theirs[buyer] for buyer in was_told),
            "a buyer was told True, and the seat is not theirs",
            CAUGHT,
        ),
        (
            any(was_told[buyer] is False and theirs[buyer] for buyer in was_told),
            "a buyer was told False, and has the seat",
            "What did the UPDATE change, and was it committed? Nothing later undoes a commit.",
        ),
        (
            killed and buyers.get(wanted) not in was_told,
            "after a process was killed, a seat is not sold, and nobody can buy it",
            "What did the dead process leave behind? A mark that is committed stays.",
        ),
        (
            not killed and not sold,
            "two buyers wanted a free seat, and neither of them got it",
            f"{SAYS_NO} Look again before you say no.",
        ),
        (
            not killed and wanted != SEAT and sold < len(was_told),
            "two buyers wanted two free seats, and one of them was sent away",
            f"Who buys another seat is in nobody's way: what do you lock? {SAYS_NO}",
        ),
        (
            strangers(buyers),
            "rows of other seats have changed",
            "Change one row, the one with this seat.",
        ),
        sold=sold,
    )
