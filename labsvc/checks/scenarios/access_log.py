"""Exercise of notebook 61: one line for each call, whatever ends it."""

from __future__ import annotations

import asyncio
import math
import secrets
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio

from labsvc.checks.asking import status_of, stub, wait
from labsvc.checks.engine import exercise
from labsvc.checks.verdict import Verdict, broken, first_broken, solved, wrong_type
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission

KEYS = {"request_id", "status", "ms"}
PAUSE = 0.3  # seconds of the handlers that take their time
LEAVES = 0.4  # seconds after which a caller leaves
PATIENCE = 3.0  # seconds of all the others
SOON = 2.0  # seconds in which a call ends behind a caller that left
CROWD = 6
SLACK_MS = 20.0  # by which the clocks that a learner may use can differ

ONCE = "Write in one place: `finally` runs after a `return` and after an `except` alike."


class _MistakeError(Exception):
    """What the handler raises."""


@dataclass(frozen=True)
class _Case:
    """One call: what the handler does and how that reads, what the caller is told, the line."""

    does: str
    said: str
    caller: str
    status: str
    hint: str
    has_id: bool = True


CASES = (
    _Case("answer", "was answered", "OK", "OK", "Which calls end well?"),
    _Case("abort", "was aborted", "ABORTED", "ABORTED", "`context.code()` knows what was aborted."),
    _Case(
        "set",
        "returned with the code NOT_FOUND set",
        "NOT_FOUND",
        "NOT_FOUND",
        "A handler can return and have failed. What does `context.code()` say then?",
    ),
    _Case(
        "raise",
        "raised an error",
        "UNKNOWN",
        "UNKNOWN",
        "After an error that is no abort, `context.code()` is None, and the caller reads UNKNOWN.",
    ),
    _Case(
        "set raise",
        "set the code NOT_FOUND and raised an error",
        "NOT_FOUND",
        "NOT_FOUND",
        "`context.code()` comes first, whatever was raised.",
    ),
    _Case(
        "wait",
        "was cancelled",
        "DEADLINE_EXCEEDED",
        "CANCELLED",
        "`asyncio.CancelledError` is no `Exception`: an `except Exception` does not see it.",
    ),
    _Case("answer", "came without an id", "OK", "OK", "Which calls end well?", has_id=False),
    _Case("pause", "took its time", "OK", "OK", "Which calls end well?"),
)


@dataclass
class _Seen:
    """What became of one call.

    `hidden` tells whether its error was taken away, `changed` whether it was another one; `lasted`
    is the handler's time and `within` the caller's, in milliseconds.
    """

    request_id: str
    code: str
    right_answer: bool
    hidden: bool
    changed: bool
    lasted: float
    within: float


