"""Exercise of notebook 24: what to send on."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import stub
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.traceparent import TRACEPARENT
from labsvc.checks.verdict import Verdict, broken, first_broken, solved
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

Pairs = list[tuple[str, str | bytes]]

VALID = f"00-{32 * 'a'}-{16 * 'b'}-01"
MALFORMED = ("garbage", "", "00-short-00f067aa0ba902b7-01", f"x{VALID}", f"{VALID}x", VALID.upper())


class _Last(user_pb2_grpc.UserServiceServicer):
    """Notes the metadata of each call."""

    def __init__(self) -> None:
        self.arrived: dict[str, Any] = {}

    async def GetUser(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        self.arrived = dict(context.invocation_metadata())
        return user_pb2.GetUserResponse()


@dataclass(frozen=True)
class _Case:
    """What came with one call; None where a key is missing."""

    words: str
    parent: str | None
    request_id: str | None

    def pairs(self) -> Pairs:
        """Return the metadata, with some that must not be sent on."""
        came: Pairs = [("authorization", "Bearer secret"), ("tracestate", "shop=1")]
        if self.parent is not None:
            came.append(("traceparent", self.parent))
        if self.request_id is not None:
            came.append(("x-request-id", self.request_id))
        return [*came, ("user-bin", b"\xc3\xa4")]


def _cases() -> list[_Case]:
    """Return cases with new ids: whole ones, one that is not sampled, some that lack a part."""

    def parent(flags: str) -> str:
        return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{flags}"

    def request_id() -> str:
        return f"r-{secrets.token_hex(3)}"

    whole = _Case("all came", parent("01"), request_id())
    return [
        whole,
        whole,
        _Case("the trace was not sampled, flags 00", parent("00"), request_id()),
        _Case("no traceparent came", None, request_id()),
        _Case("no request id came", parent("01"), None),
        _Case("nothing came", None, None),
        *(_Case(f"the traceparent was {text!r}", text, request_id()) for text in MALFORMED),
    ]


@exercise("24-outgoing", title="Send on what belongs to the request", returns=list)
def outgoing(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`outgoing(incoming)` returns traceparent and x-request-id for the next call, no more."""
    last = _Last()
    service = sandbox.serve_grpc(last, name="last")
    cases = _cases()
    made: list[dict[str, str]] = []
    with stub(user_pb2_grpc.UserServiceStub, service.target) as users:
        for case in cases:
            pairs = answer(case.pairs())
            try:
                users.GetUser(user_pb2.GetUserRequest(), timeout=5, metadata=tuple(pairs))
            except (grpc.RpcError, TypeError, ValueError):
                return broken(
                    f"{case.words}, and gRPC refused to send what your function returned",
                    "Return a list of pairs of strings, with keys in lower case.",
                )
            sent = {key: last.arrived.get(key) for key, _ in pairs}
            if said := _misses(case, sent) or _repeats(case, sent, made):
                return said
            made.append({key: str(value) for key, value in sent.items()})
    return solved("each call carried its trace and its request id, and no secret", calls=len(cases))


def _misses(case: _Case, sent: dict[str, Any]) -> Verdict | None:
    """Return what is wrong with the metadata of one call by itself."""
    parent = TRACEPARENT.fullmatch(str(sent.get("traceparent", "")))
    came = TRACEPARENT.fullmatch(case.parent or "")
    trace, span, flags = parent.groups() if parent else ("", "", "")
    return first_broken(
        (
            "authorization" in sent,
            "the caller's token was handed to the next service",
            "Send two keys, whatever else came in.",
        ),
        (
            bool(sent.keys() - {"traceparent", "x-request-id"}),
            f"{case.words}, and other keys than the two were sent",
            "Send two keys, and no others.",
        ),
        (
            parent is None,
            f"{case.words}, and a call left without a valid traceparent",
            "Four fields with dashes between: 00, 32 hex digits, 16 hex digits, 2 hex digits.",
        ),
        (
            came is None and bool(trace) and trace in (case.parent or ""),
            f"{case.words}, which is malformed, and the trace id in it was sent on",
            "Only a text that is a traceparent from its first to its last character counts.",
        ),
        (
            came is None and flags != "01",
            f"{case.words}, and the new trace has the flags {flags}",
            "A new trace is recorded: 01.",
        ),
        (
            came is not None and trace != came[1],
            f"{case.words}, and the trace id that came in was not sent on",
            "It is the second of the four fields.",
        ),
        (
            came is not None and flags != came[3],
            f"{case.words}, and the flags {flags} were sent on",
            "The last field says whether the trace is recorded. It is not yours to change.",
        ),
        (
            came is not None and span == came[2],
            f"{case.words}, and the span id is still that of the caller",
            "Each call gets a new span id; secrets.token_hex makes one.",
        ),
        (
            not sent.get("x-request-id"),
            f"{case.words}, and the call left without a request id",
            "Make a random one when none came in.",
        ),
        (
            case.request_id is not None and sent["x-request-id"] != case.request_id,
            f"{case.words}, and the request id that came in was not sent on",
            "Its key is x-request-id.",
        ),
    )


def _repeats(case: _Case, sent: dict[str, Any], made: Sequence[dict[str, str]]) -> Verdict | None:
    """Return what was made anew and is not new."""
    parent = str(sent["traceparent"])
    trace, span = parent.split("-")[1:3]
    before = [one["traceparent"].split("-") for one in made]
    new_trace = TRACEPARENT.fullmatch(case.parent or "") is None
    return first_broken(
        (
            span in [one[2] for one in before],
            "two calls have the same span id",
            "Each call gets a new span id, made inside the function.",
        ),
        (
            new_trace and trace in [one[1] for one in before],
            "two requests without a traceparent got the same trace id",
            "A new trace id is random, and made inside the function.",
        ),
        (
            case.request_id is None
            and sent["x-request-id"] in [one["x-request-id"] for one in made],
            "two requests got the same request id",
            "Make a new one for each request that came without.",
        ),
    )
