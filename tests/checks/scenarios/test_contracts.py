from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import pytest

from labsvc.checks import run_check
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "10-left-out"


def generated(servicer: Any) -> list[type]:
    """Return the generated bases of an object."""
    return [base for base in type(servicer).__mro__ if base.__module__.endswith("_pb2_grpc")]


def contract(base: type) -> list[str]:
    """Return the methods of a generated base."""
    return [name for name in vars(base) if not name.startswith("_")]


def label(base: type, name: str) -> str:
    """Return a method as the text of the exercise names it."""
    return f"{base.__name__.removesuffix('Servicer')}.{name}"


def by_method(servicer: Any) -> list[str]:
    """Solve the exercise: ask whose method the object would use."""
    kind = type(servicer)
    return sorted(
        label(base, name)
        for base in generated(servicer)
        for name in contract(base)
        if getattr(kind, name) is vars(base)[name]
    )


def by_walk(servicer: Any) -> list[str]:
    """Solve it by the first class that has the name."""
    found = []
    for base in generated(servicer):
        for name in contract(base):
            owner = next(one for one in type(servicer).__mro__ if name in vars(one))
            if owner is base:
                found.append(label(base, name))
    found.sort()
    return found


def by_module(servicer: Any) -> list[str]:
    """Solve it by the module that a bound method was written in."""
    return sorted(
        label(base, name)
        for base in generated(servicer)
        for name in contract(base)
        if getattr(servicer, name).__func__.__module__.endswith("_pb2_grpc")
    )


async def in_a_coroutine(servicer: Any) -> list[str]:
    """Give the right list to whoever awaits it."""
    return by_method(servicer)


def nothing(_servicer: Any) -> list[str]:
    """Trust everybody."""
    return []


def everything(servicer: Any) -> list[str]:
    """Trust nobody."""
    return sorted(label(base, name) for base in generated(servicer) for name in contract(base))


def has_attribute(servicer: Any) -> list[str]:
    """Ask for the name, which the base has too."""
    return sorted(
        label(base, name)
        for base in generated(servicer)
        for name in contract(base)
        if not hasattr(servicer, name)
    )


def own_class_only(servicer: Any) -> list[str]:
    """Look at the class of the object, and not at what it inherits."""
    return sorted(
        label(base, name)
        for base in generated(servicer)
        for name in contract(base)
        if name not in vars(type(servicer))
    )


def any_class(servicer: Any) -> list[str]:
    """Be content if any class but the generated one has the name, on either side of it."""
    kinds = [one for one in type(servicer).__mro__ if not one.__module__.endswith("_pb2_grpc")]
    return sorted(
        label(base, name)
        for base in generated(servicer)
        for name in contract(base)
        if not any(name in vars(kind) for kind in kinds)
    )


def first_base_only(servicer: Any) -> list[str]:
    """Look at one generated base."""
    base = generated(servicer)[0]
    kind = type(servicer)
    return sorted(label(base, n) for n in contract(base) if getattr(kind, n) is vars(base)[n])


def direct_bases_only(servicer: Any) -> list[str]:
    """Miss a generated base behind a class of the team."""
    kind = type(servicer)
    bases = [base for base in kind.__bases__ if base.__module__.endswith("_pb2_grpc")]
    return sorted(
        label(base, name)
        for base in bases
        for name in contract(base)
        if getattr(kind, name) is vars(base)[name]
    )


def orders_only(servicer: Any) -> list[str]:
    """Know one contract by heart."""
    names = ("GetOrder", "ListOrders", "PlaceOrder", "StreamOrders")
    mine = set(by_method(servicer))
    return [f"OrderService.{name}" for name in names if f"OrderService.{name}" in mine]


def helpers_too(servicer: Any) -> list[str]:
    """Take every public name of the class for a method of the contract."""
    extra = [name for name, value in vars(type(servicer)).items() if inspect.isfunction(value)]
    extra = [name for name in extra if name.islower() and not name.startswith("_")]
    return sorted(by_method(servicer) + [f"OrderService.{name}" for name in extra])


class Context:
    """A context that remembers a code."""

    code: Any = None

    def set_code(self, code: Any) -> None:
        """Remember it."""
        self.code = code

    def set_details(self, _text: str) -> None:
        """Forget it."""


