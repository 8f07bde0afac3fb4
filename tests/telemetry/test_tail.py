"""Tail sampling: one decision for each trace, and what becomes of what is late."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from labsvc.telemetry.tail import TailSampler
from tests.telemetry.otlp import span

if TYPE_CHECKING:
    from labsvc.telemetry.spans import Span, Trace


class Policy:
    """Keeps the traces that it is told to, and notes what it was asked."""

    def __init__(self, *kept: str) -> None:
        self.kept = kept
        self.asked: list[tuple[str, int]] = []

    def __call__(self, trace: Trace) -> bool:
        """Decide."""
        self.asked.append((trace.trace_id, len(trace.spans)))
        return trace.trace_id in self.kept


def sampler(policy: Policy, most: int = 100) -> TailSampler:
    """Return a sampler that waits for 10 seconds."""
    return TailSampler(policy, 10, deque(), most)


def of(trace_id: str, *span_ids: str) -> list[Span]:
    """Return spans of one trace."""
    return [span(each, trace_id=trace_id) for each in span_ids]


def test_a_trace_is_held_back_until_its_time_has_come() -> None:
    """The time runs from the first span; then all that came are kept together."""
    policy = Policy("a")
    tail = sampler(policy)
    first, second = of("a", "1"), of("a", "2")
    assert tail.take(first, 0) == ([], 0)
    assert tail.take(second, 9) == ([], 0)
    assert tail.due(9.9) == ([], 0)
    assert (tail.waiting, policy.asked) == (2, [])
    assert tail.due(10) == (first + second, 0)
    assert (tail.waiting, policy.asked) == (0, [("a", 2)])


def test_what_is_not_kept_is_counted() -> None:
    """The spans of each trace share its fate, and no other's."""
    tail = sampler(Policy("b"))
    kept = of("b", "2")
    tail.take(of("a", "1", "3") + kept, 0)
    assert tail.due(10) == (kept, 2)


def test_late_spans_share_the_decision() -> None:
    """The policy is not asked again, neither for a trace that is kept nor for one that is not."""
    policy = Policy("a")
    tail = sampler(policy)
    tail.take(of("a", "1") + of("b", "2"), 0)
    tail.due(10)
    late = of("a", "3")
    assert tail.take(late + of("b", "4", "5"), 11) == (late, 2)
    assert tail.due(100) == ([], 0)
    assert policy.asked == [("a", 1), ("b", 1)]


def test_traces_are_decided_in_the_order_of_their_first_spans() -> None:
    """One that began later waits longer, even if the other one got a span after it."""
    policy = Policy()
    tail = sampler(policy)
    tail.take(of("a", "1"), 0)
    tail.take(of("b", "2"), 5)
    tail.take(of("a", "3"), 6)
    assert tail.due(12) == ([], 2)
    assert policy.asked == [("a", 2)]
    assert tail.waiting == 1


def test_a_policy_that_raises_keeps() -> None:
    """The trace is kept, late spans of it are too, and the log has the reason in words."""
    log: deque[str] = deque()

    def keep(trace: Trace) -> bool:
        raise LookupError(trace.trace_id)

    tail = TailSampler(keep, 10, log)
    spans, late = of("a", "1"), of("a", "2")
    tail.take(spans, 0)
    assert tail.due(10) == (spans, 0)
    assert tail.take(late, 11) == (late, 0)
    assert list(log) == ["keep() raised LookupError: a"]


def test_beyond_the_most_the_oldest_is_decided_early() -> None:
    """No more than `most` traces wait; the early decision is a decision like any other."""
    policy = Policy("a")
    tail = sampler(policy, most=2)
    old = of("a", "1")
    assert tail.take(old + of("b", "2"), 0) == ([], 0)
    assert tail.take(of("c", "3"), 1) == (old, 0)
    late = of("a", "4")
    assert tail.take(late, 2) == (late, 0)
    assert tail.due(11) == ([], 2)
    assert policy.asked == [("a", 1), ("b", 1), ("c", 1)]


def test_one_batch_with_many_traces() -> None:
    """All but the newest `most` are decided at once, those kept and those not."""
    tail = sampler(Policy("0", "2"), most=2)
    spans = [each for number in range(6) for each in of(str(number), "1")]
    assert tail.take(spans, 0) == ([spans[0], spans[2]], 2)
    assert tail.waiting == 2


def test_as_many_decisions_are_remembered() -> None:
    """A span that is later than `most` other decisions begins its trace anew."""
    policy = Policy("a")
    tail = sampler(policy, most=1)
    tail.take(of("a", "1"), 0)
    tail.due(10)
    tail.take(of("b", "2"), 10)
    tail.due(20)
    assert tail.take(of("a", "3"), 20) == ([], 0)
    assert tail.waiting == 1
    assert policy.asked == [("a", 1), ("b", 1)]


def test_any_truth_is_a_decision() -> None:
    """What `keep` returns needs not be a bool."""
    tail = TailSampler(lambda trace: len(trace.spans) - 1, 0, deque())
    pair = of("a", "1", "2")
    tail.take(pair + of("b", "3"), 0)
    assert tail.due(0) == (pair, 1)
