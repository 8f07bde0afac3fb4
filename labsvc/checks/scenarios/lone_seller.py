"""What exercise 52 asks of a seller without anybody else at work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.box_office import SEATS
from labsvc.checks.verdict import Verdict, first_broken

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.box_office import BoxOffice, Hall
    from labsvc.checks.submission import Submission

SEAT, OTHER_SEAT, EMPTY_SEAT, LONG_SEAT = SEATS
NO_SEAT = "Z'$$9"  # pasted into a statement, it breaks out of either quotes
ANN, BOB, EMPTY, LONG = "Ann", "D'Arcy", "", "\t 100% O'Neill $$ \\ -- \n" * 20

NULL = "A seat is free as long as its buyer is NULL: empty text is a buyer as well."
COUNT = "How many rows has it changed? The cursor knows: rowcount."
AS_IT_IS = "Write the buyer as it is: a parameter of execute takes any text."


def alone(office: BoxOffice, answer: Submission, sandbox: Sandbox) -> Verdict | None:
    """Sell to buyers one after the other, then to those with strange names."""
    with office.hall(sandbox) as hall:
        return _two_seats(hall, answer) or _strange_buyers(hall, answer)


def strangers(buyers: Mapping[str, str | None]) -> bool:
    """Return whether rows have changed besides those of the first two seats."""
    return set(buyers) != set(SEATS) or any(buyers[seat] is not None for seat in SEATS[2:])


def _two_seats(hall: Hall, answer: Submission) -> Verdict | None:
    calls = [(SEAT, ANN), (SEAT, BOB), (OTHER_SEAT, BOB), (OTHER_SEAT, BOB), (NO_SEAT, ANN)]
    got = [answer(hall.dsn, seat, buyer) for seat, buyer in calls]
    buyers = hall.buyers()
    return first_broken(
        (
            strangers(buyers),
            "two seats were asked for, and rows of others have changed",
            "Change one row, the one with this seat.",
        ),
        (
            not (got[0] and got[2]),
            "a free seat was asked for, and your function returned False",
            "Return True when the buyer has the seat.",
        ),
        (
            buyers.get(SEAT) == BOB,
            "a seat that was sold before was sold once more",
            "A seat is free as long as its buyer is NULL. Which rows does your UPDATE change?",
        ),
        (
            buyers.get(SEAT) is None or buyers.get(OTHER_SEAT) is None,
            "your function returned True, and the seat has no buyer",
            "Is the transaction committed? `with psycopg.connect(dsn)` does it at its end.",
        ),
        (got[1], "your function returned True for a seat that another one has", COUNT),
        (
            got[3],
            "a buyer asked again for their own seat, and your function returned True",
            "True says that this call sold the seat. Which call did?",
        ),
        (got[4], "your function returned True for a seat that is not there", COUNT),
        (
            buyers != dict.fromkeys(SEATS) | {SEAT: ANN, OTHER_SEAT: BOB},
            "a seat was sold, and another buyer stands there",
            AS_IT_IS,
        ),
        (
            not hall.is_left(),
            "your function returned, and its connection is still open",
            "Who closes it? `with psycopg.connect(dsn) as db:` does it at its end.",
        ),
        seats=len(SEATS),
    )


def _strange_buyers(hall: Hall, answer: Submission) -> Verdict | None:
    calls = [(EMPTY_SEAT, EMPTY), (EMPTY_SEAT, ANN), (LONG_SEAT, LONG)]
    got = [answer(hall.dsn, seat, buyer) for seat, buyer in calls]
    buyers = hall.buyers()
    return first_broken(
        (
            not got[0],
            "a buyer whose name is an empty text was told False, and the seat was free",
            NULL,
        ),
        (
            got[1] or buyers[EMPTY_SEAT] == ANN,
            "a seat was sold to a buyer whose name is an empty text, and sold once more",
            NULL,
        ),
        (
            not got[2],
            "a buyer with a long name was told False, and the seat was free",
            "Any text can be a buyer, whatever stands in it.",
        ),
        (
            (buyers[EMPTY_SEAT], buyers[LONG_SEAT]) != (EMPTY, LONG),
            "a seat was sold, and the buyer's name stands there in another form",
            AS_IT_IS,
        ),
    )
