"""Alerts on a service level: how fast the error budget burns, over two windows at once.

A *service level objective* of .999 over 30 days leaves an *error budget*: one call in a thousand
may fail. The *burn rate* is the share of calls that fail, divided by that budget: at 1 the budget
lasts for just the 30 days, at 14.4 a fiftieth of it is gone within an hour.

    alert = BurnAlert(objective=0.999)
    alert.sample(at=time.time(), total=calls, bad=failed)       # from counters, now and then
    alert.firing()                                              # [Rule(name="page", ...)]

A rule fires when the rate is over its limit in a long window, so that a blip rings nobody, and in
a short one, a twelfth of it, so that it ends soon after the trouble does. Windows and limits are
those of *The Site Reliability Workbook* (Google, 2018), chapter 5, "Alerting on SLOs", section
"Multiwindow, Multi-Burn-Rate Alerts". In Prometheus the same is a rule over `rate(...[1h])` and
`rate(...[5m])`.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import NamedTuple

__all__ = ["RULES", "BurnAlert", "Counts", "Rule", "burn_rate"]

_MINUTE, _HOUR, _DAY = 60.0, 3600.0, 86400.0


class Counts(NamedTuple):
    """Calls of a window, and those among them that failed."""

    total: float
    bad: float


@dataclass(frozen=True)
class Rule:
    """Fires when the budget burns at `burn` or faster in both windows, which are in seconds."""

    name: str
    long: float
    short: float
    burn: float


RULES = (
    Rule("page", 1 * _HOUR, 5 * _MINUTE, 14.4),  # 2 % of 30 days' budget in an hour
    Rule("page", 6 * _HOUR, 30 * _MINUTE, 6.0),  # 5 % in six hours
    Rule("ticket", 3 * _DAY, 6 * _HOUR, 1.0),  # 10 % in three days
)
"""The workbook's starting point for an objective of .999; wake somebody for a page alone."""


def burn_rate(counts: Counts, objective: float) -> float:
    """Return by how much faster than allowed the budget burns; 0.0 without any call.

    Args:
        counts: of a window.
        objective: the share of calls that has to be good, such as .999.

    Raises:
        ValueError: the objective is not between 0 and 1.

    """
    if not 0 < objective < 1:
        msg = f"an objective lies between 0 and 1, not {objective!r}: write .999"
        raise ValueError(msg)
    if counts.total <= 0:
        return 0.0
    budget = round(1 - objective, 12)  # 1 - 0.999 is a little more than 0.001
    return counts.bad / counts.total / budget


class BurnAlert:
    """Keeps samples of two counters, and says which rules fire.

    Not for threads that share it. With few calls one failure is a high rate: widen the windows, or
    count several small services together (the same chapter, "Low-Traffic Services").

    Args:
        objective: the share of calls that has to be good.
        rules: which windows, and how fast is too fast.

    Raises:
        ValueError: the objective is not between 0 and 1.

    """

    def __init__(self, objective: float, rules: tuple[Rule, ...] = RULES) -> None:
        burn_rate(Counts(0, 0), objective)
        self.objective = objective
        self.rules = rules
        self._at: list[float] = []
        self._sums: list[Counts] = []  # what has happened since the first sample
        self._last = Counts(0, 0)

    def sample(self, at: float, total: float, bad: float) -> None:
        """Take in the counters as they stand at a moment, in seconds of any clock.

        A counter that has gone down started anew, and counts from 0: its process did.

        Raises:
            ValueError: the moment is not after the last one.

        """
        if self._at and at <= self._at[-1]:
            msg = f"a sample at {at:g} cannot follow one at {self._at[-1]:g}"
            raise ValueError(msg)
        if self._at:
            done = self._sums[-1]
            more, worse = _increase(self._last.total, total), _increase(self._last.bad, bad)
            self._sums.append(Counts(done.total + more, done.bad + worse))
        else:
            self._sums.append(Counts(0, 0))
        self._at.append(at)
        self._last = Counts(total, bad)
        self._forget(at - max((rule.long for rule in self.rules), default=0.0))

    def over(self, window: float) -> Counts:
        """Return what happened in so many seconds before the last sample.

        Where the samples do not reach back so far, in those that there are.
        """
        if not self._at:
            return Counts(0, 0)
        start = self._before(self._at[-1] - window)
        first, last = self._sums[start], self._sums[-1]
        return Counts(last.total - first.total, last.bad - first.bad)

    def burn(self, window: float) -> float:
        """Return the burn rate over so many seconds before the last sample."""
        return burn_rate(self.over(window), self.objective)

    def firing(self) -> list[Rule]:
        """Return the rules that fire now, in the order of `rules`."""
        return [
            rule
            for rule in self.rules
            if self.burn(rule.long) >= rule.burn and self.burn(rule.short) >= rule.burn
        ]

    def _before(self, moment: float) -> int:
        """Return which sample is the last one at or before a moment, 0 if none is."""
        return max(0, bisect_right(self._at, moment) - 1)

    def _forget(self, moment: float) -> None:
        """Drop the samples that no window reaches."""
        first = self._before(moment)
        del self._at[:first]
        del self._sums[:first]


def _increase(before: float, now: float) -> float:
    return now - before if now >= before else now
