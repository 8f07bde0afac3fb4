"""What happens in the queues over time: samples for a plot, and rates."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from labsvc.amqp.rules.queue import Queue

SAMPLE_SECONDS = 0.05
RATE_SAMPLES = 20  # rates are over the last second
CHANGES = 20_000  # samples kept, over all queues; about 2 MB


@dataclass(frozen=True, slots=True)
class Depth:
    """The depth of a queue `at` seconds after the broker's first start; in messages."""

    at: float
    ready: int
    unacked: int


class Timeline:
    """Samples the queues; a queue that did not change since its last sample gets none."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._changes: deque[tuple[str, Depth]] = deque(maxlen=CHANGES)
        self._last: dict[str, tuple[int, int]] = {}
        self._counts: deque[tuple[float, dict[str, tuple[int, int]]]] = deque(maxlen=RATE_SAMPLES)

    def sample(self, queues: Mapping[str, Queue]) -> None:
        """Note how deep the queues are; a queue that has gone is empty."""
        at = time.monotonic() - self._began
        depths, counts = {}, {}
        for name, queue in queues.items():
            ready, unacked = depths[name] = len(queue), queue.unacked
            counts[name] = queue.published, queue.published - ready - unacked
        for name in self._last.keys() - depths.keys():
            self._changes.append((name, Depth(at, 0, 0)))
        for name, depth in depths.items():
            if self._last.get(name) != depth:
                self._changes.append((name, Depth(at, *depth)))
        self._last = depths
        self._counts.append((at, counts))

    def restart(self) -> None:
        """Forget what rates are made of: the queues have other counters now."""
        self._counts.clear()

    def depths(self) -> dict[str, list[Depth]]:
        """Return the samples of each queue, oldest first. A depth holds until the next one."""
        depths: dict[str, list[Depth]] = {}
        for name, depth in self._changes.copy():
            depths.setdefault(name, []).append(depth)
        return depths

    def rates(self) -> dict[str, tuple[float, float]]:
        """Return messages per second that came to and left each queue, of late."""
        samples = self._counts.copy()
        if len(samples) < 2:  # noqa: PLR2004  # there is nothing between one sample
            return {}
        (began, before), (ended, after) = samples[0], samples[-1]
        seconds = ended - began
        rates = {}
        for name, (came, went) in after.items():
            came_before, went_before = before.get(name, (0, 0))
            rates[name] = (came - came_before) / seconds, (went - went_before) / seconds
        return rates
