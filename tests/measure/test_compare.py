from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc.measure import Comparison, aio_compare, compare
from labsvc.measure.record import Recorder

if TYPE_CHECKING:
    from collections.abc import Sequence

CALM = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])


def rounds(
    noise: random.Random, median: float, count: int = 10, calls: int = 20, failed: int = 0
) -> list[Recorder]:
    """Make rounds of log-normal latencies around `median` seconds."""
    made = []
    for _ in range(count):
        recorder = Recorder()
        recorder.latency.extend(
            round(median * 1e9 * noise.lognormvariate(0, 0.3)) for _ in range(calls - failed)
        )
        recorder.failed.extend([1_000] * failed)
        recorder.errors.update({"UNAVAILABLE": failed} if failed else {})
        made.append(recorder)
    return made


def pair(seed: int, slow: float, fast: float, **settings: int) -> Comparison:
    """Make a comparison whose true ratio is known."""
    noise = random.Random(seed)  # noqa: S311
    return Comparison(
        {"slow": rounds(noise, slow, **settings), "fast": rounds(noise, fast, **settings)}
    )


def known(ratios: Sequence[float], slow_failed: int = 0, fast_failed: int = 0) -> Comparison:
    """Make a comparison of one answered call a round, with these ratios and failures."""
    slow, fast = [], []
    for ratio in ratios:
        slow.append(Recorder())
        slow[-1].latency.append(round(1_000_000 * ratio))
        fast.append(Recorder())
        fast[-1].latency.append(1_000_000)
    slow[0].errors.update({"UNAVAILABLE": slow_failed})
    fast[0].errors.update({"UNAVAILABLE": fast_failed})
    return Comparison({"slow": slow, "fast": fast})


def test_variants_take_turns_in_an_order_that_rotates() -> None:
    """Every round has calls of every variant, and each variant is first equally often."""
    made: list[str] = []
    compare(
        {name: partial(made.append, name) for name in "abc"},
        calls=12,
        rounds=6,
        warmup=1,
    )
    turns = ["aabbcc", "bbccaa", "ccaabb"] * 2
    assert "".join(made) == "abc" + "".join(turns)


def test_coroutines_take_the_same_turns() -> None:
    """The plan is one, whoever makes the calls."""
    plain: list[str] = []
    awaited: list[str] = []

    async def call(name: str) -> None:
        await asyncio.sleep(0)
        awaited.append(name)

    async def main() -> None:
        await aio_compare(
            {name: partial(call, name) for name in "ab"}, calls=13, rounds=6, warmup=2
        )

    compare({name: partial(plain.append, name) for name in "ab"}, calls=13, rounds=6, warmup=2)
    asyncio.run(main())
    assert awaited == plain


def test_sync_and_async_variants_can_be_mixed() -> None:
    """A plain function and a coroutine function meet in one comparison."""

    async def awaited() -> None:
        await asyncio.sleep(0)

    async def main() -> Comparison:
        return await aio_compare({"plain": lambda: None, "awaited": awaited}, calls=12, rounds=6)

    comparison = asyncio.run(main())
    assert repr(comparison) == (
        "Comparison(plain: 12 answered, 0 failed; awaited: 12 answered, 0 failed)"
    )


def test_the_warm_up_is_left_out() -> None:
    """The calls before the first round are made, and neither timed nor counted."""
    numbers = itertools.count()

    def first_calls_fail() -> None:
        if next(numbers) < 5:
            raise ConnectionError

    comparison = compare({"only": first_calls_fail}, calls=30, rounds=6, warmup=5)
    assert next(numbers) == 35
    assert comparison.errors == {"only": {}}
    assert comparison.quantiles["only"].count == 30


def test_calls_that_do_not_divide_are_still_all_made() -> None:
    """100 calls in 7 rounds are 100 calls."""
    comparison = compare({"a": lambda: None, "b": lambda: None}, calls=100, rounds=7)
    assert [h.count for h in comparison.latency.values()] == [100, 100]
    assert [len(r.latency) for r in comparison.rounds["a"]] == [15, 15, 14, 14, 14, 14, 14]


