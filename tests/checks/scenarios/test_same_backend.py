"""Answers to the exercise of notebook 41: right ones of several forms, and plausible wrong ones."""

from __future__ import annotations

import bisect
import hashlib
import itertools
import random
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    Choose = Callable[[str, list[str]], str]


def number(text: str) -> int:
    """Return a number that is the same in every process."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def rendezvous(user_id: str, addresses: list[str]) -> str:
    """Let each address say how much it wants the user."""
    return max(addresses, key=lambda address: number(f"{address} {user_id}"))


def by_seed(user_id: str, addresses: list[str]) -> str:
    """Draw the weights with a generator that text seeds, the same everywhere."""
    return min(addresses, key=lambda address: random.Random(user_id + address).random())  # noqa: S311  no secret


def ring(user_id: str, addresses: list[str]) -> str:
    """Give each address many places on a ring."""
    places = sorted((number(f"{one}-{copy}"), one) for one in addresses for copy in range(100))
    at = bisect.bisect(places, (number(user_id), ""))
    return places[at % len(places)][1]


class Chooser:
    """Solve it with an object."""

    def __call__(self, user_id: str, addresses: list[str]) -> str:
        """Choose."""
        return rendezvous(user_id, addresses)


@pytest.mark.parametrize("answer", [rendezvous, by_seed, ring, Chooser()])
def test_same_backend_solved(answer: Choose) -> None:
    """Rendezvous hashing and a ring with many places solve it."""
    verdict = run_check("41-same-backend", answer)
    assert (verdict.state, verdict.counts) == ("solved", {"users": 400}), verdict


def test_same_backend_stub() -> None:
    """The stub is no attempt."""

    def stub(user_id: str, addresses: list[str]) -> str:
        raise NotImplementedError

    assert_not_attempted("41-same-backend", stub)


def modulo(user_id: str, addresses: list[str]) -> str:
    """Take the number modulo the length."""
    return addresses[number(user_id) % len(addresses)]


def modulo_of_sorted(user_id: str, addresses: list[str]) -> str:
    """Do so on a sorted copy."""
    return modulo(user_id, sorted(addresses))


def python_hash(user_id: str, addresses: list[str]) -> str:
    """Use a hash that differs between processes."""
    return max(addresses, key=lambda address: hash((address, user_id)))


def few_places(user_id: str, addresses: list[str]) -> str:
    """Give each address one place on a ring."""
    places = sorted((number(one), one) for one in addresses)
    return places[bisect.bisect(places, (number(user_id), "")) % len(places)][1]


def host_alone(user_id: str, addresses: list[str]) -> str:
    """Forget that two backends may share a host."""
    return max(addresses, key=lambda one: number(f"{one.partition(':')[0]} {user_id}"))


def number_of_the_user(user_id: str, addresses: list[str]) -> str:
    """Take each user's id for a letter and a number."""
    return rendezvous(str(int(user_id.split("-")[1])), addresses)


def takes_turns() -> Choose:
    """Take turns, and remember nobody."""
    turns = itertools.count()
    return lambda _user, addresses: sorted(addresses)[next(turns) % len(addresses)]


def address_alone(user_id: str, addresses: list[str]) -> str:
    """Let the largest address win every user."""
    return max(addresses, key=number)


def not_mixed(user_id: str, addresses: list[str]) -> str:
    """Add two sums of bytes that do not mix."""
    return max(addresses, key=lambda one: sum(one.encode()) + sum(user_id.encode()))


def sorts_in_place(user_id: str, addresses: list[str]) -> str:
    """Reorder the caller's list."""
    addresses.sort()
    return rendezvous(user_id, addresses)


def draws(user_id: str, addresses: list[str]) -> str:
    """Draw."""
    return random.choice(addresses)  # noqa: S311  no secret


def remembers() -> Choose:
    """Take turns, and remember who got what."""
    homes: dict[str, str] = {}
    turns = iter(range(10**9))

    def choose(user_id: str, addresses: list[str]) -> str:
        if homes.get(user_id) not in addresses:
            homes[user_id] = addresses[next(turns) % len(addresses)]
        return homes[user_id]

    return choose


def index(user_id: str, addresses: list[str]) -> Any:
    """Return the place and not the address."""
    return addresses.index(rendezvous(user_id, addresses))


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (modulo, "in another order", "a place in it means nothing"),
        (host_alone, "in another order", "what decides"),
        (number_of_the_user, "raised", "print what it works with"),
        (takes_turns(), "40 of 50 users got another address", "a counter remember no user"),
        (modulo_of_sorted, "one address left, and", "who moves"),
        (python_hash, "another process sent a user", "hash() of a string"),
        (few_places, "one address has", "many places"),
        (address_alone, "one address has 400", "a hash of both together"),
        (not_mixed, "one address has 400", "Mix user and address"),
        (
            lambda user, addresses: max(
                addresses, key=lambda one: zlib.crc32((one + user).encode())
            ),
            "one address has",
            "Mix user and address",
        ),
        (sorts_in_place, "changed the list", "sorted() makes a new one"),
        (draws, "when asked for again", "remember no user"),
        (remembers(), "nobody moved to it", "Another process does not"),
        (index, "returned", "one of the addresses"),
        (lambda user, _: user, "no address of the list", "Return one of it"),
        (lambda _user, _addresses: None, "returned None", "Is there a `return`"),
    ],
)
def test_same_backend_wrong(answer: Choose, guarantee: str, hint: str) -> None:
    """Each mistake is told for what it is."""
    assert_wrong("41-same-backend", answer, guarantee, hint)
