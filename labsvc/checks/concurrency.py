"""Exercise of notebook 07: a handler that refuses in time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, diagnose, solved
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

LIMIT = 3
CALLS = 10
AT_ONCE = 2.0  # seconds in which a refusal has to come
PATIENCE = 5.0  # seconds for what has to happen


class _Users(user_pb2_grpc.UserServiceServicer):
    """Holds its callers until the gate is open, and counts how many it holds at once."""

    def __init__(self) -> None:
        self.handler: Callable[..., Any] = self.work
        self.gate = threading.Event()
        self.entered = 0
        self.inside = 0
        self.most = 0
        self._lock = threading.Lock()

    def GetUser(
        self, request: user_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> user_pb2.GetUserResponse:
        """Hand the call to what the learner returned."""
        reply: user_pb2.GetUserResponse = self.handler(request, context)
        return reply

    def work(
        self, request: user_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> user_pb2.GetUserResponse:
        """Stay until the gate is open; user "bad" raises, user "gone" aborts."""
        with self._lock:
            self.entered += 1
            self.inside += 1
            self.most = max(self.most, self.inside)
        try:
            if request.user_id == "bad":
                msg = "the database is away"
                raise RuntimeError(msg)
            if request.user_id == "gone":
                context.abort(grpc.StatusCode.NOT_FOUND, "no such user")
            self.gate.wait(PATIENCE)
            return user_pb2.GetUserResponse(user=user_pb2.User(user_id=request.user_id))
        finally:
            with self._lock:
                self.inside -= 1


@exercise("07-limit", title="Refuse what is over the limit, at once")
def limit(answer: Answer, bench: Bench) -> Verdict:
    """`limited(handler, calls)` lets so many run and answers the rest with RESOURCE_EXHAUSTED."""
    users = _Users()
    handler = answer(users.work, LIMIT)
    if not callable(handler):
        return diagnose(
            otherwise=(
                f"your function returned a {type(handler).__name__}, which cannot be called",
                "Define a function inside yours, and return it.",
            )
        )
    users.handler = handler
    service = bench.serve_grpc(users, name="limited", workers=CALLS + 2)
    with grpc.insecure_channel(service.target) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        return _judge(users, stub)


def _judge(users: _Users, stub: user_pb2_grpc.UserServiceStub) -> Verdict:
    calls = [_start(stub, "u-1") for _ in range(CALLS)]
    _until(lambda: sum(call.done() for call in calls) >= CALLS - LIMIT, AT_ONCE)
    refused = [call for call in calls if call.done()]
    users.gate.set()
    codes = Counter(call.code().name for call in calls)
    counts = {"calls": CALLS, "served": codes["OK"], "refused": codes["RESOURCE_EXHAUSTED"]}
    rest = sorted(set(codes) - {"OK", "RESOURCE_EXHAUSTED"})
    if codes["OK"] == LIMIT and len(refused) == codes["RESOURCE_EXHAUSTED"] == CALLS - LIMIT:
        return _places_come_back(stub, counts)
    return diagnose(
        (
            users.most > LIMIT,
            f"{users.most} handlers ran at once, {LIMIT} were allowed",
            "Count the calls that are inside, for all calls together, and look before you enter.",
        ),
        (
            bool(rest),
            f"calls that were too much ended with {', '.join(rest)}",
            "`context.abort` takes a status code; RESOURCE_EXHAUSTED says that nothing was done.",
        ),
        (
            not refused and codes["OK"] > LIMIT,
            "calls over the limit waited, and were not refused",
            "A semaphore's acquire waits by default. Which argument makes it return at once?",
        ),
        (
            codes["OK"] > LIMIT,
            "calls over the limit got an OK",
            "End them with `context.abort`: the caller has to learn that nothing was done.",
        ),
        otherwise=(
            f"{codes['OK']} calls were served, {LIMIT} had a place",
            "Refuse only when all places are taken.",
        ),
        **counts,
    )


def _places_come_back(stub: user_pb2_grpc.UserServiceStub, counts: dict[str, int]) -> Verdict:
    """Let handlers succeed, raise and abort, each more often than there are places."""
    lost = {}
    for user_id, code in (("u-1", "OK"), ("bad", "UNKNOWN"), ("gone", "NOT_FOUND")):
        ended = Counter(_start(stub, user_id).code().name for _ in range(2 * LIMIT))
        lost[user_id] = 2 * LIMIT - ended[code]
    if not any(lost.values()):
        return solved("what was too much was refused at once, and every place came back", **counts)
    return diagnose(
        (
            bool(lost["u-1"]),
            "calls that came one after the other were not served",
            "A place is taken when a call enters. When is it given back, and by which calls?",
        ),
        otherwise=(
            "after handlers had failed, calls were refused though nobody was inside",
            "A line after the handler is not reached when it raises; `finally` always is.",
        ),
        **counts,
    )


def _start(stub: user_pb2_grpc.UserServiceStub, user_id: str) -> Any:
    return stub.GetUser.future(user_pb2.GetUserRequest(user_id=user_id), timeout=2 * PATIENCE)


def _until(condition: Callable[[], bool], seconds: float) -> None:
    give_up_at = time.monotonic() + seconds
    while not condition() and time.monotonic() < give_up_at:
        time.sleep(0.005)
