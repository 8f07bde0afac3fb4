from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import grpc
import pytest

from labsvc.rpc.breaker import CircuitBreaker, CircuitOpenError
from labsvc.rpc.retry_budget import RetryBudget


class Failed(grpc.RpcError):
    """An error of a call, with a code."""

    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        """Return the code."""
        return self._code

    def details(self) -> str:
        """Return nothing of interest."""
        return ""


class Clock:
    """A clock that goes when it is told to."""

    time = 0.0

    def __call__(self) -> float:
        """Return the time."""
        return self.time


DOWN = Failed(grpc.StatusCode.UNAVAILABLE)


def call(breaker: CircuitBreaker, error: BaseException | None = None) -> bool:
    """Make one call that ends so; return whether it was made."""
    made = False
    try:
        with breaker.guard():
            made = True
            if error is not None:
                raise error
    except (CircuitOpenError, grpc.RpcError, OSError, asyncio.CancelledError):
        pass
    return made


def test_opens_after_failures_in_a_row() -> None:
    """Three failures open it, and no further call is made."""
    breaker = CircuitBreaker(failures=3, pause=10)
    assert [call(breaker, DOWN) for _ in range(10)] == [True] * 3 + [False] * 7
    assert breaker.state == "open"


def test_a_success_in_between_starts_the_count_anew() -> None:
    """Only failures in a row count."""
    breaker = CircuitBreaker(failures=2, pause=10)
    for error in (DOWN, None, DOWN, None, DOWN):
        assert call(breaker, error)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "error",
    [
        Failed(grpc.StatusCode.NOT_FOUND),
        Failed(grpc.StatusCode.CANCELLED),
        OSError("not a call"),
        asyncio.CancelledError(),
        grpc.RpcError("without a code"),
    ],
    ids=repr,
)
def test_what_is_no_failure_of_the_server(error: BaseException) -> None:
    """An answer that says no, a caller that left and a bug here do not open it."""
    breaker = CircuitBreaker(failures=1, pause=10)
    assert call(breaker, error)
    assert breaker.state == "closed"


@pytest.mark.parametrize(
    "name",
    [
        "DATA_LOSS",
        "DEADLINE_EXCEEDED",
        "INTERNAL",
        "RESOURCE_EXHAUSTED",
        "UNAVAILABLE",
        "UNKNOWN",
    ],
)
def test_what_is_a_failure_of_the_server(name: str) -> None:
    """Indefinite codes count."""
    breaker = CircuitBreaker(failures=1, pause=10)
    call(breaker, Failed(grpc.StatusCode[name]))
    assert breaker.state == "open"


def test_one_call_tries_after_the_pause() -> None:
    """A half-open breaker lets one call through; its end decides."""
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=10, now=clock)
    call(breaker, DOWN)
    clock.time = 9.9
    assert not call(breaker)
    clock.time = 10
    states: list[str] = [breaker.state]
    with breaker.guard():
        assert not call(breaker)
    states.append(breaker.state)
    assert states == ["half-open", "closed"]
    assert call(breaker)


def test_a_failed_try_opens_for_another_pause() -> None:
    """One failure is enough when half-open, whatever `failures` says."""
    clock = Clock()
    breaker = CircuitBreaker(failures=3, pause=10, now=clock)
    for _ in range(3):
        call(breaker, DOWN)
    clock.time = 10
    assert call(breaker, DOWN)
    assert not call(breaker)
    clock.time = 20
    assert call(breaker)
    assert breaker.state == "closed"


def test_a_try_that_says_nothing_leaves_the_place_to_the_next() -> None:
    """A cancelled try neither closes the breaker nor blocks it for ever."""
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=10, now=clock)
    call(breaker, DOWN)
    clock.time = 10
    assert call(breaker, asyncio.CancelledError())
    assert breaker.state == "half-open"
    assert call(breaker)


def test_a_late_end_of_an_early_call_decides_nothing() -> None:
    """A call that began while the breaker was closed does not close it after it has opened."""
    breaker = CircuitBreaker(failures=1, pause=10)
    with breaker.guard():
        call(breaker, DOWN)
    assert breaker.state == "open"


def test_threads_get_one_try_among_them() -> None:
    """Of eight threads at a half-open breaker one makes its call."""
    clock = Clock()
    breaker = CircuitBreaker(failures=1, pause=10, now=clock)
    call(breaker, DOWN)
    clock.time = 10
    both = Barrier(8)

    def work() -> bool:
        both.wait(5)
        try:
            with breaker.guard():
                all_asked.wait(5)
        except CircuitOpenError:
            all_asked.wait(5)
            return False
        return True

    all_asked = Barrier(8)
    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(lambda _: work(), range(8))) == 1


def test_the_error_is_one_of_grpc() -> None:
    """A caller that handles UNAVAILABLE handles an open breaker."""
    breaker = CircuitBreaker(failures=1, pause=10)
    call(breaker, DOWN)
    with pytest.raises(grpc.RpcError) as caught, breaker.guard():
        pass
    assert isinstance(caught.value, CircuitOpenError)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "was not made" in caught.value.details()


def test_breaker_out_of_bounds() -> None:
    """A breaker that never closes or always opens is refused."""
    for failures, pause in ((0, 1.0), (1, 0.0)):
        with pytest.raises(ValueError, match="failures must be 1 or more"):
            CircuitBreaker(failures=failures, pause=pause)


def test_budget_bounds_the_extra_tries() -> None:
    """When all fails, 100 calls cause the reserve and a tenth, not 200 extra tries."""
    budget = RetryBudget(ratio=0.1, reserve=10)
    extra = 0
    for _ in range(100):
        budget.earn()
        extra += budget.spend() + budget.spend()
    assert extra == pytest.approx(20, abs=1)


def test_budget_never_holds_more_than_its_reserve() -> None:
    """A long quiet time does not save up a storm."""
    budget = RetryBudget(ratio=1, reserve=3)
    for _ in range(100):
        budget.earn()
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


@pytest.mark.parametrize(("ratio", "reserve"), [(-0.1, 10), (1.1, 10), (0.1, 0)])
def test_budget_out_of_bounds(ratio: float, reserve: float) -> None:
    """A budget that bounds nothing is refused."""
    with pytest.raises(ValueError, match="ratio must be 0 to 1"):
        RetryBudget(ratio, reserve)
