"""Part of the check of T2: what holds for each visit, whatever happens in it.

Each rule says which notebook teaches it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from grpc_status import rpc_status  # type: ignore[import-untyped]

from labsvc.checks.asking import wait
from labsvc.checks.scenarios.front_visits import CUSTOMERS, KEY, REQUEST_ID
from labsvc.checks.scenarios.refusals import SHORTEST_PAUSE
from labsvc.checks.verdict import Verdict, broken, first_broken, taught_in
from labsvc.rpc.errors import StatusError

if TYPE_CHECKING:
    from labsvc.checks.scenarios.front_visits import Orders, Visit

ONE_TRY = 0.6  # seconds, as the exercise says
KEEP = 0.2  # seconds, as the exercise says
ALLOW = 2.0  # seconds that a customer's call may take at most, as the exercise says
TRIES = 3  # as the exercise says
LONGEST_PAUSE = 0.5  # seconds, as the exercise says
CLOCK = 0.08  # seconds between two looks at the clock
LOST = 0.3  # seconds that a busy machine never takes
AGAIN = ("UNAVAILABLE", "DEADLINE_EXCEEDED")
CUSTOMERS_OWN = tuple(code.name for code in CUSTOMERS)


def rule_broken(visit: Visit, orders: Orders) -> Verdict | None:
    """Return the first rule that a visit broke, None if it kept them all."""
    return (
        _answers(visit, orders)
        or taught_in("22", _asks(visit))
        or taught_in("24", _carries(visit))
        or taught_in("26", _same_key(visit))
        or taught_in("22", _in_time(visit))
        or taught_in("26", _tries_again(visit))
        or taught_in("23", _leaves_none_open(visit))
        or taught_in("25", _tells(visit, orders))
    )


def pauses(visit: Visit) -> list[float]:
    """Return the seconds between the tries of a visit."""
    return [start - end for start, end in zip(visit.seen.starts[1:], visit.seen.ends, strict=False)]


def idle(visit: Visit) -> float:
    """Return the seconds from the end of the last try to the end of the function."""
    return visit.began + visit.took - max(visit.seen.ends, default=visit.began)


WAITED_ON = (
    "your function waited after its last try",
    "Before a pause, ask whether there is a try after it, and time for one.",
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
            not visit.seen.starts,
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


def _in_time(visit: Visit) -> Verdict | None:
    timeouts = [each for each in visit.seen.timeouts if each is not None]
    starts = [start - visit.began for start in visit.seen.starts]
    room = [
        min(spare + timeout, ALLOW - start) - KEEP
        for spare, timeout, start in zip(visit.seen.spare, timeouts, starts, strict=False)
    ]
    over = [timeout - left for timeout, left in zip(timeouts, room, strict=True)]
    under = [  # one in the past sends nothing
        min(left, ONE_TRY) - timeout
        for timeout, left in zip(timeouts, room, strict=True)
        if timeout > 0
    ]
    return first_broken(
        (
            None in visit.seen.timeouts,
            "a try had no deadline",
            "Give each try a timeout.",
        ),
        (
            max(timeouts, default=0) > ONE_TRY + 0.001,
            f"a try had more than {ONE_TRY:g} seconds",
            "A try that takes all leaves nothing for the next.",
        ),
        (
            max(over, default=0) > KEEP + CLOCK / 2,
            "a try had more time than the customer had left",
            f"Ask what is left before each try. Who sets no deadline allows {ALLOW:g} seconds.",
        ),
        (
            max(over, default=0) > CLOCK,
            "not enough was kept for the way back",
            f"Take {KEEP:g} seconds off what is left before each try.",
        ),
        (
            max(under, default=0) > LOST,
            "a try had far less time than there was",
            f"It may have {ONE_TRY:g} seconds, or all that is left less {KEEP:g}.",
        ),
        (
            visit.left <= 0 and visit.code != "OK",
            "the customer had given up when your function came back",
            "The pause counts too. Before it, ask whether anything is left for a try after it.",
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
            visit.seen.starts[0] - visit.began > LOST,
            "your function waited before its first try",
            "Pause before each further try. The first one begins at once.",
        ),
        (idle(visit) > LOST, *WAITED_ON),
        (
            min(pauses(visit), default=1) < SHORTEST_PAUSE,
            "a try came at once after the one before",
            "A server that has just fallen needs a moment: .05 seconds at least.",
        ),
        (
            len(visit.seen.starts) > 1 and min(pauses(visit)) > LONGEST_PAUSE + LOST,
            "your function waited too long between two tries",
            "Half a second at most.",
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
    packed = rpc_status.from_call(visit.call)  # its text is not readable in the metadata
    reached = f"{visit.call.details()} {visit.call.trailing_metadata()!r} {packed}"
    return first_broken(
        (
            orders.secret in reached,
            f"`orders` said {last}, and its text reached the customer",
            "It is written for your colleagues. Write a text of your own.",
        ),
        (
            last in CUSTOMERS_OWN and orders.text != visit.call.details(),
            f"`orders` said {last}, and the customer did not get its text",
            f"What `orders` says with {last} is meant for the customer: hand its text on.",
        ),
        (
            last in CUSTOMERS_OWN and _all(said) != _all(orders.error(said.code)),
            f"`orders` said {last} with details, and the customer got not all of them",
            "`StatusError.of(error).status()` packs them, for `context.abort_with_status`.",
        ),
    )


def _all(error: StatusError) -> tuple[object, ...]:
    return error.reason, error.domain, error.metadata, error.fields


def _hint(told: str) -> str:
    if told == "UNKNOWN":
        return "An error that leaves a handler is UNKNOWN there. End it with `context.abort`."
    if told == "OK":
        return "A made-up answer hides the error. End the handler with a status."
    return "Look at the code of the last try, and at the list in the exercise."
