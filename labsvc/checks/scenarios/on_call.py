"""Exercises of notebook 63: mend a running shop, and name the cause."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from labsvc import incidents
from labsvc.checks.asking import wait
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.untouched import Untouched
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, wrong_type
from labsvc.incidents.customers import RATE
from labsvc.incidents.level import look

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.incidents import Incident, Shop

    Values = dict[tuple[str, str], Any]

WARM_SECONDS = 1.5
SEEN_SECONDS = 20.0
SETTLE_SECONDS = 5.0  # after the event has come once more
LEVEL_SECONDS = 6.0
WITHIN_SECONDS = 18.0  # to begin another look; what is not mended is not kept then either
UNSEEN = (
    "nothing of the incident can be seen: the machine is too busy, or the code of labsvc.incidents"
    " was changed in this kernel"
)
BUSY = "the machine is too busy: the shop does not keep its service level where all is well either"


@exercise("63-one", title="Mend a shop at night", kind="function", deadline=10)
def one(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`mend_one(shop) -> str`: one thing is wrong; the cause is a claim's id."""
    return _night(answer, sandbox, incidents.random(seed=6), 1)


@exercise("63-two", title="Mend two things at once", kind="function", deadline=10)
def two(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`mend_two(shop) -> set[str]`: two things are wrong; the causes are two claims' ids."""
    return _night(answer, sandbox, incidents.random(seed=4), 2)


def _night(answer: Submission, sandbox: Sandbox, night: Incident, causes: int) -> Verdict:
    """Break a shop of the check's own, let the answer mend it, and let it happen again."""
    with incidents.Shop(sandbox.lab, name="check-shop") as shop:
        shop.level(WARM_SECONDS, within=SEEN_SECONDS)
        good = shop.values()
        night.begin(shop)
        if not wait(lambda: night.symptom(shop.signals), SEEN_SECONDS):
            return Verdict("unknown", UNSEEN, hint="Restart the kernel, and run the cell again.")
        before = Untouched(shop)
        named = answer(shop)
        given = {named} if isinstance(named, str) else named
        if not isinstance(given, set | frozenset | list | tuple) or not all(
            isinstance(each, str) for each in given
        ):
            wanted = "the id of a claim, such as 'C04'" if causes == 1 else "a set of two ids"
            return wrong_type(named, wanted)
        if len(given) > causes:
            return broken(f"you named {len(given)} causes", f"Name {causes}.")
        if said := before.broken():
            return said
        night.strike(shop)
        time.sleep(SETTLE_SECONDS)
        return (
            _level(shop, night, good)
            or before.broken()  # the answer may have left something that goes on
            or _causes(set(given), night, causes)
            or solved("it happened once more, and the service level was kept", lost=0)
        )


def _level(shop: Shop, night: Incident, good: Values) -> Verdict | None:
    """Return what is not kept after the event has come once more."""
    level = shop.level(LEVEL_SECONDS, within=WITHIN_SECONDS)
    if level.orders and not level.kept and level.over.keys() <= _over_at_best(shop, night, good):
        return Verdict("unknown", BUSY, hint="Run the cell again when the machine has less to do.")
    whole = look(shop, 0.0, time.monotonic() - SETTLE_SECONDS)
    return first_broken(
        (
            level.orders < LEVEL_SECONDS * RATE / 4,
            f"{level.orders} orders came, and far more were to be expected",
            "The customers and what watches them are not part of the shop: leave them as they are.",
        ),
        (
            not level.kept,
            f"it happened once more, and {level}",
            (
                "What did you patch: the cause, or what it did? Look at the signals again, and"
                " at shop.settings()."
            ),
        ),
        (
            bool(whole.unpaid or whole.unmailed),
            "orders that were confirmed during the incident are lost",
            "Confirmed orders wait somewhere until the shop works again: throw nothing away.",
        ),
        orders=level.orders,
        failed=level.failed,
        without_mail=level.unmailed,
    )


def _over_at_best(shop: Shop, night: Incident, good: Values) -> set[str]:
    """Return what is not kept either where all is as it was: then the machine is too busy."""
    shop.restore(good)
    night.mend(shop)
    time.sleep(SETTLE_SECONDS)
    return set(shop.level(LEVEL_SECONDS).over)


def _causes(given: set[str], night: Incident, causes: int) -> Verdict | None:
    """Return what is wrong with the causes that were named."""
    parts = night.parts or (night,)
    missed = [part for part in parts if not given & set(part.causes)]
    hint = (
        "What did somebody forget, or take too literally? The table of claims of the notebook that"
        " had this as a pitfall has the id; for a queue there are two, 50 and 51."
    )
    if missed:
        which = "the cause" if causes == 1 else f"{len(missed)} of two causes"
        return broken(f"the shop is mended, and {which} is not among those that you named", hint)
    return None
