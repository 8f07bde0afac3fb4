from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import grpc
import pytest

from labsvc.checks import run_check
from labsvc.rpc.deadline import Deadline
from labsvc.shop.v1 import user_pb2
from tests.wrong_answer import assert_not_attempted, assert_wrong

if TYPE_CHECKING:
    from collections.abc import Callable

LATE = grpc.StatusCode.DEADLINE_EXCEEDED
AGAIN = {grpc.StatusCode.UNAVAILABLE, LATE}


def is_lost(error: Any) -> bool:
    """Return whether a connection broke, as far as the text of an error can tell."""
    sent = error.details().startswith(("try", "refused"))
    return error.code() is grpc.StatusCode.UNAVAILABLE and not sent


def hand_on(context: Any, stub: Any, request: Any, timeout: float | None) -> Any:
    """Ask with this timeout, and hand the status on."""
    try:
        return stub.GetUser(request, timeout=timeout)
    except grpc.RpcError as error:
        context.abort(error.code(), error.details())


def get_user(context: Any, stub: Any, request: Any) -> Any:
    """Solve the exercise."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    return hand_on(context, stub, request, left)


def get_user_with_a_deadline(context: Any, stub: Any, request: Any) -> Any:
    """Solve it with the class of the notebook; a timeout in the past sends nothing."""
    timeout = Deadline.of(context, cap=2.2).timeout(at_most=2, margin=0.2)
    return hand_on(context, stub, request, timeout)


def get_user_by_a_future(context: Any, stub: Any, request: Any) -> Any:
    """Solve it with a call that is started and then waited for, the margin off the cap too."""
    left = min(context.time_remaining(), 2) - 0.2
    call = stub.GetUser.future(request, timeout=left if left > 0 else -1)
    if call.code() is not grpc.StatusCode.OK:
        context.abort(call.code(), call.details())
    return call.result()


def get_user_with_a_code_set(context: Any, stub: Any, request: Any) -> Any:
    """Solve it without abort: a code that was set stays when an error leaves the handler."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.set_code(LATE)
        return user_pb2.GetUserResponse()
    try:
        return stub.GetUser(request, timeout=left)
    except grpc.RpcError as error:
        context.set_code(error.code())
        raise


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


def invents(context: Any, stub: Any, request: Any) -> Any:
    """Ask, and return an answer of its own."""
    answer = get_user(context, stub, request)
    return type(answer)()


def asks_twice(context: Any, stub: Any, request: Any) -> Any:
    """Look whether the service is there, then ask."""
    get_user(context, stub, request)
    return get_user(context, stub, request)


def another_request(context: Any, stub: Any, request: Any) -> Any:
    """Ask for a fixed user."""
    return get_user(context, stub, user_pb2.GetUserRequest(user_id="u-1"))


def remembers() -> Callable[..., Any]:
    """Return an answer that asks once, and gives every caller the same answer."""
    known: list[Any] = []

    def answer(context: Any, stub: Any, request: Any) -> Any:
        if not known:
            known.append(get_user(context, stub, request))
        return known[0]

    return answer


def some_statuses(context: Any, stub: Any, request: Any) -> Any:
    """Hand on the statuses that come to mind, and call the others INTERNAL."""
    try:
        return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))
    except grpc.RpcError as error:
        known = {*AGAIN, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.INVALID_ARGUMENT}
        context.abort(error.code() if error.code() in known else grpc.StatusCode.INTERNAL, "")


def asks_again(context: Any, stub: Any, request: Any) -> Any:
    """Try once more after an error."""
    try:
        return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))
    except grpc.RpcError:
        return get_user(context, stub, request)


def no_cap(context: Any, stub: Any, request: Any) -> Any:
    """Trust time_remaining()."""
    return stub.GetUser(request, timeout=context.time_remaining() - 0.2)


def large_cap(context: Any, stub: Any, request: Any) -> Any:
    """Cap at an hour."""
    return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 3600))


