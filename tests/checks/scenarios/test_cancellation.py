from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.rpc import deadline
from labsvc.shop.v1 import order_pb2, user_pb2
from tests.wrong_answer import assert_not_attempted, assert_solved, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

EXERCISE = "23-two-calls"
OK = grpc.StatusCode.OK


def start(context: Any, users: Any, orders: Any, user_id: str, **settings: Any) -> list[Any]:
    """Start both calls, with what is left less 0.1 s and at most 2 s."""
    settings = {"timeout": min(context.time_remaining() - 0.1, 2)} | settings
    return [
        users.GetUser.future(user_pb2.GetUserRequest(user_id=user_id), **settings),
        orders.ListOrders.future(order_pb2.ListOrdersRequest(user_id=user_id), **settings),
    ]


def stop(calls: list[Any]) -> None:
    """Cancel all."""
    for call in calls:
        call.cancel()


def tie(context: Any, calls: list[Any]) -> None:
    """Cancel all when the caller leaves, or now if it has left."""
    for call in calls:
        if not context.add_callback(call.cancel):
            call.cancel()


def answers(context: Any, calls: list[Any]) -> tuple[Any, ...]:
    """Wait for all; end the handler with the status of the first that failed."""
    for call in calls:
        if call.code() is not OK:
            context.abort(call.code(), call.details())
    return tuple(call.result() for call in calls)


