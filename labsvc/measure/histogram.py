"""Latencies of one kind of call, and their quantiles."""

from __future__ import annotations

import math
from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


class Histogram:
    """Latencies, recorded in nanoseconds and read in seconds.

    While a run goes, `record` only appends to a flat buffer. Nothing is thrown away, so that
    every number is exact: no buckets, and no range that a latency could leave. Everything read
    from an empty histogram is NaN, save `count`.
    """

    def __init__(self, ns: Iterable[int] = ()) -> None:
        self._ns = array("q", ns)

    @classmethod
    def from_ns(cls, ns: Iterable[int]) -> Histogram:
        """Make a histogram of latencies in nanoseconds; raises ValueError if one is negative."""
        histogram = cls(ns)
        if histogram.count and min(histogram.ns) < 0:
            msg = "a latency cannot be negative: take both times from time.perf_counter_ns"
            raise ValueError(msg)
        return histogram

    def record(self, ns: int) -> None:
        """Add one latency in nanoseconds; raises ValueError if it is negative."""
        if ns < 0:
            msg = "a latency cannot be negative: take both times from time.perf_counter_ns"
            raise ValueError(msg)
        self._ns.append(ns)

    @property
    def ns(self) -> array[int]:
        """Every latency in nanoseconds, in the order in which it was recorded."""
        return self._ns

    @property
    def count(self) -> int:
        """How many latencies were recorded."""
        return len(self._ns)

    @property
    def mean(self) -> float:
        """The arithmetic mean in seconds."""
        return sum(self._ns) / self.count / 1e9 if self.count else math.nan

    @property
    def max(self) -> float:
        """The longest latency in seconds."""
        return max(self._ns) / 1e9 if self.count else math.nan

    def quantile(self, q: float) -> float:
        """Return the latency in seconds that a share `q` of the calls did not exceed.

        Raises ValueError unless 0 <= q <= 1.
        """
        return self.quantiles(q)[0]

    def quantiles(self, *qs: float) -> list[float]:
        """Return several quantiles in seconds; each is one of the recorded latencies."""
        import numpy as np

        for q in qs:
            if not 0 <= q <= 1:
                msg = f"a quantile lies between 0 and 1, not {q!r}: write 0.99 for p99"
                raise ValueError(msg)
        if not self.count:
            return [math.nan] * len(qs)
        copy = self._ns[:]  # numpy borrows the buffer, which could not grow meanwhile
        return [ns / 1e9 for ns in np.quantile(copy, qs, method="inverted_cdf").tolist()]

    def over(self, seconds: float) -> int:
        """Count the latencies longer than `seconds`."""
        limit = seconds * 1e9
        return sum(ns > limit for ns in self._ns)

    def merge(self, *others: Histogram) -> Histogram:
        """Return a new histogram of all latencies of this one and the others."""
        merged = Histogram(self._ns)
        for other in others:
            merged.ns.extend(other.ns)
        return merged

    def __repr__(self) -> str:
        """Say how many latencies there are; never a time, which would differ on every run."""
        return f"Histogram({self.count} latencies)"
