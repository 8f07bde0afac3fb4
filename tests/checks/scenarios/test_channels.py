from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.checks.asking import wait
from labsvc.checks.scenarios import channels
from labsvc.lab import Lab
from labsvc.shop.services import AioUserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc
from tests.wrong_answer import assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

OPEN: list[grpc.Channel] = []
"""What wrong answers leave open, as a notebook's global names would."""


pytestmark = pytest.mark.usefixtures("answers_have_ended")


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Close the channels of wrong answers after a test."""
    yield
    while OPEN:
        OPEN.pop().close()


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


def left_to_the_garbage_collector(target: str, user_ids: list[str]) -> list[str]:
    """Close nothing, and trust that nobody else holds the channel."""
    stub = users(grpc.insecure_channel(target))
    return [get(stub, user_id, timeout=2) for user_id in user_ids]


def hard_coded(target: str, user_ids: list[str]) -> list[str]:
    """Return the names of the shop."""
    known = {"u-1": "First Customer", "u-2": "Zweiter Käufer", "u-3": "第三位顾客"}
    get_users(target, user_ids)
    return [known[user_id] for user_id in user_ids]


def yields(target: str, user_ids: list[str]) -> Any:
    """Write a generator for a list."""
    yield from get_users(target, user_ids)


def asks_for_ever(target: str, user_ids: list[str]) -> list[str]:
    """Try again whatever the server says."""
    while True:
        try:
            return get_users(target, user_ids)
        except grpc.RpcError:
            time.sleep(0.05)


def get_users_at_once(target: str, user_ids: list[str]) -> list[str]:
    """Solve the exercise with calls that are all under way at the same time."""
    channel = grpc.insecure_channel(target)
    try:
        stub = users(channel)
        requests = [user_pb2.GetUserRequest(user_id=user_id) for user_id in user_ids]
        calls = [stub.GetUser.future(request, timeout=2) for request in requests]
        return [call.result().user.name for call in calls]
    finally:
        channel.close()


async def get_users_in_a_group(target: str, user_ids: list[str]) -> list[str]:
    """Solve the exercise with a group of tasks, which cancels the others when one fails."""

    async def name(stub: Any, user_id: str) -> str:
        reply = await stub.GetUser(user_pb2.GetUserRequest(user_id=user_id), timeout=2)
        return str(reply.user.name)

    try:
        async with grpc.aio.insecure_channel(target) as channel, asyncio.TaskGroup() as group:
            stub = user_pb2_grpc.UserServiceStub(channel)
            tasks = [group.create_task(name(stub, user_id)) for user_id in user_ids]
    except* grpc.RpcError as failed:
        error = failed.exceptions[0]
    else:
        return [task.result() for task in tasks]
    raise error


class Names:
    """Solve the exercise with an object, and a method that is called by its name."""

    method = "/labsvc.shop.v1.UserService/GetUser"

    def __call__(self, target: str, user_ids: list[str]) -> list[str]:
        """Open, ask and close."""
        with ExitStack() as stack:
            channel = stack.enter_context(grpc.insecure_channel(target))
            call: Any = channel.unary_unary(
                self.method,
                request_serializer=user_pb2.GetUserRequest.SerializeToString,
                response_deserializer=user_pb2.GetUserResponse.FromString,
            )
            requests = (user_pb2.GetUserRequest(user_id=user_id) for user_id in user_ids)
            return [reply.user.name for reply in map(partial(call, timeout=60), requests)]


def swallows_errors(target: str, user_ids: list[str]) -> list[str]:
    """Answer for an unknown user with an empty name."""
    names = []
    with grpc.insecure_channel(target) as channel:
        for user_id in user_ids:
            try:
                names.append(get(users(channel), user_id, timeout=2))
            except grpc.RpcError:
                names.append("")
    return names


def drops_duplicates(target: str, user_ids: list[str]) -> list[str]:
    """Ask once for an id that is there twice."""
    return get_users(target, list(dict.fromkeys(user_ids)))


def hides_the_status(target: str, user_ids: list[str]) -> list[str]:
    """Raise an error of another type."""
    try:
        return get_users(target, user_ids)
    except grpc.RpcError as error:
        msg = "users cannot be reached"
        raise RuntimeError(msg) from error


class RefusedError(grpc.RpcError):
    """An error made anew, with the same code."""

    def code(self) -> grpc.StatusCode:
        """Return the code of the first error that the server may send."""
        return grpc.StatusCode.NOT_FOUND


def makes_the_error_anew(target: str, user_ids: list[str]) -> list[str]:
    """Keep the code and lose what the server said."""
    try:
        return get_users(target, user_ids)
    except grpc.RpcError:
        raise RefusedError from None


def lets_only_not_found_out(target: str, user_ids: list[str]) -> list[str]:
    """Swallow every other error."""
    try:
        return get_users(target, user_ids)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise
        return []


def takes_seconds_for_milliseconds(target: str, user_ids: list[str]) -> list[str]:
    """Give each call more than an hour."""
    with grpc.insecure_channel(target) as channel:
        return [get(users(channel), user_id, timeout=5000) for user_id in user_ids]


def closes_too_early(target: str, user_ids: list[str]) -> list[str]:
    """Read the answers when the channel is closed."""
    with grpc.insecure_channel(target) as channel:
        requests = [user_pb2.GetUserRequest(user_id=user_id) for user_id in user_ids]
        calls = [users(channel).GetUser.future(request, timeout=2) for request in requests]
    return [call.result().user.name for call in calls]


def in_the_order_of_the_answers(target: str, user_ids: list[str]) -> list[str]:
    """Take each name as it comes."""
    with grpc.insecure_channel(target) as channel, ThreadPoolExecutor(2) as pool:
        stub = users(channel)
        calls = [pool.submit(get, stub, user_id, timeout=2) for user_id in user_ids]
        return [call.result() for call in as_completed(calls)]


def returns_messages(target: str, user_ids: list[str]) -> list[Any]:
    """Return the ids in the place of the names."""
    get_users(target, user_ids)
    return user_ids


def in_another_order(target: str, user_ids: list[str]) -> list[str]:
    """Ask each user once, in order of id."""
    return get_users(target, sorted(set(user_ids)))


@pytest.mark.parametrize(
    "answer", [get_users, get_users_async, get_users_at_once, get_users_in_a_group, Names()]
)
def test_one_channel_solved(answer: Callable[..., Any], lab: Lab) -> None:
    """A kept channel solves the exercise, and the learner's own services go on."""
    mine = lab.serve_grpc(AioUserService(Store.seeded()), name="mine")
    verdict = run_check("20-one-channel", answer)
    assert verdict.state == "solved", verdict
    assert verdict.counts["connections"] == 1
    assert get_users(mine.target, ["u-1"]) == ["First Customer"]


