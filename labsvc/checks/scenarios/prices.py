"""Exercise of notebook 30: the prices that are there when the time is up, and nothing left."""

from __future__ import annotations

from functools import partial
from itertools import product
from typing import TYPE_CHECKING

from labsvc.checks.asking import wait
from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.by_hand import PLACES
from labsvc.checks.scenarios.leaving import SOON, Left, counted, start
from labsvc.checks.scenarios.third_party import ThirdParty, Trouble, cheap_clients, closed_port
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission
    from labsvc.sweep import Run

SECONDS = 1.0  # as the exercise says
LATE = 0.7  # seconds more, for a busy machine; two rounds of a second each are later
POSITIONS = (0, 3, 4, 7)  # the first requests open connections, the others find them open

QUICK: dict[Trouble, str] = {
    "error": "one price got a status of 500",
    "lost": "one request lost its connection",
    "cut": "one answer broke off",
}
STUCK: dict[Trouble, str] = {
    "silent": "one price never came",
    "drips": "one price came in drips, without an end",
}
HINTS: dict[Trouble, str] = {
    "error": "Which line catches what `raise_for_status()` raises, and who loses a price by it?",
    "lost": "Which errors does httpx2 raise when a connection is lost? They have one base.",
    "cut": "Which errors does httpx2 raise when a connection is lost? They have one base.",
    "silent": "When the time is up, where are the prices that have arrived?",
    "drips": "A timeout of httpx2 starts anew with each byte. What bounds the whole?",
}


@exercise(
    "30-prices",
    title="Fetch prices within a second, and leave nothing behind",
    kind="coroutine",
    returns=dict[str, int],
    deadline=20,
)
def prices(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_prices(url, items)`: four at a time, a second for all, each trouble costs one price."""
    cases = Cases(answer, sandbox)
    every: list[Case] = [_whole, _nothing_asked]
    every += [_one_in_trouble(QUICK), _nobody_there, _slow]
    every += [_one_in_trouble(STUCK), _all_silent, _cancelled]
    with cheap_clients():
        said = next(filter(None, map(cases.broken, every)), None)
    return said or solved(
        "each price that was there came back in time, and nothing was left behind",
        cases=cases.count,
    )


def _whole(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Ask for prices that are all there."""
    party, left = ThirdParty(room), Left()
    outcome = start(answer, party, left).outcome()
    said = f"{len(party.items)} prices were asked for"
    return (
        first_broken(
            (
                not party.asked,
                "the third party was not asked",
                "The address is in `url`, and the path starts with /prices/.",
            ),
            (
                party.most > PLACES,
                f"{said}, and {party.most} requests were under way at a time",
                "`httpx2.Limits` says how many connections a client may have.",
            ),
            (
                party.connections > PLACES,
                f"{said}, over {party.connections} connections",
                "Where is the client made: once for each price, or once for all?",
            ),
            (
                not outcome.hung and outcome.error is None and party.most < PLACES,
                f"{said}, no more than {party.most} at a time",
                f"{PLACES} requests have to be under way together. Who starts the next one, when?",
            ),
        )
        or _not_right(
            outcome,
            party,
            said,
            "What did httpx2 raise for them: no place, no answer, or an error status?",
        )
        or first_broken(
            (
                left.waited > SECONDS / 2,
                f"{said}, all were there, and your function did not return",
                "When it has all prices, nothing is left to wait for.",
            ),
            requests=len(party.asked),
            connections=party.connections,
        )
        or left.broken("your function returned")
    )


def _nothing_asked(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    party, left = ThirdParty(room, items=0), Left()
    outcome = start(answer, party, left).outcome()
    said = "no price was asked for"
    return _not_right(outcome, party, said, "What does the first line do with an empty list?")


def _one_in_trouble(kinds: dict[Trouble, str]) -> Case:
    """Return the case of one price in trouble, at the beginning, in the middle and at the end."""

    def in_trouble(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
        under_way = []
        for kind, place in product(kinds, POSITIONS):
            party, left = ThirdParty(room, {place: kind}), Left()
            under_way.append((kind, party, left, start(answer, party, left)))
            wait(partial(bool, party.asked), SOON)  # a new client takes the processor
        outcomes = [attempt.outcome() for *_, attempt in under_way]
        for outcome, (kind, party, left, _) in zip(outcomes, under_way, strict=True):
            said = kinds[kind]
            verdict = _not_right(outcome, party, said, HINTS[kind]) or left.broken(
                f"{said}, your function returned"
            )
            if verdict:
                return verdict
        return None

    return in_trouble


def _nobody_there(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    party, left = ThirdParty(room, dict.fromkeys(range(8), "lost")), Left()
    party.url = closed_port(room)
    outcome = start(answer, party, left).outcome()
    return _not_right(outcome, party, "no connection could be made", HINTS["lost"])


def _slow(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    party, left = ThirdParty(room, {0: "slow", 3: "slow"}), Left()
    outcome = start(answer, party, left).outcome()
    hint = "The second is for all prices together; no single one has less."
    return _not_right(outcome, party, "two prices took half a second each", hint)


def _all_silent(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    party, left = ThirdParty(room, dict.fromkeys(range(8), "silent")), Left()
    outcome = start(answer, party, left).outcome()
    said = "none of the prices came"
    return (
        _not_right(outcome, party, said, HINTS["silent"])
        or first_broken(
            (
                left.took > SECONDS + LATE,
                f"{said}, and your function came back after more than {SECONDS + LATE} seconds",
                "The second is for all prices together. When does its clock start?",
            )
        )
        or left.broken(f"{said}, your function returned")
    )


def _cancelled(answer: Submission, room: Sandbox, _run: Run) -> Verdict | None:
    """Cancel the function while it waits."""
    party, left = ThirdParty(room, dict.fromkeys(range(8), "silent")), Left()
    outcome = start(answer, party, left, leave=True).outcome()
    said = "your function was cancelled"
    return first_broken(
        (
            outcome.hung or left.took > SOON,
            f"{said}, and did not end",
            "A CancelledError has to pass. What holds it up, or catches it?",
        ),
    ) or (
        left.broken(said)
        or first_broken(
            (
                not left.cancelled,
                f"{said}, and did not end with a CancelledError",
                "Who cancels a task has to learn that it was: catch the end of the time alone.",
            ),
        )
    )


def _not_right(outcome: Outcome, party: ThirdParty, said: str, hint: str) -> Verdict | None:
    """Return what is wrong with the prices that came back, if they did."""
    found, there = outcome.value or {}, party.there
    missing = len(there.keys() - found.keys())
    counts = {"prices": len(found), "missing": missing}
    return first_broken(
        (outcome.hung, f"{said}, and your function did not come back", hint),
        (
            outcome.error is not None,
            f"{said}, and your function raised {summary(outcome.error or Exception())}",
            hint,
        ),
        (missing > 0, f"{said}, and {counted(missing, 'other price')} got lost", hint)
        if party.trouble
        else (missing > 0, f"{said}, and {missing} of them are missing", hint),
        (
            len(found.keys() - there.keys()) > 0,
            f"{said}, and a price came back that nobody has named",
            "A status of 500 is an answer, and no error of httpx2 until you ask for it."
            if party.trouble
            else "Only what was asked for comes back. With what does your dictionary begin?",
        ),
        (
            found != there,
            f"{said}, and another price came back",
            "Each item has a price of its own, in the answer to its own request.",
        ),
        **counts,
    )