def caps_only_without_a_deadline(context: Any, stub: Any, request: Any) -> Any:
    """Take the cap for a default."""
    left = context.time_remaining()
    return hand_on(context, stub, request, 2 if left > 10**9 else left - 0.2)


def asks_all_the_same(context: Any, stub: Any, request: Any) -> Any:
    """Give what is left less the margin, and some minimum."""
    return hand_on(context, stub, request, max(0.14, min(context.time_remaining() - 0.2, 2)))


def another_status(context: Any, stub: Any, request: Any) -> Any:
    """Refuse with a status that says something else."""
    if context.time_remaining() < 0.2:
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "no time")
    return get_user(context, stub, request)


def forgets_abort(context: Any, stub: Any, request: Any) -> Any:
    """Let the next service's error leave the handler."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    return stub.GetUser(request, timeout=left)


def spent_without_abort(context: Any, stub: Any, request: Any) -> Any:
    """Hand statuses on, but raise an error of its own where too little is left."""
    if context.time_remaining() < 0.2:
        msg = "too little time"
        raise TimeoutError(msg)
    return get_user(context, stub, request)


def one_status_for_all(context: Any, stub: Any, request: Any) -> Any:
    """Say DEADLINE_EXCEEDED whatever the next service said."""
    try:
        return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))
    except grpc.RpcError:
        context.abort(LATE, "no answer")


def raises(context: Any, stub: Any, request: Any) -> Any:
    """Fail for a reason of its own."""
    msg = "oops"
    raise KeyError(msg)


def unbound(context: Any, stub: Any, request: Any) -> Any:
    """Return a name that has no value when the call failed."""
    with suppress(grpc.RpcError):
        answer = stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))
    return answer


def never_returns(context: Any, stub: Any, request: Any) -> Any:
    """Wait for ever."""
    while True:
        time.sleep(0.01)


async def on_a_loop(context: Any, stub: Any, request: Any) -> Any:
    """Be a coroutine where a thread calls."""
    return get_user(context, stub, request)


def asks_again_after_a_timeout(context: Any, stub: Any, request: Any) -> Any:
    """Hand every status on, but for one that seems to be bad luck."""
    try:
        return stub.GetUser(request, timeout=min(context.time_remaining() - 0.2, 2))
    except grpc.RpcError as error:
        if error.code() is not LATE:
            context.abort(error.code(), error.details())
    return hand_on(context, stub, request, max(0.01, context.time_remaining() - 0.1))


def late_is_unavailable(context: Any, stub: Any, request: Any) -> Any:
    """Call a service unavailable that does not answer in time."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    try:
        return stub.GetUser(request, timeout=left)
    except grpc.RpcError as error:
        late = error.code() is LATE
        context.abort(grpc.StatusCode.UNAVAILABLE if late else error.code(), error.details())


def a_lost_connection_is_internal(context: Any, stub: Any, request: Any) -> Any:
    """Hand a status on that a service has sent, and no other."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    try:
        return stub.GetUser(request, timeout=left)
    except grpc.RpcError as error:
        lost = is_lost(error)
        context.abort(grpc.StatusCode.INTERNAL if lost else error.code(), error.details())


def waits_once_more(context: Any, stub: Any, request: Any) -> Any:
    """Pause before it says that there was no answer."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    try:
        return stub.GetUser(request, timeout=left)
    except grpc.RpcError as error:
        time.sleep(0.25)
        context.abort(error.code(), error.details())


def makes_one_up_when_late(context: Any, stub: Any, request: Any) -> Any:
    """Return an empty answer where none came in time."""
    left = min(context.time_remaining() - 0.2, 2)
    if left <= 0:
        context.abort(LATE, "too little time is left")
    try:
        return stub.GetUser(request, timeout=left)
    except grpc.RpcError as error:
        if error.code() is not LATE:
            context.abort(error.code(), error.details())
    return user_pb2.GetUserResponse()


