"""Exercises of notebook 03: hand the caller's deadline on, and retry within a budget."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.answer import AnswerError, NotAttemptedError
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

REQUEST = user_pb2.GetUserRequest(user_id="u-1")
ANSWER = user_pb2.GetUserResponse(user=user_pb2.User(user_id="u-1", name="First Customer"))
EXCEEDED = grpc.StatusCode.DEADLINE_EXCEEDED
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CHANNEL = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

CALLER = 1.5  # seconds that the first caller allows
KEEP = 0.2  # seconds to keep, as the exercise says
CAP = 2.0  # seconds that a call may take at most, as the exercise says
TOO_LITTLE = 0.1  # seconds that are left when the third call reaches the function
LOST = 0.4  # seconds that a busy machine may take from what the function passes on

BUDGET = 0.8  # seconds
ONE_TRY = 0.3  # seconds, as the exercise says
TRIES = 5  # as the exercise says
FIT = 3  # tries of 0.3 s that can start within the budget
ROUNDING = 0.05  # seconds by which gRPC may round a timeout up on its way


class _Users(user_pb2_grpc.UserServiceServicer):
    """Answers with the codes of a script, and OK after it; never with None.

    Notes of each call when it came and how long its caller waits, in seconds.
    """

    def __init__(self, *script: grpc.StatusCode | None) -> None:
        self._script = list(script)
        self.calls: list[tuple[float, float | None]] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        self.calls.append((time.monotonic(), context.time_remaining()))
        if self._script:
            code = self._script.pop(0)
            if code is None:
                await asyncio.sleep(60)
            else:
                await context.abort(code, "as the check wants it")
        return ANSWER


class _Orders(user_pb2_grpc.UserServiceServicer):
    """A threaded service whose handler is the learner's function; `left` delays its start."""

    def __init__(self, answer: Answer, stub: Any) -> None:
        self._answer = answer
        self._stub = stub
        self.left: float | None = None
        self.had = 0.0
        self.fault: Exception | None = None

    def GetUser(self, request: Any, context: Any) -> Any:
        if self.left is not None:
            time.sleep(max(0.0, context.time_remaining() - self.left))
        self.had = context.time_remaining()
        try:
            outcome = self._answer.attempt(context, self._stub, request, within=5)
        except (NotAttemptedError, AnswerError) as fault:
            self.fault = fault
            raise
        if isinstance(outcome.error, grpc.RpcError):
            context.abort(outcome.error.code(), "the next service's status")
        if isinstance(outcome.error, Exception):
            if type(outcome.error) is not Exception:  # which is what context.abort raises
                self.fault = self._answer.fault(outcome.error)
            raise outcome.error
        return outcome.value if isinstance(outcome.value, user_pb2.GetUserResponse) else None


@contextmanager
def _stub(target: str) -> Iterator[user_pb2_grpc.UserServiceStub]:
    with grpc.insecure_channel(target, CHANNEL) as channel:
        grpc.channel_ready_future(channel).result(timeout=5)
        yield user_pb2_grpc.UserServiceStub(channel)


@exercise("03-pass-on", title="Pass the caller's deadline on")
def pass_on(answer: Answer, bench: Bench) -> Verdict:
    """`get_user(context, stub, request)` asks with what is left less 0.2 s, at most 2 s."""
    users = _Users()
    with _stub(bench.serve_grpc(users, name="users").target) as next_stub:
        orders = _Orders(answer, next_stub)
        service = bench.serve_grpc(orders, name="orders", workers=2)
        with _stub(service.target) as caller:
            return (
                _with_deadline(caller, orders, users)
                or _without_deadline(caller, orders, users)
                or _with_too_little(caller, orders, users)
            )


def _ask(caller: Any, orders: _Orders, timeout: float | None) -> str:
    """Make one call to the learner's handler and return its status."""
    call = caller.GetUser.future(REQUEST, timeout=timeout)
    try:
        code = call.exception(timeout=8)
    except grpc.FutureTimeoutError:
        call.cancel()
        return "no answer"
    if orders.fault is not None:
        raise orders.fault
    return "OK" if code is None else str(code.code().name)


def _with_deadline(caller: Any, orders: _Orders, users: _Users) -> Verdict | None:
    code = _ask(caller, orders, CALLER)
    limit = users.calls[0][1] if users.calls else None
    passed = 0.0 if limit is None else limit
    mistakes = [
        (
            not users.calls,
            "the caller had time, and the next service was not asked",
            "Compare what is left with the time that you keep, not with the cap.",
        ),
        (
            limit is None,
            "the next service was asked without a deadline",
            "A stub's method takes a timeout. What does the handler's context say is left?",
        ),
        (
            passed > orders.had + ROUNDING,
            "the next service was given more time than the caller had left",
            "A fixed timeout starts anew. Ask the context what is left.",
        ),
        (
            passed > orders.had - KEEP / 2,
            "nothing was kept for the work after the answer",
            "Take 0.2 seconds off before you pass the rest on.",
        ),
        (
            passed < orders.had - KEEP - LOST,
            "the next service was given far less time than there was",
            "It may have all that the caller has left, less 0.2 seconds.",
        ),
        (
            code != "OK",
            f"the next service answered, and the caller got {code}",
            "Return what the stub's method returned.",
        ),
    ]
    return _first(mistakes, calls=1, asked=len(users.calls))


