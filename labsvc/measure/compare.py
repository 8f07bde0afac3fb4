"""Two ways to do one thing, under the same noise, and a verdict that states its margin."""

from __future__ import annotations

import gc
import math
import statistics
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from labsvc.measure.histogram import Histogram
from labsvc.measure.record import Recorder, require_callable, require_count, require_sync

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from labsvc.measure.plots import Plot

_FEWEST_ROUNDS = 6
_CONFIDENCE = 0.95
_MOST_FAILED = 0.05


@dataclass(frozen=True)
class Quantiles:
    """The latency of one variant's answered calls, in seconds, and what failed by label."""

    count: int
    errors: dict[str, int]
    mean: float
    p50: float
    p90: float
    p99: float
    p999: float
    max: float


@dataclass(frozen=True)
class Ratio:
    """How many times longer one variant takes than another, with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, repr=False)
class Judgement:
    """A claim about two variants: `holds` is True, False, or None where the data do not say."""

    claim: str
    holds: bool | None
    ratio: Ratio

    def __bool__(self) -> bool:
        """Be true only if the claim was shown to hold."""
        return self.holds is True

    def __str__(self) -> str:
        """State the claim and its verdict: words that are the same on every run."""
        return f"{self.claim}: {'unknown' if self.holds is None else self.holds}"

    __repr__ = __str__


class Comparison:
    """What `compare` measured: the recorders of each variant, one for each round.

    `latency` and `errors` merge the rounds. Its text holds counts and no times, so that a printed
    line is the same on every run.
    """

    def __init__(self, rounds: dict[str, list[Recorder]]) -> None:
        self.rounds = rounds
        self.latency: dict[str, Histogram] = {}
        self.errors: dict[str, dict[str, int]] = {}
        for name, recorders in rounds.items():
            total = Recorder()
            for recorder in recorders:
                total.add(recorder)
            self.latency[name] = Histogram.from_ns(total.latency)
            self.errors[name] = dict(sorted(total.errors.items()))

    @property
    def quantiles(self) -> dict[str, Quantiles]:
        """Mean, p50, p90, p99, p99.9 and maximum of each variant, in seconds, with its counts."""
        result = {}
        for name, histogram in self.latency.items():
            p50, p90, p99, p999 = histogram.quantiles(0.5, 0.9, 0.99, 0.999)
            result[name] = Quantiles(
                count=histogram.count,
                errors=self.errors[name],
                mean=histogram.mean,
                p50=p50,
                p90=p90,
                p99=p99,
                p999=p999,
                max=histogram.max,
            )
        return result

    def ratio(self, slow: str, fast: str, q: float = 0.5) -> Ratio:
        """Return how many times longer `slow` takes than `fast` at quantile `q`.

        The value is the median of the ratios of the rounds; the interval is that of the median
        by the sign test, which makes no guess about the noise and shrugs off a disturbed round.
        Where fewer than six rounds had answers from both, the interval is 0 to infinity.

        Raises ValueError for an unknown name, or if a round has too few calls to know `q`.
        """
        for name in (slow, fast):
            if name not in self.rounds:
                msg = f"no variant is called {name!r}: choose from {', '.join(self.rounds)}"
                raise ValueError(msg)
        self._check_quantile(q)
        ratios = sorted(
            _quantile(a.latency, q) / _quantile(b.latency, q)
            for a, b in zip(self.rounds[slow], self.rounds[fast], strict=True)
            if a.latency and b.latency
        )
        if len(ratios) < _FEWEST_ROUNDS:
            return Ratio(math.nan, 0.0, math.inf)
        cut = _sign_test_cut(len(ratios))
        return Ratio(statistics.median(ratios), ratios[cut], ratios[-1 - cut])

    def faster(self, fast: str, *, than: str, by: float = 1.0, q: float = 0.5) -> Judgement:
        """Judge whether `fast` is at least `by` times faster than `than` at quantile `q`.

        True when the whole interval of the ratio is at or over the margin, False when all of it
        is under, unknown in between; unknown too when more than one call in twenty failed, since
        the calls that are left may not be typical. Raises ValueError as `ratio` does.
        """
        if not (math.isfinite(by) and by > 0):
            msg = f"by must be a positive number, not {by!r}: write by=2 for twice as fast"
            raise ValueError(msg)
        ratio = self.ratio(than, fast, q)
        holds = None
        if max(self._failed(fast), self._failed(than)) <= _MOST_FAILED:
            holds = True if ratio.low >= by else False if ratio.high < by else None
        where = "" if q == 0.5 else f" at p{100 * q:g}"  # noqa: PLR2004  the median needs no name
        return Judgement(f"{fast} is at least {by:g}x faster than {than}{where}", holds, ratio)

    def plot(self, title: str | None = None) -> Plot:
        """Draw the percentile curve and the distribution of every variant."""
        from labsvc.measure.plots import plot_comparison

        return plot_comparison(self, title)

    def _failed(self, name: str) -> float:
        failed = sum(self.errors[name].values())
        return failed / (failed + self.latency[name].count)

    def _check_quantile(self, q: float) -> None:
        if not 0 < q < 1:
            msg = f"a quantile lies between 0 and 1, not {q!r}: write 0.99 for p99"
            raise ValueError(msg)
        rounds = next(iter(self.rounds.values()))
        made = min(len(recorder.latency) + len(recorder.failed) for recorder in rounds)
        needed = math.ceil(round(1 / min(q, 1 - q), 6))
        if made < needed and q != 0.5:  # noqa: PLR2004  one call already has a median
            msg = (
                f"p{100 * q:g} needs {needed} calls a round, and a round has {made}: "
                f"compare with calls={needed * len(rounds)}"
            )
            raise ValueError(msg)

    def __repr__(self) -> str:
        """Give variants and counts, never a time, which would differ on every run."""
        variants = "; ".join(
            f"{name}: {histogram.count} answered, {sum(self.errors[name].values())} failed"
            for name, histogram in self.latency.items()
        )
        return f"Comparison({variants})"


def compare(
    variants: Mapping[str, Callable[[], object]],
    *,
    calls: int = 200,
    rounds: int = 10,
    warmup: int = 10,
) -> Comparison:
    """Call each variant `calls` times, in `rounds` that take turns, and keep the latencies.

    In a round every variant makes its share of the calls, in an order that rotates, so that all
    meet the same noise. `warmup` calls of each come first and are not counted. An exception is
    counted by its gRPC code or class and does not end the run.

    Raises ValueError for no variants, fewer than six rounds (they give no 95 % interval) or fewer
    calls than rounds; TypeError for a coroutine function, which needs `await aio_compare(...)`.
    """
    for name, fn in variants.items():
        require_sync(f"variant {name!r}", fn)
    plan = _Plan(list(variants), calls=calls, rounds=rounds, warmup=warmup)
    with _steady_gc():
        for name, share, recorder in plan.turns():
            fn = variants[name]
            for _ in range(share):
                recorder.call(fn)
    return Comparison(plan.rounds)


async def aio_compare(
    variants: Mapping[str, Callable[[], object]],
    *,
    calls: int = 200,
    rounds: int = 10,
    warmup: int = 10,
) -> Comparison:
    """Do what `compare` does for coroutine functions, or a mix of these and plain functions.

    A plain function runs in the event loop's thread: it must not wait for that loop.
    """
    for name, fn in variants.items():
        require_callable(f"variant {name!r}", fn)
    plan = _Plan(list(variants), calls=calls, rounds=rounds, warmup=warmup)
    with _steady_gc():
        for name, share, recorder in plan.turns():
            fn = variants[name]
            for _ in range(share):
                await recorder.call_async(fn)
    return Comparison(plan.rounds)


class _Plan:
    """Whose turn it is, for how many calls and into which recorder; it makes no call itself."""

    def __init__(self, names: Sequence[str], *, calls: int, rounds: int, warmup: int) -> None:
        if not names:
            msg = "there is nothing to compare: give at least one variant, as {name: function}"
            raise ValueError(msg)
        require_count("rounds", rounds, _FEWEST_ROUNDS, why=", fewer give no 95 % interval")
        require_count("calls", calls, rounds, why=", every round needs a call")
        require_count("warmup", warmup, 0)
        self._names = names
        self._calls = calls
        self._count = rounds
        self._warmup = warmup
        self.rounds: dict[str, list[Recorder]] = {name: [] for name in names}

    def turns(self) -> Iterator[tuple[str, int, Recorder]]:
        for name in self._names:
            yield name, self._warmup, Recorder()
        for number in range(self._count):
            share = self._calls // self._count + (number < self._calls % self._count)
            first = number % len(self._names)
            for name in (*self._names[first:], *self._names[:first]):
                recorder = Recorder()
                self.rounds[name].append(recorder)
                yield name, share, recorder


@contextmanager
def _steady_gc() -> Iterator[None]:
    """Let each variant pay for its own garbage, but not for walking the notebook's heap."""
    mine = not gc.get_freeze_count()
    if mine:
        gc.freeze()
    try:
        yield
    finally:
        if mine:
            gc.unfreeze()


def _quantile(ns: Sequence[int], q: float) -> float:
    import numpy as np

    return max(1.0, float(np.quantile(ns, q)))


def _sign_test_cut(count: int) -> int:
    """Return how many of `count` sorted values to drop at each end for a 95 % interval.

    The median lies outside the values left with the chance that `cut` or fewer of `count` fair
    coins show heads, twice (the distribution-free interval of Thompson, 1936).
    """
    cut = 0
    tail = 1.0
    while True:
        tail += math.comb(count, cut + 1)
        if 2 * tail / 2**count > 1 - _CONFIDENCE:
            return cut
        cut += 1
