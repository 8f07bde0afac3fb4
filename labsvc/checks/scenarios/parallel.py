"""Exercise of notebook 24: one request in many threads."""

from __future__ import annotations

import asyncio
import random
import secrets
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import channel, status_of
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.rpc import context as call_context
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

TOGETHER_SECONDS = 1.0
LIMIT_SECONDS = 60.0  # a deadline beyond it counts as none


class _Together(user_pb2_grpc.UserServiceServicer):
    """Answers when all calls are there at once, or when the first has waited for a second."""

    def __init__(self, names: dict[str, str], expected: int) -> None:
        self._names = names
        self._expected = expected
        self._all_there = asyncio.Event()
        self.waiting = 0
        self.most = 0
        self.request_ids: list[str | None] = []
        self.unlimited = 0

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        came = dict(context.invocation_metadata())
        self.request_ids.append(came.get(call_context.REQUEST_ID))
        limit = context.time_remaining()
        self.unlimited += limit is None or limit > LIMIT_SECONDS
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting == self._expected:
            self._all_there.set()
        try:
            async with asyncio.timeout(TOGETHER_SECONDS):
                await self._all_there.wait()
        except TimeoutError:
            self._all_there.set()  # the others would wait in vain, too
        self.waiting -= 1
        user = user_pb2.User(user_id=request.user_id, name=self._names[request.user_id])
        return user_pb2.GetUserResponse(user=user)


@exercise(
    "24-parallel",
    title="Keep the request in threads",
    kind="function",
    returns=list[str],
    deadline=8,
)
def parallel(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`ask_all(stub, user_ids)` returns the names, asked at once, all under one request id."""
    for size in (4, 9, 4):
        if said := _asked_at_once(answer, sandbox, size):
            return said
    return solved("all users were asked at once, and each call knew its request", requests=3)


def _asked_at_once(answer: Submission, sandbox: Sandbox, size: int) -> Verdict | None:
    """Ask for so many users within a new request; return what broke."""
    some = random.sample([f"u-{number}" for number in range(100)], size - 1)
    user_ids = [*some, some[0]]  # one is asked for twice
    names = {user_id: f"Customer {secrets.token_hex(2)}" for user_id in some}
    together = _Together(names, size)
    service = sandbox.serve_grpc(together, name="together")
    with channel(service.target) as plain:
        grpc.channel_ready_future(plain).result(timeout=5)
        users = user_pb2_grpc.UserServiceStub(grpc.intercept_channel(plain, call_context.client()))
        with call_context.use(call_context.CallContext.new("u-1")) as request:
            outcome = answer.attempt(users, list(user_ids), allow=_entered_or_status)
    known = together.request_ids.count(request.request_id)
    entered_twice = isinstance(outcome.error, RuntimeError)
    return first_broken(
        (
            entered_twice,
            "two threads ran in one copy of the context, which is not allowed",
            "Make a copy for each call.",
        ),
        (
            outcome.error is not None,
            f"a call of yours ended with {outcome.status}",
            "Ask for the ids that you are given, with a timeout of some seconds.",
        ),
        (
            together.most < size,
            "the users were not asked all at once",
            "Submit all calls before you wait for a result, to a pool that is large enough.",
        ),
        (
            outcome.value != [names[user_id] for user_id in user_ids],
            "the names did not come back in the order of the ids",
            "Keep the futures in a list, and take their results in that order.",
        ),
        (
            known < size,
            "calls arrived without the id of the request that is current now",
            "A pool's thread knows only its own context. contextvars can copy the one of now.",
        ),
        (
            together.unlimited > 0,
            "a call had no timeout",
            "If the server hangs, such a call never ends. A stub's method takes a timeout.",
        ),
        calls=len(together.request_ids),
        at_once=together.most,
        with_the_request_id=known,
    )


def _entered_or_status(error: BaseException) -> bool:
    entered = isinstance(error, RuntimeError) and "already entered" in str(error)
    return entered or status_of(error) is not None
