"""Exercise of notebook 41: the same user goes to the same backend."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, wrong_type
from labsvc.sweep.child import Child, SweepError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

ADDRESSES = [
    "10.0.3.7:50051", "10.0.0.12:50051", "10.0.9.1:50051", "10.0.3.7:50052", "10.0.1.2:50051"
]  # fmt: skip
NEW = "10.0.4.4:50051"
USERS = [*(f"u-{number}" for number in range(397)), "anna", "Zoë", "17"]
LEAST, MOST = 40, 120
FEW = 50  # users that are asked for again
ORDERS = (
    "Two clients may have the list in different orders: a place in it means nothing. Where two"
    " addresses come out the same, what decides?"
)
OTHERS = "When the list changes, who moves?"


class OtherProcessError(Exception):
    """A user has another address in another process."""


@exercise(
    "41-same-backend",
    title="Send the same user to the same backend",
    kind="function",
    deadline=15,
)
def same_backend(answer: Submission, _bench: Sandbox) -> Verdict:
    """`choose(user_id, addresses) -> address`, for 400 users and a list that changes."""
    homes: dict[str, str] = {}
    for user in USERS:
        given = list(ADDRESSES)
        got = answer(user, given)
        if given != ADDRESSES:
            return broken(
                "your function changed the list that it was given",
                "sort() and remove() change the caller's own list; sorted() makes a new one.",
            )
        if not isinstance(got, str):
            return wrong_type(got, "one of the addresses")
        if got not in ADDRESSES:
            return broken(
                f"{got!r} came back, which is no address of the list", "Return one of it."
            )
        homes[user] = got
    return (
        _steady(answer, homes)
        or _elsewhere(answer.function, homes)
        or _spread(homes)
        or _after_a_change(answer, homes)
        or solved("every user stays at home, whoever comes or leaves", users=len(USERS))
    )


def _moved(answer: Submission, homes: Mapping[str, str], addresses: list[str]) -> list[str]:
    """Return the users who get another address from this list."""
    return [user for user in homes if answer(user, list(addresses)) != homes[user]]


def _steady(answer: Submission, homes: Mapping[str, str]) -> Verdict | None:
    some = {user: homes[user] for user in USERS[:FEW]}
    again = _moved(answer, dict(reversed(some.items())), ADDRESSES)  # a counter must not fit
    turned = _moved(answer, some, ADDRESSES[::-1]) + _moved(answer, some, sorted(ADDRESSES))
    return first_broken(
        (
            bool(again),
            f"{len(again)} of {FEW} users got another address when asked for again",
            "A random choice and a counter remember no user. Compute the address from the user.",
        ),
        (
            bool(turned),
            "users moved when the same addresses came in another order",
            ORDERS,
        ),
    )


def _spread(homes: Mapping[str, str]) -> Verdict | None:
    users = Counter(dict.fromkeys(ADDRESSES, 0))
    users.update(homes.values())
    most, least = max(users.values()), min(users.values())
    return first_broken(
        (
            not LEAST <= least <= most <= MOST,
            f"one address has {most} of {len(USERS)} users, another has {least}",
            "Mix user and address well: a hash of both together. Or give each address many places.",
        ),
    )


def _after_a_change(answer: Submission, homes: Mapping[str, str]) -> Verdict | None:
    homes = dict([*homes.items()][::2])  # half will do: a ring of many places takes its time
    for leaver in ADDRESSES[:2]:
        stay = {user: home for user, home in homes.items() if home != leaver}
        left = [address for address in ADDRESSES if address != leaver]
        moved = _moved(answer, stay, left)
        if moved:
            return broken(f"one address left, and {len(moved)} users of the others moved", OTHERS)
    came = [NEW, *ADDRESSES]
    now = {user: answer(user, list(came)) for user in homes}
    wrong = [user for user, home in now.items() if home not in (homes[user], NEW)]
    alone = answer(USERS[0], [NEW])
    return first_broken(
        (bool(wrong), f"one address came, and {len(wrong)} users moved to an old one", OTHERS),
        (
            NEW not in now.values(),
            "an address came, and nobody moved to it",
            "Do you remember where a user was? Another process does not.",
        ),
        (alone != NEW, "with one address in the list another came back", "Return one of the list."),
    )


def _elsewhere(choose: Callable[..., Any], homes: Mapping[str, str]) -> Verdict | None:
    """Ask in another process, where strings have other hashes and nothing is remembered."""
    some = {user: homes[user] for user in USERS[-FEW:]}
    try:
        ended = Child(_ask_again, (choose, some, ADDRESSES)).wait()
    except SweepError:
        return broken(
            "another client needs your function too, and it cannot go into another process",
            "Use the arguments, and make inside the function what else it needs.",
        )
    return first_broken(
        (
            ended.error.startswith(OtherProcessError.__name__),
            "another process sent a user to another address",
            "hash() of a string differs from process to process, and so does what is remembered.",
        ),
        (
            ended.how != "returned",
            f"in another process it raised {ended.error}",
            "Use the arguments, and make inside the function what else it needs.",
        ),
    )


def _ask_again(choose: Callable[..., Any], homes: dict[str, str], addresses: list[str]) -> None:
    for user, home in homes.items():
        if choose(user, list(addresses)) != home:
            raise OtherProcessError(user)