@pytest.mark.parametrize(
    "answer", [get_user, get_user_with_a_deadline, get_user_by_a_future, get_user_with_a_code_set]
)
def test_pass_on_solved(answer: Callable[..., Any]) -> None:
    """Passing on what is left solves the exercise, whether nothing left is refused or sent."""
    verdict = run_check("22-pass-on", answer)
    assert verdict.state == "solved", verdict
    assert "the one that came too late was refused" in verdict.guarantee
    assert verdict.counts["cases"] >= 23


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (sends_no_deadline, "without a deadline", "takes a timeout"),
        (fixed_timeout, "more time than the caller had", "Ask the context"),
        (keeps_nothing, "not enough was kept", "0.2 seconds off"),
        (stingy, "far less time than there was", "less 0.2"),
        (returns_nothing, "your function returned None", "a `return` on every way"),
        (invents, "than the next service gives to its request", "return what"),
        (asks_twice, "the next service was asked 2 times", "Ask once"),
        (another_request, "than the next service gives to its request", "Hand on the `request`"),
        (remembers(), "got an answer, and the next service was not asked", "Ask at each call"),
        (some_statuses, "and the caller got INTERNAL", "own `code()`"),
        (asks_again, "was lost: one call came in, and the next", "your caller decides"),
        (asks_again_after_a_timeout, "had given up: one call came in", "your caller decides"),
        (late_is_unavailable, "status is DEADLINE_EXCEEDED, and", "the call's own `code()`"),
        (a_lost_connection_is_internal, "status is UNAVAILABLE, and", "own `code()`"),
        (waits_once_more, "had given up when your function came back", "the way back"),
        (makes_one_up_when_late, "no answer came, and the caller got one", "hides the error"),
        (no_cap, "a caller set no deadline and got UNKNOWN", "Cap it"),
        (large_cap, "a caller set no deadline, and the next", "smaller of two"),
        (caps_only_without_a_deadline, "a caller allowed 6 seconds, and", "smaller of two"),
        (asks_all_the_same, "asked all the same", "end the handler"),
        (another_status, "got RESOURCE_EXHAUSTED", "context.abort"),
        (forgets_abort, "and the caller got UNKNOWN", "that leaves a handler"),
        (spent_without_abort, "your function raised TimeoutError", "cell of its own"),
        (one_status_for_all, "and the caller got DEADLINE_EXCEEDED", "takes its code"),
        (raises, "raised KeyError", "cell of its own"),
        (unbound, "raised UnboundLocalError", "another way through"),
        (never_returns, "did not return in time", "without an end"),
        (on_a_loop, "has to be a plain `def`", "called from a thread"),
        (lambda context, stub: (context, stub), "cannot be called", "first line of the stub"),
    ],
)
def test_pass_on_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("22-pass-on", answer, guarantee, hint)


def get_patiently(stub: Any, request: Any, budget: float) -> Any:
    """Solve the exercise."""
    ends = time.monotonic() + budget
    tries = 0
    while True:
        tries += 1
        try:
            return stub.GetUser(request, timeout=min(0.3, ends - time.monotonic()))
        except grpc.RpcError as error:
            left = ends - time.monotonic() - 0.1
            if error.code() not in AGAIN or tries == 5 or left <= 0:
                raise
        time.sleep(0.1)


def with_a_floor(stub: Any, request: Any, budget: float) -> Any:
    """Solve it with the class of the notebook, and no try of less than 50 ms."""
    caller = Deadline.after(budget)
    for _ in range(5):
        try:
            return stub.GetUser(request, timeout=caller.timeout(at_most=0.3))
        except grpc.RpcError as error:
            last = error
            if error.code() not in AGAIN or caller.remaining() < 0.15:
                break
        time.sleep(0.1)
    raise last


class GaveUpError(Exception):
    """An error class of one's own."""


