"""Burn rates, and the rules that fire by them."""

from __future__ import annotations

import pytest

from labsvc.telemetry.slo import RULES, BurnAlert, Counts, Rule, burn_rate

MINUTE, HOUR, DAY = 60, 3600, 86400
FAST, SLOW, TICKET = RULES


def run(alert: BurnAlert, *phases: tuple[int, float], step: int = 5 * MINUTE) -> list[list[Rule]]:
    """Feed phases of (seconds, share that fails), 1000 calls a step; return what fires after each.

    The clock starts at 0.
    """
    at = total = bad = 0.0
    alert.sample(at, total, bad)
    fired = []
    for seconds, share in phases:
        for _ in range(seconds // step):
            at, total, bad = at + step, total + 1000, bad + 1000 * share
            alert.sample(at, total, bad)
            fired.append(alert.firing())
    return fired


@pytest.mark.parametrize(
    ("total", "bad", "objective", "rate"),
    [
        (1000, 1, 0.999, 1.0),
        (1000, 0, 0.999, 0.0),
        (1000, 144, 0.99, 14.4),
        (10, 10, 0.9, 10.0),
        (0, 0, 0.999, 0.0),
    ],
)
def test_burn_rate(total: float, bad: float, objective: float, rate: float) -> None:
    """It is the share that fails, divided by the share that may."""
    assert burn_rate(Counts(total, bad), objective) == pytest.approx(rate)


@pytest.mark.parametrize("objective", [0, 1, 99.9, -0.5])
def test_objective_is_a_share(objective: float) -> None:
    """A percentage is refused, and so is a promise without any room."""
    with pytest.raises(ValueError, match="between 0 and 1"):
        BurnAlert(objective)


def test_rules_use_up_what_the_workbook_says() -> None:
    """2 % of 30 days' budget in an hour, 5 % in six, 10 % in three days; a twelfth is short."""
    used = [rule.burn * rule.long / (30 * DAY) for rule in RULES]
    assert used == pytest.approx([0.02, 0.05, 0.1])
    assert [rule.long / rule.short for rule in RULES] == [12, 12, 12]


def test_all_is_well() -> None:
    """At the rate that is allowed nobody is woken, and below it nothing fires."""
    assert not any(run(BurnAlert(0.999), (4 * DAY, 0.0009)))
    fired = run(BurnAlert(0.999), (4 * DAY, 0.0011))
    assert fired[-1] == [TICKET]
    assert {rule.name for each in fired for rule in each} == {"ticket"}


def test_an_outage_pages_within_minutes() -> None:
    """With all calls failing the fast rule fires at the first sample that has enough."""
    fired = run(BurnAlert(0.999), (DAY, 0), (30 * MINUTE, 1))
    first = next(i for i, rules in enumerate(fired) if FAST in rules)
    assert first == DAY // (5 * MINUTE)


def test_a_blip_pages_nobody() -> None:
    """Five bad minutes at ten times the budget are over before anybody could look."""
    fired = run(BurnAlert(0.999), (DAY, 0), (5 * MINUTE, 0.1), (6 * HOUR, 0))
    assert not any(rule.name == "page" for each in fired for rule in each)


def test_a_slow_burn_pages() -> None:
    """At 8 times the budget, below the limit of the fast rule, the slow one fires in time."""
    fired = run(BurnAlert(0.999), (DAY, 0), (8 * HOUR, 0.008))
    pages = [i for i, rules in enumerate(fired) if SLOW in rules]
    assert (pages[0] + 1 - DAY // (5 * MINUTE)) * 5 * MINUTE == 4.5 * HOUR
    assert not any(FAST in rules for rules in fired)


def test_it_ends_soon_after_the_trouble() -> None:
    """The short window is clean again long before the long one is."""
    alert = BurnAlert(0.999)
    fired = run(alert, (DAY, 0), (HOUR, 0.5), (10 * MINUTE, 0))
    assert FAST in fired[-3]
    assert FAST not in fired[-1]
    assert alert.burn(HOUR) > FAST.burn


def test_it_needs_both_windows() -> None:
    """A rate that is high in the short window alone does not fire, nor in the long one alone."""
    rule = Rule("page", 100, 10, 2)
    alert = BurnAlert(0.9, (rule,))
    alert.sample(0, 0, 0)
    alert.sample(10, 100, 0)
    alert.sample(90, 900, 0)
    alert.sample(100, 1000, 100)
    assert alert.burn(10) == pytest.approx(10)
    assert alert.firing() == []
    alert.sample(110, 1100, 200)
    assert alert.burn(100) == pytest.approx(2)
    assert alert.firing() == [rule]
    alert.sample(120, 1200, 200)
    assert alert.burn(10) == 0
    assert alert.firing() == []


def test_a_counter_that_starts_anew() -> None:
    """A restart of the process is no negative rate, and loses what was counted before."""
    alert = BurnAlert(0.9, (Rule("page", 100, 10, 2),))
    alert.sample(0, 500, 50)
    alert.sample(10, 600, 60)
    alert.sample(20, 30, 3)
    assert alert.over(100) == Counts(130, 13)


def test_window_starts_at_the_sample_before() -> None:
    """Counts of a window are those since the last sample at or before its start."""
    alert = BurnAlert(0.9, (Rule("page", 100, 10, 2),))
    for at, total in [(0, 0), (10, 10), (20, 20), (30, 30)]:
        alert.sample(at, total, 0)
    assert alert.over(10).total == 10
    assert alert.over(15).total == 20
    assert alert.over(1000).total == 30


def test_it_keeps_what_its_windows_reach() -> None:
    """Samples are dropped once no window reaches them."""
    alert = BurnAlert(0.9, (Rule("page", 100, 10, 2),))
    for at in range(1000):
        alert.sample(at, at, 0)
    assert alert.over(10**6).total == 100


def test_nothing_yet() -> None:
    """Without samples nothing has happened and nothing fires."""
    alert = BurnAlert(0.9)
    assert (alert.over(100), alert.firing()) == (Counts(0, 0), [])


def test_samples_are_in_order() -> None:
    """A moment that is not after the last one is refused."""
    alert = BurnAlert(0.9)
    alert.sample(10, 0, 0)
    with pytest.raises(ValueError, match="cannot follow"):
        alert.sample(10, 1, 0)
