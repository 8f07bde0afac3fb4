"""Exercise of notebook 31: change an address, and lose nobody's update."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import httpx2

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios import update_endings as ends
from labsvc.checks.scenarios.address_book import SECONDS, USER_ID, AddressBook, AllLost
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.sweep.http1_gate import Http1Gate

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Outcome, Submission
    from labsvc.sweep import Run

TRIES = 3  # of each request, as the exercise says
WRITES = 5  # in all, as it says too
PATIENCE = 8.0  # seconds for one call of the answer
MANY = 4
FROM_LAST_READ = (
    "Is what you write made from the same answer as the `If-Match` that you send with it?"
)
FINAL = ({"GET": 404}, {"GET": 403}, {"PUT": 422}, {"PUT": 409})


@exercise(
    "31-keep-updates", title="Change an address, lose nobody's update", returns=dict, deadline=25
)
def keep_updates(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`change_address(client, user_id, changes)` returns the address: the changes, and no others'.

    The changes of others, a lost request and a lost answer may come at any point.
    """
    cases = Cases(answer, sandbox)
    wish = _Wish()
    plain = (
        wish.is_kept_beside({}),
        wish.is_kept_beside({"read": wish.of_others, "write": wish.of_others}),
        wish.is_kept_beside({"write": [wish.changes]}),
        wish.is_contested("read"),
        *map(wish.is_refused, FINAL),
        wish.is_always_late,
        wish.is_cut_off("GET"),
        wish.is_cut_off("PUT"),
        wish.is_one_of_many,
    )
    broken = (
        next(filter(None, map(cases.broken, plain)), None)
        or cases.broken(wish.is_kept_beside({}), only=("lost", "late"), at_once=16)
        or cases.broken(wish.is_kept_beside({"write": wish.of_others}), only=("lost",))
        or cases.broken(wish.is_contested("write"), only=("lost",))
        or cases.broken(wish.is_overtaken, only=("lost",))
    )
    said = "every change was kept, whatever others did and whatever got lost"
    return broken or solved(said, cases=cases.count)


