"""What one call of an answer to 22-budget tried, as seen from its own side of the wire."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import grpc

from labsvc.checks.asking import channel
from labsvc.checks.scenarios.scripted_users import OK, REQUEST, Users
from labsvc.checks.scenarios.watch import Watch
from labsvc.checks.wording import summary
from labsvc.shop.v1 import user_pb2_grpc

if TYPE_CHECKING:
    from labsvc.checks.sandbox import Sandbox
    from labsvc.checks.submission import Submission
    from labsvc.sweep import Run

    Mistake = tuple[bool, str, str]

ONE_TRY = 0.3  # seconds, as the exercise says
PAUSE = 0.1  # seconds, as the exercise says
PATIENCE = 1.5  # seconds beyond the budget
MENDS = {"initial_reconnect_backoff_ms": 100, "max_reconnect_backoff_ms": 200}


class Tries:
    """One call of the answer, with a budget in seconds.

    All times are in seconds since its first try. Its own clock started before that, so that nothing
    right ends later than the budget. `codes` are how the tries ended, `idle` is the time from the
    end of the last one until the function came back, and `reason` the gRPC error that it raised,
    or that its error was raised from.
    """

    def __init__(
        self, answer: Submission, room: Sandbox, run: Run, users: Users, budget: float
    ) -> None:
        watch = Watch()
        with channel(run.door(room.serve_grpc(users, name="users")).target, **MENDS) as line:
            watched = user_pb2_grpc.UserServiceStub(grpc.intercept_channel(line, watch))
            self.outcome = answer.attempt(watched, REQUEST, budget, within=budget + PATIENCE)
            now = time.monotonic()
            self.codes = watch.codes
        starts, ends = list(watch.starts), list(watch.ends)
        self.count = len(starts)
        first = starts[0] if starts else now
        self.took = now - first
        self.idle = now - (ends or [now])[-1]
        self.starts = [start - first for start in starts]
        self.ends = [end - first for end in ends]
        self.limits = [limit for limit in watch.timeouts[: self.count] if limit is not None]
        self.waits = [start - end for start, end in zip(starts[1:], ends, strict=False)]
        self.reason = _reason(self.outcome.error)
        self._place = answer.line(self.outcome.error) if self.outcome.error else ""

    @property
    def answered(self) -> bool:
        """Whether a try brought an answer."""
        return OK.name in self.codes

    @property
    def too_many(self) -> int:
        """How many tries followed the one that brought the answer."""
        return self.count - 1 - self.codes.index(OK.name) if self.answered else 0

    @property
    def code(self) -> str:
        """The code of the error that came out of the function, "" if none did."""
        return "" if self.reason is None else str(self.reason.code().name)

    @property
    def details(self) -> str:
        """The text of the same error."""
        return "" if self.reason is None else str(self.reason.details())

    @property
    def told(self) -> str:
        """What the function did in the end, in words."""
        if self.outcome.hung:
            return "did not come back"
        if self.outcome.error is None:
            return "returned an answer"
        place = f", {self._place}" if self._place and not self.code else ""
        return f"raised {self.code or summary(self.outcome.error)}{place}"

    @property
    def limited(self) -> tuple[Mistake, ...]:
        """What may be wrong with the time of each try, if there is one."""
        return (
            (not self.count, "the service was not asked", "Call `stub.GetUser(...)`."),
            (len(self.limits) < self.count, "a try had no deadline", "Give each try a timeout."),
            (
                any(limit > ONE_TRY + 0.001 for limit in self.limits),
                "one try was given more than 0.3 seconds",
                "A try that takes all of the budget leaves nothing for the next.",
            ),
        )

    @property
    def manners(self) -> tuple[Mistake, ...]:
        """What may be wrong with the tries, whatever came of them."""
        return (
            *self.limited,
            (
                min(self.waits, default=PAUSE) < PAUSE * 0.8,
                "a try failed, and the next try came at once",
                "Wait 0.1 seconds between two tries, whatever the code was.",
            ),
            (
                min(self.waits, default=PAUSE) > PAUSE * 1.75,
                "your function waited far longer than 0.1 seconds between two tries",
                "Wait 0.1 seconds between two tries, whatever the code was.",
            ),
        )

    def hides(self, code: str, said: str, hint: str) -> Mistake:
        """Return what is wrong where another error should have come out of the function."""
        if self.outcome.error is not None and self.reason is None:
            hint = "Its caller looks for a code. Raise the gRPC error, or your own one `from` it."
        return self.code != code, f"{said}, and your function {self.told}", hint


def _reason(error: BaseException | None) -> Any:
    """Return the gRPC error that an error is, or that it was raised from on purpose."""
    while error is not None and not (isinstance(error, grpc.RpcError) and hasattr(error, "code")):
        error = error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error.__cause__
    return error