def load_page(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Solve the exercise."""
    calls = start(context, users, orders, user_id)
    try:
        tie(context, calls)
        return answers(context, calls)
    finally:
        stop(calls)


def with_the_module(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Solve it with `cancel_with`, and tie each call as soon as it has started."""
    left = deadline.Deadline.of(context, cap=2.1)
    ask_user = user_pb2.GetUserRequest(user_id=user_id)
    ask_orders = order_pb2.ListOrdersRequest(user_id=user_id)
    user = users.GetUser.future(ask_user, timeout=left.timeout(margin=0.1))
    deadline.cancel_with(context, user)
    listing = orders.ListOrders.future(ask_orders, timeout=left.timeout(margin=0.1))
    deadline.cancel_with(context, listing)
    try:
        return user.result(), listing.result()
    except grpc.RpcError as error:
        code, text = error.code(), error.details()
    except grpc.FutureCancelledError:
        code, text = grpc.StatusCode.CANCELLED, "the caller has left"
    finally:
        stop([user, listing])
    return context.abort(code, text)


def by_looking(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Solve it with a loop that looks whether the caller is there, and a list for the pair."""
    calls = start(context, users, orders, user_id)
    try:
        while not all(call.done() for call in calls):
            if not context.is_active():
                context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
            if any(call.done() and call.code() is not OK for call in calls):
                break
            time.sleep(0.005)
        failed = [call for call in calls if call.done() and call.code() is not OK]
        return list(answers(context, failed or calls))
    finally:
        stop(calls)


def ties_only(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Solve it with the callback alone, which runs whenever the call of the caller is over."""
    calls = start(context, users, orders, user_id)
    context.add_callback(lambda: stop(calls))
    if not context.is_active():
        stop(calls)
    codes = [call.code() for call in calls]
    for code in codes:
        if code is not OK:
            context.abort(code, "")
    return tuple(call.result() for call in calls)


def one_after_the_other(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Wait for the user before it asks for the orders."""
    left = min(context.time_remaining() - 0.1, 2)
    user = users.GetUser(user_pb2.GetUserRequest(user_id=user_id), timeout=left)
    listing = orders.ListOrders(order_pb2.ListOrdersRequest(user_id=user_id), timeout=left)
    return user, listing


def in_threads(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Make blocking calls in threads, which nobody can cancel."""
    left = min(context.time_remaining() - 0.1, 2)
    with ThreadPoolExecutor(2) as pool:
        user = pool.submit(users.GetUser, user_pb2.GetUserRequest(user_id=user_id), timeout=left)
        ask_orders = order_pb2.ListOrdersRequest(user_id=user_id)
        listing = pool.submit(orders.ListOrders, ask_orders, timeout=left)
        try:
            return user.result(), listing.result()
        except grpc.RpcError as error:
            return context.abort(error.code(), error.details())


def asks_one(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Forget the orders."""
    left = min(context.time_remaining() - 0.1, 2)
    return users.GetUser(user_pb2.GetUserRequest(user_id=user_id), timeout=left), None


def with_settings(**settings: Any) -> Callable[..., Any]:
    """Return an answer that gives its calls these settings, whatever the caller has."""

    def answer(context: Any, users: Any, orders: Any, user_id: str) -> Any:
        calls = start(context, users, orders, user_id, **settings)
        tie(context, calls)
        return answers(context, calls)

    return answer


def with_timeout(choose: Callable[[float], float]) -> Callable[..., Any]:
    """Return an answer whose calls get a timeout that is chosen from what is left."""

    def answer(context: Any, users: Any, orders: Any, user_id: str) -> Any:
        timeout = choose(context.time_remaining())
        calls = start(context, users, orders, user_id, timeout=timeout)
        tie(context, calls)
        return answers(context, calls)

    return answer


def loses_the_status(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Let an RpcError leave the handler."""
    calls = start(context, users, orders, user_id)
    tie(context, calls)
    return tuple(call.result() for call in calls)


def looks_at_the_first(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Hand on the status of the user's call only."""
    calls = start(context, users, orders, user_id)
    tie(context, calls)
    answers(context, calls[:1])
    return tuple(call.result() for call in calls)


def leaves_the_other(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Look whether the caller is there; abort for the first failure, and forget the other call."""
    calls = start(context, users, orders, user_id)
    while not all(call.done() for call in calls):
        if not context.is_active():
            stop(calls)
        answers(context, [call for call in calls if call.done()])
        time.sleep(0.005)
    return answers(context, calls)


def ties_nothing(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Start both and wait."""
    calls = start(context, users, orders, user_id)
    try:
        return answers(context, calls)
    finally:
        stop(calls)


def ties_the_second(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Tie the second call only, and wait for the first."""
    calls = start(context, users, orders, user_id)
    try:
        tie(context, calls[1:])
        return answers(context, calls)
    finally:
        stop(calls)


def ties_the_first(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Tie the first call only, and wait for it first."""
    calls = start(context, users, orders, user_id)
    try:
        tie(context, calls[:1])
        return answers(context, calls)
    finally:
        stop(calls)


def looks_before_it_ties(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Look whether the caller is there, and take it that it still is when the callback is added."""
    calls = start(context, users, orders, user_id)
    try:
        if not context.is_active():
            context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
        for call in calls:
            context.add_callback(call.cancel)
        return answers(context, calls)
    finally:
        stop(calls)


def ignores_false(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Take it that the callback will run."""
    calls = start(context, users, orders, user_id)
    try:
        for call in calls:
            context.add_callback(call.cancel)
        return answers(context, calls)
    finally:
        stop(calls)


def looks_once(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Look whether the caller is there before it starts, and ignore what add_callback says."""
    if not context.is_active():
        context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
    return ignores_false(context, users, orders, user_id)


def ties_too_early(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Tie a list that is still empty when the caller leaves."""
    calls: list[Any] = []
    if not context.add_callback(lambda: stop(calls)):
        context.abort(grpc.StatusCode.CANCELLED, "the caller has left")
    try:
        calls.extend(start(context, users, orders, user_id))
        return answers(context, calls)
    finally:
        stop(calls)


def waits_on(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """End both calls, and wait for the deadline all the same."""
    calls = start(context, users, orders, user_id)
    tie(context, calls)
    try:
        return answers(context, calls)
    finally:
        stop(calls)
        if not context.is_active():
            time.sleep(1.5)


def reversed_pair(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Return the orders first."""
    return load_page(context, users, orders, user_id)[::-1]


def only_the_user(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Return one answer."""
    return load_page(context, users, orders, user_id)[0]


def another_user(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Ask for a fixed user."""
    return load_page(context, users, orders, "u-x")


def slips(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Misspell a name."""
    return loadpage(context, users, orders, user_id)  # type: ignore[name-defined]  # noqa: F821


async def on_a_loop(context: Any, users: Any, orders: Any, user_id: str) -> Any:
    """Be a coroutine where a thread calls."""
    return load_page(context, users, orders, user_id)


@pytest.mark.parametrize("answer", [load_page, with_the_module, by_looking, ties_only])
def test_two_calls_solved(answer: Callable[..., Any]) -> None:
    """Both at once, within the caller's time, and nothing left, however it is written."""
    assert_solved(EXERCISE, answer)


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (one_after_the_other, "only when the first had answered", "returns at once"),
        (asks_one, "not both services were asked", "one call at each stub"),
        (with_settings(timeout=None), "without a deadline", "takes a timeout too"),
        (with_settings(timeout=2), "more time than the caller had", "Ask the context"),
        (with_timeout(lambda left: min(left, 2)), "not enough was kept", "Take 0.1 seconds off"),
        (with_timeout(lambda left: left / 4), "far less time than there was", "less 0.1"),
        (with_timeout(lambda left: left - 0.1), "without a deadline got", "Cap it"),
        (with_timeout(lambda left: min(left - 0.1, 60)), "more than 2 seconds", "smaller of two"),
        (loses_the_status, "users said", "`context.abort`"),
        (looks_at_the_first, "orders said", "the code of each call"),
        (leaves_the_other, "and the call to orders went on", "See `finally`"),
        (ties_nothing, "the caller left, and both calls went on", "add_callback"),
        (in_threads, "the caller left, and both calls went on", "add_callback"),
        (ties_the_second, "the caller left, and one call went on", "Tie both calls"),
        (ties_the_first, "users had answered, the caller left", "Tie both calls"),
        (looks_before_it_ties, "left just before `add_callback`", "returns False"),
        (waits_on, "and your function did not", "nothing more to wait for"),
        (ignores_false, "left before the first call", "returns False"),
        (looks_once, "left before the first call", "returns False"),
        (ties_too_early, "left before the first call", "returns False"),
        (reversed_pair, "the orders came first", "The user comes first"),
        (only_the_user, "returned a GetUserResponse", "both answers as a pair"),
        (another_user, "was not what the two services had answered", "the `user_id`"),
        (slips, "raised NameError", "slip in the name"),
        (on_a_loop, "has to be a plain `def`", "called from a thread"),
        (lambda context, users: (context, users), "cannot be called", "first line of the stub"),
    ],
)
def test_two_calls_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong(EXERCISE, answer, guarantee, hint)


def test_two_calls_stub() -> None:
    """The stub is not attempted."""

    def stub(context: Any, users: Any, orders: Any, user_id: str) -> Any:
        raise NotImplementedError

    assert_not_attempted(EXERCISE, stub)
