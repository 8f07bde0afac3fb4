"""A learner's function, called within limits: it may raise, hang or return something else."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, TypeVar

from labsvc.checks import wording
from labsvc.checks.examiner import Examiner, Terms
from labsvc.checks.handler import Handler
from labsvc.checks.kinds import must_be
from labsvc.checks.leftovers import GRACE_SECONDS, RESTART, Leftovers, slowing
from labsvc.checks.run import Clock, Outcome, Run, end
from labsvc.checks.values import closed
from labsvc.checks.wording import NotAttemptedError, SubmissionError, summary

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from labsvc.checks.cases import Failed
    from labsvc.checks.examiner import Allowed
    from labsvc.checks.kinds import Kind

T = TypeVar("T")

__all__ = [
    "Attempt",
    "NotAttemptedError",
    "Outcome",
    "Submission",
    "SubmissionError",
    "summary",
]


class Attempt:
    """One call of the answer under way."""

    def __init__(self, run: Run, terms: Terms, examiner: Examiner) -> None:
        self._run = run
        self._terms = terms
        self._examiner = examiner

    @property
    def running(self) -> bool:
        """Whether the answer has not come back yet and has time left."""
        return self._run.alive and self._run.time_left > 0

    def outcome(self) -> Outcome:
        """Wait for the end of the call, no longer than its limit.

        It is hung if it has a limit of its own, or was stopped.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: it raised what is not allowed, returned another type than it should,
                closed what it was given, or its check's time is up.

        """
        outcome = self._run.wait()
        if not outcome.hung:
            self._examiner.accept(self._run, outcome, self._terms)
        elif self._terms.within is None and not self._run.stopped:
            raise self.hang()
        return outcome

    def hang(self) -> SubmissionError:
        """Return what to tell a learner whose function did not come back."""
        return self._examiner.hang(self._run)

    def cancel(self, seconds: float) -> bool:
        """Cancel a coroutine once; return whether it has ended in so many seconds at most.

        `stop` ends it as well, but stronger: the answer need not have heard it.
        """
        self._run.cancel()
        self._run.join(seconds)
        return not self._run.alive

    def stop(self) -> None:
        """End it if Python code still runs in it; waits a second and a half at most."""
        end([self._run])


class Submission:
    """The learner's function with the time that is left to it.

    Call it like the function itself: what is wrong with any answer becomes a `SubmissionError`,
    which ends the scenario with a fitting verdict. Use `attempt` where an error may be right,
    `start` where the scenario goes on while the answer runs, and `handler` where a server of the
    scenario calls it. `deadline` is in seconds, for all calls together; `returns` is the type of
    its value, as in an annotation.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        deadline: float,
        kind: Kind = "either",
        returns: Any = object,
    ) -> None:
        self.function = function
        self._kind = kind
        self._returns = returns
        self._clock = Clock(deadline)
        self._examiner = Examiner(function)
        self._runs: list[Run] = []
        self._leftovers = Leftovers(self._examiner.code)
        self._noted: NotAttemptedError | SubmissionError | None = None
        self.failed: Failed | None = None  # the case that broke, for a replay

    @property
    def outcomes(self) -> list[Outcome]:
        """How each call of the answer ended, in the order in which they began."""
        return [run.outcome for run in self._runs]

    @property
    def notes(self) -> list[str]:
        """What was noticed and is no verdict, in sentences."""
        return self._examiner.notes

    def __call__(self, *args: Any) -> Any:
        """Return what the answer returns.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: whatever is wrong with it, any error included.

        """
        return self.attempt(*args, allow=()).value

    def attempt(
        self, *args: Any, within: float | None = None, allow: Allowed | None = None
    ) -> Outcome:
        """Run the answer to its end and return how it ended.

        Args:
            args: what it is called with.
            within: seconds after which the outcome is hung; without it, a hang ends the check.
            allow: the errors that may be right: types, or a test such as `status_of`. Without it,
                all but slips of the pen, such as a NameError.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: what is wrong with any answer.

        """
        return self.start(*args, within=within, allow=allow).outcome()

    def start(
        self, *args: Any, within: float | None = None, allow: Allowed | None = None
    ) -> Attempt:
        """Start the answer and return at once; the arguments are those of `attempt`.

        Raises:
            SubmissionError: the answer does not take these arguments.

        """
        return self.begin(self.function, args, self._terms(allow, within))

    def begin(self, function: Callable[..., Any], args: tuple[Any, ...], terms: Terms) -> Attempt:
        """Start a function on these terms, as `start` does with the answer.

        Raises:
            SubmissionError: it does not take these arguments.

        """
        try:
            self._look(inspect.signature, function).bind(*args)
        except TypeError as error:
            raise wording.cannot_be_called(error) from error
        except ValueError:
            pass  # some built-in functions have no signature
        awaits = terms.kind in ("either", "coroutine")
        run = Run(function, args, self._clock, terms.within, awaits=awaits)
        self._runs.append(run)
        return Attempt(run, terms, self._examiner)

    def handler(
        self,
        function: Callable[..., Any] | None = None,
        *,
        within: float | None = None,
        allow: Allowed | None = None,
        kind: Kind = "either",
    ) -> Callable[..., Any]:
        """Return the answer, or a function that it returned, for a server of the scenario.

        A plain function runs in a thread of its own within the limits; a coroutine function or a
        generator runs where it is called. What is wrong with it is noted, raised to the server,
        and said instead of a verdict that is not "solved".

        Args:
            function: one that the answer returned; without it, the answer.
            within: seconds for each call of a plain function.
            allow: as in `attempt`.
            kind: what `function` has to be; the answer has that of its exercise.

        Raises:
            SubmissionError: `function` is of another kind.

        """
        if function is None:
            return Handler(self, self.function, self._terms(allow, within)).form
        must_be(kind, function)
        return Handler(self, function, Terms(allow, within, kind, object)).form

    def note_fault(self, error: BaseException, terms: Terms) -> None:
        """Keep what is wrong with a handler that raised `error`, if these terms do not permit it.

        The first fault is kept, for `raise_noted`.
        """
        try:
            self._examiner.permit(error, terms)
        except (NotAttemptedError, SubmissionError) as fault:
            self._noted = self._noted or fault

    def raise_noted(self) -> None:
        """Raise what is wrong with the answer as a handler, if anything was noted.

        Raises:
            NotAttemptedError: the answer is still the stub.
            SubmissionError: the first thing that was noted.

        """
        if self._noted is not None:
            raise self._noted

    def must_be_of_its_kind(self) -> None:
        """Refuse an `async def` where a plain function is called, and the reverse.

        Raises:
            SubmissionError: it is of another kind than its exercise asks for.

        """
        self._look(must_be, self._kind, self.function)

    def fault(self, error: BaseException) -> SubmissionError:
        """Return what to tell a learner whose function raised `error`."""
        return self._examiner.fault(error)

    def line(self, error: BaseException) -> str:
        """Return the last line of the learner's own code that `error` passed, "" if none."""
        return self._examiner.code.place(error)

    def blamed_for(self, error: Exception) -> NotAttemptedError | SubmissionError | None:
        """Return what is wrong with the answer if `error`, raised in the check, is its doing."""
        try:
            self.raise_noted()
            for run in self._runs:
                self._examiner.find_closed(run)
            if culprit := self._examiner.code.culprit(error):
                self._examiner.permit(culprit, self._terms((), None))
        except (NotAttemptedError, SubmissionError) as blame:
            return blame
        return None

    def forget_closed(self) -> None:
        """Forget arguments that are closed now, because the case they were made for has ended."""
        for run in self._runs:
            run.lent = [thing for thing in run.lent if not closed(thing)]

    def threads_left(self, seconds: float = GRACE_SECONDS) -> list[threading.Thread]:
        """Return the threads that the answer started and that still run in `seconds`."""
        return self._leftovers.threads(seconds)

    def note_left(self) -> None:
        """Note what the answer left running, and whether the kernel has to be restarted for it."""
        left = self._leftovers.notes()
        for said in left:
            self._examiner.note(said)
        if (left or any(run.alive for run in self._runs)) and slowing():
            self._examiner.note(RESTART)

    def close(self) -> None:
        """End what still runs, and note what cannot be ended."""
        end(self._runs)
        for run in self._runs:
            self._examiner.note_unending(run)

    def _look(self, look: Callable[..., T], *args: Any) -> T:
        """Return what `look` finds out about a function, within the time of the check.

        The function is the last argument. An object that can be called may answer by code of the
        learner's, such as `__getattr__`; a routine does not.

        Raises:
            SubmissionError: the time is up.

        """
        if inspect.isroutine(args[-1]):
            return look(*args)
        run = Run(look, args, self._clock, None, awaits=False)
        self._runs.append(run)
        outcome = run.wait()
        if outcome.hung:
            raise self._examiner.hang(run)
        if outcome.error is not None:
            raise outcome.error
        found: T = outcome.value
        return found

    def _terms(self, allow: Allowed | None, within: float | None) -> Terms:
        return Terms(allow, within, self._kind, self._returns)