class _Users(user_pb2_grpc.UserServiceServicer):
    """Serves what the learner returned, around a handler that does as its caller says.

    `lasted` has the milliseconds of each handler by its user, and `ended` the users whose calls
    are over; `hidden` those whose handler was aborted, failed or cancelled, and it did not show,
    and `changed` those where it showed as another error. `at_once` is how many handlers ran
    together.
    """

    def __init__(self, answer: Submission) -> None:
        self.written: list[Any] = []
        self.secret = secrets.token_hex(8)
        self.lasted: dict[str, float] = {}
        self.ended: set[str] = set()
        self.hidden: set[str] = set()
        self.changed: set[str] = set()
        self.at_once = 0
        self._running = 0
        self._failed: dict[str, BaseException] = {}
        self.made = answer(self._handler, self._write)
        self._serve: Any = None

    def serve(self, answer: Submission) -> None:
        """Take what was returned for a handler.

        Raises:
            SubmissionError: it is none.

        """
        allowed = (_MistakeError, grpc.aio.AbortError)
        self._serve = answer.handler(self.made, kind="coroutine", allow=allowed)

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Hand the call to it."""
        try:
            answer = await self._serve(request, context)
        except BaseException as error:
            if error is not self._failed.get(request.user_id, error):
                self.changed.add(request.user_id)
            raise
        else:
            self.hidden |= self._failed.keys() & {request.user_id}
            return answer
        finally:
            self.ended.add(request.user_id)

    async def _handler(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        start = time.monotonic()
        self._running += 1
        self.at_once = max(self.at_once, self._running)
        try:
            for what in request.user_id.partition(":")[0].split():
                await self._do(what, context)
        except BaseException as error:
            self._failed[request.user_id] = error
            raise
        finally:
            self._running -= 1
            self.lasted[request.user_id] = 1000 * (time.monotonic() - start)
        return user_pb2.GetUserResponse(user=user_pb2.User(user_id=request.user_id))

    def _write(self, line: Any) -> None:
        """Keep a line as it is now: a log takes no corrections."""
        self.written.append(dict(line) if isinstance(line, dict) else line)

    async def _do(self, what: str, context: Any) -> None:
        text = f"no luck with {self.secret}"
        match what:
            case "abort":
                await context.abort(grpc.StatusCode.ABORTED, text)
            case "set":
                context.set_code(grpc.StatusCode.NOT_FOUND)
            case "raise":
                raise _MistakeError(text)
            case "wait":
                await asyncio.sleep(60)
            case "pause":
                await asyncio.sleep(PAUSE)


@exercise("61-access-log", title="One line for each call, whatever ends it", kind="function")
def access_log(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`logged(handler, write)` returns a handler that writes a line for each of its calls."""
    users = _Users(answer)
    if not callable(users.made):
        return wrong_type(users.made, "a coroutine function that takes request and context")
    users.serve(answer)
    service = sandbox.serve_grpc(users, name="users")
    with stub(user_pb2_grpc.UserServiceStub, service.target) as caller:
        scene = _Scene(answer, users, caller)
        return (
            next(filter(None, map(scene.one, CASES)), None)
            or scene.many()
            or solved(
                "each call has one line, whatever ended it, and no secret is in any",
                calls=len(CASES) + CROWD,
            )
        )