def test_errors_are_counted_and_kept_out_of_the_latency() -> None:
    """A refusal is fast; it must not make its variant look fast."""
    numbers = itertools.count()

    def refuse_every_third() -> None:
        if next(numbers) % 3 == 0:
            raise PermissionError

    quantiles = compare({"a": refuse_every_third}, calls=30, rounds=6, warmup=0).quantiles["a"]
    assert (quantiles.count, quantiles.errors) == (20, {"PermissionError": 10})


def test_quantiles_are_ordered_seconds() -> None:
    """Every quantile is there, in seconds, and none is over the maximum."""
    q = pair(1, 0.002, 0.001, calls=100).quantiles["slow"]
    assert q.p50 <= q.p90 <= q.p99 <= q.p999 <= q.max
    assert q.p50 == pytest.approx(0.002, rel=0.1)
    assert q.mean == pytest.approx(0.002 * math.exp(0.3**2 / 2), rel=0.1)


@pytest.mark.parametrize("true", [1.0, 1.3, 5.0, 40.0])
def test_the_interval_holds_the_true_ratio(true: float) -> None:
    """In 200 experiments with a known ratio the 95 % interval has it at least 19 times of 20."""
    intervals = [pair(seed, 0.001 * true, 0.001).ratio("slow", "fast") for seed in range(200)]
    assert sum(i.low <= true <= i.high for i in intervals) >= 190
    assert all(i.low <= i.value <= i.high for i in intervals)


@CALM
@given(st.integers(), st.floats(min_value=0.1, max_value=10))
def test_the_inverse_ratio_is_the_inverse(seed: int, true: float) -> None:
    """Which variant is called slow changes nothing but the side from which one looks."""
    comparison = pair(seed, 0.001 * true, 0.001, count=7)
    there, back = comparison.ratio("slow", "fast"), comparison.ratio("fast", "slow")
    assert there.value == pytest.approx(1 / back.value)
    assert there.low == pytest.approx(1 / back.high)


@pytest.mark.parametrize(
    ("count", "low", "high"),
    [(6, 1, 6), (8, 1, 8), (9, 2, 8), (10, 2, 9), (12, 3, 10), (20, 6, 15), (30, 10, 21)],
)
def test_the_interval_is_that_of_the_sign_test(count: int, low: int, high: int) -> None:
    """Its ends are those that tables of the median's 95 % interval give for so many rounds."""
    ratio = known(range(1, count + 1)).ratio("slow", "fast")
    assert (ratio.low, ratio.high) == (low, high)
    assert ratio.value == (count + 1) / 2


def test_fewer_than_six_rounds_with_answers_say_nothing() -> None:
    """Five rounds could all lie on one side by chance."""
    comparison = known(range(1, 7))
    del comparison.rounds["slow"][3].latency[:]
    ratio = comparison.ratio("slow", "fast")
    assert math.isnan(ratio.value)
    assert (ratio.low, ratio.high) == (0, math.inf)


def test_a_call_of_no_time_at_all_has_a_ratio() -> None:
    """A coarse clock may see zero nanoseconds; these count as one."""
    comparison = known([2] * 6)
    for recorder in comparison.rounds["fast"]:
        recorder.latency[0] = 0
    assert comparison.ratio("slow", "fast").value == 2_000_000


def test_one_disturbed_round_does_not_move_the_interval() -> None:
    """Noise that hits one round of one variant is shrugged off."""
    comparison = pair(3, 0.005, 0.001)
    calm = comparison.ratio("slow", "fast")
    disturbed = comparison.rounds["fast"][4]
    for index, ns in enumerate(disturbed.latency):
        disturbed.latency[index] = ns * 100
    noisy = comparison.ratio("slow", "fast")
    assert noisy.low > calm.low / 1.2
    assert noisy.value == pytest.approx(calm.value, rel=0.1)


@pytest.mark.parametrize(
    ("true", "by", "word"), [(5, 2, "True"), (5, 12, "False"), (5, 5, "unknown")]
)
def test_a_verdict_is_true_false_or_unknown(true: float, by: float, word: str) -> None:
    """Well over the margin it holds, well under it does not, and at it the data do not say."""
    verdict = pair(7, 0.001 * true, 0.001).faster("fast", than="slow", by=by)
    assert str(verdict) == f"fast is at least {by}x faster than slow: {word}"
    assert repr(verdict) == str(verdict)
    assert bool(verdict) is (word == "True")
    assert verdict.holds is {"True": True, "False": False, "unknown": None}[word]


