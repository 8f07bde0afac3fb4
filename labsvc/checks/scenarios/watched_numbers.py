"""Part of the check of T6: the metrics of all messages, and what a log that hangs may cost."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from labsvc.checks.scenarios.watched_rules import KINDS
from labsvc.checks.verdict import Verdict, first_broken, taught_in

if TYPE_CHECKING:
    from labsvc.checks.scenarios.watched_stage import Watched

BOUND = 100  # lines that may wait, as the exercise says
FAST, SLOW = 0.2, 2.0  # seconds that a histogram tells apart


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
    buckets = _samples(run, "message_seconds_bucket", ("kind", "le"))
    bounds = {float(bound) for _, bound in buckets}
    lost = run.registry.get_sample_value("lines_lost_total") or 0
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
            (
                not any(FAST <= bound <= SLOW for bound in bounds),
                "`message_seconds` has no bucket that tells a fast message from a slow one",
                "Of all that a histogram saw, its buckets are what is left: 100 ms, or 10 s?",
            ),
            (
                bool(lost),
                f"all lines found a place, and `lines_lost_total` says {lost:g}",
                "Count the lines that find no place, and not what `write` raises: it may be there.",
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
    written, sent = len(run.log.lines), len(run.visits)
    lost = run.registry.get_sample_value("lines_lost_total") or 0
    kept = BOUND + 1  # with the one under way
    return taught_in(
        "60",
        first_broken(
            (
                any(visit.waited for visit in run.visits.values()),
                "the log hung, and a message waited for it",
                "Hand a line over with `put_nowait`, and let a task of its own write.",
            ),
            (
                run.log.writing > 1,
                f"the log hung, and {run.log.writing} writes were under way at once",
                "One task takes line after line out of a queue that has a bound.",
            ),
            (
                bool(run.log.cut),
                f"the log hung, and {run.log.cut} writes were cut off",
                "Await `write` for as long as it takes: only what waits behind it costs memory.",
            ),
            (
                written > kept,
                f"the log hung while {sent} messages came, and {written - 1} lines waited for it",
                "What nobody takes fills the memory: `asyncio.Queue(100)`.",
            ),
            (
                written < kept,
                f"the log hung and came back, and {max(written - 1, 0)} of {BOUND} lines came",
                "Keep 100 lines besides the one under way, and write them when it goes on.",
            ),
            (
                lost != sent - written,
                f"{sent - written} lines were lost, and `lines_lost_total` says {lost:g}",
                "Count each line that finds no place, as soon as it is dropped.",
            ),
            written=written,
        ),
    )


def one_by_one(run: Watched) -> Verdict | None:
    """Return what is wrong when messages wait for each other, or their events."""
    came = sum(bool(visit.runs) or visit.waited for visit in run.visits.values())
    here = came - run.hung  # the first one came alone
    return taught_in(
        "60",
        first_broken(
            (
                run.at_once < here,
                f"{here} messages came, and {run.at_once} were handled at the same time",
                "No lock and no semaphore: how many come at once is decided by the worker's loop.",
            ),
            (
                not run.hung and run.post.at_once == 1,
                "an event waited until that of another message was out",
                "No lock around `publish`: each `send` belongs to its own message.",
            ),
        ),
    )
