from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import replay, run_check
from labsvc.shop.v1 import user_pb2
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

OUTAGE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


class NoUserError(Exception):
    """An answer's own error."""


def get(stub: Any, user_id: str, **settings: Any) -> str:
    """Call GetUser and return the name."""
    name: str = stub.GetUser(user_pb2.GetUserRequest(user_id=user_id), **settings).user.name
    return name


def get_user(stub: Any, user_id: str) -> str:
    """Solve the exercise."""
    return get(stub, user_id, timeout=2, wait_for_ready=True)


async def in_a_thread(stub: Any, user_id: str) -> str:
    """Solve it as a coroutine function."""
    return await asyncio.to_thread(get_user, stub, user_id)


def with_an_error_of_its_own(stub: Any, user_id: str) -> str:
    """Solve it, and keep the gRPC error as the cause of another."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError as error:
        raise NoUserError(user_id) from error


def tries_within_two_seconds(stub: Any, user_id: str) -> str:
    """Solve it with a bounded loop of own tries."""
    give_up_at = time.monotonic() + 2
    while True:
        left = give_up_at - time.monotonic()
        try:
            return get(stub, user_id, timeout=left)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE or time.monotonic() + 0.05 > give_up_at:
                raise
            time.sleep(0.05)


def fails_fast(stub: Any, user_id: str) -> str:
    """Leave the default."""
    return get(stub, user_id, timeout=2)


def no_deadline(stub: Any, user_id: str) -> str:
    """Wait without a bound."""
    return get(stub, user_id, wait_for_ready=True)


def too_patient(stub: Any, user_id: str) -> str:
    """Take milliseconds for seconds, more or less."""
    return get(stub, user_id, timeout=30, wait_for_ready=True)


def too_hasty(stub: Any, user_id: str) -> str:
    """Bound the wait too tightly."""
    return get(stub, user_id, timeout=0.5, wait_for_ready=True)


def three_tries_at_once(stub: Any, user_id: str) -> str:
    """Try three times in two milliseconds."""
    for _ in range(2):
        try:
            return get(stub, user_id, timeout=2)
        except grpc.RpcError:
            pass
    return get(stub, user_id, timeout=2)


def sleeps_first(stub: Any, user_id: str) -> str:
    """Sleep through every outage, and never try again."""
    time.sleep(1.6)
    return get(stub, user_id, timeout=0.4)


def sleeps_after_the_first(stub: Any, user_id: str) -> str:
    """Sleep through the outage, and try once more."""
    try:
        return get(stub, user_id, timeout=0.2)
    except grpc.RpcError as error:
        if error.code() not in OUTAGE:
            raise
        time.sleep(1.6)
        return get(stub, user_id, timeout=0.2)


def waits_before_refusing(stub: Any, user_id: str) -> str:
    """Sleep before the error goes out, whatever it is."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError:
        time.sleep(0.4)
        raise


def asks_again_for_nobody(stub: Any, user_id: str) -> str:
    """Take every error for an outage."""
    give_up_at = time.monotonic() + 2
    while True:
        try:
            return get(stub, user_id, timeout=0.5)
        except grpc.RpcError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def loops_for_ever(stub: Any, user_id: str) -> str:
    """Try again without an end."""
    while True:
        try:
            return get(stub, user_id, timeout=1)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE:
                raise
            time.sleep(0.05)


def a_second_for_each_try(stub: Any, user_id: str) -> str:
    """Bound each try, and look at the clock too late."""
    give_up_at = time.monotonic() + 2
    while True:
        try:
            return get(stub, user_id, timeout=1.5)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE or time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def a_deadline_for_each_try(stub: Any, user_id: str) -> str:
    """Try again while the time is not up, and give each try all of the time."""
    give_up_at = time.monotonic() + 1.9
    while True:
        try:
            return get(stub, user_id, timeout=2)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE or time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def half_a_second_too_patient(stub: Any, user_id: str) -> str:
    """Add the half second to the two."""
    return get(stub, user_id, timeout=2.5, wait_for_ready=True)


