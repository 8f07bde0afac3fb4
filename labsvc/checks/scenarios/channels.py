"""Exercise of notebook 20: one connection for many calls."""

from __future__ import annotations

import asyncio
import gc
import random
import secrets
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import has_status, wait
from labsvc.checks.engine import exercise
from labsvc.checks.learner_code import chain
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.checks.wording import summary
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.hosts.proxy import Proxy

REFUSED = {"u-404": grpc.StatusCode.NOT_FOUND, "u-403": grpc.StatusCode.PERMISSION_DENIED}
LONGEST = 62  # seconds for a call: the exercise says a minute, and gRPC rounds up
STEP = 0.02  # seconds at least between two answers
SETTLE_SECONDS = 1.5  # for the last connection to close


class _Users(user_pb2_grpc.UserServiceServicer):
    """Three users with names that nobody knows before, and the time that callers left.

    Of the calls that are under way at once, the last is answered first: names in the order of the
    answers are not in that of the ids.
    """

    def __init__(self) -> None:
        self.reason = f"no {secrets.token_hex(4)}"
        self.names = {f"u-{number}": f"Customer {secrets.token_hex(4)}" for number in (1, 2, 3)}
        self.limits: list[float | None] = []
        self._under_way: set[int] = set()

    async def GetUser(
        self, request: user_pb2.GetUserRequest, context: Any
    ) -> user_pb2.GetUserResponse:
        self.limits.append(context.time_remaining())
        if code := REFUSED.get(request.user_id):
            await context.abort(code, self.reason)
        await self._turn(len(self.limits))
        name = self.names[request.user_id]
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=request.user_id, name=name))

    async def _turn(self, number: int) -> None:
        """Wait while a call with a larger number is under way."""
        self._under_way.add(number)
        try:
            await asyncio.sleep(STEP)
            while max(self._under_way) > number:  # noqa: ASYNC110  # by steps, not at once
                await asyncio.sleep(STEP)
        finally:
            self._under_way.discard(number)


@exercise("20-one-channel", title="Carry many calls on one connection", returns=list[str])
def one_channel(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`get_users(target, user_ids)` returns the names, over one connection, closed at the end."""
    users = _Users()
    proxy = sandbox.proxy(sandbox.serve_grpc(users, name="users"), name="door")
    return (
        _all_known(answer, users, proxy)
        or next(filter(None, (_refused(answer, users, proxy, each) for each in REFUSED)), None)
        or solved(
            "one connection carried every call, and it was closed each time",
            calls=len(users.limits),
            connections=proxy.stats.connections,
            left_open=0,
        )
    )


def _all_known(answer: Submission, users: _Users, proxy: Proxy) -> Verdict | None:
    asked = random.sample(list(users.names), 3) * 2  # not sorted, not the same backwards
    with _own_connections(proxy):
        outcome = answer.attempt(proxy.target, list(asked), allow=has_status("CANCELLED"))
        left = _left_open(proxy)
    unlimited = users.limits.count(None)
    longest = max((limit or 0 for limit in users.limits), default=0)
    connections = proxy.stats.connections
    return first_broken(
        (
            outcome.error is not None,
            "calls were cancelled before their answers came",
            "Is the channel still open when the last answer is read?",
        ),
        (
            outcome.value != [users.names[user_id] for user_id in asked],
            f"{len(asked)} users were asked for, and other names came back, or in another order",
            "Return a list with `reply.user.name` for each id, in the order of the ids.",
        ),
        (
            connections > 1,
            f"{connections} connections were opened for {len(asked)} calls",
            "Where is the channel created: once for each call, or once before the first?",
        ),
        (
            unlimited > 0,
            f"{unlimited} of {len(users.limits)} calls had no deadline",
            "If the server hangs, such a call never ends. A stub's method takes a timeout.",
        ),
        (
            longest > LONGEST,
            "a call could have taken more than a minute",
            "A timeout is in seconds.",
        ),
        (
            left > 0,
            "the connection was still open after your function had returned",
            "A channel has a close(), and works in a `with` block.",
        ),
        calls=len(users.limits),
        connections=connections,
        calls_without_a_deadline=unlimited,
        left_open=left,
    )


def _refused(answer: Submission, users: _Users, proxy: Proxy, refused: str) -> Verdict | None:
    """Ask for a user whom the server refuses: the caller has to learn it, nothing stays open."""
    users.limits.clear()
    proxy.reset_stats()
    with _own_connections(proxy):
        outcome = answer.attempt(proxy.target, ["u-1", refused], within=3, allow=Exception)
        for each in () if outcome.error is None else chain(outcome.error):
            each.__traceback__ = None  # it holds a grpc.aio call, and that its connection
        gc.collect()  # a group of tasks holds such calls in a circle
        left = _left_open(proxy)
    error, code = outcome.error, REFUSED[refused].name
    said = f"the call for {refused} failed with {code}, and"
    return first_broken(
        (
            outcome.hung,
            f"{said} your function did not return",
            f"{code} stays {code}, however often one asks.",
        ),
        (
            error is None,
            f"{said} your function returned as if all was well",
            "Let the grpc.RpcError reach the caller: only the caller knows what to do.",
        ),
        (
            error is not None and summary(error) != f"a gRPC error {code}: {users.reason}",
            f"{said} the caller got {type(error).__name__} for it",
            "Let the grpc.RpcError pass as it is: its code and its details tell what happened.",
        ),
        (
            left > 0,
            "the connection stayed open after a call had failed",
            "A close() on the last line is not reached when a call raises; `with` always closes.",
        ),
        left_open=left,
    )


def _left_open(proxy: Proxy) -> int:
    """Return the connections that are open when the last had time to close."""
    wait(lambda: not proxy.stats.open, SETTLE_SECONDS)
    return proxy.stats.open


@contextmanager
def _own_connections(proxy: Proxy) -> Iterator[None]:
    """Give every channel to `proxy` a connection of its own, which only a close ends.

    gRPC lets channels with equal arguments share a connection while they live, and a closed
    channel lives on for a moment: six channels, one after the other, open from one to six
    connections. And a channel that nobody closes goes with its last reference: here is one more.
    Afterwards the proxy cuts what was left open.
    """
    # grpc.insecure_channel itself may have been imported under any name, so we go below it.
    classes = [import_module(name).Channel for name in ("grpc._channel", "grpc.aio._channel")]
    originals = [made.__init__ for made in classes]
    kept: list[object] = []

    def noting(original: Callable[..., None]) -> Callable[..., None]:
        def init(channel: object, address: str, options: Any, *rest: Any) -> None:
            if str(address).endswith(proxy.target):
                options = (*(options or ()), ("grpc.use_local_subchannel_pool", 1))
                kept.append(channel)
            original(channel, address, options, *rest)

        return init

    for made, original in zip(classes, originals, strict=True):
        made.__init__ = noting(original)
    try:
        yield
    finally:
        for made, original in zip(classes, originals, strict=True):
            made.__init__ = original
        proxy.cut()
