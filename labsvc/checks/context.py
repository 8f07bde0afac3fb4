"""Exercises of notebook 04: what to send on, and one request in many threads."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, diagnose, solved
from labsvc.rpc import context as call_context
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.answer import Answer, Outcome
    from labsvc.checks.bench import Bench

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
CAME = [
    ("user-agent", "grpc-python"),
    ("traceparent", f"00-{TRACE}-{SPAN}-01"),
    ("x-request-id", "r-7"),
    ("authorization", "Bearer secret"),
    ("user-bin", b"\xc3\xa4"),
]
KEYS = ["traceparent", "x-request-id"]
TRACEPARENT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-[0-9a-f]{2}")
CHANNEL = (("grpc.enable_http_proxy", 0), ("grpc.use_local_subchannel_pool", 1))

USERS = {"u-1": "First Customer", "u-2": "Zweiter Käufer", "u-3": "第三位顾客", "u-4": "Fourth"}
ASKED = ["u-3", "u-1", "u-4", "u-2"]


class _Last(user_pb2_grpc.UserServiceServicer):
    """Notes the metadata of each call."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        self.calls.append(dict(context.invocation_metadata()))
        return user_pb2.GetUserResponse()


@exercise("04-outgoing", title="Send on what belongs to the request")
def outgoing(answer: Answer, bench: Bench) -> Verdict:
    """`outgoing(incoming)` returns traceparent and x-request-id for the next call, no more."""
    last = _Last()
    service = bench.serve_grpc(last, name="last")
    with grpc.insecure_channel(service.target, CHANNEL) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        arrived = [_send(answer, stub, last, CAME) for _ in range(2)]
        if verdict := next((one for one in arrived if isinstance(one, Verdict)), None):
            return verdict
        for came in ([("user-agent", "grpc-python")], CAME[:1] + CAME[2:3]):
            fresh = [_send(answer, stub, last, came) for _ in range(2)]
            if verdict := next((one for one in fresh if isinstance(one, Verdict)), None):
                return verdict
            arrived += fresh
    return _judge([one for one in arrived if isinstance(one, dict)])


