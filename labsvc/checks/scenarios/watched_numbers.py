"""Part of the check of T6: the metrics of all messages, and what a log that hangs may cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.watched_rules import KINDS
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.scenarios.watched_stage import Watched

BOUND = 100  # lines that may wait, as the exercise says


def wrong_numbers(run: Watched) -> Verdict | None:
    """Return what is wrong with the metrics."""
    labels = [each.kind if each.kind in KINDS else "other" for each in run.visits.values()]
    outcomes = [each.outcome for each in run.visits.values()]
    should = Counter(zip(labels, outcomes, strict=True))
    has = _samples(run, "messages_total", ("kind", "outcome"))
    seconds = _samples(run, "message_seconds_count", ("kind",))
    by_label = Counter((label,) for label in labels)
    total = _samples(run, "message_seconds_sum", ("kind",))
    lasted = sum(each.lasted for each in run.visits.values()) / 1000
    return taught_in(
        "61",
        first_broken(
            (not has, "no `messages_total` with kind and outcome was counted", "See the exercise."),
            (
                any(each[0] not in (*KINDS, "other") for each in (*has, *seconds)),
                "a kind that nobody knows has made a series of its own",
                "Whoever sends can make up kinds without an end: `other` takes them all.",
            ),
            (
                has != should,
                f"{_off(has, should)} is not what `messages_total` has counted",
                "Count in a `finally`, with the outcome of the line.",
            ),
            (
                seconds != by_label,
                "`message_seconds` has not one observation for each message, by kind",
                "Observe in a `finally`, also what failed.",
            ),
            (
                abs(sum(total.values()) - lasted) > lasted / 2 + 1,
                "`message_seconds` has another unit than seconds",
                "Seconds in metrics, milliseconds in the line.",
            ),
        ),
    )


def _off(has: dict[tuple[str, ...], float], should: Counter[tuple[str, str]]) -> str:
    """Return what was not counted as it should, in words."""
    (kind, outcome), *_ = [*(key for key in should if has.get(key) != should[key]), ("", "")]
    return f"{should[kind, outcome]} messages {kind} {outcome}".strip()


def _samples(run: Watched, name: str, labels: tuple[str, ...]) -> dict[tuple[str, ...], float]:
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in run.registry.collect()
        for sample in family.samples
        if sample.name == name and set(sample.labels) == set(labels)
    }


def wrong_hang(run: Watched) -> Verdict | None:
    """Return what is wrong when the log hung while many messages came."""
    written, sent = len(run.lines), len(run.visits)
    lost = run.registry.get_sample_value("lines_lost_total") or 0
    return taught_in(
        "60",
        first_broken(
            (
                any(visit.waited for visit in run.visits.values()),
                "the log hung, and a message waited for it",
                "Hand a line over with `put_nowait`, and let a task of its own write.",
            ),
            (
                run.writing > 1,
                f"the log hung, and {run.writing} writes were under way at once",
                "One task takes line after line out of a queue that has a bound.",
            ),
            (
                written > BOUND + 2,
                f"the log hung while {sent} messages came, and {written} lines waited for it",
                "What nobody takes fills the memory: `asyncio.Queue(100)`.",
            ),
            (
                written < BOUND,
                f"the log hung and came back, and {written} of {BOUND} lines that had waited came",
                "Keep what waits, and write it when the log takes lines again.",
            ),
            (
                lost != sent - written,
                f"{sent - written} lines were lost, and `lines_lost_total` says {lost:g}",
                "Count each line that finds no place, as soon as it is dropped.",
            ),
            written=written,
        ),
    )
