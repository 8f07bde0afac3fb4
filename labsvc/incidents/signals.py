"""What an engineer on call can see: metrics, traces, log lines, queues. Nothing of the settings."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter, deque
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.amqp.stats import QueueStats
    from labsvc.hosts.collector import CollectorService
    from labsvc.incidents.observed import Observed
    from labsvc.loop import Loop
    from labsvc.telemetry.spans import Span, Trace

SCRAPE_SECONDS = 0.25
KEPT = 400
WINDOW = 2.0
TRACES = 300  # that are looked at, the newest
LINES = 300
_COUNTERS = ("grpc_server_handled", "http_server_handled")


class Signals:
    """The telemetry of a shop, over the last seconds.

    Args:
        seen: the telemetry of each service, by name.
        collector: where their spans go.
        broker: a queue service of the lab.
        loop: the lab's; it ends the scraping with it.

    """

    def __init__(
        self, seen: Mapping[str, Observed], collector: CollectorService, broker: Any, loop: Loop
    ) -> None:
        self._loop = loop
        self._seen, self._collector, self._broker = seen, collector, broker
        self._samples: deque[tuple[float, dict[str, Counter[str]]]] = deque(maxlen=KEPT)
        self._last: tuple[float, list[Trace]] = (0.0, [])
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._scrape, name="labsvc-scrape", daemon=True)
        self._thread.start()

    def calls(self, service: str, seconds: float = WINDOW) -> Counter[str]:
        """Return how many calls of a service ended in the last seconds, by code."""
        samples = list(self._samples)
        since = time.monotonic() - seconds
        now = samples[-1][1][service] if samples else Counter[str]()
        old = next((each for at, each in reversed(samples) if at <= since), None)
        before = old[service] if old else Counter[str]()
        return Counter({code: now[code] - before[code] for code in now if now[code] > before[code]})

    def errors(self, service: str, seconds: float = WINDOW) -> float:
        """Return the share of those calls that were not good, 0.0 without calls."""
        codes = self.calls(service, seconds)
        good = sum(number for code, number in codes.items() if code in {"OK", "200"})
        return 1 - good / codes.total() if codes else 0.0

    def spans(self, service: str, seconds: float = WINDOW) -> list[Span]:
        """Return the spans of a service that ended in the last seconds."""
        since = (time.time() - seconds) * 1e9
        return [
            span
            for trace in self._traces()
            for span in trace.spans
            if span.service == service and span.end_ns >= since
        ]

    def slowest(self, seconds: float = WINDOW) -> Trace | None:
        """Return the trace that took longest of those that ended in the last seconds."""
        return max(self._recent(seconds), key=lambda trace: trace.seconds, default=None)

    def failed(self, seconds: float = WINDOW) -> list[Trace]:
        """Return the traces with an error of the last seconds."""
        return [trace for trace in self._recent(seconds) if trace.error]

    def lines(self, service: str, seconds: float = WINDOW) -> list[dict[str, Any]]:
        """Return the log lines of a service of the last seconds, of warnings alone."""
        since = time.time() - seconds
        found = [json.loads(line) for line in list(self._seen[service].lines)[-LINES:]]
        return [line for line in found if line["level"] == "WARNING" and _at(line) >= since]

    def causes(self, service: str, seconds: float = WINDOW) -> Counter[str]:
        """Return what those lines name as the cause, and how often."""
        return Counter(line["cause"] for line in self.lines(service, seconds) if "cause" in line)

    def queue(self, name: str = "mails") -> QueueStats:
        """Return how many messages wait in a queue, and how many are with workers."""
        queues: dict[str, QueueStats] = self._broker.stats.queues
        return queues[name]

    @property
    def redelivered(self) -> int:
        """How many messages were handed out once more, since the broker started."""
        count: int = self._broker.stats.redelivered
        return count

    def series(self, service: str) -> int:
        """Return how many time series a service has on its page of metrics."""
        return sum(len(metric.samples) for metric in self._seen[service].registry.collect())

    def _recent(self, seconds: float) -> list[Trace]:
        since = (time.time() - seconds) * 1e9
        return [each for each in self._traces() if _end(each) >= since]

    def _traces(self) -> list[Trace]:
        """Return the newest traces as of a moment ago: who asks often takes no time of the shop."""
        now = time.monotonic()
        at, traces = self._last
        if now - at > SCRAPE_SECONDS:
            traces = self._collector.traces()[-TRACES:]
            self._last = (time.monotonic(), traces)
        return traces

    def close(self) -> None:
        """End."""
        self._stopping.set()
        self._thread.join()

    def _scrape(self) -> None:
        while not self._stopping.wait(SCRAPE_SECONDS) and self._loop.alive:
            self._samples.append(
                (time.monotonic(), {service: self._read(service) for service in self._seen})
            )

    def _read(self, service: str) -> Counter[str]:
        codes: Counter[str] = Counter()
        for metric in self._seen[service].registry.collect():
            if metric.name in _COUNTERS:
                for sample in metric.samples:
                    if sample.name.endswith("_total"):
                        codes[sample.labels["code"]] += int(sample.value)
        return codes


def _end(trace: Trace) -> int:
    return max(span.end_ns for span in trace.spans)


def _at(line: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(line["time"]).timestamp()
