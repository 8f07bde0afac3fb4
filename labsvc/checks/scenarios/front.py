"""Test-out of part 2: one handler that keeps what its ten notebooks teach about a call."""

from __future__ import annotations

import random
import secrets
import time
from typing import TYPE_CHECKING

import grpc

from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.front_leaving import leaves
from labsvc.checks.scenarios.front_orders import CUSTOMERS, KEY, Orders
from labsvc.checks.scenarios.front_pauses import prompt, spread
from labsvc.checks.scenarios.front_rules import new_keys, rule_broken
from labsvc.checks.scenarios.front_times import KEEP, given_up, kept
from labsvc.checks.scenarios.front_visits import REQUEST_ID, Desk
from labsvc.checks.scenarios.refusals import CALLERS
from labsvc.checks.scenarios.scripted_users import FINAL
from labsvc.checks.verdict import Verdict, first_broken, solved, taught_in
from labsvc.shop.v1 import order_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.front_visits import Visit
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

PLENTY = 8.0  # seconds
LITTLE = 0.5  # seconds: less than a try may have
SOME = 1.4  # seconds: one try, a pause, and a try with what is left
ONE_FITS = 0.85  # seconds: after a try that hangs, .05 is left, and no pause is shorter
APART = 0.08  # seconds: a machine that stands still does so at the end of some visits
TOO_LITTLE = 0.15  # seconds: less than is to be kept
ON_ITS_WAY = 0.6  # seconds that the call may take to the function, on a busy machine
AT_ONE_MOMENT = 12  # customers
FEW = 4  # customers: the machine stands still for one of them, and not for all
SLOW = 0.45  # seconds until a refusal: the third try gets what is left, as a rule
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
DOWN = (UNAVAILABLE,) * 50
SILENT = (None,) * 50


@exercise(
    "T2-front",
    title="Test out of part 2: a call that ends well",
    kind="function",
    deadline=25,
    returns=order_pb2.PlaceOrderResponse | None,  # nobody reads it when the customer has left
)
def front(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`place_order(request, context, orders)` is the inside of a handler on threads."""
    cases = Cases(answer, sandbox)
    beside = [_carries, _little, _errors, leaves, *map(_silent, (None, PLENTY)), _one_fits, _late]
    beside += map(_slow, (None, PLENTY))
    return (
        cases.broken(_one_order)
        or cases.broken(_one_order, only=("lost", "refused", "late"), at_once=8, beside=beside)
        or cases.broken(_together)
        or solved(
            "each order was placed once or its end was told, in time, and nothing was left behind",
            cases=cases.count,
        )
    )


def _one_order(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Order once under the faults of this run."""
    desk = Desk(answer, room, run)
    visit = desk.visit(PLENTY, ((REQUEST_ID, f"r-{secrets.token_hex(3)}"),))
    paid = len(desk.orders.taken)
    return rule_broken(visit, desk.orders) or taught_in(
        "26",
        first_broken(
            (
                paid > 1,
                f"the customer wanted one order and pays for {paid}",
                f"Another {KEY} is another order.",
            )
        ),
    )


def _carries(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Order again, by chance or as another try of the customer's own."""
    desk = Desk(answer, room, run, Orders([UNAVAILABLE]))
    own = ((KEY, secrets.token_hex(8)), (REQUEST_ID, f"r-{secrets.token_hex(3)}"))
    new, its = desk.new_request(), desk.new_request()
    keys = []
    for request, sent in ((new, ()), (its, own), (its, own), (new, ())):
        visit = desk.visit(PLENTY, sent, request=request)
        if found := rule_broken(visit, desk.orders):
            return found
        keys.append(visit.seen.sent[0].get(KEY))
    return taught_in(
        "26",
        first_broken(
            (
                keys[0] == keys[-1],
                f"two calls without an {KEY} got the same one, and one of them was never placed",
                "Make a new one for each call, out of nothing but chance.",
            )
        ),
    )


def _little(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Allow less than a try may take, and less than two."""
    desk = Desk(answer, room, run)
    few = [desk.visit(LITTLE + ON_ITS_WAY, begin_with=LITTLE) for _ in range(FEW)]
    few = [visit for visit in few if visit.seen.starts] or few  # too late on a busy machine
    if found := kept(few) or _first_broken(few, desk):
        return found
    desk.orders.script = SILENT
    return rule_broken(desk.visit(SOME + ON_ITS_WAY, begin_with=SOME), desk.orders)


def _one_fits(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Leave nothing after a pause: some customers, for pauses differ."""
    desk = Desk(answer, room, run, Orders(SILENT))
    started = []
    for _ in range(AT_ONE_MOMENT):
        started.append(desk.start(ONE_FITS + ON_ITS_WAY, begin_with=ONE_FITS))
        time.sleep(APART)
    visits = [desk.wait(each) for each in started]
    return _first_broken(visits, desk) or given_up(visits)


def _late(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Begin where less is left than is to be kept."""
    desk = Desk(answer, room, run)
    visit = desk.visit(TOO_LITTLE + ON_ITS_WAY, begin_with=TOO_LITTLE)
    return taught_in(
        "22",
        first_broken(
            (
                any(each is None or each > 0 for each in visit.seen.timeouts),
                "less was left than is to be kept, and `orders` was asked all the same",
                f"When {KEEP:g} seconds or less are left, end the handler.",
            ),
            (
                visit.code != "DEADLINE_EXCEEDED",
                f"too little time was left for one try, and the customer got {visit.code}",
                "`context.abort(code, text)` ends a handler with a status.",
            ),
        ),
    )


def _silent(timeout: float | None) -> Case:
    """Return the case of no answer to any try."""

    def silent(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        desk = Desk(answer, room, run, Orders(SILENT))
        visit = desk.visit(timeout)
        return rule_broken(visit, desk.orders)

    return silent


def _slow(timeout: float | None) -> Case:
    """Return the case of tries that are refused late, so that less is left for the third."""

    def slow(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        desk = Desk(answer, room, run, Orders(DOWN, seconds=SLOW))
        started = [desk.start(timeout) for _ in range(AT_ONE_MOMENT // 2)]
        visits = [desk.wait(each) for each in started]
        return kept(visits) or _first_broken(visits, desk)

    return slow


def _errors(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """End with each code, at once and after another try."""
    desk = Desk(answer, room, run)
    codes = random.sample((*FINAL, grpc.StatusCode.CANCELLED), len(FINAL) + 1)
    scripts = [(code,) for code in codes]
    later = [(UNAVAILABLE, code) for code in (random.choice(CUSTOMERS), grpc.StatusCode.INTERNAL)]
    visits = []
    for script in (*scripts, *later, DOWN):
        desk.orders.script = script
        visits.append(desk.visit(PLENTY))
        if found := rule_broken(visits[-1], desk.orders):
            return found
    return taught_in("26", prompt(visits)) or new_keys(desk)


def _together(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
    """Fail many customers at the same moment: their tries are spread."""
    desk = Desk(answer, room, run, Orders(DOWN))
    visits = [desk.wait(each) for each in [desk.start(PLENTY) for _ in range(CALLERS)]]
    return taught_in("26", spread(visits)) or new_keys(desk)


def _first_broken(visits: Sequence[Visit], desk: Desk) -> Verdict | None:
    """Return the first rule that one of these visits broke."""
    return next(filter(None, (rule_broken(visit, desk.orders) for visit in visits)), None)
