"""What came out of a sweep: the table of its runs, the smallest case that breaks, a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from labsvc.sweep.points import words

if TYPE_CHECKING:
    from labsvc.measure.plots import Plot
    from labsvc.sweep.points import Plan, Point

State = Literal["kept", "broken", "unknown"]


@dataclass(frozen=True)
class Case:
    """One run: its faults, the points it reached, what broke, or why nothing can be said."""

    plan: Plan
    points: tuple[Point, ...]
    broke: tuple[str, ...]
    unknown: str = ""

    @property
    def state(self) -> State:
        """What broke counts, also in a run that ended early; else what is unknown does."""
        if self.broke:
            return "broken"
        return "unknown" if self.unknown else "kept"

    def __str__(self) -> str:
        """Say it in one sentence: "request 1 of PlaceOrder was lost: no order"."""
        return f"{words(self.plan)}: {'; '.join(self.broke) or self.unknown or 'kept'}"


@dataclass(frozen=True)
class Sweep:
    """The cases of a sweep, those with fewer faults first; `left` were not run any more."""

    cases: tuple[Case, ...]
    left: int = 0

    @property
    def kept(self) -> bool:
        """Whether every promise was kept in every case, and nothing is unknown."""
        return not self.left and all(case.state == "kept" for case in self.cases)

    @property
    def broken(self) -> tuple[Case, ...]:
        """The cases that break, those with fewer faults first."""
        return tuple(case for case in self.cases if case.state == "broken")

    @property
    def smallest(self) -> Case | None:
        """The first case that breaks, with the fewest faults; None if none does."""
        return next(iter(self.broken), None)

    def count(self, state: str) -> int:
        """Return how many cases are in a state."""
        return sum(case.state == state for case in self.cases)

    def table(self) -> str:
        """Return a line for each case."""
        return "\n".join(f"{case.state:7}  {case}" for case in self.cases)

    def plot(self, title: str = "Where a fault strikes, and what it breaks") -> Plot:
        """Draw the cases as a strip of points against faults."""
        from labsvc.sweep.picture import plot

        return plot(self, title)

    def __str__(self) -> str:
        """Say how many cases were kept, and what breaks first."""
        counts = ", ".join(f"{self.count(s)} {s}" for s in ("kept", "broken", "unknown"))
        left = f"; {self.left} more were not run" if self.left else ""
        lines = [f"{len(self.cases)} cases: {counts}{left}"]
        if self.smallest:
            lines.append(f"smallest that breaks: {self.smallest}")
        lines += [f"unknown: {case}" for case in self.cases if case.state == "unknown"][:1]
        return "\n".join(lines)
