"""Exercise of notebook 28: a library that blocks, called from an asyncio server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from labsvc.checks.asking import channel, wait
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.library import PLACES, SOON, Library, count, new_user, start
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, wrong_type
from labsvc.checks.wording import SubmissionError
from labsvc.errors import LabError
from labsvc.hosts.grpc import GrpcService
from labsvc.loop import Loop
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterator

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

MANY_PLACES = 40  # more threads than the pool behind asyncio.to_thread ever has


class _Passing(user_pb2_grpc.UserServiceServicer):
    """Passes each call to the learner's async handler."""

    handler: Callable[..., Any]
    arrived = 0

    def __init__(self) -> None:
        self.odd: list[object] = []

    async def GetUser(self, request: user_pb2.GetUserRequest, context: Any) -> Any:
        """Count the call, pass it on, and keep an answer that is none."""
        self.arrived += 1
        try:
            reply = await self.handler(request, context)
        except SubmissionError:  # it is noted, and gRPC would print its stack trace
            return user_pb2.GetUserResponse()
        if not isinstance(reply, user_pb2.GetUserResponse):
            self.odd.append(reply)
        return reply


class _Bench:
    """A server on a loop of its own: an answer that stops a loop stops nobody else's."""

    def __init__(self, loop: Loop, line: grpc.Channel, users: _Passing) -> None:
        self.loop = loop
        self.line = line
        self.users = users

    def start(self, number: int) -> dict[str, Any]:
        """Start calls of as many users, and wait until all have reached the handler."""
        wanted = self.users.arrived + number
        calls = {user: start(self.line, user) for user in (new_user() for _ in range(number))}
        wait(lambda: self.users.arrived >= wanted, SOON)
        return calls

    def loop_goes_on(self) -> bool:
        """Return whether the server answers another method."""
        check = health_pb2_grpc.HealthStub(self.line).Check
        call = check.future(health_pb2.HealthCheckRequest(), timeout=SOON)
        return bool(call.code() == grpc.StatusCode.OK)

    def has_threads(self) -> bool:
        """Return whether asyncio.to_thread still has a thread for others."""
        try:
            self.loop.run(asyncio.to_thread(int), timeout=SOON)
        except LabError:
            return False
        return True


@contextmanager
def _bench() -> Iterator[_Bench]:
    loop, users, stands = Loop.start(), _Passing(), False
    service = GrpcService(loop, "check-blocking", [users])
    service.start()
    try:
        with channel(service.target) as line:
            bench = _Bench(loop, line, users)
            try:
                yield bench
            finally:
                stands = not bench.loop_goes_on()  # the answer has stopped it for good
                if not stands:
                    service.release()
    finally:
        if stands:
            loop.stop(within=0)
        else:
            loop.stop()


@exercise(
    "28-blocking",
    title="Call a library that blocks, within its bounds",
    kind="function",
    returns=Callable,
    deadline=8,
)
def blocking(answer: Submission, sandbox: Sandbox) -> Verdict:  # noqa: ARG001
    """`offloaded(query, at_once)` keeps bound, loop and threads, also when callers give up."""
    with _bench() as bench:
        for judge, places in ((_bounded, PLACES), (_many, MANY_PLACES)):
            library = Library()
            made = answer(library.query, places)
            bench.users.handler = answer.handler(made, kind="coroutine")
            try:
                verdict = judge(bench, library)
            finally:
                library.gate.set()
            if verdict is not None and bench.users.odd:
                return wrong_type(bench.users.odd[0], "what `query` returns; await a future")
            if verdict is not None:
                return verdict
    return solved(
        "the library never had more than it bears, and nobody else waited for it",
        together=PLACES,
        and_then=MANY_PLACES,
    )


def _bounded(bench: _Bench, library: Library) -> Verdict | None:
    """Fill the library, let more callers wait, and let two of them give up."""
    held = bench.start(PLACES)
    if fault := _runs_together(bench, library, PLACES):
        return fault
    queued = bench.start(PLACES + 2)
    if fault := _loop_stands(bench, "calls wait"):
        return fault
    leaver = bench.start(1)
    if fault := _too_many(library, "") or _ended_early(queued):
        return fault
    gone, left = next(iter(leaver)), next(iter(held))
    leaver[gone].cancel()
    held.pop(left).cancel()
    wait(lambda: library.most_together > PLACES, 0.3)
    if fault := _too_many(library, " after a caller had given up"):
        return fault
    library.gate.set()
    return _ends(held | queued) or _gave_up(library, gone) or _errors(bench, library)


