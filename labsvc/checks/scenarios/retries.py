"""Exercise of notebook 26: an order that happens once, whatever is lost."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import TYPE_CHECKING

from labsvc.checks.asking import channel, status_of
from labsvc.checks.cases import Cases
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.refusals import (
    CALLERS,
    MAX_TRIES,
    NO_END,
    Shop,
    at_once,
    crowded,
    has_failed,
    is_hidden,
)
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.shop.v1 import order_pb2, order_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

    from labsvc.checks.cases import Case
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Outcome, Submission
    from labsvc.sweep import Run

SKU, OTHER_SKU = "tea-100", "pen-1"
USERS = ("u-1", "u-2", "u-3")
TRY_SECONDS = 1.0  # as the exercise says
SHORTEST_TRY = 0.5  # seconds; a busy machine takes some of the one second
PAUSE_SECONDS = 1.5  # the exercise says .5; a busy machine adds to it
PATIENCE = 6.0  # seconds for one call of the answer
MENDS = {"initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 200}

FINAL = ("INVALID_ARGUMENT", "INTERNAL", "RESOURCE_EXHAUSTED", "ABORTED")


@exercise(
    "26-order-once", title="Order once, through a lost answer", returns=order_pb2.Order, deadline=20
)
def order_once(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`place_order(stub, user_id, lines)` returns the order: three tries at most, one effect."""
    cases = Cases(answer, sandbox)
    wish = _Wish()
    refused = [*map(wish.is_refused, FINAL)]
    return (
        cases.broken(wish.is_placed_once, only=("lost", "refused", "late"), at_once=CALLERS)
        or cases.broken(wish.is_placed_twice, beside=refused)
        or cases.broken(wish.fails("UNAVAILABLE"), beside=[wish.fails("DEADLINE_EXCEEDED")])
        or cases.broken(wish.fails_with_others)
        or solved(
            "each call placed one order, whatever was lost, and every error was told",
            cases=cases.count,
        )
    )