@pytest.mark.parametrize(("by", "holds"), [(1, True), (1.001, None), (6, None), (6.001, False)])
def test_a_margin_at_an_end_of_the_interval_belongs_to_it(*, by: float, holds: bool | None) -> None:
    """A ratio between 1 and 6 is at least 1, may be up to 6, and is under anything beyond."""
    assert known(range(1, 7)).faster("fast", than="slow", by=by).holds is holds


def test_without_a_margin_faster_means_not_slower() -> None:
    """`by` is 1 if nothing is said."""
    verdict = known([1] * 6).faster("fast", than="slow")
    assert str(verdict) == "fast is at least 1x faster than slow: True"


def test_a_verdict_on_the_tail_names_the_percentile() -> None:
    """A claim about p90 says so."""
    verdict = pair(7, 0.005, 0.001).faster("fast", than="slow", by=1.5, q=0.9)
    assert str(verdict) == "fast is at least 1.5x faster than slow at p90: True"


def test_failures_make_a_verdict_unknown() -> None:
    """When one call in ten failed, those that are left may not be typical."""
    comparison = pair(7, 0.005, 0.001, failed=2)
    assert str(comparison.faster("fast", than="slow")).endswith("unknown")
    assert not comparison.faster("fast", than="slow")


@pytest.mark.parametrize("failed", [{"slow_failed": 2}, {"fast_failed": 2}])
def test_one_call_in_twenty_may_fail(failed: dict[str, int]) -> None:
    """The limit itself is allowed; one more failure, on either side, leaves the data silent."""
    assert known([5] * 38, **failed).faster("fast", than="slow").holds is True
    assert known([5] * 37, **failed).faster("fast", than="slow").holds is None


def test_quantiles_are_those_of_all_rounds_together() -> None:
    """Every number of the table, from latencies of 1 to 1000 µs."""
    recorders = [Recorder() for _ in range(10)]
    for us in range(1, 1001):
        recorders[us % 10].latency.append(us * 1000)
    recorders[3].errors.update({"UNAVAILABLE": 1, "ABORTED": 2})
    q = Comparison({"a": recorders}).quantiles["a"]
    assert (q.p50, q.p90, q.p99, q.p999, q.max) == (500e-6, 900e-6, 990e-6, 999e-6, 1e-3)
    assert q.mean == pytest.approx(500.5e-6)
    assert (q.count, list(q.errors.items())) == (1000, [("ABORTED", 2), ("UNAVAILABLE", 1)])


def test_a_variant_that_never_answers_has_no_ratio() -> None:
    """With nothing to compare the interval is everything and the verdict unknown."""

    def refuse() -> None:
        raise ConnectionRefusedError

    comparison = compare({"up": lambda: None, "down": refuse}, calls=12, rounds=6)
    ratio = comparison.ratio("down", "up")
    assert math.isnan(ratio.value)
    assert (ratio.low, ratio.high) == (0, math.inf)
    assert comparison.faster("up", than="down").holds is None
    assert math.isnan(comparison.quantiles["down"].p50)


def test_a_tail_needs_enough_calls_a_round() -> None:
    """Twenty calls know nothing of p99, and the error says how many do."""
    with pytest.raises(ValueError, match=r"p99 needs 100 calls a round.*calls=1000"):
        pair(1, 0.002, 0.001).ratio("slow", "fast", q=0.99)


def test_as_many_calls_as_the_tail_needs_are_enough() -> None:
    """Ten calls a round know p90 and p10, answered or failed; nine do not."""
    for q in (0.9, 0.1):
        assert pair(1, 0.002, 0.001, calls=10, failed=1).ratio("slow", "fast", q).value > 0
        with pytest.raises(ValueError, match=f"p{100 * q:g} needs 10 calls a round, and .* has 9"):
            pair(1, 0.002, 0.001, calls=9).ratio("slow", "fast", q)


@pytest.mark.parametrize("q", [-0.5, 0, 1, 99])
def test_a_percentile_in_place_of_a_quantile_is_refused(q: float) -> None:
    """Writing 99 for p99 is a clear error."""
    with pytest.raises(ValueError, match=rf"not {q}: write 0\.99 for p99"):
        pair(1, 0.002, 0.001).ratio("slow", "fast", q)


