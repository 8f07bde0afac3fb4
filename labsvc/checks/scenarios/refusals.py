"""Part of the check of notebook 26: a shop that refuses, and the tries that follow."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.verdict import Verdict, broken, first_broken
from labsvc.shop.orders import Orders
from labsvc.shop.services import AioOrderService
from labsvc.shop.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Outcome
    from labsvc.shop.v1 import order_pb2

    Pauses = Iterable[Sequence[float]]  # seconds between the tries of each caller

MAX_TRIES = 3  # as the exercise says
SHORTEST_PAUSE = 0.045  # seconds; the exercise says .05, and a clock may tick in between
LONGEST_PAUSE = 0.75  # seconds; the exercise says .5
CALLERS = 20
NEAR = 0.1  # seconds, of the .45 over which the exercise has the pauses spread
CROWD = 14  # of CALLERS; one time in a thousand, random pauses have so many near each other
NO_END = "A loop that tries again needs an end, and each try a timeout."


class Shop(AioOrderService):
    """The shop's orders. With `refusal`, every request is answered with that code.

    `limits` are the deadlines of the tries, `texts` the refusals of each order, and `pauses` the
    seconds from each of these to the next try.
    """

    def __init__(self, room: Sandbox, refusal: str = "") -> None:
        self.store = room.enter(Store.seeded())
        super().__init__(Orders(self.store))
        self.target = room.serve_grpc(self, name=f"shop {refusal}".rstrip()).target
        self.limits: list[float | None] = []
        self.texts: dict[str, list[str]] = {}
        self.pauses: dict[str, list[float]] = {}
        self._refusal = refusal
        self._refused_at: dict[str, float] = {}

    async def PlaceOrder(
        self, request: order_pb2.PlaceOrderRequest, context: Any
    ) -> order_pb2.PlaceOrderResponse:
        """Place the order, or refuse it."""
        self.limits.append(context.time_remaining())
        each = request.order_id
        if each in self._refused_at:
            self.pauses.setdefault(each, []).append(time.monotonic() - self._refused_at[each])
        if self._refusal:
            text = f"no order today ({random.randrange(10**6)})"
            self.texts.setdefault(each, []).append(text)
            self._refused_at[each] = time.monotonic()
            await context.abort(grpc.StatusCode[self._refusal], text)
        return await super().PlaceOrder(request, context)


def has_failed(outcome: Outcome, code: str, shop: Shop) -> Verdict | None:
    """Return what broke for a caller to whom a shop said the same at each try."""
    tries = max(map(len, shop.texts.values()), default=0)
    return first_broken(
        (outcome.hung, f"the shop said {code} for ever, and your function too", NO_END),
        (
            {*map(len, shop.texts.values())} != {MAX_TRIES},
            f"the shop said {code} each time, and was asked {tries} times",
            f"The exercise says {MAX_TRIES} tries in all. Count the first one too.",
        ),
        tries=tries,
    ) or is_hidden(outcome, code, shop)


def at_once(each_callers: Pauses) -> Verdict | None:
    """Return what is wrong with the pauses if some are too short; a busy machine makes none so."""
    pauses = [pause for each in each_callers for pause in each]
    too_short = sum(pause < SHORTEST_PAUSE for pause in pauses)
    return first_broken(
        (
            too_short > 0,
            f"{too_short} of {len(pauses)} tries came at once after the one before",
            "A server that has just fallen needs a moment: .05 seconds at least.",
        )
    )


def crowded(each_callers: Pauses) -> Verdict | None:
    """Return what is wrong with the pauses between the tries of many callers.

    Only counts decide: some of the pauses may be longer than they were meant to be.
    """
    each_callers = [*each_callers]
    after_each_try = list(zip(*each_callers, strict=False))
    pauses = [pause for turn in after_each_try for pause in turn]
    too_long = sum(pause > LONGEST_PAUSE for pause in pauses)
    together = max(map(_most_near, after_each_try), default=0)
    return at_once(each_callers) or first_broken(
        (
            too_long > len(pauses) / 2,
            f"{too_long} of {len(pauses)} tries came too long after the one before",
            "Half a second at most.",
        ),
        (
            together >= CROWD,
            f"{CALLERS} callers failed together, and {together} came back together",
            "Draw each pause anew with `random.uniform(...)`, from the whole range.",
        ),
        callers=CALLERS,
    )


def is_hidden(outcome: Outcome, code: str, shop: Shop) -> Verdict | None:
    """Say so when the last error did not reach the caller."""
    if outcome.error is None:
        return broken(
            f"the shop said {code}, and your function returned as if all was well",
            "Let the error reach the caller: a made-up value hides it.",
            tries=len(shop.limits),
        )
    return first_broken(
        (
            outcome.status != code,
            f"the shop said {code}, and the caller got {outcome.status}",
            "A bare `raise` in the `except` lets the grpc.RpcError pass as it is.",
        ),
        (
            not any(said[-1] in _texts(outcome.error) for said in shop.texts.values()),
            "the caller got the error of an earlier try, not of the last one",
            "The last error says how things stand now.",
        ),
        tries=len(shop.limits),
    )


def _most_near(pauses: Sequence[float]) -> int:
    """Return how many of the pauses differ by NEAR seconds at most, where most do."""
    return max(sum(0 <= other - pause <= NEAR for other in pauses) for pause in pauses)


def _texts(error: BaseException) -> str:
    """Return the texts of an error and of all that caused it."""
    texts = []
    each: BaseException | None = error
    while each is not None:
        details = getattr(each, "details", None)
        texts.append(str(details() if callable(details) else each))
        each = each.__cause__ or each.__context__
        if isinstance(error, grpc.RpcError):
            break  # what it replaced is no cause of it
    return "\n".join(texts)
