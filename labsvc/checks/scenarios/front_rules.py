"""Part of the check of T2: what holds for each visit, whatever happens in it.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

from itertools import zip_longest
from typing import TYPE_CHECKING, Any

from grpc_status import rpc_status  # type: ignore[import-untyped]

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.front_orders import CUSTOMERS, KEY
from labsvc.checks.scenarios.front_pauses import pauses
from labsvc.checks.scenarios.front_times import ALLOW, CLOCK, KEEP, in_time
from labsvc.checks.scenarios.front_visits import REQUEST_ID
from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE
from labsvc.checks.verdict import Verdict, broken, first_broken, taught_in
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from labsvc.checks.scenarios.front_orders import Orders
    from labsvc.checks.scenarios.front_visits import Desk, Visit

TRIES = 3  # as the exercise says
LONGEST_PAUSE = 0.5  # seconds, as the exercise says
LOST = 0.3  # seconds more, for a busy machine
VARIED = 8  # characters: 4 bytes of chance, in hex
LONG = 20  # characters: as long as a UUID, which may be of a clock and a machine
AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
CUSTOMERS_OWN = tuple(code.name for code in CUSTOMERS)


def rule_broken(visit: Visit, orders: Orders) -> Verdict | None:
    """Return the first rule that a visit broke, None if it kept them all.

    Who has given up is told nothing.
    """
    if not visit.seen.starts:
        return taught_in("22", _asks(visit))
    return (
        _answers(visit, orders)
        or taught_in("24", _carries(visit))
        or taught_in("26", _same_key(visit))
        or taught_in("22", in_time(visit))
        or taught_in("26", _tries_again(visit))
        or taught_in("23", _leaves_none_open(visit))
        or (taught_in("25", _tells(visit, orders)) if visit.left > CLOCK else None)
    )


def _answers(visit: Visit, orders: Orders) -> Verdict | None:
    return first_broken(
        (
            visit.returned_nothing,
            "your function returned None",
            "Is there a `return`, or an abort, on every way through the function?",
        ),
        (
            "OK" in visit.seen.codes and visit.request not in orders.received,
            "`orders` got another request than the customer sent",
            "Hand on the `request` as it came.",
        ),
    )


def _asks(visit: Visit) -> Verdict | None:
    return first_broken(
        (
            visit.left > KEEP,  # not so where a busy machine left no time
            f"a customer had time and got {visit.code}, and `orders` was not asked",
            f"Ask nobody only with {KEEP:g} seconds or less. No deadline reads as 10**18 seconds.",
        ),
    )


def _carries(visit: Visit) -> Verdict | None:
    came = {key: value for key, value in visit.sent if key == REQUEST_ID}
    others = [each.keys() - {KEY, REQUEST_ID} for each in visit.seen.sent]
    carried = [{k: v for k, v in each.items() if k == REQUEST_ID} for each in visit.seen.sent]
    wrong = "without it" if came else "with one"
    return first_broken(
        (
            any("authorization" in each for each in others),
            "the customer's token was handed to `orders`",
            "Send two keys on, whatever else came in.",
        ),
        (
            any(others),
            "other keys than the two were sent to `orders`",
            "Send two keys on, whatever else came in.",
        ),
        (
            any(each != came for each in carried),
            f"the customer sent {'its' if came else 'no'} {REQUEST_ID}, and a try went out {wrong}",
            "`context.invocation_metadata()` has the pairs that came. Send this one as it came.",
        ),
    )


def _same_key(visit: Visit) -> Verdict | None:
    keys = [str(each.get(KEY, "")) for each in visit.seen.sent]
    own = dict(visit.sent).get(KEY)
    return first_broken(
        (
            "" in keys,
            f"a try went out without an {KEY}",
            "`orders` cannot tell it from another order. A stub's method takes `metadata=`.",
        ),
        (
            own is not None and set(keys) != {own},
            f"the customer sent an {KEY}, and `orders` got another one",
            "The customer may try again too: then only its own key says that it is one order.",
        ),
        (
            len(set(keys)) > 1,
            f"one visit, and {len(set(keys))} keys: the customer may pay as often",
            "Is the key made once, or for each try?",
        ),
    )


def new_keys(desk: Desk) -> Verdict | None:
    """Return what is wrong with the keys that the function has made for the customers of a desk."""
    made = desk.keys_made
    varied = sum(len(set(letters)) > 1 for letters in zip_longest(*made))
    return taught_in(
        "26",
        first_broken(
            (
                len(set(made)) < len(made),
                f"two calls without an {KEY} got the same one, and one of them was never placed",
                "Make a new one for each call, out of nothing but chance.",
            ),
            (
                varied < VARIED and max(map(len, made), default=LONG) < LONG,
                f"the {KEY}s of {len(made)} calls differ in {varied} characters",
                "So few come again, at the next start or in the next process: `uuid.uuid4()`.",
            ),
        ),
    )


def _tries_again(visit: Visit) -> Verdict | None:
    codes = visit.seen.codes
    number, last = len(codes), (codes or [""])[-1]
    final = [code for code in codes[:-1] if code not in AGAIN]
    left = min(visit.left, ALLOW - visit.took)
    return first_broken(
        (
            visit.seen.beside > 0,
            "a try began while another was under way",
            "One after the other: wait for the end of a try, then for the pause.",
        ),
        (
            bool(final),
            f"`orders` said {(final or [''])[0]}, and was asked again",
            "Two codes allow another try.",
        ),
        (
            number > TRIES,
            f"`orders` was asked {number} times",
            f"{TRIES} tries in all. Count the first one too.",
        ),
        (
            last in AGAIN and number < TRIES and left > KEEP + LONGEST_PAUSE + LOST,
            f"your function gave up after {last} with time to spare, tries: {number}",
            f"{TRIES} tries in all after {' and '.join(AGAIN)}, in {ALLOW:g} seconds.",
        ),
        (
            min(pauses(visit), default=1) < SHORTEST_PAUSE,
            "a try came at once after the one before",
            "A server that has just fallen needs a moment: .05 seconds at least.",
        ),
    )


def _leaves_none_open(visit: Visit) -> Verdict | None:
    wait(lambda: not visit.seen.open, LOST)
    return first_broken(
        (
            visit.seen.open > 0,
            "your function ended, and a try went on",
            "Wait for the end of a try, or cancel it, on every way out.",
        )
    )


def _tells(visit: Visit, orders: Orders) -> Verdict | None:
    last, told = visit.seen.codes[-1], visit.call.code().name
    true = last if last in ("OK", *CUSTOMERS_OWN) else "INTERNAL"
    true = "UNAVAILABLE" if last in AGAIN else true
    if told != true:
        return broken(f"the last try ended with {last}, and the customer got {told}", _hint(told))
    if last == "OK":
        return first_broken(
            (
                visit.call.result() not in orders.taken.values(),
                "the customer got another answer than `orders` gave",
                "Return what the try brought.",
            )
        )
    said = StatusError.of(visit.call)
    packed = _unpacked(visit.call)  # its text is not readable in the metadata
    sent = (visit.call.initial_metadata(), visit.call.trailing_metadata())
    reached = f"{visit.call.details()} {sent!r} {packed}"
    return first_broken(
        (
            orders.secret in reached,
            f"`orders` said {last}, and what it said reached the customer",
            "Its text and metadata are for your colleagues. Write a text of your own.",
        ),
        (
            last in CUSTOMERS_OWN and orders.text != visit.call.details(),
            f"`orders` said {last}, and the customer did not get its text",
            f"What `orders` says with {last} is meant for the customer: hand its text on, whole.",
        ),
        (
            last in CUSTOMERS_OWN and _all(said) != _all(orders.error(said.code)),
            f"`orders` said {last} with details, and the customer got not all of them",
            "`StatusError.of(error).status()` packs them, for `context.abort_with_status`.",
        ),
    )


def _unpacked(call: Any) -> Any:
    """Return the details that came with a status; None if they contradict it."""
    try:
        return rpc_status.from_call(call)
    except ValueError:
        return None


def _all(error: StatusError) -> tuple[object, ...]:
    return error.reason, error.domain, error.metadata, error.fields


def _hint(told: str) -> str:
    if told == "UNKNOWN":
        return "An error that leaves a handler is UNKNOWN there. End it with `context.abort`."
    if told == "OK":
        return "A made-up answer hides the error. End the handler with a status."
    return "Look at the code of the last try, and at the list in the exercise."
