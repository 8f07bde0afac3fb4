from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LATE = grpc.StatusCode.DEADLINE_EXCEEDED
AGAIN = {grpc.StatusCode.UNAVAILABLE, LATE}


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab."""
    with Lab() as running:
        yield running


def get_user(context: Any, stub: Any, request: Any) -> Any:
    """Solve the exercise."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    return stub.GetUser(request, timeout=left)


def get_user_with_a_spent_timeout(context: Any, stub: Any, request: Any) -> Any:
    """Solve it with a timeout in the past, which sends nothing."""
    return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))


def sends_no_deadline(context: Any, stub: Any, request: Any) -> Any:
    """Forget the timeout."""
    return stub.GetUser(request)


def fixed_timeout(context: Any, stub: Any, request: Any) -> Any:
    """Take two seconds whatever the caller has."""
    return stub.GetUser(request, timeout=2)


def keeps_nothing(context: Any, stub: Any, request: Any) -> Any:
    """Pass on all that is left."""
    return stub.GetUser(request, timeout=min(context.time_remaining(), 2))


def stingy(context: Any, stub: Any, request: Any) -> Any:
    """Give a fixed short time."""
    return stub.GetUser(request, timeout=0.5)


def returns_nothing(context: Any, stub: Any, request: Any) -> Any:
    """Forget the return."""
    get_user(context, stub, request)


def no_cap(context: Any, stub: Any, request: Any) -> Any:
    """Trust time_remaining()."""
    return stub.GetUser(request, timeout=context.time_remaining() - 0.2)


def large_cap(context: Any, stub: Any, request: Any) -> Any:
    """Cap at an hour."""
    return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 3600))


def asks_all_the_same(context: Any, stub: Any, request: Any) -> Any:
    """Give what is left less the margin, and some minimum."""
    return stub.GetUser(request, timeout=max(0.09, min(context.time_remaining() - 0.2, 2)))


def another_status(context: Any, stub: Any, request: Any) -> Any:
    """Refuse with a status that says something else."""
    if context.time_remaining() < 0.2:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no time")
    return get_user(context, stub, request)


def raises(context: Any, stub: Any, request: Any) -> Any:
    """Fail for a reason of its own."""
    msg = "oops"
    raise KeyError(msg)


@pytest.mark.parametrize("answer", [get_user, get_user_with_a_spent_timeout])
def test_pass_on_solved(answer: Callable[..., Any]) -> None:
    """Passing on what is left solves the exercise; a spent timeout refuses as well."""
    verdict = run_check("03-pass-on", answer)
    assert str(verdict) == (
        "solved\n"
        "  each call got what its caller had left, and the one that came too late was refused\n"
        "  counts: calls 3, asked 2"
    )


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (sends_no_deadline, "without a deadline", "takes a timeout"),
        (fixed_timeout, "more time than the caller had", "Ask the context"),
        (keeps_nothing, "nothing was kept", "0.2 seconds off"),
        (stingy, "far less time than there was", "less 0.2"),
        (returns_nothing, "and the caller got", "Return what"),
        (no_cap, "a caller without a deadline got DEADLINE_EXCEEDED", "Cap it"),
        (large_cap, "more than 2 seconds", "smaller of two"),
        (asks_all_the_same, "asked all the same", "end the handler"),
        (another_status, "got RESOURCE_EXHAUSTED", "context.abort"),
        (raises, "raised KeyError", "cell of its own"),
        (lambda context, stub: (context, stub), "cannot be called", "first line of the stub"),
    ],
)
def test_pass_on_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("03-pass-on", answer, guarantee, hint)


def get_patiently(stub: Any, request: Any, budget: float) -> Any:
    """Solve the exercise."""
    until = time.monotonic() + budget
    for attempt in range(5):
        try:
            return stub.GetUser(request, timeout=min(0.3, until - time.monotonic()))
        except grpc.RpcError as error:
            left = until - time.monotonic()
            if error.code() not in AGAIN or attempt == 4 or left < 0.05:
                raise
    return None