def _many(bench: _Bench, library: Library) -> Verdict | None:
    """Let more queries run together than asyncio.to_thread has threads."""
    calls = bench.start(MANY_PLACES)
    if fault := _runs_together(bench, library, MANY_PLACES):
        return fault
    library.gate.set()
    return _ends(calls)


def _runs_together(bench: _Bench, library: Library, places: int) -> Verdict | None:
    if fault := _loop_stands(bench, "a query runs"):
        return fault
    wait(lambda: library.inside.total() >= places, SOON)
    together = library.inside.total()
    return _loop_stands(bench, "a query runs") or first_broken(
        (
            not bench.has_threads(),
            "while queries ran, asyncio.to_thread had no thread for anybody else",
            "The pool behind `to_thread` belongs to the whole loop. Take threads of your own.",
        ),
        (
            not library.asked,
            "calls reached your handler, and none reached `query`",
            "What does the handler do before it calls `query`? Does that raise?",
        ),
        (
            together < places,
            f"{together} of {places} queries ran together",
            "Each needs a thread while it runs. How many threads does your pool have?",
        ),
        together=together,
    )


def _loop_stands(bench: _Bench, when: str) -> Verdict | None:
    return first_broken(
        (
            not bench.loop_goes_on(),
            f"while {when}, the server answers no other method",
            "The loop goes on only while a handler awaits. What runs in the loop's own thread?",
        )
    )


def _too_many(library: Library, when: str) -> Verdict | None:
    hint = "How many threads may call the library? All calls have to share one count."
    if when:
        hint = "The query of who has left goes on. What told you that its place was free?"
    said = f"{library.most_together} queries ran together{when}, the library bears {PLACES}"
    return first_broken((library.most_together > PLACES, said, hint))


def _ended_early(queued: dict[str, Any]) -> Verdict | None:
    ended = sorted({call.code().name for call in queued.values() if call.done()})
    return first_broken(
        (
            bool(ended),
            f"calls over the limit ended with {', '.join(ended)}, and had to wait",
            "Let them wait for their turn; what they wait for is awaited, not asked once.",
        )
    )


def _ends(calls: dict[str, Any]) -> Verdict | None:
    codes = count(calls.values())
    rest = sorted(set(codes) - {"OK"})
    if rest:
        return broken(
            f"calls ended with {', '.join(rest)} though the library had answered them",
            "Return what `query` returns. Does one caller's leaving reach another's query?",
            answered=codes["OK"],
        )
    swapped = sum(call.result().user.name != f"for {user}" for user, call in calls.items())
    return first_broken(
        (
            bool(swapped),
            "callers got the answer of another's request",
            "Pass each request to `query`, and return its own value.",
        )
    )


def _gave_up(library: Library, gone: str) -> Verdict | None:
    wait(lambda: gone in library.asked, 0.3)
    return first_broken(
        (
            gone in library.asked,
            "a caller gave up while waiting, and was queried all the same",
            "What waits in a queue can be taken out of it, as long as it only waits.",
        )
    )


def _errors(bench: _Bench, library: Library) -> Verdict | None:
    """Let queries fail more often than there are places, then succeed, twice for each user."""
    bad, good = ([new_user(kind) for _ in range(PLACES + 1)] for kind in ("bad", "u"))
    failed = count([start(bench.line, user, SOON) for user in bad])
    after = [count([start(bench.line, user, SOON) for user in good]) for _ in range(2)]
    made = sum(library.asked.count(user) for user in bad + good)
    calls = len(bad) + 2 * len(good)
    return first_broken(
        (
            bool(failed["OK"]),
            "the query raised, and its caller got an OK",
            "An error of `query` has to leave the handler.",
        ),
        (
            any(codes["OK"] <= PLACES for codes in after),
            "after queries had failed, calls were no longer answered",
            "A place comes back when the query ends, however it ends.",
        ),
        (
            made != calls,
            f"{made} queries were made for {calls} calls",
            "Each call makes one query: no second try, and no answer from before.",
        ),
    )