class _Wish:
    """What one caller wants to change, and what others do meanwhile."""

    def __init__(self) -> None:
        number = random.randrange(100, 1000)
        self.changes = {"street": f"{number} New Road", "postcode": f"20{number}"}
        self.of_others = [{"phone": f"040-{number}", "city": f"Newham {number}"}]
        self._theirs = {"street": f"{number} Their Road"}

    def is_kept_beside(self, others: Mapping[Any, list[dict[str, str]]]) -> Case:
        """Return the case of a change, while others change what is not the caller's."""

        def kept(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
            book = AddressBook(others)
            outcome = self._ask(answer, book, room, run)
            return self._is_whole(outcome, book)

        return kept

    def is_contested(self, moment: str) -> Case:
        """Return the case of somebody who changes a field of the caller's, before the write."""

        def contested(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
            others: dict[Any, list[dict[str, str]]] = {moment: [self._theirs]}
            book = AddressBook(others)
            return self._is_left_alone(self._ask(answer, book, room, run), book)

        return contested

    def is_overtaken(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Change the caller's field right after the write, whose answer may be lost."""
        book = AddressBook({"written": [self._theirs]})
        outcome = self._ask(answer, book, room, run)
        if outcome.value is not None:
            return self._is_whole(outcome, book, book.history[1:2])
        return self._is_left_alone(outcome, book)

    def is_refused(self, refusals: dict[str, int]) -> Case:
        """Return the case of a refusal that no further try mends."""
        [(method, status)] = refusals.items()

        def refused(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
            book = AddressBook(refusals=refusals)
            outcome = self._ask(answer, book, room, run)
            tries, said = book.asked.count(method), f"the service said {status} to the {method}"
            return ends.common(outcome, book) or first_broken(
                (
                    tries > 1,
                    f"{said}, and was asked {tries} times",
                    "Only a lost request or answer, and 412, are worth another try.",
                ),
                (
                    ends.status(outcome) != status,
                    f"{said}, and {ends.ending(outcome)}",
                    "Is `raise_for_status()` called on every answer that you do not handle?",
                ),
                tries=tries,
            )

        return refused

    def is_always_late(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Let somebody else be quicker each time: five writes, and the last refusal is told."""
        phones = [{"phone": str(number)} for number in range(100)]
        book = AddressBook({"write": phones})
        outcome = self._ask(answer, book, room, run)
        writes = book.asked.count("PUT")
        return ends.common(outcome, book) or first_broken(
            (
                writes != WRITES,
                f"somebody else was quicker each time, and your function wrote {writes} times",
                f"The exercise says {WRITES} writes at most; before that, do not give up.",
            ),
            (
                ends.status(outcome) != ends.CHANGED,
                f"each write was refused with 412, and {ends.ending(outcome)}",
                "After the last write the refusal goes to the caller: `answer.raise_for_status()`.",
            ),
            writes=writes,
        )

    def is_cut_off(self, method: str) -> Case:
        """Return the case in which each request of a method gets lost: three tries."""

        def cut_off(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
            book = AddressBook()
            way = room.proxy(room.serve_http(book, name="addresses"), name="way")
            lost = AllLost(method)
            way.watch(lambda line: Http1Gate(line, lost))
            outcome = self._start(answer, way.url, room).outcome()
            said = f"each {method} got lost"
            return ends.common(outcome, book, lost.count) or first_broken(
                (
                    lost.count != TRIES,
                    f"{said}, and your function sent {lost.count}",
                    f"The exercise says {TRIES} tries of a request. Count the first one too.",
                ),
                (
                    not ends.lost(outcome),
                    f"{said}, and {ends.ending(outcome)}",
                    "After the last try the httpx2.TransportError goes to the caller.",
                ),
                tries=lost.count,
            )

        return cut_off

    def is_one_of_many(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Let four callers change a field each, all at once."""
        book = AddressBook()
        url = _door(book, room, run)
        wanted = self.changes | {"city": "Newham", "phone": "040-1"}
        started = [
            self._start(answer, url, room, {field: value}) for field, value in wanted.items()
        ]
        outcomes = [attempt.outcome() for attempt in started]
        said = next(filter(None, (ends.common(each, book) for each in outcomes)), None)
        failed = [ends.ending(each) for each in outcomes if each.error is not None]
        return said or first_broken(
            (
                bool(failed),
                f"{MANY} callers changed a field each at once, and {' and '.join(failed[:1])}",
                ends.READ_AGAIN,
            ),
            (
                book.now.model_dump() != wanted,
                f"{MANY} callers changed a field each at once, and not every change was kept",
                FROM_LAST_READ,
            ),
        )

    def _is_whole(
        self, outcome: Outcome, book: AddressBook, states: list[Any] | None = None
    ) -> Verdict | None:
        """Return what broke where the change has to be stored, with all that others changed."""
        states = states or [book.now]
        stored = states[0].model_dump() if states else {}
        wanted = book.history[0].model_dump() | book.of_others | self.changes
        lost = [field for field in wanted if stored[field] != wanted[field]]
        ours = [field for field in lost if field in self.changes]
        return (
            ends.common(outcome, book)
            or ends.failed(outcome)
            or first_broken(
                (
                    bool(ours),
                    f"your function came back, and {' and '.join(ours)} did not change",
                    "Which answer says that the change is stored? Only a 2xx to a PUT does.",
                ),
                (
                    bool(lost),
                    f"somebody else had changed {' and '.join(lost)}, and that is gone",
                    FROM_LAST_READ,
                ),
                (
                    not self.changes.items() <= outcome.value.items(),
                    "the address that came back does not have the caller's changes",
                    "What is stored is in the answer to the write, not in that to the read.",
                ),
                (
                    outcome.value not in [state.model_dump() for state in book.history],
                    "the address that came back is none that the service has had",
                    "Return the JSON of the service's last answer, as it is.",
                ),
                requests=len(book.asked),
            )
        )

    def _is_left_alone(self, outcome: Outcome, book: AddressBook) -> Verdict | None:
        """Return what broke where somebody else's value of a field has to stay."""
        said = "somebody else changed street meanwhile"
        return ends.common(outcome, book) or first_broken(
            (
                book.now.street != self._theirs["street"],
                f"{said}, and your function overwrote it",
                "A value that is neither the first that you read nor yours is somebody else's.",
            ),
            (
                not ends.names(outcome.error, ["street"]),
                f"{said}, and {ends.ending(outcome)}",
                "Raise a ValueError whose text has the field's name.",
            ),
            (
                all(field in str(outcome.error) for field in ends.FIELDS),
                f"{said}, and your ValueError names every field",
                "Who reads it wants to know which one is somebody else's.",
            ),
            requests=len(book.asked),
        )

    def _ask(self, answer: Submission, book: AddressBook, room: Sandbox, run: Run) -> Outcome:
        return self._start(answer, _door(book, room, run), room).outcome()

    def _start(
        self,
        answer: Submission,
        url: str,
        room: Sandbox,
        changes: Mapping[str, str] | None = None,
    ) -> Attempt:
        # Plain HTTP: certificates would take 30 ms to load, for each of a hundred cases.
        client = httpx2.Client(base_url=url, timeout=SECONDS, trust_env=False, verify=False)
        wanted = dict(changes or self.changes)
        return answer.start(
            room.enter(client), USER_ID, wanted, within=PATIENCE, allow=ends.may_be_right
        )


def _door(book: AddressBook, room: Sandbox, run: Run) -> str:
    """Serve the addresses, and return where the way begins on which faults strike."""
    return run.door(room.serve_http(book, name="addresses")).url
