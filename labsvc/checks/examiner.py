"""What is wrong with any answer, whatever its exercise is about: found here, said in `wording`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from labsvc.checks import values, wording
from labsvc.checks.kinds import must_be_awaitable
from labsvc.checks.learner_code import LearnerCode
from labsvc.checks.wording import NotAttemptedError, SubmissionError, summary

if TYPE_CHECKING:
    from collections.abc import Callable

    from labsvc.checks.kinds import Kind
    from labsvc.checks.run import Outcome, Run

    Allowed = (
        type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
    )


@dataclass(frozen=True)
class Terms:
    """What one call of the answer is held to; `Submission.attempt` says what each means."""

    allow: Allowed | None
    within: float | None
    kind: Kind
    returns: Any

    def permit(self, error: BaseException) -> bool:
        """Return whether an error may be a right outcome."""
        slip = isinstance(error, wording.SLIPS)
        if self.allow is None:
            return isinstance(error, Exception) and not slip
        if isinstance(self.allow, type | tuple):
            return isinstance(error, self.allow)
        return not slip and bool(self.allow(error))


class Examiner:
    """Examines how calls of one answer end, and collects notes that are no verdict."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.code = LearnerCode(function)
        self.notes: list[str] = []

    def accept(self, run: Run, outcome: Outcome, terms: Terms) -> None:
        """Raise what is wrong with a call that has ended.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: the error, the value, or what it did to its arguments.

        """
        if outcome.error is not None:
            self.permit(outcome.error, terms)
        self.find_closed(run)
        if outcome.error is None and terms.kind not in ("generator", "async generator"):
            if terms.kind == "coroutine":
                must_be_awaitable(run.coroutine, run.function)
            if problem := values.complaint(outcome.value, terms.returns):
                raise problem

    def permit(self, error: BaseException, terms: Terms) -> None:
        """Raise the fault that an error is, unless the terms permit it.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: it may not be right, or was a fault before.

        """
        if isinstance(error, NotAttemptedError | SubmissionError):
            raise error
        if isinstance(error, NotImplementedError) and self.code.raised(error):
            raise NotAttemptedError
        if not terms.permit(error):
            raise self.fault(error)

    def find_closed(self, run: Run) -> None:
        """Raise a fault if a call has closed what it was given; note what failed unseen in it.

        Raises:
            SubmissionError: it closed one of its arguments.

        """
        for error in run.stray:
            if place := self.code.place(error):
                self.note(f"a task that nobody awaited raised {summary(error)}, {place}")
        run.stray.clear()
        for thing in run.lent:
            if name := values.closed(thing):
                raise wording.closed(name)

    def hang(self, run: Run) -> SubmissionError:
        """Return what to tell a learner whose function did not come back."""
        slip = self.code.swallowed(run.thread)
        place = self.code.place(slip) if slip else self.code.standing(run.thread, run.coroutine)
        return wording.hung(place, slip)

    def fault(self, error: BaseException) -> SubmissionError:
        """Return what to tell a learner whose function raised `error`."""
        return wording.raised(error, self.code.place(error), self.code.slip(error))

    def note(self, text: str) -> None:
        """Keep a note for the end of the verdict, once."""
        if text not in self.notes:
            self.notes.append(text)

    def note_unending(self, run: Run) -> None:
        """Note a call that cannot be ended, if it still runs."""
        if run.alive:
            place = self.code.standing(run.thread, run.coroutine) or "somewhere"
            self.note(
                f"your function still runs, {place}, and cannot be ended from outside."
                " If that disturbs you, restart the kernel."
            )