async def with_its_own_error(stub: Any, request: Any, budget: float) -> Any:
    """Solve it in a coroutine, and keep the gRPC error as the cause of another."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError as error:
        raise GaveUpError from error


def with_a_future(stub: Any, request: Any, budget: float) -> Any:
    """Solve it with calls that are started and then waited for."""
    ends = time.monotonic() + budget
    for tries in range(5):
        call = stub.GetUser.future(request, timeout=min(0.3, ends - time.monotonic()))
        error = call.exception()
        if error is None:
            return call.result()
        if call.code() not in AGAIN or tries == 4 or ends - time.monotonic() <= 0.1:
            raise error
        time.sleep(0.1)
    return None


def retry(
    stub: Any,
    request: Any,
    *,
    timeout: float | None,
    tries: int = 5,
    again: Any = AGAIN,
    wait: Callable[[int], float] = lambda _: 0.1,
) -> Any:
    """Make tries that know nothing of each other."""
    for attempt in range(tries):
        try:
            return stub.GetUser(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() not in again or attempt == tries - 1:
                raise
        time.sleep(wait(attempt))
    return None


def in_budget(
    stub: Any,
    request: Any,
    budget: float,
    *,
    tries: int = 5,
    at_most: float = 0.3,
    wait: Callable[[int], float] = lambda _: 0.1,
    first: bool = False,
) -> Any:
    """Look at the clock before each try, and at nothing else; raise the last error or the first."""
    ends = time.monotonic() + budget
    errors: list[grpc.RpcError] = []
    while len(errors) < tries and (left := ends - time.monotonic()) > 0:
        try:
            return stub.GetUser(request, timeout=min(at_most, left))
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
            errors.append(error)
        time.sleep(wait(len(errors)))
    raise errors[0 if first else -1]


def in_time(
    stub: Any,
    request: Any,
    budget: float,
    *,
    final: Callable[[Any], object] = lambda _: False,
    wait: Callable[[Any], float] = lambda _: 0.1,
) -> Any:
    """Solve it, but for which errors are final, and for the waits."""
    ends = time.monotonic() + budget
    for tries in range(5):
        try:
            return stub.GetUser(request, timeout=min(0.3, ends - time.monotonic()))
        except grpc.RpcError as error:
            last, pause = error, wait(error)
            if final(error) or error.code() not in AGAIN or tries == 4:
                break
            if ends - time.monotonic() <= 0.1:
                break
        time.sleep(pause)
    raise last


def ignores_the_budget(stub: Any, request: Any, budget: float) -> Any:
    """Make five tries of 0.3 s."""
    return retry(stub, request, timeout=0.3)


def all_for_one(stub: Any, request: Any, budget: float) -> Any:
    """Give each try the whole budget."""
    return retry(stub, request, timeout=budget)


def no_deadline(stub: Any, request: Any, budget: float) -> Any:
    """Give no try a timeout."""
    return retry(stub, request, timeout=None)


def retries_everything(stub: Any, request: Any, budget: float) -> Any:
    """Try again whatever came back."""
    return retry(stub, request, timeout=0.3, again=set(grpc.StatusCode))


def retries_a_full_service(stub: Any, request: Any, budget: float) -> Any:
    """Try again after RESOURCE_EXHAUSTED too."""
    again = {*AGAIN, grpc.StatusCode.RESOURCE_EXHAUSTED}
    return retry(stub, request, timeout=0.3, again=again)


def asks_nobody(stub: Any, request: Any, budget: float) -> Any:
    """Make an answer up."""
    return user_pb2.GetUserResponse()


def needs_a_full_try(stub: Any, request: Any, budget: float) -> Any:
    """Make no try where a full one does not fit."""
    if budget < 0.3:
        msg = "too little time"
        raise TimeoutError(msg)
    return get_patiently(stub, request, budget)


def one_time_for_all_tries(stub: Any, request: Any, budget: float) -> Any:
    """Give the tries 0.3 s together: after a late one nothing is left."""
    ends = time.monotonic() + budget
    used = 0.0
    for tries in range(5):
        began = time.monotonic()
        try:
            return stub.GetUser(request, timeout=min(0.3 - used, ends - began))
        except grpc.RpcError as error:
            used += time.monotonic() - began
            if error.code() not in AGAIN or tries == 4 or ends - time.monotonic() <= 0.1:
                raise
        time.sleep(0.1)
    return None


def another_user(stub: Any, request: Any, budget: float) -> Any:
    """Ask for a fixed user."""
    return get_patiently(stub, user_pb2.GetUserRequest(user_id="u-1"), budget)


def waits_twice_as_long(stub: Any, request: Any, budget: float) -> Any:
    """Wait 0.2 s between two tries."""
    return in_budget(stub, request, budget, wait=lambda _: 0.2)


def sleeps_to_the_end(stub: Any, request: Any, budget: float) -> Any:
    """Keep to the budget, and sleep through the rest of it before it gives up."""
    ends = time.monotonic() + budget
    return in_budget(
        stub, request, budget, wait=lambda _: min(0.1, max(0, ends - time.monotonic()))
    )


def shortens_the_wait(stub: Any, request: Any, budget: float) -> Any:
    """Wait for half of what is left, so that another try fits."""
    ends = time.monotonic() + budget
    return in_budget(
        stub, request, budget, wait=lambda _: min(0.1, max(0, ends - time.monotonic()) / 2)
    )


def full_tries_only(stub: Any, request: Any, budget: float) -> Any:
    """Give up where a wait and a try of 0.3 s do not fit."""
    ends = time.monotonic() + budget
    for _ in range(5):
        try:
            return stub.GetUser(request, timeout=min(0.3, ends - time.monotonic()))
        except grpc.RpcError as error:
            last = error
            if error.code() not in AGAIN or ends - time.monotonic() < 0.4:
                break
        time.sleep(0.1)
    raise last


def shares_the_budget_out(stub: Any, request: Any, budget: float) -> Any:
    """Divide what the waits leave by five, as if there were always time for all of it."""
    return retry(stub, request, timeout=min(0.3, (budget - 0.4) / 5))


def never_again(stub: Any, request: Any, budget: float) -> Any:
    """Make one try."""
    return retry(stub, request, tries=1, timeout=0.3)


def unavailable_only(stub: Any, request: Any, budget: float) -> Any:
    """Give up on the first timeout."""
    return in_time(stub, request, budget, final=lambda error: error.code() is LATE)


def too_long(stub: Any, request: Any, budget: float) -> Any:
    """Look at the clock before a try, and give it 0.6 s."""
    return in_budget(stub, request, budget, at_most=0.6)


def full_time_at_the_end(stub: Any, request: Any, budget: float) -> Any:
    """Look at the clock before a try, and give each 0.3 s."""
    ends = time.monotonic() + budget
    tries = 0
    while True:
        tries += 1
        try:
            return stub.GetUser(request, timeout=0.3)
        except grpc.RpcError as error:
            left = ends - time.monotonic() - 0.1
            if error.code() not in AGAIN or tries == 5 or left <= 0:
                raise
        time.sleep(0.1)


def backs_off_over_the_budget(stub: Any, request: Any, budget: float) -> Any:
    """Double the wait, and look at the clock only after it."""
    return in_budget(stub, request, budget, wait=lambda tries: 0.1 * 2 ** (tries - 1))


def backs_off_from_silence(stub: Any, request: Any, budget: float) -> Any:
    """Wait longer after a timeout."""
    return in_time(stub, request, budget, wait=lambda error: 0.2 if error.code() is LATE else 0.1)


def sleeps_before_it_raises(stub: Any, request: Any, budget: float) -> Any:
    """Sleep once more where the time is up."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError as error:
        if error.code() is LATE:
            time.sleep(0.4)
        raise


