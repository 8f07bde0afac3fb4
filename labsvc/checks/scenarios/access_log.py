"""Exercise of notebook 61: one line for each call, whatever ends it."""

from __future__ import annotations

import secrets
import time
from contextlib import closing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from labsvc.checks.asking import stub, wait
from labsvc.checks.engine import exercise
from labsvc.checks.scenarios.call_endings import ANSWERED, ENDINGS, RAISED
from labsvc.checks.scenarios.log_line import wrong_call, wrong_line
from labsvc.checks.scenarios.logged_users import LoggedUsers, Visit
from labsvc.checks.verdict import Verdict, broken, solved, wrong_type
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.scenarios.call_endings import Ending
    from labsvc.checks.submission import Submission

PAUSE = 0.1  # seconds that each handler is at work: a time that is wrong is wrong by as much
PATIENCE = 10.0  # seconds of the callers
SOON = 2.0  # seconds in which a handler begins, and in which a call ends behind it
LONG = 2.2  # seconds of a handler that takes longer than a second or two
LATE = 0.5  # seconds that a line may be behind its call

LOCAL = "keep what belongs to one call in local variables of the function that serves it"


@dataclass(frozen=True)
class _Crowd:
    """Three calls at the same time: what they have in common, their ids, and a hint.

    The hint is for a line that has something of another call.
    """

    said: str
    ids: Callable[[], list[str | None]]
    hint: str


CROWDS = (
    _Crowd(
        "",
        lambda: [_new_id(), _new_id(), _new_id()],
        f"All calls share what stands outside of the inner function: {LOCAL}.",
    ),
    _Crowd(
        " without an id",
        lambda: [None] * 3,
        f"Their ids are all a dash, which names no single call: {LOCAL}.",
    ),
    _Crowd(
        " with one id",
        lambda: [_new_id()] * 3,
        f"A retry has the id of its first try, which names no single call: {LOCAL}.",
    ),
)


@exercise("61-access-log", title="One line for each call, whatever ends it", kind="function")
def access_log(answer: Submission, sandbox: Sandbox) -> Verdict:
    """`logged(handler, write)` returns a handler that writes a line for each of its calls."""
    users = LoggedUsers(answer)
    if not callable(users.made):
        return wrong_type(users.made, "a coroutine function that takes request and context")
    users.serve()
    target = sandbox.serve_grpc(users, name="users").target
    with stub(user_pb2_grpc.UserServiceStub, target) as caller, closing(users):
        scene = _Scene(answer, users, caller)
        return (
            next(filter(None, map(scene.one, ENDINGS)), None)
            or next(filter(None, map(scene.three, CROWDS)), None)
            or scene.long()
            or solved(
                "each call has one line, whatever ended it, and no secret is in any",
                calls=len(users.visits),
            )
        )


@dataclass
class _Scene:
    """A caller, and the learner's handler in a service."""

    answer: Submission
    users: LoggedUsers
    caller: Any

    def one(self, ending: Ending) -> Verdict | None:
        """Make one call, and return what is wrong with its line or its answer."""
        visit, call = self._begin(ending, _new_id() if ending.has_id else None)
        self._end(visit, call)
        self.answer.raise_noted()
        return self._wrong(visit, f"a call {ending.said}")

    def long(self) -> Verdict | None:
        """Make a call that takes long, and return what comes of it, or of its line, instead."""
        visit, call = self._begin(ANSWERED, _new_id(), at_work=LONG)
        self._end(visit, call)
        if wrong := self._wrong(visit, "a call needed two seconds"):
            return replace(wrong, hint="The caller has a deadline. Set no time limit of your own.")
        return None

    def three(self, crowd: _Crowd) -> Verdict | None:
        """Make three calls at the same time, and return what one has of another.

        The second begins and ends while the first is at work; the third outlives the first. So
        neither the last that came nor the first, looked up by an id, is always the right one.
        """
        self.users.serve(any_error=True)
        first_id, second_id, third_id = crowd.ids()
        first = self._begin(RAISED, first_id)
        second = self._begin(ANSWERED, second_id)
        waited = second[0].runs == 0 and second[0].took is None
        self._end(*(first if waited else second))
        third = self._begin(ANSWERED, third_id)
        self._end(*(second if waited else first))
        self._end(*third)
        of_three = f"of three calls at the same time{crowd.said}, one"
        if waited:
            return broken(
                f"{of_three} waited for another to end",
                "Each call is a task of its own. What does it wait for?",
            )
        for visit in (second[0], first[0], third[0]):
            if wrong := self._wrong(visit, f"{of_three} {visit.ending.said}"):
                return replace(wrong, hint=crowd.hint)
        return None

    def _begin(
        self, ending: Ending, request_id: str | None, at_work: float = PAUSE
    ) -> tuple[Visit, Any]:
        """Make a call, and return when its handler has been at work for so many seconds."""
        visit = Visit(ending, request_id)
        self.users.visits[visit.token] = visit
        metadata = [
            ("authorization", f"Bearer {self.users.secret}"),
            ("x-parent-request-id", _new_id()),
            ("x-visit", visit.token),
        ]
        if request_id is not None:
            metadata.insert(2, ("x-request-id", request_id))
        request = user_pb2.GetUserRequest(user_id="u-1")
        call = self.caller.GetUser.future(request, timeout=PATIENCE, metadata=metadata)
        wait(lambda: visit.runs or visit.took is not None, SOON)
        time.sleep(at_work)
        return visit, call

    def _end(self, visit: Visit, call: Any) -> None:
        """Let a call end, or leave it, and note what came of it."""
        if visit.ending.leaves:
            call.cancel()
        else:
            visit.released = True
        visit.in_time = wait(lambda: visit.took is not None, SOON)
        if not visit.in_time:
            call.cancel()
        visit.code = call.code().name
        if visit.code == "OK":
            visit.answer = call.result().user.name
        wait(lambda: self.users.written, LATE)
        visit.lines = self.users.written[:]
        self.users.written.clear()

    def _wrong(self, visit: Visit, call: str) -> Verdict | None:
        return wrong_call(visit, call) or wrong_line(visit, call, self.users.secret)


def _new_id() -> str:
    return f"r-{secrets.token_hex(4)}"