@dataclass
class _Scene:
    """A caller, and the learner's handler in a service."""

    answer: Submission
    users: _Users
    caller: Any

    def one(self, case: _Case) -> Verdict | None:
        """Make one call, and return what is wrong with its line or its answer."""
        self.users.written.clear()
        seen = self._call(case)
        self.answer.raise_noted()
        return self._handed_on(case, seen) or self._written(case, seen, self.users.written)

    def many(self) -> Verdict | None:
        """Make calls of two lengths at the same time."""
        self.users.written.clear()
        slow, quick, without_id = CASES[-1], CASES[0], CASES[-2]
        self.users.at_once = 0
        with ThreadPoolExecutor(CROWD) as pool:
            cases = [slow, quick, slow, without_id, slow, without_id]
            each = [pool.submit(self._call, case) for case in cases]
            calls = [one.result() for one in each]
        self.answer.raise_noted()
        by_id = [one.get("request_id") for one in self.users.written]
        if sorted(map(str, by_id)) != sorted(one.request_id for one in calls):
            return broken(
                f"of {CROWD} calls at the same time, a line has the id of another call",
                "What belongs to one call is a local variable of the function that serves it.",
            )
        if self.users.at_once == 1:
            return broken(
                f"{CROWD} calls came at the same time, and each handler waited for the one before",
                "Each call is a task of its own. What does it wait for?",
            )
        for case, seen in zip(cases, calls, strict=True):
            if not case.has_id:
                continue  # a line for each of them was counted above
            lines = [one for one in self.users.written if one["request_id"] == seen.request_id]
            if said := self._written(case, seen, lines):
                return said
        return None

    def _call(self, case: _Case) -> _Seen:
        request_id, user = f"r-{secrets.token_hex(4)}", f"{case.does}:{secrets.token_hex(4)}"
        metadata = [("authorization", f"Bearer {self.users.secret}")]
        metadata += [("x-request-id", request_id)] if case.has_id else []
        request = user_pb2.GetUserRequest(user_id=user)
        timeout = LEAVES if case.does == "wait" else PATIENCE
        start, code, got = time.monotonic(), "OK", ""
        try:
            got = self.caller.GetUser(request, timeout=timeout, metadata=metadata).user.user_id
        except grpc.RpcError as error:
            code = status_of(error) or ""
        wait(lambda: user in self.users.ended, SOON)
        within = 1000 * (time.monotonic() - start)
        lasted = self.users.lasted.get(user, -1.0)
        shown_id = request_id if case.has_id else "-"
        hidden, changed = user in self.users.hidden, user in self.users.changed
        return _Seen(shown_id, code, got == user, hidden, changed, lasted, within)

    def _handed_on(self, case: _Case, seen: _Seen) -> Verdict | None:
        call = f"a call {case.said}"
        return first_broken(
            (
                seen.lasted < 0,
                f"{call}, and the handler was not run",
                "`await handler(request, context)`.",
            ),
            (
                seen.hidden,
                f"{call}, and your handler returned as if all was well",
                "A bare `raise` in an `except` hands on what came; a `finally` does so by itself.",
            ),
            (
                seen.changed,
                f"{call}, and your handler raised another error than the handler did",
                "A bare `raise` hands on the very error that came, and `finally` does too.",
            ),
            (
                seen.code != case.caller,
                f"{call}, and its caller reads {seen.code}, not {case.caller}",
                "Return what the handler returned, and raise what it raised.",
            ),
            (
                case.caller == "OK" and not seen.right_answer,
                f"{call}, and its caller got another answer",
                "Return what the handler returned.",
            ),
        )

    def _written(self, case: _Case, seen: _Seen, lines: list[Any]) -> Verdict | None:
        call = f"a call {case.said}"
        if len(lines) != 1:
            hint = ONCE if lines else case.hint if case.status == "CANCELLED" else ONCE
            return broken(f"{call}, and has {len(lines)} lines", hint, lines=len(lines))
        line = lines[0]
        if not isinstance(line, dict):
            return broken(
                f"{call}, and `write` got no dict", "`write({...})` takes one dict, of three keys."
            )
        return first_broken(
            (
                self.users.secret in repr(line),
                f"{call}, and a secret is in its line",
                "Take the id out of the metadata, and nothing else. Texts of errors stay out too.",
            ),
            (
                set(line) != KEYS,
                f"{call}, and its line has the keys {', '.join(sorted(map(str, line)))}",
                "The keys are `request_id`, `status` and `ms`, and no others.",
            ),
            (
                line.get("request_id") != seen.request_id,
                f"{call}, and its line has the id {line.get('request_id')!r}",
                "It is this call's, in the metadata under `x-request-id`; a dash where none came.",
            ),
            (
                not isinstance(line.get("status"), str),
                f"{call}, and its status is no text",
                "`.name` of a code is its name, such as `ABORTED`.",
            ),
            (
                line.get("status") != case.status,
                f"{call}, and its line says {line.get('status')}, not {case.status}",
                case.hint,
            ),
            _time_of(call, line.get("ms"), seen),
        )


def _time_of(call: str, ms: Any, seen: _Seen) -> tuple[bool, str, str]:
    """Return what is wrong with a number of milliseconds."""
    if not isinstance(ms, int | float) or isinstance(ms, bool) or not math.isfinite(ms):
        return (
            True,
            f"{call}, and `ms` is no number",
            "A time is a difference of two clock readings.",
        )
    if ms < 0 or ms < seen.lasted - SLACK_MS:
        hint = "A clock of Python counts seconds. Read it first when the call comes in."
        return True, f"{call}, and `ms` is less than its handler took", hint
    hint = "From the call's arrival to its end, for each call anew, times 1000."
    return ms > seen.within + SLACK_MS, f"{call}, and `ms` is more than its caller waited", hint
