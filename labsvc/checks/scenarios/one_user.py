"""Part of the check of notebook 21: the service that is asked for a user, and the call to it."""

from __future__ import annotations

import asyncio
import secrets
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import CONNECT_SECONDS, channel
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.run import Outcome
    from labsvc.checks.sandbox import Sandbox

BUDGET = 2.0  # seconds, as the exercise says
LATE = 0.4  # seconds over the budget until a call counts as hanging, on a busy machine
WITHIN = BUDGET + LATE
QUICK = {"initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 100}
BOUND = "Whatever waits or tries again needs an end: what bounds all of it together?"


class OneUser(user_pb2_grpc.UserServiceServicer):
    """Serves one user, whose name nobody knows before, or is silent. `calls` is for all calls."""

    def __init__(self, room: Sandbox) -> None:
        number, name = secrets.token_hex(3), secrets.token_hex(4)
        self.user_id, self.name = f"u-{number}", f"Customer {name}"
        self.silent = False
        self.calls = 0
        self._unanswered: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self.service = room.serve_grpc(self, name="users")

    async def GetUser(
        self, request: user_pb2.GetUserRequest, context: Any
    ) -> user_pb2.GetUserResponse:
        """Answer with the name."""
        self.calls += 1
        if self.silent:
            turned_away = asyncio.Event()
            self._unanswered.append((asyncio.get_running_loop(), turned_away))
            await turned_away.wait()  # the end of the call cancels it
            await context.abort(grpc.StatusCode.UNAVAILABLE, "come back later")
        if request.user_id != self.user_id:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such user")
        return user_pb2.GetUserResponse(user=user_pb2.User(name=self.name))

    def turn_away(self) -> None:
        """Refuse the calls that get no answer, and leave those that come after without one."""
        for loop, turned_away in self._unanswered:
            loop.call_soon_threadsafe(turned_away.set)

    @contextmanager
    def connected(
        self, target: str = ""
    ) -> Iterator[tuple[grpc.Channel, user_pb2_grpc.UserServiceStub]]:
        """Open a channel with a connection, to `target` if the way leads there; with its stub."""
        with channel(target or self.service.target, **QUICK) as line:
            ask = user_pb2_grpc.UserServiceStub(line)
            request = user_pb2.GetUserRequest(user_id=self.user_id)
            ask.GetUser(request, timeout=CONNECT_SECONDS, wait_for_ready=True)
            self.calls = 0
            yield line, ask


@contextmanager
def stub(target: str) -> Iterator[user_pb2_grpc.UserServiceStub]:
    """Open a channel that connects when it is first used."""
    with channel(target, **QUICK) as line:
        yield user_pb2_grpc.UserServiceStub(line)


def wait_until_lost(line: grpc.Channel) -> None:
    """Wait until a channel knows that its connection has gone, or a call would be lost with it."""
    lost = threading.Event()

    def note(state: grpc.ChannelConnectivity) -> None:
        if state is not grpc.ChannelConnectivity.READY:
            lost.set()

    line.subscribe(note)
    lost.wait(CONNECT_SECONDS)
    line.unsubscribe(note)


def read_by_caller(outcome: Outcome) -> str:
    """Return the status that an error carries, or its type where the gRPC error is lost."""
    return outcome.status or type(outcome.error).__name__
