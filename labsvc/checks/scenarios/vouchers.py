"""Exercise of notebook 53: a saga's step and its compensation, whatever comes when (C20)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.queue_sandbox import names
from labsvc.checks.scenarios.voucher_desk import KINDS, PRICE, START, Desk, orders
from labsvc.checks.scenarios.voucher_faults import in_a_saga, is_killed, meets_an_error
from labsvc.checks.scenarios.voucher_rivals import between_statements, taking_turns, two_at_once
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.checks.wording import summary

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

SECONDS = 30.0  # for one case, of which each takes less than one where there is time


@exercise(
    "53-redeem-voucher", title="Redeem a voucher as a step of a saga", kind="function", deadline=40
)
def redeem_voucher(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`voucher_step(db, kind, saga_id, code, cents)`: once, in any order, or taken back."""
    cases = Cases(answer, sandbox)
    asked = partial(cases.broken, within=SECONDS)
    prices = PRICE, START + 1, START  # enough for two, too little, and just enough
    in_order = [partial(_in_every_order, price=price) for price in prices]
    lost = [partial(in_a_saga, placed=placed) for placed in (False, True)]
    killed = [partial(is_killed, calls=calls) for calls in ("rg", "gr")]
    ways = (
        *(partial(asked, case) for case in (*in_order, _no_such_voucher, _two_sagas)),
        *(partial(asked, case) for case in (taking_turns, meets_an_error)),
        *(partial(asked, case, only=("lost",)) for case in lost),
        *(partial(asked, case, only=("killed",)) for case in killed),
        *(partial(asked, case) for case in (between_statements, two_at_once)),
    )
    return next(filter(None, (ask() for ask in ways)), None) or solved(
        "each saga paid once or not at all, in whatever order its calls came", cases=cases.count
    )


def _in_every_order(answer: Submission, room: Sandbox, _: Run, *, price: int) -> Verdict | None:
    """Make the calls of a saga in every order, with repeats, each on a connection of its own."""
    desk = Desk(answer, room, price)
    for order in orders():
        desk.renew()
        for call in order:
            if verdict := desk.call(call):
                return replace(verdict, counts={**verdict.counts, "calls": len(order)})
    return None


def _no_such_voucher(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Redeem a code that no voucher has, again, and give back."""
    desk = Desk(answer, room)
    (desk.code,) = names("no-voucher", 1)
    before = _vouchers(desk)
    for call, wanted in (("r", "refused"), ("r", "refused"), ("g", "done"), ("r", "refused")):
        end = answer.attempt(desk.connect(), *desk.args(call), allow=Exception)
        tale = f"no voucher has the code that a {KINDS[call]} came with"
        said = f'it was answered {end.value!r}, not "{wanted}"'
        if end.error is not None:
            said = f"your function raised {summary(end.error)}"
        verdict = first_broken(
            (
                _vouchers(desk) != before,
                f"{tale}, and the table vouchers has changed",
                "Change the row of a voucher, and make none.",
            ),
            (
                end.value != wanted,
                f"{tale}: {said}",
                "An UPDATE that finds no row has the rowcount 0; a SELECT that finds none, None.",
            ),
        )
        if verdict:
            return verdict
    return None


def _vouchers(desk: Desk) -> list[tuple[str, int]]:
    return desk.db.execute("SELECT code, cents FROM vouchers ORDER BY code").fetchall()


def _two_sagas(answer: Submission, room: Sandbox, _: Run) -> Verdict | None:
    """Give back for one saga, when another has redeemed from the same voucher."""
    desk = Desk(answer, room, START // 2)
    first, second = desk.saga_id, f"{desk.saga_id}-2"
    said = []
    for kind, saga_id in (("r", first), ("r", second), ("g", first)):
        desk.saga_id = saga_id
        said.append(answer(desk.connect(), *desk.args(kind)))
    has = desk.cents()
    return first_broken(
        (
            (has, said) != (START // 2, ["done"] * 3),
            (
                f"two sagas redeemed {START // 2} cents each, one of them was given back, and the"
                f" voucher has {has} cents; the answers were {', '.join(map(str, said))}"
            ),
            "A row in `calls` is for one saga_id and one kind.",
        ),
        cents=has,
    )
