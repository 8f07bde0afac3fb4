"""A check that asks the same of an answer whenever a fault strikes: its cases, swept.

    def one_order(answer, room, run):
        shop = room.serve_grpc(..., name="shop")
        outcome = answer.attempt(run.door(shop).target, allow=status_of)
        return first_broken(...)

    cases = Cases(answer, sandbox)
    return cases.broken(one_order, only=("lost", "late")) or solved("...", cases=cases.count)

A case has a sandbox of its own, so that it can be run again, by itself, and its services be asked:
that is what `replay` does.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from labsvc.checks.sandbox import Sandbox
from labsvc.checks.submission import NotAttemptedError, Submission, SubmissionError
from labsvc.checks.verdict import Verdict, broken
from labsvc.sweep import Run, Sweep, sweep
from labsvc.sweep.explore import again
from labsvc.sweep.points import words

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from labsvc.lab import Lab
    from labsvc.sweep import Case as SweptCase
    from labsvc.sweep import Fault, Plan

Case = Callable[[Submission, Sandbox, Run], Verdict | None]
"""Runs the answer once among the services of the sandbox, and returns what broke."""

BLAME = (NotAttemptedError, SubmissionError)
AT_ONCE = 8
NO_END = "What in it waits or repeats without an end?"
LOOKS = 3  # sweeps, where a machine that stood still for a moment may have broken something


@dataclass(frozen=True)
class Failed:
    """A case that broke, and the faults under which it did."""

    case: Case
    plan: Plan


class Cases:
    """The cases of one check. `count` is how many were run and kept."""

    def __init__(self, answer: Submission, sandbox: Sandbox) -> None:
        self.count = 0
        self._answer = answer
        self._lab = sandbox.lab

    def broken(
        self,
        case: Case,
        *,
        only: Sequence[Fault] = (),
        beside: Sequence[Case] = (),
        within: float = 10.0,
        at_once: int = AT_ONCE,
    ) -> Verdict | None:
        """Return what breaks in a case: without a fault, then with one at each point.

        What breaks has to break again in a run by itself: the answer may have been right, and the
        machine late. So may a case of which nothing can be said, which is run again by itself too.

        Args:
            case: the case in question.
            only: the faults to try; without any, it runs once.
            beside: cases that run once, at the same time; what breaks in them is told first.
            within: seconds that one run may take.
            at_once: how many runs of the case go beside each other.

        Raises:
            SubmissionError: what is wrong with any answer.

        """
        swept = _Tries(self._answer, case, self._lab, within, only=only, at_once=at_once)
        looks = [*(_Tries(self._answer, each, self._lab, within) for each in beside), swept]
        for look in range(LOOKS):
            found = _beside(looks, until_broken=not look)
            for tries, runs in found.items():
                for each in runs.broken:
                    told = tries.verdict(each)  # a second run meets what the first has left
                    if tries.once(each.plan).broken:
                        self._answer.failed = Failed(tries.case, each.plan)
                        return told
            unsure = {tries: runs for tries, runs in found.items() if not tries.kept(runs)}
            sure = [runs for tries, runs in found.items() if tries not in unsure]
            self.count += sum(len(runs.cases) for runs in sure)
            looks = list(unsure)
            if not looks:
                return None
        return _unjudged(next(iter(unsure.values())))


class _Tries:
    """The runs of one case: the verdict of each, by its faults."""

    def __init__(
        self,
        answer: Submission,
        case: Case,
        lab: Lab,
        within: float,
        *,
        only: Sequence[Fault] = (),
        at_once: int = 1,
    ) -> None:
        self.case = case
        self._answer = answer
        self._lab = lab
        self._within = within
        self._only = only
        self._at_once = at_once
        self._verdicts: dict[Plan, Verdict | None] = {}
        self._errors: list[Exception] = []

    def once(self, plan: Plan = ()) -> Sweep:
        """Run the case with these faults."""
        with self._own_errors():
            return Sweep((again(self._lab, self._scenario, plan, self._within, BLAME),))

    def look(self, *, until_broken: bool) -> Sweep:
        """Run it without a fault, then with one at each point."""
        if not self._only:
            return self.once()
        with self._own_errors():
            return sweep(
                self._lab,
                self._scenario,
                only=self._only,
                within=self._within,
                until_broken=until_broken,
                at_once=self._at_once,
                passes=BLAME,
            )

    def kept(self, runs: Sweep) -> bool:
        """Whether all cases were kept, those of which nothing can be said in a run by itself.

        With several calls under way it may be chance what comes after a fault: a second one that
        finds nothing to strike then breaks nothing.
        """
        if runs.broken:
            return False
        for plan in [case.plan for case in runs.cases if case.state == "unknown"]:
            alone = self.once(plan).cases[0].state
            if alone != "kept" and (alone, len(plan)) != ("unknown", 2):
                return False
        return True

    def verdict(self, found: SweptCase) -> Verdict:
        """Return the verdict of a run that broke, with its faults in words."""
        verdict = self._verdicts.get(found.plan) or broken(found.broke[0], NO_END)
        if not found.plan:
            return verdict
        return replace(verdict, guarantee=f"{words(found.plan)}: {verdict.guarantee}")

    def _scenario(self, run: Run) -> None:
        try:
            with Sandbox() as room:
                verdict = self._verdicts[run.plan] = self._ask(room, run)
        finally:
            self._answer.forget_closed()
        run.expect(verdict is None, verdict.guarantee if verdict else "")

    def _ask(self, room: Sandbox, run: Run) -> Verdict | None:
        try:
            return self.case(self._answer, room, run)
        except BLAME as fault:
            self._errors.append(fault)
            raise
        except Exception as error:
            # Whose doing it is can be seen as long as the room is as the answer left it.
            self._errors.append(self._answer.blamed_for(error) or error)
            raise

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Raise what went wrong in a case, for the engine to find out whose doing it is."""
        try:
            yield
        finally:
            if self._errors:
                raise self._errors[0]


def _beside(looks: Sequence[_Tries], *, until_broken: bool) -> dict[_Tries, Sweep]:
    """Take these looks at the same time, the last one in this thread; return what each found."""
    *others, last = looks
    with ThreadPoolExecutor(len(looks)) as pool:
        # A copied context keeps what is printed in the cell that asked for the check.
        found = [
            pool.submit(copy_context().run, partial(each.look, until_broken=until_broken))
            for each in others
        ]
        own = last.look(until_broken=until_broken)
        return dict(zip(looks, [*(each.result() for each in found), own], strict=True))


def _unjudged(found: Sweep) -> Verdict:
    """Return the verdict on cases of which nothing can be said: that is never solved."""
    case = next((case for case in found.cases if case.state != "kept"), found.cases[0])
    return Verdict(
        "unknown",
        f"nothing can be said of one case in {len(found.cases)} ({case})",
        hint="Does your function do the same in the same order each time it is called? If so, run"
        " the cell again.",
    )
