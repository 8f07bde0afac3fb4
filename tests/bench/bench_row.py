"""One line of the bench: a promise and what came out of it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One promise and what came out of it: `value` against `goal`, both in `unit`."""

    what: str
    value: float
    goal: float
    unit: str
    detail: str
    at_least: bool = False

    @property
    def met(self) -> bool:
        """Whether the goal was reached."""
        return self.value >= self.goal if self.at_least else self.value <= self.goal