def test_one_channel_stub() -> None:
    """The stub is not attempted."""

    def stub(target: str, user_ids: list[str]) -> list[str]:
        raise NotImplementedError

    assert run_check("20-one-channel", stub).state == "not attempted"


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (channel_per_call, "6 connections were opened for 6 calls", "once before the first"),
        (never_closed, "still open after your function had returned", "`with` block"),
        (left_to_the_garbage_collector, "still open after your function", "has a close()"),
        (hard_coded, "other names", "reply.user.name"),
        (drops_duplicates, "other names came back", "for each id"),
        (yields, "returned a generator", "finished value"),
        (asks_for_ever, "did not return", "NOT_FOUND stays"),
        (closed_only_when_all_goes_well, "open after a call had failed", "`with` always closes"),
        (no_deadline, "6 of 6 calls had no deadline", "takes a timeout"),
        (swallows_errors, "returned as if all was well", "reach the caller"),
        (makes_the_error_anew, "the caller got RefusedError for it", "its details"),
        (lets_only_not_found_out, "failed with PERMISSION_DENIED, and your", "reach the caller"),
        (takes_seconds_for_milliseconds, "more than a minute", "in seconds"),
        (closes_too_early, "calls were cancelled", "still open when the last answer"),
        (in_the_order_of_the_answers, "in another order", "in the order of the ids"),
        (hides_the_status, "the caller got RuntimeError for it", "pass as it is"),
        (returns_messages, "other names", "reply.user.name"),
        (in_another_order, "other names", "in the order of the ids"),
    ],
)
def test_one_channel_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("20-one-channel", answer, guarantee, hint)


def _more_than(things: list[Any], count: int) -> bool:
    return len(things) > count


def test_the_last_call_is_answered_first(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two calls under way the second is answered first."""
    monkeypatch.setattr(channels, "STEP", 0.4)
    asked = channels._Users()
    service = lab.serve_grpc(asked, name="last first")
    answered: list[str] = []
    with grpc.insecure_channel(service.target) as channel:
        for user_id in ("u-1", "u-2"):
            before = len(asked.limits)
            call = users(channel).GetUser.future(user_pb2.GetUserRequest(user_id=user_id))
            call.add_done_callback(lambda done: answered.append(done.result().user.user_id))
            assert wait(partial(_more_than, asked.limits, before), 5)
            time.sleep(0.1)  # so that the first would be well before the second
        assert wait(lambda: len(answered) == 2, 5)
    assert answered == ["u-2", "u-1"]


def test_left_over_channel_does_not_spoil_the_next_try() -> None:
    """The right answer is solved although the wrong one before has left its channel open."""
    assert run_check("20-one-channel", never_closed).state == "not solved"
    assert run_check("20-one-channel", get_users).state == "solved"


def test_check_without_a_lab_leaves_none(lab: Lab) -> None:
    """When no lab runs, the check starts one for itself and stops it."""
    lab.stop()
    assert run_check("20-one-channel", get_users).state == "solved"
    assert Lab.current() is None
