"""The stage of exercise 29: a server with threads that is told to go, and calls at work in it."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.checks.asking import channel, wait
from labsvc.hosts.grpc import OPTIONS
from labsvc.ports import HOST
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.submission import Attempt, Submission

SERVICE = "labsvc.shop.v1.UserService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NOTICE = 1.0
AT_WORK = 4
MOMENT = 0.05
SOON = 1.0  # seconds for what takes milliseconds
PATIENCE = 12.0  # seconds that a gate stays closed at most


class _Users(user_pb2_grpc.UserServiceServicer):
    """Answers, but holds a user "work" until the gate is open."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.inside = 0

    def GetUser(
        self, request: user_pb2.GetUserRequest, context: grpc.ServicerContext
    ) -> user_pb2.GetUserResponse:
        """Answer, at once or late."""
        if request.user_id == "work":
            self.inside += 1
            self.gate.wait(PATIENCE)
        return user_pb2.GetUserResponse()


class _Hasty(threading.Event):
    """An event whose timeouts pass in no time: who does not look at the outcome goes on early."""

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, or for a moment instead of `timeout`."""
        return super().wait(timeout if timeout is None else min(timeout, MOMENT))


class _Stops:
    """Knows from what `server.stop` is told when calls at work are to end, on any machine."""

    def __init__(self, server: Any) -> None:
        self._stop = server.stop
        self._told: list[tuple[float, float]] = []
        server.stop = self._noted

    def _noted(self, grace: Any) -> threading.Event:
        self._told.append((time.monotonic(), grace or 0.0))
        stopped: threading.Event = self._stop(grace)
        return stopped

    def end_before(self, due: float) -> bool:
        """Return whether calls at work were to end before this time, on the monotonic clock."""
        return any(at + grace < due - MOMENT for at, grace in self._told)

    def longer_than(self, grace: float) -> float:
        """Return the seconds given instead of `grace` if they are more, else 0.

        What a second `stop` ends comes when its thread gets its turn, and is not judged here.
        """
        if not self._told:
            return 0.0
        at, given = self._told[0]
        is_last_word = all(at + given <= other + more for other, more in self._told)
        return given if is_last_word and given > grace + MOMENT else 0.0


class Server:
    """A server with threads and its health service, as the answer is given them."""

    def __init__(self) -> None:
        self.users = _Users()
        self.pool = ThreadPoolExecutor(AT_WORK + 8, thread_name_prefix="labsvc-check")
        self.server = grpc.server(self.pool, options=OPTIONS)
        self.stops = _Stops(self.server)
        self.health = health.HealthServicer()
        self.services = ("", SERVICE, f"shop.v1.Service{random.randrange(1000, 9999)}")
        for name in self.services:
            self.health.set(name, SERVING)
        user_pb2_grpc.add_UserServiceServicer_to_server(self.users, self.server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health, self.server)
        self.port = self.server.add_insecure_port(f"{HOST}:0")
        self.server.start()
        self.stopping = _Hasty()
        self.line: Any = None

    def shut_down(self, answer: Submission, grace: float, notice: float = NOTICE) -> Attempt:
        """Start the answer."""
        given = (self.server, self.health, self.stopping, notice, grace)
        return answer.start(*given, within=PATIENCE, allow=())

    def start(self, user: str, count: int = 1, timeout: float = PATIENCE) -> list[Any]:
        """Start calls."""
        get_user = user_pb2_grpc.UserServiceStub(self.line).GetUser
        request = user_pb2.GetUserRequest(user_id=user)
        return [get_user.future(request, timeout=timeout) for _ in range(count)]

    def work(self, count: int) -> list[Any]:
        """Start calls that stay, and wait until they are at work."""
        calls = self.start("work", count)
        wait(lambda: self.users.inside == count, SOON)
        return calls

    def serves(self) -> bool:
        """Return whether a new call is served."""
        [call] = self.start("quick", timeout=0.5)
        return bool(call.code() == grpc.StatusCode.OK)

    def without(self, status: int) -> list[str]:
        """Return the services for which health says something else to a caller."""
        check = health_pb2_grpc.HealthStub(self.line).Check
        found = []
        for name in self.services:
            call = check.future(health_pb2.HealthCheckRequest(service=name), timeout=SOON)
            if call.code() == grpc.StatusCode.OK and call.result().status != status:
                found.append(name or '""')
        return found

    def takes_back(self) -> bool:
        """Return whether health, which nobody can call any more, tells those who watch it yes."""
        asked = (health_pb2.HealthCheckRequest(service=name) for name in self.services)
        return any(self.health.Check(each, None).status != NOT_SERVING for each in asked)


@contextmanager
def drained_server() -> Iterator[Server]:
    """Start one, and stop it at the end of the block."""
    made = Server()
    try:
        with channel(f"{HOST}:{made.port}") as made.line:
            yield made
    finally:
        made.users.gate.set()
        made.stopping.set()
        made.server.stop(0).wait(SOON)
        made.pool.shutdown(wait=False)
