"""Tail sampling: whether a trace is kept is decided when it is there, not when it begins.

    def keep(trace):
        return trace.error or trace.seconds > 0.5

    lab.serve_collector(keep=keep, wait=0.5)

A trace is decided on `wait` seconds after its first span came; what comes later shares the
decision. It is the policy of the OpenTelemetry Collector's `tail_sampling` processor, whose
`decision_wait` and `num_traces` are `wait` and `most` here. All spans of a trace have to reach the
same collector.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from labsvc.telemetry.spans import Trace

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable

    from labsvc.telemetry.spans import Span

    Keep = Callable[[Trace], object]

__all__ = ["TailSampler"]


class TailSampler:
    """Holds back the spans of each trace until it is decided.

    Args:
        keep: called once with each trace; what it returns is true for a trace to keep. One that
            raises keeps the trace: a fault of the policy shall not hide the faults of the services.
        wait: seconds from the first span to the decision.
        log: takes a line for each trace that `keep` has raised with.
        most: traces that wait at once; when there are more, the oldest is decided on early.

    """

    def __init__(self, keep: Keep, wait: float, log: deque[str], most: int = 50_000) -> None:
        self._keep = keep
        self._wait = wait
        self._log = log
        self._most = most
        self._waiting: OrderedDict[str, tuple[float, list[Span]]] = OrderedDict()
        self._decided: OrderedDict[str, bool] = OrderedDict()

    def take(self, spans: list[Span], now: float) -> tuple[list[Span], int]:
        """Take spans in at the time `now`; return those to keep at once, and how many are not.

        Those are of traces that are decided already.
        """
        kept, refused = [], 0
        for span in spans:
            if (decision := self._decided.get(span.trace_id)) is None:
                _, waiting = self._waiting.setdefault(span.trace_id, (now, []))
                waiting.append(span)
            elif decision:
                kept.append(span)
            else:
                refused += 1
        while len(self._waiting) > self._most:
            mine, less = self._decide(next(iter(self._waiting)))
            kept, refused = kept + mine, refused + less
        return kept, refused

    def due(self, now: float) -> tuple[list[Span], int]:
        """Decide on the traces whose time has come; return as `take` does."""
        kept: list[Span] = []
        refused = 0
        while self._waiting:
            trace_id, (first, _) = next(iter(self._waiting.items()))
            if now - first < self._wait:
                break
            mine, less = self._decide(trace_id)
            kept, refused = kept + mine, refused + less
        return kept, refused

    @property
    def waiting(self) -> int:
        """The number of spans that wait for a decision."""
        return sum(len(spans) for _, spans in self._waiting.values())

    def _decide(self, trace_id: str) -> tuple[list[Span], int]:
        _, spans = self._waiting.pop(trace_id)
        try:
            keep = bool(self._keep(Trace.of(trace_id, spans)))
        except Exception as error:  # noqa: BLE001  # the policy is a learner's
            self._log.append(f"keep() raised {type(error).__name__}: {error}")
            keep = True
        self._decided[trace_id] = keep
        if len(self._decided) > self._most:
            self._decided.popitem(last=False)
        return (spans, 0) if keep else ([], len(spans))
