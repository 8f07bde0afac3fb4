"""Exercises of notebook 02: one connection for many calls, and a call that outlasts an outage."""

from __future__ import annotations

import time
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, solved
from labsvc.shop.services import UserService
from labsvc.shop.store import Store
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.checks.answer import Answer
    from labsvc.checks.bench import Bench

NAMES = {"u-1": "First Customer", "u-2": "Zweiter Käufer", "u-3": "第三位顾客"}
ASKED = ("u-2", "u-1", "u-3", "u-1", "u-2", "u-3")
UNKNOWN = "u-404"
SETTLE_SECONDS = 3.0  # for the last connection to close

OUTAGE = 0.4  # seconds
BUDGET = 2.0  # seconds, as the exercise says
GRACE = 1.5  # seconds over the budget until a call counts as hanging
CHANNEL = [
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 200),
]


class _WatchedUsers(UserService):
    """The shop's users, with the time that each caller left for the call."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.limits: list[float | None] = []

    async def GetUser(
        self, request: user_pb2.GetUserRequest, context: Any
    ) -> user_pb2.GetUserResponse:
        self.limits.append(context.time_remaining())
        return await super().GetUser(request, context)


@exercise("02-one-channel", title="Carry many calls on one connection")
def one_channel(answer: Answer, bench: Bench) -> Verdict:
    """`get_users(target, user_ids)` returns the names, over one connection, closed at the end."""
    users = _WatchedUsers(Store.seeded())
    proxy = bench.proxy(bench.serve_grpc(users, name="users"), name="door")
    with _unshared(proxy.target):
        names = answer(proxy.target, list(ASKED))
    unlimited = users.limits.count(None)
    counts = {
        "calls": len(users.limits),
        "connections": proxy.stats.connections,
        "calls_without_a_deadline": unlimited,
    }
    if names != [NAMES[user_id] for user_id in ASKED]:
        return broken(
            f"{len(ASKED)} users were asked for, and not their names came back in this order",
            "Return a list with `reply.user.name` for each id, in the order of the ids.",
            **counts,
        )
    if proxy.stats.connections > 1:
        return broken(
            f"{proxy.stats.connections} connections were opened for {len(ASKED)} calls",
            "Where is the channel created: once for each call, or once before the first?",
            **counts,
        )
    if unlimited:
        return broken(
            f"{unlimited} of {len(users.limits)} calls had no deadline",
            "If the server hangs, such a call never ends. A stub's method takes a timeout.",
            **counts,
        )
    if left := _left_open(proxy):
        return broken(
            "the connection was still open after your function had returned",
            "A channel has a close(), and works in a `with` block.",
            **counts,
            left_open=left,
        )
    return _unknown_user(answer, proxy, counts)


def _unknown_user(answer: Answer, proxy: Any, counts: dict[str, int]) -> Verdict:
    """Ask for a user who does not exist: the caller has to learn it, and nothing stays open."""
    outcome = answer.attempt(proxy.target, ["u-1", UNKNOWN])
    if outcome.hung:
        return broken(
            f"with the unknown user {UNKNOWN} your function did not return",
            "NOT_FOUND stays NOT_FOUND, however often one asks.",
            **counts,
        )
    if outcome.error is None:
        return broken(
            f"user {UNKNOWN} does not exist, and your function returned as if all was well",
            "Let the grpc.RpcError reach the caller: only the caller knows what to do.",
            **counts,
        )
    if _code(outcome.error) != "NOT_FOUND":
        return broken(
            f"user {UNKNOWN} does not exist, and the caller got a {type(outcome.error).__name__}"
            " without the status NOT_FOUND",
            "Let the grpc.RpcError pass as it is; its code tells the caller what happened.",
            **counts,
        )
    outcome.error.__traceback__ = None  # it holds the function's variables, an aio channel too
    if left := _left_open(proxy):
        return broken(
            "the connection stayed open after a call had failed",
            "A close() on the last line is not reached when a call raises; `with` always closes.",
            **counts,
            left_open=left,
        )
    return solved(
        "one connection carried every call, and it was closed each time", **counts, left_open=0
    )


def _left_open(proxy: Any) -> int:
    """Return the connections that are open when the last had time to close."""
    give_up_at = time.monotonic() + SETTLE_SECONDS
    while proxy.stats.open and time.monotonic() < give_up_at:
        time.sleep(0.01)
    return int(proxy.stats.open)


@exercise("02-outage", title="Answer through a short outage, and give up in time")
def outage(answer: Answer, bench: Bench) -> Verdict:
    """`get_user(stub, user_id)` returns the name through a restart, or raises within 2 seconds."""
    service = bench.serve_grpc(UserService(Store.seeded()), name="outage")
    with grpc.insecure_channel(service.target, CHANNEL) as channel:
        stub = user_pb2_grpc.UserServiceStub(channel)
        stub.GetUser(user_pb2.GetUserRequest(user_id="u-1"), timeout=5, wait_for_ready=True)
        service.stop()
        attempt = answer.start(stub, "u-1", within=BUDGET + GRACE)
        time.sleep(OUTAGE)
        service.start()
        if verdict := _through_the_outage(answer, attempt.outcome()):
            return verdict
        service.stop()
        return _server_stays_away(answer, answer.attempt(stub, "u-1", within=BUDGET + GRACE))


def _through_the_outage(answer: Answer, outcome: Any) -> Verdict | None:
    """Return what broke while the server restarted, None if nothing did."""
    counts = {"restarts": 1, "answered": 0}
    if outcome.hung:
        return broken(
            "the server came back, and your function did not",
            "Which call or loop in it waits without an end?",
            **counts,
        )
    code = _code(outcome.error)
    if code == "UNAVAILABLE":
        return broken(
            "the call failed with UNAVAILABLE, though the server was back in less than two seconds",
            "By default a call fails at once when there is no connection. A stub's method takes"
            " a keyword that makes it wait for one.",
            **counts,
        )
    if code == "DEADLINE_EXCEEDED":
        return broken(
            "the call gave up before the server was back, with time to spare",
            "A timeout is in seconds. How many has the caller?",
            **counts,
        )
    if outcome.error is not None:
        raise answer.fault(outcome.error)
    if outcome.value != NAMES["u-1"]:
        return broken(
            "the user's name did not come back from a server that had only restarted",
            "Return `reply.user.name`, and do not hide an error behind another value.",
            **counts,
        )
    return None


def _server_stays_away(answer: Answer, outcome: Any) -> Verdict:
    """Return the verdict on a call to a server that does not come back."""
    counts = {"restarts": 1, "answered": 1, "ended_in_time": 0}
    if outcome.hung:
        return broken(
            "the server stayed away, and your function was still waiting after two seconds",
            "Whatever waits or tries again needs an end: what bounds it?",
            **counts,
        )
    if outcome.error is None:
        return broken(
            "the server stayed away, and your function returned as if it had answered",
            "Let the grpc.RpcError reach the caller: a made-up value hides the outage.",
            **counts,
        )
    if _code(outcome.error) is None:
        raise answer.fault(outcome.error)
    if _code(outcome.error) != "DEADLINE_EXCEEDED":
        return broken(
            f"the server stayed away, and the call ended with {_code(outcome.error)}",
            "Let one call wait for the connection and give it all the time there is: it then ends"
            " with DEADLINE_EXCEEDED.",
            **counts,
        )
    return solved(
        "the answer came through a restart, and the wait ended in time when the server stayed away",
        restarts=1,
        answered=1,
        ended_in_time=1,
    )


def _code(error: BaseException | None) -> str | None:
    """Return the name of a gRPC error's status code, None for any other error."""
    code = getattr(error, "code", None)  # of a sync call's error as of a grpc.aio one
    return str(code().name) if isinstance(error, grpc.RpcError) and callable(code) else None


@contextmanager
def _unshared(target: str) -> Iterator[None]:
    """Give every channel that is made to `target` a connection of its own.

    gRPC lets channels with equal arguments share a connection while they live, and a closed
    channel lives on for a moment: six channels, one after the other, open from one to six
    connections. A count of connections is a count of channels only without that pool.
    """
    # grpc.insecure_channel itself may have been imported under any name, so we go below it.
    classes = [import_module(name).Channel for name in ("grpc._channel", "grpc.aio._channel")]
    originals = [made.__init__ for made in classes]

    def unshare(original: Callable[..., None]) -> Callable[..., None]:
        def init(channel: object, address: str, options: Any, *rest: Any) -> None:
            if str(address).endswith(target):
                options = (*(options or ()), ("grpc.use_local_subchannel_pool", 1))
            original(channel, address, options, *rest)

        return init

    for made, original in zip(classes, originals, strict=True):
        made.__init__ = unshare(original)
    try:
        yield
    finally:
        for made, original in zip(classes, originals, strict=True):
            made.__init__ = original
