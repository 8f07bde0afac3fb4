"""Part of the check of T0: what holds for the requests that were sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labsvc.checks.scenarios.crowd_plan import PATH, TIMEOUT
from labsvc.checks.values import described
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from labsvc.checks.scenarios.crowd_seen import Try

LINES = [{"sku": "tea-100", "quantity": 1}]
OTHERS = "Nobody waits for an answer to somebody else: as many threads as customers."
ID = "An id is a text of letters and digits, 64 at most."


def requests_broken(tries: Sequence[Try], strangers: int) -> Verdict | None:
    """Return what is wrong with one of the requests, None if nothing is.

    `strangers` are requests that came and were not sent by the client that the answer was given.
    """
    return taught_in(
        "00",
        first_broken(
            (
                strangers > 0,
                f"{strangers} requests came to the shop that `http` did not send",
                "Send all of them by the client that your function is given.",
            ),
            (
                not tries,
                "no customer's order was sent",
                "POST /v1/orders with `tea(order_id)`, in each call anew.",
            ),
        )
        or next(filter(None, map(_request_broken, tries)), None),
    )


def _request_broken(one: Try) -> Verdict | None:
    order_id = one.body.get("order_id") if isinstance(one.body, dict) else None
    return first_broken(
        (
            one.what != PATH,
            f"{one.what[:60]} was sent",
            f"A customer sends `{PATH}`, and nothing else.",
        ),
        (
            one.body != {"order_id": order_id, "user_id": "u-1", "lines": LINES},
            "something else than one box of tea was sent",
            "Send what `tea` makes.",
        ),
        (not isinstance(order_id, str), f"an order's id was {described(order_id)}", ID),
        # What no script asks for is the shop's own answer.
        (
            one.fate is None and one.status not in (None, 201),
            f"the shop answered {one.status} to order {order_id!s:.20}",
            ID,
        ),
        (
            set(one.timeout.values()) != {TIMEOUT},
            "a try had another timeout than `http` has",
            "A customer waits as long as `http` does. Leave its timeout as it is.",
        ),
    )


def ids_broken(
    tries: Sequence[Try], customers: int, earlier: Collection[str], *, hung: bool
) -> Verdict | None:
    """Return what is wrong with the ids of the orders, None if nothing is.

    `earlier` are those of other orders. Where the function was still at work when it was stopped,
    some may be missing.
    """
    ids = {each.body["order_id"] for each in tries}
    there = f"{customers} customers came, and {len(ids)} orders were sent"
    return taught_in(
        "00",
        first_broken(
            (
                len(ids) > customers,
                there,
                "Which line makes an id, and how often does it run for one customer?",
            ),
            (
                len(ids) < customers and not hung,
                there,
                "Each customer's order has an id of its own, and nobody is left out.",
            ),
            (
                not ids.isdisjoint(earlier),
                f"{len(ids & set(earlier))} orders had the id of an earlier one, and got no tea",
                "A counter begins anew at each start. Who else makes such ids?",
            ),
            tries_sent=len(tries),
        ),
    ) or taught_in(
        "01",
        first_broken(
            (
                len(ids) < customers,
                f"{len(ids)} of {customers} customers had ordered, long after the last start",
                OTHERS,
            )
        ),
    )