def test_unknown_names_are_refused() -> None:
    """A misspelt variant is named, with those there are."""
    with pytest.raises(ValueError, match="no variant is called 'fats': choose from slow, fast"):
        pair(1, 0.002, 0.001).faster("fats", than="slow")


@pytest.mark.parametrize("by", [0, -1, math.nan, math.inf])
def test_a_margin_is_positive(by: float) -> None:
    """Being zero times faster means nothing."""
    with pytest.raises(ValueError, match="by must be a positive number"):
        pair(1, 0.002, 0.001).faster("fast", than="slow", by=by)


@pytest.mark.parametrize(
    ("variants", "settings", "message"),
    [
        ({}, {}, "give at least one variant"),
        ({"a": lambda: None}, {"calls": -1}, "calls must be at least 10"),
        ({"a": lambda: None}, {"calls": 9}, "calls must be at least 10, not 9"),
        ({"a": lambda: None}, {"rounds": 5}, "rounds must be at least 6"),
        ({"a": lambda: None}, {"warmup": -1}, "warmup must be at least 0"),
    ],
)
def test_impossible_comparisons_are_refused(
    variants: dict[str, Any], settings: dict[str, int], message: str
) -> None:
    """Arguments that make no sense are errors that say what to do, in both faces."""
    with pytest.raises(ValueError, match=message):
        compare(variants, **settings)
    with pytest.raises(ValueError, match=message):
        asyncio.run(aio_compare(variants, **settings))


async def coroutine_function() -> None:
    """Do nothing, asynchronously."""


def hidden_coroutine() -> object:
    """Return a coroutine, as a lambda around a stub does."""
    return coroutine_function()


@pytest.mark.parametrize("fn", [coroutine_function, hidden_coroutine])
def test_a_coroutine_function_in_compare_is_a_clear_error(fn: Any) -> None:
    """Timing the making of a coroutine would say nothing; the error names the way out."""
    made: list[None] = []
    with pytest.raises(TypeError, match=r"await aio_compare\(\.\.\.\)"):
        compare({"a": lambda: made.append(None), "b": fn})
    assert fn is hidden_coroutine or made == []


def test_what_cannot_be_called_is_refused_by_name() -> None:
    """Passing the result of a call in place of the function is a common slip."""
    with pytest.raises(TypeError, match=r"variant 'b' must be a function.*not int"):
        compare({"a": lambda: None, "b": 3})  # type: ignore[dict-item]
    with pytest.raises(TypeError, match=r"variant 'b' must be a function.*not int"):
        asyncio.run(aio_compare({"a": lambda: None, "b": 3}))  # type: ignore[dict-item]


def test_the_garbage_collector_is_left_as_it_was() -> None:
    """It runs during a comparison, and nothing stays frozen after it, error or not."""

    def look() -> None:
        assert gc.isenabled()
        assert gc.get_freeze_count() > 0

    assert gc.get_freeze_count() == 0
    assert compare({"a": look}, calls=6, rounds=6).errors == {"a": {}}
    with pytest.raises(KeyboardInterrupt):
        compare({"a": interrupt}, calls=6, rounds=6)
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_frozen_stays_frozen() -> None:
    """A program that froze its heap before a comparison finds it frozen afterwards."""
    gc.freeze()
    try:
        compare({"a": lambda: None}, calls=6, rounds=6)
        asyncio.run(aio_compare({"a": lambda: None}, calls=6, rounds=6))
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def test_a_comparison_is_not_small_if_nothing_is_said() -> None:
    """By default each variant makes 200 calls in ten rounds, after ten to warm up."""
    made: list[None] = []
    comparison = compare({"a": lambda: made.append(None)})
    assert (comparison.latency["a"].count, len(comparison.rounds["a"])) == (200, 10)
    assert len(made) == 210
    comparison = asyncio.run(aio_compare({"a": lambda: made.append(None)}))
    assert (comparison.latency["a"].count, len(comparison.rounds["a"])) == (200, 10)
    assert len(made) == 420


def interrupt() -> None:
    """Do what the stop button does."""
    raise KeyboardInterrupt


def test_one_variant_is_enough_to_look_at() -> None:
    """Quantiles and a plot need no second variant."""
    comparison = compare({"only": lambda: None}, calls=6, rounds=6)
    assert repr(comparison) == "Comparison(only: 6 answered, 0 failed)"
