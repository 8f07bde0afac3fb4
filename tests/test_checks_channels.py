from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.lab import Lab
from labsvc.shop.services import UserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN: list[grpc.Channel] = []
"""What wrong answers leave open, as a notebook's global names would."""


@pytest.fixture(scope="module", autouse=True)
def lab() -> Iterator[Lab]:
    """Run the learner's own lab, which the checks must leave alone."""
    with Lab() as running:
        yield running


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Close the channels of wrong answers after a test; no thread of an answer runs on."""
    yield
    while OPEN:
        OPEN.pop().close()
    give_up_at = time.monotonic() + 10
    while any(thread.name == "labsvc-check" for thread in threading.enumerate()):
        assert time.monotonic() < give_up_at
        time.sleep(0.01)


def get(stub: user_pb2_grpc.UserServiceStub, user_id: str, **settings: Any) -> str:
    """Call GetUser and return the name."""
    return stub.GetUser(user_pb2.GetUserRequest(user_id=user_id), **settings).user.name


def users(channel: grpc.Channel) -> user_pb2_grpc.UserServiceStub:
    """Return a stub."""
    return user_pb2_grpc.UserServiceStub(channel)


def get_users(target: str, user_ids: list[str]) -> list[str]:
    """Solve the exercise."""
    with grpc.insecure_channel(target) as channel:
        stub = users(channel)
        return [get(stub, user_id, timeout=2) for user_id in user_ids]


async def get_users_async(target: str, user_ids: list[str]) -> list[str]:
    """Solve the exercise with grpc.aio."""
    async with grpc.aio.insecure_channel(target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        requests = [user_pb2.GetUserRequest(user_id=user_id) for user_id in user_ids]
        return [(await stub.GetUser(request, timeout=2)).user.name for request in requests]


def channel_per_call(target: str, user_ids: list[str]) -> list[str]:
    """Make a channel for each call."""
    names = []
    for user_id in user_ids:
        with grpc.insecure_channel(target) as channel:
            names.append(get(users(channel), user_id, timeout=2))
    return names


def never_closed(target: str, user_ids: list[str]) -> list[str]:
    """Keep the channel in a global name."""
    OPEN.append(grpc.insecure_channel(target))
    return [get(users(OPEN[-1]), user_id, timeout=2) for user_id in user_ids]


def closed_only_when_all_goes_well(target: str, user_ids: list[str]) -> list[str]:
    """Close on the last line."""
    OPEN.append(grpc.insecure_channel(target))
    names = [get(users(OPEN[-1]), user_id, timeout=2) for user_id in user_ids]
    OPEN[-1].close()
    return names


def no_deadline(target: str, user_ids: list[str]) -> list[str]:
    """Set no timeout."""
    with grpc.insecure_channel(target) as channel:
        return [get(users(channel), user_id) for user_id in user_ids]


def swallows_errors(target: str, user_ids: list[str]) -> list[str]:
    """Answer an unknown user with an empty name."""
    names = []
    with grpc.insecure_channel(target) as channel:
        for user_id in user_ids:
            try:
                names.append(get(users(channel), user_id, timeout=2))
            except grpc.RpcError:
                names.append("")
    return names


def hides_the_status(target: str, user_ids: list[str]) -> list[str]:
    """Raise an error of another type."""
    try:
        return get_users(target, user_ids)
    except grpc.RpcError as error:
        msg = "users cannot be reached"
        raise RuntimeError(msg) from error


def returns_messages(target: str, user_ids: list[str]) -> list[Any]:
    """Return the ids in the place of the names."""
    get_users(target, user_ids)
    return user_ids


def in_another_order(target: str, user_ids: list[str]) -> list[str]:
    """Ask each user once, in order of id."""
    return get_users(target, sorted(set(user_ids)))


@pytest.mark.parametrize("answer", [get_users, get_users_async])
def test_one_channel_solved(answer: Callable[..., Any], lab: Lab) -> None:
    """A kept channel solves the exercise, and the learner's own services go on."""
    mine = lab.serve_grpc(UserService(Store.seeded()), name="mine")
    verdict = run_check("02-one-channel", answer)
    assert str(verdict) == (
        "solved\n"
        "  one connection carried every call, and it was closed each time\n"
        "  counts: calls 6, connections 1, calls without a deadline 0, left open 0"
    )
    assert get_users(mine.target, ["u-1"]) == ["First Customer"]


