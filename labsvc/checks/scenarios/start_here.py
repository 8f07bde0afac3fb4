"""Exercise of notebook 00: one order, however often it is sent."""

from __future__ import annotations

import sys
from http import HTTPStatus
from typing import TYPE_CHECKING

import httpx2

from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.lossy_shop import LOST, SECONDS, Case, LossyShop
from labsvc.checks.verdict import Verdict, broken, diagnose, first_broken, solved, wrong_type
from labsvc.shop.model import OrderLine
from labsvc.shop.store import Store

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome, Submission

SKU = "tea-100"
MAX_TRIES = 3  # as the exercise says
WANTED = (OrderLine(SKU, 1),)
STATUSES = (503, 500, 429)  # that some would try again; as the exercise says, each is final
PATIENCE = 2.0  # seconds for one call of the answer


@exercise("00-order-again", title="Order again, without ordering twice", deadline=10)
def order_again(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`order_tea(http) -> order_id`: one order for each call, whatever is lost on the way."""
    with Store.seeded() as store:
        shop = LossyShop(store)
        shop.proxy = sandbox.proxy(sandbox.serve_http(shop, name="shop"), name="door")
        url = f"http://{shop.proxy.target}"
        hooks = {"request": [shop.sends]}
        with httpx2.Client(
            base_url=url, timeout=SECONDS, trust_env=False, event_hooks=hooks
        ) as http:
            seen: set[str] = set()
            for case in LOST:
                if said := _one_order(answer, http, shop, case, seen):
                    return said
            return (
                _all_lost(answer, http, shop)
                or next(filter(None, (_refused(answer, http, shop, s) for s in STATUSES)), None)
                or _sold_out(answer, http, shop)
                or solved("each call placed one order, whatever was lost", orders=len(LOST))
            )


def _one_order(
    answer: Submission,
    http: httpx2.Client,
    shop: LossyShop,
    case: Case,
    seen: set[str],
) -> Verdict | None:
    """Run one case; return what broke."""
    before = shop.store.stock(SKU)
    shop.begin(case)
    outcome = answer.attempt(http)
    taken = before - shop.store.stock(SKU)
    counts = {"tries": shop.tries, "boxes_taken": taken}
    if outcome.hung:
        return broken(
            f"{case.words}, and your function did not come back",
            "Three tries in all, then the last error leaves the function.",
            **counts,
        )
    if isinstance(outcome.error, httpx2.TransportError):
        return broken(
            f"{case.words}, and your function gave up after {shop.tries} of {MAX_TRIES} tries",
            f"httpx2.TransportError has many kinds, {type(outcome.error).__name__} is one of them.",
            **counts,
        )
    if isinstance(outcome.error, httpx2.HTTPStatusError):
        answered = outcome.error.response
        return diagnose(
            (
                shop.tries > 1,
                f"{case.words}, and the shop answered {answered.status_code}",
                "Every try sends the same order: the same id and the same lines.",
            ),
            otherwise=(
                f"{case.words}, and the shop answered {answered.status_code}: "
                + str(answered.json()["detail"]),
                "Compare path, user and goods with the exercise, and the body with `as_json`.",
            ),
            **counts,
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    if taken != 1:
        orders = len(shop.store.orders_of("u-1")) - len(seen)
        return diagnose(
            (
                shop.status >= HTTPStatus.BAD_REQUEST,
                f"the shop answered {shop.status}, and your function returned as if all were well",
                "response.raise_for_status() turns an error status into an exception.",
            ),
            (
                not taken and orders > 0,
                f"{case.words}, and other goods than tea were ordered",
                OTHER_ORDER,
            ),
            (
                not taken,
                f"{case.words}, and nothing was ordered",
                "Two calls of your function are two orders: each needs an id of its own.",
            ),
            (
                orders > 1,
                f"{case.words}: the shop has {orders} orders for one wish",
                "Which line makes the id, and how often does it run for one wish?",
            ),
            otherwise=(f"{case.words}: {taken} boxes were ordered", "One box of tea is wanted."),
            **counts,
        )
    return _its_id(outcome, shop.store, case, seen, counts)


def _its_id(
    outcome: Outcome, store: Store, case: Case, seen: set[str], counts: dict[str, int]
) -> Verdict | None:
    """Compare what came back with the order that the shop has."""
    newest = [order for order in store.orders_of("u-1") if order.order_id not in seen]
    seen.update(order.order_id for order in newest)
    if not isinstance(outcome.value, str):
        return wrong_type(outcome.value, "the id as a string", **counts)
    return first_broken(
        (
            not newest,
            f"{case.words}, and somebody else than u-1 has the order",
            OTHER_ORDER,
        ),
        (
            any(order.lines != WANTED for order in newest),
            f"{case.words}, and more than tea was ordered",
            OTHER_ORDER,
        ),
        (
            [order.order_id for order in newest] != [outcome.value],
            f"{case.words}: the id that came back is not that of the order in the shop",
            "Return the id that every try carried.",
        ),
        **counts,
    )


OTHER_ORDER = "The exercise says who orders, and what: compare the body that you send."


def _all_lost(answer: Submission, http: httpx2.Client, shop: LossyShop) -> Verdict | None:
    """Lose every request: three tries, then the error."""
    shop.begin(Case("every request was lost", requests=sys.maxsize))
    outcome = answer.attempt(http, within=PATIENCE)
    counts = {"tries": shop.tries}
    if outcome.hung:
        return broken(
            "every request was lost, and your function did not come back",
            "Three tries in all, then the last error leaves the function.",
            **counts,
        )
    if outcome.error is None:
        return broken(
            "every request was lost, and your function returned as if all were well",
            "Let the last error through: the caller must know that nothing is certain.",
            **counts,
        )
    if not isinstance(outcome.error, httpx2.TransportError):
        raise answer.fault(outcome.error)
    if shop.tries != MAX_TRIES:
        return broken(
            f"every request was lost, and your function made {shop.tries} tries, not {MAX_TRIES}",
            "Count the first try too.",
            **counts,
        )
    return None


def _refused(
    answer: Submission, http: httpx2.Client, shop: LossyShop, status: int
) -> Verdict | None:
    """Answer with an error status: that is final."""
    shop.refusal = status
    said = _is_final(answer, http, shop, f"the shop answered {status}")
    shop.refusal = 0
    return said


def _sold_out(answer: Submission, http: httpx2.Client, shop: LossyShop) -> Verdict | None:
    """Sell the tea to somebody else: the shop itself refuses."""
    shop.store.reserve("somebody-else", (OrderLine(SKU, shop.store.stock(SKU)),))
    return _is_final(answer, http, shop, "the tea was sold out")


def _is_final(
    answer: Submission, http: httpx2.Client, shop: LossyShop, words: str
) -> Verdict | None:
    """Ask once: one try, and its error leaves the function."""
    shop.begin(Case(words))
    outcome = answer.attempt(http, within=PATIENCE)
    counts = {"tries": shop.tries}
    if outcome.hung:
        return broken(f"{words}, and your function did not come back", FINAL, **counts)
    if outcome.error is None:
        return broken(
            f"{words}, and your function returned as if all were well",
            "response.raise_for_status() turns an error status into an exception.",
            **counts,
        )
    if not isinstance(outcome.error, httpx2.HTTPStatusError):
        raise answer.fault(outcome.error)
    if shop.tries != 1:
        return broken(f"{words}, and the order was sent {shop.tries} times", FINAL, **counts)
    return None


FINAL = "The shop has answered, and the exercise calls every error status final."