def no_time_for_the_return(stub: Any, user_id: str) -> str:
    """Wait for the outage, and not for the answer after it."""
    return get(stub, user_id, timeout=1.5, wait_for_ready=True)


def looks_now_and_then(stub: Any, user_id: str) -> str:
    """Try again every .8 seconds."""
    for _ in range(2):
        try:
            return get(stub, user_id, timeout=0.2)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE:
                raise
            time.sleep(0.8)
    return get(stub, user_id, timeout=0.2)


SEEN: dict[str, str] = {}


def keeps_the_answer(stub: Any, user_id: str) -> str:
    """Answer from memory, and wait for nothing."""
    if user_id not in SEEN:
        SEEN[user_id] = get(stub, user_id, timeout=2)
    return SEEN[user_id]


def bounds_the_result_only(stub: Any, user_id: str) -> str:
    """Stop waiting, and lose the gRPC error."""
    request = user_pb2.GetUserRequest(user_id=user_id)
    call = stub.GetUser.future(request, wait_for_ready=True)
    name: str = call.result(timeout=1.9).user.name
    return name


def returns_none(stub: Any, user_id: str) -> str | None:
    """Hide the outage behind None."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError as error:
        if error.code() not in OUTAGE:
            raise
        return None


def returns_an_empty_name(stub: Any, user_id: str) -> str:
    """Hide every error behind a value."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError:
        return ""


def hides_the_cause(stub: Any, user_id: str) -> str:
    """Drop the gRPC error."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError:
        raise NoUserError(user_id) from None


def hard_coded(stub: Any, user_id: str) -> str:
    """Return the name of the shop's first user."""
    get_user(stub, user_id)
    return "First Customer"


def always_the_same(stub: Any, _user_id: str) -> str:
    """Ask for the user of the other cells."""
    return get_user(stub, "u-1")


def again(stub: Any, user_id: str, then: Callable[[], str]) -> str:
    """Ask, and do something else if the connection breaks while there is time; no outage shows it.

    In an outage, `get_user` waits.
    """
    began = time.monotonic()
    try:
        return get_user(stub, user_id)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() - began > 1:
            raise
        return then()


def asks_again_once(stub: Any, user_id: str) -> str:
    """Solve it with one further try, in the time that the first has left."""
    give_up_at = time.monotonic() + 2

    def rest() -> str:
        left = give_up_at - time.monotonic()
        return get(stub, user_id, timeout=left, wait_for_ready=True)

    return again(stub, user_id, rest)


def makes_up_a_name(stub: Any, user_id: str) -> str:
    """Hide a lost connection behind a value."""
    return again(stub, user_id, lambda: "unknown")


def hides_what_was_lost(stub: Any, user_id: str) -> str:
    """Replace the status of a lost connection."""

    def fail() -> str:
        raise NoUserError(user_id) from None

    return again(stub, user_id, fail)


def asks_again_for_another(stub: Any, user_id: str) -> str:
    """Mix up the arguments in the second try."""
    return again(stub, user_id, lambda: get_user(stub, "u-1"))


def asks_again_without_an_end(stub: Any, user_id: str) -> str:
    """Forget the deadline of the second try."""
    return again(stub, user_id, lambda: get(stub, user_id, wait_for_ready=True))