def _without_deadline(caller: Any, orders: _Orders, users: _Users) -> Verdict | None:
    users.calls.clear()
    code = _ask(caller, orders, None)
    limit = users.calls[0][1] if users.calls else None
    mistakes = [
        (
            not users.calls,
            f"a caller without a deadline got {code}, and the next service was not asked",
            "Without a deadline, time_remaining() is a number above 10**18. Cap it.",
        ),
        (
            limit is None or limit > CAP + ROUNDING,
            "a caller set no deadline, and the next service was given more than 2 seconds",
            "The smaller of two numbers: what is left, and the cap.",
        ),
        (
            limit is not None and limit < CAP - KEEP - LOST,
            "a caller set no deadline, and the next service was given far less than 2 seconds",
            "Cap what is left at 2 seconds; take off only what you keep.",
        ),
    ]
    return _first(mistakes, calls=2, asked=1 + len(users.calls))


def _with_too_little(caller: Any, orders: _Orders, users: _Users) -> Verdict:
    users.calls.clear()
    orders.left = TOO_LITTLE
    code = _ask(caller, orders, 0.5)
    mistakes = [
        (
            bool(users.calls),
            "less was left than is to be kept, and the next service was asked all the same",
            "When nothing is left to pass on, end the handler.",
        ),
        (
            code != EXCEEDED.name,
            f"too little time was left, and the caller got {code}",
            "context.abort(code, text) ends a handler with a status.",
        ),
    ]
    return _first(mistakes, calls=3, asked=2 + len(users.calls)) or solved(
        "each call got what its caller had left, and the one that came too late was refused",
        calls=3,
        asked=2,
    )


def _first(mistakes: list[tuple[bool, str, str]], **counts: int) -> Verdict | None:
    """Return `broken` for the first mistake that was made, None if none was."""
    made = [mistake for mistake in mistakes if mistake[0]]
    return diagnose(made[0], otherwise=("", ""), **counts) if made else None


@exercise("03-budget", title="Retry within the caller's budget")
def budget(answer: Answer, bench: Bench) -> Verdict:
    """`get_patiently(stub, request, budget)` tries up to 5 times, 0.3 s each, in the budget."""

    def against(*script: grpc.StatusCode | None, seconds: float) -> tuple[_Users, Any, float]:
        users = _Users(*script)
        with _stub(bench.serve_grpc(users, name="users").target) as stub:
            began = time.monotonic()
            return users, answer.attempt(stub, REQUEST, seconds, within=4), began

    users, outcome, _ = against(UNAVAILABLE, UNAVAILABLE, seconds=3)
    counts = {"tries": len(users.calls)}
    if outcome.hung or outcome.value != ANSWER:
        if outcome.error is not None and not isinstance(outcome.error, grpc.RpcError):
            raise answer.fault(outcome.error)
        return broken(
            "two tries failed, the third would have succeeded, and no answer came back",
            "UNAVAILABLE is worth another try. Return what the stub's method returned.",
            **counts,
        )
    users, outcome, _ = against(grpc.StatusCode.NOT_FOUND, seconds=1)
    if len(users.calls) > 1 or _code(outcome.error) != "NOT_FOUND":
        return broken(
            "the user does not exist, and your function did not say so after one try",
            "Raise at once what another try cannot mend.",
            tries=len(users.calls),
        )
    users, outcome, began = against(*([None] * 20), seconds=BUDGET)
    if verdict := _silence(users, outcome, began):
        return verdict
    users, outcome, _ = against(*([UNAVAILABLE] * 10_000), seconds=3)
    counts = {"tries": len(users.calls)}
    if len(users.calls) > TRIES:
        return broken(
            f"a service that was down was asked more than {TRIES} times",
            "Count the tries.",
            **counts,
        )
    if _code(outcome.error) != "UNAVAILABLE":
        return broken(
            "every try failed with UNAVAILABLE, and the caller did not learn it",
            "Raise the last error.",
            **counts,
        )
    return solved(
        "the tries stayed within the budget, and what cannot be mended was not tried again",
        tries_in_the_budget=FIT,
        tries_in_all=TRIES,
    )


def _silence(users: _Users, outcome: Any, began: float) -> Verdict | None:
    """Return what broke while the service never answered, None if nothing did."""
    limits = [limit for _, limit in users.calls if limit is not None]
    ends = [came + limit - began for came, limit in users.calls if limit is not None]
    mistakes = [
        (
            len(limits) < len(users.calls),
            "a try had no deadline",
            "Give each try a timeout.",
        ),
        (
            any(limit > ONE_TRY + ROUNDING for limit in limits),
            "one try was given more than 0.3 seconds",
            "A try that takes all of the budget leaves nothing for the next.",
        ),
        (
            len(users.calls) > FIT or outcome.hung,
            "a try started after the budget was used up",
            "The budget is for all tries together. Look at the clock before each.",
        ),
        (
            any(end > BUDGET + ROUNDING for end in ends),
            "the last try was given more time than the budget had left",
            "A try may take 0.3 seconds, or what is left, whichever is less.",
        ),
        (
            len(users.calls) < FIT - 1,
            "the service was silent, and your function gave up with time to spare",
            "DEADLINE_EXCEEDED is worth another try while the budget lasts.",
        ),
        (
            _code(outcome.error) != EXCEEDED.name,
            "no try was answered, and the caller did not get DEADLINE_EXCEEDED",
            "Raise the last error.",
        ),
    ]
    return _first(mistakes, tries=len(users.calls))


def _code(error: BaseException | None) -> str | None:
    """Return the name of a gRPC error's status code, None for any other error."""
    code = getattr(error, "code", None)
    return str(code().name) if isinstance(error, grpc.RpcError) and callable(code) else None