def no_count(stub: Any, request: Any, budget: float) -> Any:
    """Try until the time is up."""
    return in_budget(stub, request, budget, tries=1000)


def no_wait(stub: Any, request: Any, budget: float) -> Any:
    """Make the tries one after the other."""
    return in_budget(stub, request, budget, wait=lambda _: 0)


def four_tries(stub: Any, request: Any, budget: float) -> Any:
    """Give up on a dead service after four tries."""
    return in_budget(stub, request, budget, tries=4)


def raises_the_first(stub: Any, request: Any, budget: float) -> Any:
    """Raise the first error."""
    return in_budget(stub, request, budget, first=True)


def raises_what_is_not_late(stub: Any, request: Any, budget: float) -> Any:
    """Raise the last error that a service sent, if there is one."""
    errors: list[Any] = []
    try:
        return in_time(stub, request, budget, final=errors.append)
    except grpc.RpcError as last:
        sent = [error for error in errors if error.code() is not LATE]
        raise (sent or [last])[-1] from None


def made_up_error(stub: Any, request: Any, budget: float) -> Any:
    """Raise an error that hides what happened."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError:
        msg = "no answer"
        raise TimeoutError(msg) from None


def instead_of_the_last(stub: Any, request: Any, budget: float) -> Any:
    """Raise an error of its own, and keep the last one only by chance."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError:
        msg = "no answer"
        raise TimeoutError(msg)  # noqa: B904  # its mistake