def by_calling(servicer: Any) -> list[str]:
    """Call every method and see what it sets."""
    found = []
    for base in generated(servicer):
        for name in contract(base):
            context = Context()
            try:
                answer = getattr(servicer, name)(None, context)
                if inspect.isgenerator(answer):
                    list(answer)
            except NotImplementedError:
                found.append(label(base, name))
    return sorted(found)


def as_bases(servicer: Any) -> list[str]:
    """Name the class in place of the service."""
    return [name.replace("Service.", "ServiceServicer.") for name in by_method(servicer)]


def bare_names(servicer: Any) -> list[str]:
    """Leave the service out."""
    return [name.partition(".")[2] for name in by_method(servicer)]


def unsorted_list(servicer: Any) -> list[str]:
    """Return the right names in another order."""
    return by_method(servicer)[::-1]


def mend_the_class(servicer: Any) -> list[str]:
    """Give the class what it lacks, so that nothing is left out."""
    for name in by_method(servicer):
        setattr(type(servicer), name.partition(".")[2], lambda _self, _request, _context: None)
    return []


def mend_the_base(servicer: Any) -> list[str]:
    """Put another method into the generated base."""
    for name in by_method(servicer):
        method = name.partition(".")[2]
        for base in generated(servicer):
            if method in vars(base):
                setattr(base, method, lambda _self, _request, _context: None)
    return []


def mend_the_object(servicer: Any) -> list[str]:
    """Give the object what its class lacks."""
    for name in by_method(servicer):
        setattr(servicer, name.partition(".")[2], lambda _request, _context: None)
    return []


def mend_and_fail(servicer: Any) -> list[str]:
    """Give the class what it lacks, and raise where that was something."""
    missing = by_method(servicer)
    mend_the_class(servicer)
    if missing:
        raise ValueError
    return []


@pytest.mark.parametrize("answer", [by_method, by_walk, by_module, in_a_coroutine])
def test_left_out_solved(answer: Callable[[Any], list[str]]) -> None:
    """Each way to find the method that the object would use solves the exercise."""
    assert str(run_check(EXERCISE, answer)) == (
        "solved\n"
        "  what your function said and what callers read is the same\n"
        "  counts: servers 6, methods 29, left out 15"
    )


def test_left_out_stub() -> None:
    """The stub is not attempted."""

    def stub(servicer: Any) -> list[str]:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (nothing, "GetOrder of a server with a misspelt method is not in your list", "Whose is"),
        (has_attribute, "its callers read UNIMPLEMENTED", "A base class has every method"),
        (everything, "a server that has every method is in your list, and its call", "its other"),
        (own_class_only, "GetOrder of a server that inherits", "further up"),
        (any_class, "class behind the generated base is not in your list", "from left to right"),
        (first_base_only, "of an object with three services is not in your list", "all of them"),
        (direct_bases_only, "a server that inherits from a base of the team is not", "Whose is"),
        (orders_only, "of an object with three services is not in your list", "all of them"),
        (helpers_too, "OrderService.price of a server that has every method is in your", "other"),
        (by_calling, "your function called a method of the server", "could place an order"),
        (mend_the_class, "misspelt method, your function changed GetOrder", "It was put back"),
        (mend_the_base, "misspelt method, your function changed GetOrder", "It was put back"),
        (mend_the_object, "misspelt method, your function changed GetOrder", "It was put back"),
        (mend_and_fail, "raised ValueError", "in a cell of its own"),
        (as_bases, "your list holds 'OrderServiceServicer.GetOrder'", "OrderService.GetOrder"),
        (bare_names, "your list holds 'GetOrder'", "OrderService.GetOrder"),
        (unsorted_list, "not sorted", "`sorted(...)`"),
        (lambda s: by_method(s) * 2, "names a method twice", "`sorted(...)`"),
        (lambda s: set(by_method(s)), "returned an empty set", "list[str]"),
        (lambda s: by_method(s)[0], "raised IndexError", "in a cell of its own"),
    ],
)
def test_left_out_wrong(answer: Callable[[Any], Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)


@pytest.mark.parametrize("answer", [mend_the_class, mend_the_base, mend_and_fail])
def test_left_out_mends_nothing_for_the_next(answer: Callable[[Any], Any]) -> None:
    """What an answer changed in a class does not help the one after it."""
    run_check(EXERCISE, answer)
    assert_wrong(EXERCISE, nothing, "GetOrder of a server with a misspelt method", "Whose is")