def two_seconds_for_each_try(stub: Any, user_id: str) -> str:
    """Give the second try the two seconds of the first."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError as error:
        if error.code() is not grpc.StatusCode.UNAVAILABLE:
            raise
        return get_user(stub, user_id)


@pytest.mark.parametrize(
    "answer",
    [asks_again_once, get_user, in_a_thread, with_an_error_of_its_own, tries_within_two_seconds],
)
def test_outage_solved(answer: Callable[..., Any]) -> None:
    """Waiting for the connection and own tries within the time both solve the exercise."""
    assert_solved("21-outage", answer)


def test_outage_counts() -> None:
    """The counts say what was tried."""
    verdict = run_check("21-outage", get_user)
    assert verdict.counts == {"restarts": 2, "cases": 13}


def test_outage_replay(capsys: pytest.CaptureFixture[str]) -> None:
    """A case that broke can be run again: an outage, and a fault of the sweep."""
    assert run_check("21-outage", fails_fast).state == "not solved"
    replay("21-outage")
    told = capsys.readouterr().out
    assert "nothing went wrong" in told
    assert "broke: the call failed with UNAVAILABLE" in told
    assert run_check("21-outage", makes_up_a_name).state == "not solved"
    replay("21-outage")
    told = capsys.readouterr().out
    assert "request 1 of GetUser was lost" in told
    assert "broke: your function returned something else" in told


def test_outage_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: Any, user_id: str) -> str:
        raise NotImplementedError

    assert_not_attempted("21-outage", stub)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (fails_fast, "failed with UNAVAILABLE", "keyword makes it wait"),
        (three_tries_at_once, "asked for it again and again", "codes does an outage have"),
        (no_deadline, "still waiting after two", "bounds all of it"),
        (too_patient, "still waiting after two", "bounds all of it"),
        (too_hasty, "gave up before the server was back", "How many has the caller"),
        (sleeps_first, "the server was up, and your function waited", "not for a fixed time"),
        (sleeps_after_the_first, "went on waiting", "not for a fixed time"),
        (waits_before_refusing, "waited before it said so", "Only an outage"),
        (asks_again_for_nobody, "again and again", "NOT_FOUND stays NOT_FOUND"),
        (loops_for_ever, "still waiting after two", "bounds all of it"),
        (a_second_for_each_try, "the server silent, and your function was still", "all of it"),
        (a_deadline_for_each_try, "refused at first, then it was silent", "all of it"),
        (half_a_second_too_patient, "still waiting after two", "bounds all of it"),
        (no_time_for_the_return, "gave up before the server was back", "How many has the caller"),
        (looks_now_and_then, "went on waiting", "not for a fixed time"),
        (keeps_the_answer, "failed with UNAVAILABLE", "keyword makes it wait"),
        (bounds_the_result_only, "the caller read FutureTimeoutError", "as the cause"),
        (returns_none, "returned None", "return"),
        (returns_an_empty_name, "returned as if there was", "reach the caller"),
        (makes_up_a_name, "request 1 of GetUser was lost: your function returned", "made-up"),
        (hides_what_was_lost, "was lost: the call went wrong, and the caller read NoUser", "cause"),
        (asks_again_for_another, "the caller read NOT_FOUND", "the last call"),
        (
            asks_again_without_an_end,
            "given up: the call went wrong, and your function",
            "all of it",
        ),
        (two_seconds_for_each_try, "silent at first, then it refused", "bounds all of it"),
        (hides_the_cause, "the caller read NoUserError", "raise ... from error"),
        (hard_coded, "the user's name did not come back", "`user_id` that you were given"),
        (always_the_same, "asked for another: NOT_FOUND", "`user_id` that you were given"),
    ],
)
def test_outage_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("21-outage", answer, guarantee, hint)


def three_tries_in_an_outage(stub: Any, user_id: str) -> str:
    """Try three times in two milliseconds, and only in an outage."""
    for _ in range(2):
        try:
            return get(stub, user_id, timeout=2)
        except grpc.RpcError as error:
            if error.code() not in OUTAGE:
                raise
    return get(stub, user_id, timeout=2)


def test_three_quick_tries_do_not_bridge_an_outage() -> None:
    """Trying again at once is no wait."""
    assert_wrong(
        "21-outage", three_tries_in_an_outage, "failed with UNAVAILABLE", "keyword makes it wait"
    )