def with_a_pause(stub: Any, request: Any, budget: float) -> Any:
    """Solve it with a pause between two tries."""
    until = time.monotonic() + budget
    for attempt in range(5):
        try:
            return stub.GetUser(request, timeout=min(0.3, until - time.monotonic()))
        except grpc.RpcError as error:
            left = until - time.monotonic() - 0.02
            if error.code() not in AGAIN or attempt == 4 or left < 0.05:
                raise
            time.sleep(0.02)
    return None


def retry(
    stub: Any,
    request: Any,
    *,
    tries: int,
    timeout: float | None,
    again: Any = AGAIN,
    last: Any = None,
) -> Any:
    """Make tries that know nothing of each other."""
    for attempt in range(tries):
        try:
            return stub.GetUser(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() not in again:
                raise
            if attempt == tries - 1 and last is None:
                raise
    return last


def ignores_the_budget(stub: Any, request: Any, budget: float) -> Any:
    """Make five tries of 0.3 s."""
    return retry(stub, request, tries=5, timeout=0.3)


def all_for_one(stub: Any, request: Any, budget: float) -> Any:
    """Give each try the whole budget."""
    return retry(stub, request, tries=5, timeout=budget)


def no_deadline(stub: Any, request: Any, budget: float) -> Any:
    """Give no try a timeout."""
    return retry(stub, request, tries=5, timeout=None)


def retries_everything(stub: Any, request: Any, budget: float) -> Any:
    """Try again whatever came back."""
    return retry(stub, request, tries=5, timeout=0.3, again=set(grpc.StatusCode))


def never_again(stub: Any, request: Any, budget: float) -> Any:
    """Make one try."""
    return retry(stub, request, tries=1, timeout=0.3)


def unavailable_only(stub: Any, request: Any, budget: float) -> Any:
    """Give up on the first timeout."""
    return retry(stub, request, tries=5, timeout=0.3, again={grpc.StatusCode.UNAVAILABLE})


def last_try_too_long(stub: Any, request: Any, budget: float) -> Any:
    """Look at the clock before a try, and give it the full time all the same."""
    until = time.monotonic() + budget
    while True:
        try:
            return stub.GetUser(request, timeout=0.3)
        except grpc.RpcError as error:
            if error.code() not in AGAIN or until - time.monotonic() < 0.05:
                raise


def no_count(stub: Any, request: Any, budget: float) -> Any:
    """Try until the time is up."""
    until = time.monotonic() + budget
    while True:
        try:
            return stub.GetUser(request, timeout=min(0.3, until - time.monotonic()))
        except grpc.RpcError as error:
            if error.code() not in AGAIN or until - time.monotonic() < 0.05:
                raise


def swallows(stub: Any, request: Any, budget: float) -> Any:
    """Return None at the end."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise
        return None


def fails(stub: Any, request: Any, budget: float) -> Any:
    """Fail for a reason of its own."""
    return budget["seconds"]  # type: ignore[index]


@pytest.mark.parametrize("answer", [get_patiently, with_a_pause])
def test_budget_solved(answer: Callable[..., Any]) -> None:
    """One deadline over all tries solves the exercise."""
    verdict = run_check("03-budget", answer)
    assert str(verdict) == (
        "solved\n"
        "  the tries stayed within the budget, and what cannot be mended was not tried again\n"
        "  counts: tries in the budget 3, tries in all 5"
    )


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (ignores_the_budget, "after the budget was used up", "Look at the clock"),
        (all_for_one, "more than 0.3 seconds", "leaves nothing"),
        (no_deadline, "had no deadline", "each try a timeout"),
        (retries_everything, "does not exist", "Raise at once"),
        (never_again, "no answer came back", "worth another try"),
        (unavailable_only, "with time to spare", "while the budget lasts"),
        (last_try_too_long, "more time than the budget had left", "whichever is less"),
        (no_count, "asked more than 5 times", "Count the tries"),
        (swallows, "the caller did not get DEADLINE_EXCEEDED", "Raise the last"),
        (fails, "raised TypeError", "cell of its own"),
    ],
)
def test_budget_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("03-budget", answer, guarantee, hint)


@pytest.mark.parametrize("exercise_id", ["03-pass-on", "03-budget"])
def test_stub(exercise_id: str) -> None:
    """The stub is not attempted."""

    def stub(first: Any, second: Any, third: Any) -> None:
        raise NotImplementedError

    assert run_check(exercise_id, stub).state == "not attempted"
