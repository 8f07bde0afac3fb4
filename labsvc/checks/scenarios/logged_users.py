"""Stage of exercise 61-access-log: a handler that waits for a word, in the learner's own."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from labsvc.checks.scenarios.call_endings import ERRORS
from labsvc.shop.v1 import user_pb2, user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.scenarios.call_endings import Ending
    from labsvc.checks.submission import Submission

__all__ = ["LoggedUsers", "Visit"]

POLL = 0.005  # seconds between two looks at whether the handler may end

_visit: ContextVar[Visit] = ContextVar("visit")


@dataclass(eq=False)
class Visit:
    """One call, and what became of it.

    Attributes:
        ending: how it is to end.
        request_id: what comes with it, None for nothing.
        token: by which the service knows it, and its answer is known.
        released: whether its handler may end.
        runs: how often the handler was run.
        lasted: milliseconds of the handler, None while it is at work.
        failed: what the handler raised.
        raised: what the learner's function raised.
        took: milliseconds of the learner's function, None while it is at work.
        in_time: whether the learner's function had ended soon after the handler.
        code: what the caller read.
        answer: the token that the caller got.
        lines: what was written.

    """

    ending: Ending
    request_id: str | None
    token: str = field(default_factory=lambda: secrets.token_hex(8))
    released: bool = False
    runs: int = 0
    lasted: float | None = None
    failed: BaseException | None = None
    raised: BaseException | None = None
    took: float | None = None
    in_time: bool = False
    code: str = ""
    answer: str = ""
    lines: list[Any] = field(default_factory=list)


class LoggedUsers(user_pb2_grpc.UserServiceServicer):
    """Serves what the learner's function made of a handler.

    Attributes:
        visits: by their tokens, which come as `x-visit`.
        written: what was written and no visit has yet.
        secret: stands in the metadata of each call, and in the texts of errors.
        made: what the learner's function returned.

    """

    def __init__(self, answer: Submission) -> None:
        self.visits: dict[str, Visit] = {}
        self.written: list[Any] = []
        self.secret = secrets.token_hex(8)
        self.made = answer(self._handler, self._write)
        self._answer = answer
        self._serve: Any = None

    def serve(self, *, any_error: bool = False) -> None:
        """Take what was returned for a handler.

        Args:
            any_error: whether an error of the learner's own is a finding, not a slip.

        Raises:
            SubmissionError: it is none.

        """
        allowed = (Exception,) if any_error else ERRORS
        self._serve = self._answer.handler(self.made, kind="coroutine", allow=allowed)

    def close(self) -> None:
        """Let all handlers end that are still at work."""
        for visit in self.visits.values():
            visit.released = True

    async def GetUser(self, request: Any, context: Any) -> Any:
        """Hand the call to it."""
        visit = self.visits[dict(context.invocation_metadata())["x-visit"]]
        _visit.set(visit)
        start = time.monotonic()
        try:
            return await self._serve(request, context)
        except BaseException as error:
            visit.raised = error
            raise
        finally:
            visit.took = 1000 * (time.monotonic() - start)

    async def _handler(self, request: Any, context: Any) -> user_pb2.GetUserResponse:
        visit, start = _visit.get(), time.monotonic()
        visit.runs += 1
        try:
            while not visit.released:  # noqa: ASYNC110  # another thread sets it
                await asyncio.sleep(POLL)
            await visit.ending.does(context, f"no luck with {self.secret}")
        except BaseException as error:
            visit.failed = error
            raise
        finally:
            visit.lasted = 1000 * (time.monotonic() - start)
        return user_pb2.GetUserResponse(
            user=user_pb2.User(user_id=request.user_id, name=visit.token)
        )

    def _write(self, line: Any) -> None:
        """Keep a line as it is now: a log takes no corrections."""
        self.written.append(dict(line) if isinstance(line, dict) else line)