class _Wish:
    """One customer and the goods that are ordered again and again."""

    def __init__(self) -> None:
        self.user_id = random.choice(USERS)
        self.goods = [
            order_pb2.OrderLine(sku=SKU, quantity=random.randint(1, 3)),
            order_pb2.OrderLine(sku=OTHER_SKU, quantity=random.randint(1, 3)),
        ]

    def is_placed_once(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Order once, and return what broke under the faults of this run."""
        shop = Shop(room)
        outcome = self._ask(answer, run.door(shop.target).target)
        tried = [event.seconds for event in run.events if event.point.kind == "request"]
        placed = {order.order_id: order for order in shop.store.orders_of(self.user_id)}
        needed, code = len(run.plan) + 1, outcome.status
        return first_broken(
            (
                len(placed) > 1,
                f"the customer wanted one order and pays for {len(placed)}",
                "A new order_id is a new order. Is the id made once, or for each try?",
            ),
            (outcome.hung, "your function did not come back", NO_END),
            (not tried, "the shop was not asked", "Call `stub.PlaceOrder(...)`."),
            (
                code is not None and len(tried) < needed,
                f"your function gave up with {code}, tries: {len(tried)}",
                f"{MAX_TRIES} tries in all, with pauses, after two codes: see `error.code()`.",
            ),
            (
                code is not None,
                f"the caller got {code}",
                "Look at what the last try sent: the same user, the same goods, the same id?",
            ),
            (
                len(tried) > needed,
                "the order was sent again after it had succeeded",
                "The first answer that is OK ends the tries.",
            ),
            (
                not placed,
                "no order was placed, and your function returned as if all was well",
                "Which try brought the answer that you return?",
            ),
            (
                outcome.value.order_id not in placed,
                "the order that came back is not the one that was placed",
                "Return `reply.order`, and nothing made up in its place.",
            )
            if outcome.value
            else (False, "", ""),
            *_manners(shop.limits, tried),
            tries=len(tried),
            orders=len(placed),
        ) or self._is_whole(outcome)

    def _is_whole(self, outcome: Outcome) -> Verdict | None:
        lines = len(outcome.value.lines)
        return first_broken(
            (
                lines != len(self.goods),
                f"the order has {lines} of {len(self.goods)} lines",
                "Send all the lines, and return the shop's own answer.",
            ),
        )

    def is_placed_twice(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Order the same goods again, on purpose."""
        shop = Shop(room)
        target = run.door(shop.target).target
        outcomes = [self._ask(answer, target) for _ in range(2)]
        placed = shop.store.orders_of(self.user_id)
        said = "the same goods were ordered again, on purpose, and"
        return first_broken(
            (
                any(outcome.status == "ALREADY_EXISTS" for outcome in outcomes),
                f"{said} the shop said ALREADY_EXISTS",
                "Another order has this order_id. Each intent needs an id of its own.",
            ),
            (
                len(placed) != len(outcomes),
                f"{said} the shop has {len(placed)} order",
                "Two calls with the same goods are two orders: what is the id made from?",
            ),
            orders=len(placed),
        )

    def is_refused(self, code: str) -> Case:
        """Return the case of an answer with a code that is final: one try, the caller sees it."""

        def refused(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
            shop = Shop(room, code)
            outcome = self._ask(answer, run.door(shop.target).target)
            tries = len(shop.limits)
            return first_broken(
                (outcome.hung, f"the shop said {code}, and your function did not return", NO_END),
                (
                    tries > 1,
                    f"the shop said {code}, and was asked {tries} times",
                    "Which codes say that another try may fare better? Two are named.",
                ),
                tries=tries,
            ) or is_hidden(outcome, code, shop)

        return refused

    def fails(self, code: str) -> Case:
        """Return the case of a code that stays: three tries, well apart, then the last error."""

        def failed(answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
            shop = Shop(room, code)
            outcome = self._ask(answer, run.door(shop.target).target)
            return has_failed(outcome, code, shop) or at_once(shop.pauses.values())

        return failed

    def fails_with_others(self, answer: Submission, room: Sandbox, run: Run) -> Verdict | None:
        """Fail many callers at the same moment: their tries are spread.

        A busy machine may let a try run out of time here, which `fails` has counted.
        """
        shop = Shop(room, "UNAVAILABLE")
        with channel(run.door(shop.target).target, **MENDS) as line:
            for attempt in [self._start(answer, line) for _ in range(CALLERS)]:
                attempt.outcome()
        return crowded(shop.pauses.values())

    def _start(self, answer: Submission, line: grpc.Channel) -> Attempt:
        args = order_pb2_grpc.OrderServiceStub(line), self.user_id, list(self.goods)
        return answer.start(*args, within=PATIENCE, allow=status_of)

    def _ask(self, answer: Submission, target: str) -> Outcome:
        with channel(target, **MENDS) as line:
            return self._start(answer, line).outcome()


def _manners(
    limits: Sequence[float | None], tried: Sequence[float]
) -> tuple[tuple[bool, str, str], ...]:
    """Return what may be wrong with each try, whatever came of it."""
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    return (
        (
            None in limits,
            "a try had no timeout",
            "If the server hangs, such a try never ends. A stub's method takes a timeout.",
        ),
        (
            any(limit is not None and limit > TRY_SECONDS + 0.1 for limit in limits),
            f"a try had more than {TRY_SECONDS:.0f} second",
            "`timeout=` is in seconds, for each try.",
        ),
        (
            any(limit is not None and limit < SHORTEST_TRY for limit in limits),
            "a try had much less than a second",
            "Each try has its own `timeout=1`, the last one too.",
        ),
        (
            max(pauses, default=0) > PAUSE_SECONDS + TRY_SECONDS,
            "your function waited too long between two tries",
            "Half a second at most.",
        ),
    )