def after_the_loop(stub: Any, request: Any, budget: float) -> Any:
    """Forget the errors, and raise one of its own."""
    with suppress(grpc.RpcError):
        return get_patiently(stub, request, budget)
    msg = "no answer"
    raise TimeoutError(msg)


def final_after_the_wait(stub: Any, request: Any, budget: float) -> Any:
    """Wait, and only then look at the code."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError as error:
        if error.code() not in AGAIN:
            time.sleep(0.1)
        raise


def not_after_a_reset(stub: Any, request: Any, budget: float) -> Any:
    """Give up where the connection broke: the service may have done it."""
    return in_time(stub, request, budget, final=is_lost)


def one_more_after_a_timeout(stub: Any, request: Any, budget: float) -> Any:
    """Make one try more once a try took its whole time."""
    late: list[bool] = []

    def enough(error: Any) -> bool:
        late.append(error.code() is LATE)
        return any(late[:-1])

    return in_time(stub, request, budget, final=enough)


def no_wait_after_a_timeout(stub: Any, request: Any, budget: float) -> Any:
    """Count the time of a try that took long as its wait."""
    return in_time(stub, request, budget, wait=lambda error: 0 if error.code() is LATE else 0.1)


def cannot_forget(stub: Any, request: Any, budget: float) -> Any:
    """Raise an earlier timeout, though an answer came after it."""
    errors: list[Any] = []
    answer = in_time(stub, request, budget, final=errors.append)
    for error in errors:
        if error.code() is LATE:
            raise error
    return answer


def asks_once_more(stub: Any, request: Any, budget: float) -> Any:
    """Ask again after the answer, where a try was lost."""
    errors: list[Any] = []
    answer = in_time(stub, request, budget, final=errors.append)
    if not any(map(is_lost, errors)):
        return answer
    time.sleep(0.1)
    return stub.GetUser(request, timeout=0.3)


def swallows(stub: Any, request: Any, budget: float) -> Any:
    """Return None at the end."""
    try:
        return get_patiently(stub, request, budget)
    except grpc.RpcError as error:
        if error.code() not in AGAIN:
            raise
        return None


def loses_its_error(stub: Any, request: Any, budget: float) -> Any:
    """Use the name of the error after its block, where it has no value any more."""
    for _ in range(5):
        try:
            return stub.GetUser(request, timeout=0.3)
        except grpc.RpcError as error:
            if error.code() not in AGAIN:
                raise
        time.sleep(0.1)
    raise error  # type: ignore[misc]  # noqa: F821  # its mistake


def fails(stub: Any, request: Any, budget: float) -> Any:
    """Fail for a reason of its own."""
    return budget["seconds"]  # type: ignore[index]


@pytest.mark.parametrize("answer", [get_patiently, with_a_floor, with_a_future, with_its_own_error])
def test_budget_solved(answer: Callable[..., Any]) -> None:
    """One deadline over all tries solves the exercise."""
    verdict = run_check("22-budget", answer)
    assert verdict.state == "solved", verdict
    assert "the tries stayed within the budget" in verdict.guarantee
    assert verdict.counts["cases"] >= 37


@pytest.mark.parametrize(
    ("answer", "guarantee", "hint"),
    [
        (ignores_the_budget, "a try started after it was used up", "Look at the clock"),
        (all_for_one, "more than 0.3 seconds", "leaves nothing"),
        (no_deadline, "had no deadline", "each try a timeout"),
        (retries_everything, "and was asked again", "Raise at once"),
        (retries_a_full_service, "RESOURCE_EXHAUSTED, and was asked again", "Raise at once"),
        (asks_nobody, "the service was not asked", "Call `stub.GetUser"),
        (needs_a_full_try, "and your function made no try", "less than 0.3 seconds"),
        (one_time_for_all_tries, "no try of 5 brought an answer", "the last try have"),
        (another_user, "than the service gives to the request", "Hand on the `request`"),
        (waits_twice_as_long, "waited far longer", "Wait 0.1 seconds"),
        (sleeps_to_the_end, "one try failed, and your function waited on", "Before you sleep"),
        (shortens_the_wait, "cut the wait short", "in full, or give up"),
        (full_tries_only, "a second try would have fitted", "less than 0.3 seconds"),
        (shares_the_budget_out, "0.09 seconds, and a try started after", "Look at the clock"),
        (never_again, "your function made 1", "UNAVAILABLE is worth another try"),
        (unavailable_only, "with time to spare", "DEADLINE_EXCEEDED is worth another"),
        (not_after_a_reset, "was lost: no answer came back", "UNAVAILABLE is worth another"),
        (one_more_after_a_timeout, "had given up, and ", "worth another try"),
        (no_wait_after_a_timeout, "the next try came at once", "whatever the code was"),
        (cannot_forget, "a try brought the answer, and your function raised", "count no more"),
        (asks_once_more, "asked again after it had answered", "ends the tries"),
        (too_long, "more than 0.3 seconds", "leaves nothing"),
        (full_time_at_the_end, "more time than the budget had left", "whichever is less"),
        (backs_off_over_the_budget, "waited far longer", "Wait 0.1 seconds"),
        (backs_off_from_silence, "waited far longer", "whatever the code was"),
        (sleeps_before_it_raises, "came back after the budget", "The wait counts too"),
        (no_count, "asked more than 5 times", "Count the tries"),
        (no_wait, "the next try came at once", "Wait 0.1 seconds"),
        (four_tries, "there was time for 5 tries", "used up"),
        (raises_the_first, "did not raise the last error", "A bare `raise`"),
        (raises_what_is_not_late, "your function raised UNAVAILABLE", "Raise the last"),
        (made_up_error, "your function raised TimeoutError: no answer, in line", "`from` it"),
        (instead_of_the_last, "your function raised TimeoutError: no answer, in", "`from` it"),
        (after_the_loop, "your function raised TimeoutError: no answer, in line", "`from` it"),
        (final_after_the_wait, "your function waited before it did", "Raise at once"),
        (swallows, "your function returned None", "a `return` on every way"),
        (loses_its_error, "raised UnboundLocalError", "another way through"),
        (fails, "raised TypeError", "cell of its own"),
    ],
)
def test_budget_wrong(answer: Callable[..., Any], guarantee: str, hint: str) -> None:
    """Each plausible wrong answer is not solved, for its own reason and with its own hint."""
    assert_wrong("22-budget", answer, guarantee, hint)


@pytest.mark.parametrize("exercise_id", ["22-pass-on", "22-budget"])
def test_stub(exercise_id: str) -> None:
    """The stub is not attempted."""

    def stub(first: Any, second: Any, third: Any) -> None:
        raise NotImplementedError

    assert_not_attempted(exercise_id, stub)
