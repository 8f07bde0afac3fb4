from __future__ import annotations

import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc.measure import Histogram

CALM = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])
LATENCIES = st.lists(st.integers(min_value=1, max_value=3_000_000_000_000), min_size=1)


@CALM
@given(LATENCIES, st.sampled_from([0.0, 0.125, 0.5, 0.75, 0.875, 1.0]))
def test_a_quantile_is_the_least_latency_that_covers_its_share(ns: list[int], q: float) -> None:
    """A share q of the latencies is not above the quantile; the next shorter one covers less."""
    found = Histogram.from_ns(ns).quantile(q)
    (exact,) = {one for one in ns if one / 1e9 == found}
    assert sum(one <= exact for one in ns) >= q * len(ns)
    assert exact == min(ns) or sum(one < exact for one in ns) < q * len(ns)


@CALM
@given(LATENCIES)
def test_mean_and_max_are_exact(ns: list[int]) -> None:
    """Mean and maximum are those of the values themselves."""
    histogram = Histogram.from_ns(ns)
    assert histogram.mean == pytest.approx(sum(ns) / len(ns) / 1e9)
    assert histogram.max == max(ns) / 1e9
    assert histogram.quantile(1) == histogram.max


def test_quantiles_follow_what_is_recorded_later() -> None:
    """A latency that is recorded after a quantile was read counts in the next one."""
    histogram = Histogram([1_000_000] * 3)
    assert histogram.quantile(0.9) == 1e-3
    for _ in range(97):
        histogram.record(5_000_000)
    assert histogram.count == 100
    assert histogram.quantile(0.5) == 5e-3


def test_an_empty_histogram_has_no_quantile() -> None:
    """With no call there is no latency: NaN, not zero and not an error."""
    empty = Histogram()
    assert empty.count == 0
    assert all(math.isnan(value) for value in (empty.quantile(0.5), empty.mean, empty.max))


def test_merge_adds_up_and_leaves_its_parts_alone() -> None:
    """Merging returns a new histogram of all latencies and changes neither part."""
    one, two = Histogram([1, 2]), Histogram([3])
    merged = one.merge(two)
    assert list(merged.ns) == [1, 2, 3]
    assert (one.count, two.count) == (2, 1)


def test_no_latency_is_too_short_or_too_long() -> None:
    """One nanosecond beside nearly three hours: neither is cut to a range."""
    histogram = Histogram([1, 10_000_000_000_000])
    assert histogram.quantiles(0.5, 1) == [1e-9, 10_000]


def test_over_counts_only_longer_ones() -> None:
    """`over` counts latencies that are longer than the threshold, not equal to it."""
    assert Histogram([1_000, 2_000, 3_000]).over(2e-6) == 1


@pytest.mark.parametrize("q", [-0.1, 1.1, 99, math.nan])
def test_a_percentile_in_place_of_a_quantile_is_refused(q: float) -> None:
    """Writing 99 for p99 is a clear error."""
    with pytest.raises(ValueError, match=r"write 0\.99 for p99"):
        Histogram([1]).quantile(q)


def test_negative_latencies_are_refused() -> None:
    """A negative latency shows that two clocks were mixed; a clock may show no step at all."""
    none = Histogram()
    none.record(0)
    assert none.max == 0
    with pytest.raises(ValueError, match="perf_counter_ns"):
        Histogram().record(-1)
    with pytest.raises(ValueError, match="perf_counter_ns"):
        Histogram.from_ns([3, -1])


def test_repr_holds_no_time() -> None:
    """The text of a histogram is the same on every run."""
    assert repr(Histogram([123_456])) == "Histogram(1 latencies)"
