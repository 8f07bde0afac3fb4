"""Exercise of notebook 29: a server that is drained."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.checks.asking import channel, wait
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, first_broken, solved
from labsvc.hosts.grpc import OPTIONS
from labsvc.ports import HOST
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Attempt, Submission

SERVICE = "labsvc.shop.v1.UserService"
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NOTICE = 1.0
SHORT_NOTICE = 0.1
GRACE = 0.8
LONG_GRACE = 30.0
AT_WORK = 4
LEAD = 0.4  # seconds before the end of the notice in which nothing is sent: calls take a moment
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


class _Server:
    """A server with threads and its health service, as the answer is given them."""

    def __init__(self) -> None:
        self.users = _Users()
        self.pool = ThreadPoolExecutor(AT_WORK + 8, thread_name_prefix="labsvc-check")
        self.server = grpc.server(self.pool, options=OPTIONS)
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
def _server() -> Iterator[_Server]:
    made = _Server()
    try:
        with channel(f"{HOST}:{made.port}") as made.line:
            yield made
    finally:
        made.users.gate.set()
        made.stopping.set()
        made.server.stop(0).wait(SOON)
        made.pool.shutdown(wait=False)


@exercise("29-drain", title="Stop a server without failing a call", deadline=20)
def drain(answer: Submission, sandbox: Sandbox) -> Verdict:  # noqa: ARG001
    """`shut_down(...)` says so first, serves the notice, gives the grace and waits for the end."""
    for judge in (_patient, _stubborn):
        with _server() as server:
            if fault := judge(answer, server):
                return fault
    return solved(
        "no call failed that had its time, and the end came when the last call had ended",
        calls_within_the_grace=AT_WORK,
        calls_beyond_it=1,
    )


def _patient(answer: Submission, server: _Server) -> Verdict | None:
    """Let calls at work need less than the grace, and others come during the notice."""
    at_work = server.work(AT_WORK)
    attempt = server.shut_down(answer, LONG_GRACE)
    if fault := _waits_for_the_event(server, attempt):
        return fault
    told = time.monotonic()
    server.stopping.set()
    arriving: list[Any] = []
    serving: list[str] | None = None
    while (age := time.monotonic() - told) < NOTICE - LEAD:
        arriving += server.start("quick")
        time.sleep(0.02)
        if age > NOTICE / 4 and serving is None:
            serving = server.without(NOT_SERVING)
    if fault := _notice_kept(arriving, serving or []):
        return fault
    time.sleep(max(0.0, told + NOTICE + LEAD - time.monotonic()))
    if fault := _stopped_and_waits(server, attempt, at_work):
        return fault
    server.users.gate.set()
    codes = Counter(call.code().name for call in at_work)
    late = not wait(lambda: not attempt.running, SOON)
    if not late:
        attempt.outcome()
    return first_broken(
        (
            codes["OK"] < AT_WORK,
            f"{AT_WORK - codes['OK']} of {AT_WORK} calls at work failed within their grace",
            "Who gives the calls at work their time? The argument of `stop` is in seconds.",
        ),
        (
            late,
            "the last call had ended, and your function did not return",
            "The grace is the most it takes, not the least. What does `stop` return?",
        ),
    )


def _waits_for_the_event(server: _Server, attempt: Attempt) -> Verdict | None:
    wait(lambda: not attempt.running, 0.3)
    if not attempt.running:
        attempt.outcome()
    return first_broken(
        (
            not attempt.running,
            "your function returned before anybody set the event",
            "The event has a method that waits until it is set.",
        ),
        (
            not server.serves() or bool(server.without(SERVING)),
            "the server was going down before anybody set the event",
            "The first line waits; all others come after it. A timeout ends a wait, too.",
        ),
    )


def _notice_kept(arriving: list[Any], serving: list[str]) -> Verdict | None:
    codes = Counter(call.code().name for call in arriving)
    late = codes.total() - codes["OK"]
    failed = sorted(set(codes) - {"OK"})
    return first_broken(
        (
            bool(failed),
            f"{late} calls that came during the notice ended with {', '.join(failed)}",
            "Callers call until they have heard. When does the server stop taking calls?",
        ),
        (
            bool(serving),
            f"during the notice, health did not say NOT_SERVING for {', '.join(serving)}",
            "Say it from the start of the notice, for each service that callers may ask for.",
        ),
    )


def _stopped_and_waits(server: _Server, attempt: Attempt, at_work: list[Any]) -> Verdict | None:
    serves = server.serves()
    ended = sum(call.done() for call in at_work)
    if not attempt.running:
        attempt.outcome()
    return first_broken(
        (
            serves,
            "the notice was over, and the server still took new calls",
            "Which call makes a server take no more? It belongs right after the notice.",
        ),
        (
            server.takes_back(),
            "after the notice, health no longer said NOT_SERVING",
            "Callers who watch would come back. What is set once stays so to the end.",
        ),
        (
            bool(ended),
            f"{ended} calls at work were ended after the notice, in spite of their grace",
            "What does `stop` do with the calls at work when it is given 0, None or no number?",
        ),
        (
            not attempt.running,
            f"your function returned while {AT_WORK} calls were at work: the program would end",
            "`stop` returns at once. What does it return?",
        ),
    )


def _stubborn(answer: Submission, server: _Server) -> Verdict | None:
    """Let a call outlast the grace; call the answer twice at the same time, and again."""
    [call] = server.work(1)
    attempts = [server.shut_down(answer, GRACE) for _ in range(2)]
    server.stopping.set()
    time.sleep(NOTICE + GRACE / 4)
    cut, left = call.done(), not all(attempt.running for attempt in attempts)
    wait(lambda: call.done() or not all(a.running for a in attempts), GRACE + SOON)
    returned = not all(attempt.running for attempt in attempts)
    ended = wait(call.done, GRACE / 4)  # its caller hears it a bit later
    early, lasts = left or (returned and not ended), not (returned or ended)
    late = ended and not wait(lambda: not any(a.running for a in attempts), SOON)
    for attempt in attempts:
        if not attempt.running:
            attempt.outcome()
    if not (cut or lasts or early or late):
        late = not _returns_again(server, answer)
    return first_broken(
        (
            cut,
            "a call at work was ended before its grace was over",
            "The grace begins after the notice. Does a second shut-down take it from the first?",
        ),
        (
            lasts,
            "a call that takes longer than the grace was not ended",
            "`stop` takes the grace in seconds; without a number the call decides how long it is.",
        ),
        (
            early,
            "two shut-downs ran, and one returned before the last call had ended",
            "Each returns when the server is down. What can both wait for, as long as it takes?",
        ),
        (
            late,
            "your function was called twice, and one of the calls did not return",
            "Both wait for the same end. Does the second wait for something that comes only once?",
        ),
    )


def _returns_again(server: _Server, answer: Submission) -> bool:
    """Call the answer when all is over; return whether it comes back."""
    again = server.shut_down(answer, GRACE, SHORT_NOTICE)
    if back := wait(lambda: not again.running, SHORT_NOTICE + GRACE + SOON):
        again.outcome()
    return back