def _send(
    answer: Answer, stub: Any, last: _Last, came: list[tuple[str, Any]]
) -> dict[str, Any] | Verdict:
    """Make one call with the answer's metadata; return what arrived, or what broke."""
    outcome: Outcome = answer.attempt(list(came))
    if isinstance(outcome.error, KeyError | IndexError) and len(came) < len(CAME):
        return broken(
            "a call came without a traceparent or without a request id, and your function raised",
            "Use .get: what is missing is made anew.",
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    pairs = outcome.value.items() if isinstance(outcome.value, dict) else outcome.value
    try:
        stub.GetUser(user_pb2.GetUserRequest(), timeout=5, metadata=list(pairs))
    except (grpc.RpcError, TypeError, ValueError):
        return broken(
            "gRPC refused to send the metadata that your function returned",
            "Return a list of pairs of strings, with keys in lower case.",
        )
    arrived = last.calls[-1]
    own = {key for key, _ in pairs}
    return {key: value for key, value in arrived.items() if key in own}


def _judge(arrived: list[dict[str, Any]]) -> Verdict:
    """Return the verdict on what arrived: twice for CAME, twice for nothing, twice without ids."""
    traces = [TRACEPARENT.fullmatch(str(one.get("traceparent", ""))) for one in arrived]
    traced = [match.group(1) if match else "" for match in traces]
    spans = [match.group(2) if match else "" for match in traces]
    request_ids = [one.get("x-request-id") for one in arrived]
    extra = {key for one in arrived for key in one} - set(KEYS)
    counts = {"calls": len(arrived), "traces_kept": traced.count(TRACE)}
    mistakes = [
        (
            "authorization" in extra,
            "the caller's token was handed to the next service",
            "Send two keys, whatever else came in.",
        ),
        (bool(extra), "keys were sent that were not asked for", "Send two keys, and no others."),
        (
            not all(traces),
            "a call left without a valid traceparent",
            "Four fields with dashes between: 00, 32 hex digits, 16 hex digits, 01.",
        ),
        (
            set(traced[:2]) != {TRACE},
            "the trace id that came in was not sent on",
            "It is the second of the four fields.",
        ),
        (
            spans[0] == SPAN or len(set(spans)) < len(spans),
            "two calls have the same span id",
            "Each call gets a new span id; secrets.token_hex makes one.",
        ),
        (
            len(set(traced[2:])) < len(traced[2:]) or TRACE in traced[2:],
            "two requests without a traceparent got the same trace id",
            "A new trace id is random, and made inside the function.",
        ),
        (
            set(request_ids[:2]) != {"r-7"} or set(request_ids[4:]) != {"r-7"},
            "the request id that came in was not sent on",
            "Its key is x-request-id.",
        ),
        (
            not all(request_ids[2:4]) or request_ids[2] == request_ids[3],
            "a request without an id did not get one of its own",
            "Make a random one when none came in.",
        ),
    ]
    made = [mistake for mistake in mistakes if mistake[0]]
    if made:
        return diagnose(made[0], otherwise=("", ""), **counts)
    return solved("each call carries its trace and its request id, and no secret", **counts)


class _Together(user_pb2_grpc.UserServiceServicer):
    """Answers when all calls are there at once; alone, a call waits a second and is answered."""

    def __init__(self, expected: int) -> None:
        self._expected = expected
        self._all_there = asyncio.Event()
        self.waiting = 0
        self.most = 0
        self.request_ids: list[str | None] = []

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        came = dict(context.invocation_metadata())
        self.request_ids.append(came.get(call_context.REQUEST_ID))
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        if self.waiting == self._expected:
            self._all_there.set()
        try:
            async with asyncio.timeout(1):
                await self._all_there.wait()
        except TimeoutError:
            pass
        self.waiting -= 1
        user = user_pb2.User(user_id=request.user_id, name=USERS.get(request.user_id, ""))
        return user_pb2.GetUserResponse(user=user)


@exercise("04-parallel", title="Keep the request in threads")
def parallel(answer: Answer, bench: Bench) -> Verdict:
    """`ask_all(stub, user_ids)` returns the names, asked at once, all under one request id."""
    together = _Together(len(ASKED))
    service = bench.serve_grpc(together, name="together")
    with grpc.insecure_channel(service.target, CHANNEL) as plain:
        grpc.channel_ready_future(plain).result(timeout=5)
        channel = grpc.intercept_channel(plain, call_context.client())
        stub = user_pb2_grpc.UserServiceStub(channel)
        with call_context.use(call_context.CallContext.new("u-1")) as request:
            outcome = answer.attempt(stub, list(ASKED))
    counts = {
        "calls": len(together.request_ids),
        "at_once": together.most,
        "with_the_request_id": together.request_ids.count(request.request_id),
    }
    if isinstance(outcome.error, RuntimeError) and "already entered" in str(outcome.error):
        return broken(
            "two threads ran in one copy of the context, which is not allowed",
            "Make a copy for each call.",
            **counts,
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    mistakes = [
        (outcome.hung, "your function did not return", "Give each call a timeout."),
        (
            outcome.value != [USERS[user_id] for user_id in ASKED],
            "the names did not come back in the order of the ids",
            "Keep the futures in a list, and take their results in that order.",
        ),
        (
            together.most < len(ASKED),
            "the users were not asked all at once",
            "Submit all calls before you wait for a result, to a pool that is large enough.",
        ),
        (
            counts["with_the_request_id"] < len(ASKED),
            "calls arrived without the id of the request",
            "A pool's thread starts with an empty context. contextvars can copy the one of now.",
        ),
    ]
    made = [mistake for mistake in mistakes if mistake[0]]
    if made:
        return diagnose(made[0], otherwise=("", ""), **counts)
    return solved("all users were asked at once, and each call knew its request", **counts)