def test_one_channel_stub() -> None:
    """The stub is not attempted."""

    def stub(target: str, user_ids: list[str]) -> list[str]:
        raise NotImplementedError

    assert run_check("02-one-channel", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (channel_per_call, "6 connections were opened for 6 calls", "once before the first"),
        (never_closed, "still open after your function had returned", "`with` block"),
        (closed_only_when_all_goes_well, "open after a call had failed", "`with` always closes"),
        (no_deadline, "6 of 6 calls had no deadline", "takes a timeout"),
        (swallows_errors, "returned as if all was well", "reach the caller"),
        (hides_the_status, "RuntimeError without the status NOT_FOUND", "pass as it is"),
        (returns_messages, "not their names", "reply.user.name"),
        (in_another_order, "not their names", "in the order of the ids"),
    ],
)
def test_one_channel_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("02-one-channel", answer, guarantee, hint)


def test_left_over_channel_does_not_spoil_the_next_try() -> None:
    """The right answer is solved although the wrong one before has left its channel open."""
    assert run_check("02-one-channel", never_closed).state == "not solved"
    assert run_check("02-one-channel", get_users).state == "solved"


def get_user(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str:
    """Solve the exercise."""
    return get(stub, user_id, timeout=2, wait_for_ready=True)


def loops_for_ever(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str:
    """Try again without an end."""
    while True:
        try:
            return get(stub, user_id, timeout=1)
        except grpc.RpcError:
            time.sleep(0.05)


def tries_for_two_seconds(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str:
    """Try again until the time is up, and let the last error out."""
    give_up_at = time.monotonic() + 2
    while True:
        try:
            return get(stub, user_id, timeout=1)
        except grpc.RpcError:
            if time.monotonic() > give_up_at:
                raise
            time.sleep(0.05)


def returns_none(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str | None:
    """Hide the outage behind None, when waiting has not helped."""
    try:
        return get_user(stub, user_id)
    except grpc.RpcError:
        return None


def returns_none_at_once(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str | None:
    """Hide the outage behind None."""
    try:
        return get(stub, user_id, timeout=2)
    except grpc.RpcError:
        return None


def test_outage_solved() -> None:
    """Waiting for the connection, with a deadline, solves the exercise."""
    verdict = run_check("02-outage", get_user)
    assert verdict.state == "solved"
    assert verdict.counts == {"restarts": 1, "answered": 1, "ended in time": 1}


def test_outage_stub() -> None:
    """The stub is not attempted."""

    def stub(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> str:
        raise NotImplementedError

    assert run_check("02-outage", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (lambda s, u: get(s, u, timeout=2), "failed with UNAVAILABLE", "makes it wait for one"),
        (lambda s, u: get(s, u, wait_for_ready=True), "still waiting after two", "bounds it"),
        (
            lambda s, u: get(s, u, timeout=30, wait_for_ready=True),
            "still waiting after two",
            "bounds it",
        ),
        (
            lambda s, u: get(s, u, timeout=0.2, wait_for_ready=True),
            "gave up before the server was back",
            "How many has the caller",
        ),
        (loops_for_ever, "still waiting after two", "bounds it"),
        (tries_for_two_seconds, "ended with UNAVAILABLE", "DEADLINE_EXCEEDED"),
        (returns_none, "as if it had answered", "hides the outage"),
        (returns_none_at_once, "name did not come back", "do not hide an error"),
    ],
)
def test_outage_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("02-outage", answer, guarantee, hint)


def test_check_without_a_lab_leaves_none(lab: Lab) -> None:
    """When no lab runs, the check starts one for itself and stops it."""
    lab.stop()
    assert run_check("02-one-channel", get_users).state == "solved"
    assert Lab.current() is None
