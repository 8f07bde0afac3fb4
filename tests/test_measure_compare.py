from __future__ import annotations

import asyncio
import gc
import itertools
import math
import random
from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labsvc.measure import Comparison, compare, compare_async
from labsvc.measure.record import Recorder

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
        await compare_async(
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
        return await compare_async({"plain": lambda: None, "awaited": awaited}, calls=12, rounds=6)

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


def test_a_verdict_on_the_tail_names_the_percentile() -> None:
    """A claim about p90 says so."""
    verdict = pair(7, 0.005, 0.001).faster("fast", than="slow", by=1.5, q=0.9)
    assert str(verdict) == "fast is at least 1.5x faster than slow at p90: True"


def test_failures_make_a_verdict_unknown() -> None:
    """When one call in ten failed, those that are left may not be typical."""
    comparison = pair(7, 0.005, 0.001, failed=2)
    assert str(comparison.faster("fast", than="slow")).endswith("unknown")
    assert not comparison.faster("fast", than="slow")


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
        asyncio.run(compare_async(variants, **settings))


async def coroutine_function() -> None:
    """Do nothing, asynchronously."""


def hidden_coroutine() -> object:
    """Return a coroutine, as a lambda around a stub does."""
    return coroutine_function()


@pytest.mark.parametrize("fn", [coroutine_function, hidden_coroutine])
def test_a_coroutine_function_in_compare_is_a_clear_error(fn: Any) -> None:
    """Timing the making of a coroutine would say nothing; the error names the way out."""
    with pytest.raises(TypeError, match=r"await compare_async\(\.\.\.\)"):
        compare({"a": lambda: None, "b": fn})


def test_what_cannot_be_called_is_refused_by_name() -> None:
    """Passing the result of a call in place of the function is a common slip."""
    with pytest.raises(TypeError, match=r"variant 'b' must be a function.*not int"):
        compare({"a": lambda: None, "b": 3})  # type: ignore[dict-item]


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


def interrupt() -> None:
    """Do what the stop button does."""
    raise KeyboardInterrupt


def test_one_variant_is_enough_to_look_at() -> None:
    """Quantiles and a plot need no second variant."""
    comparison = compare({"only": lambda: None}, calls=6, rounds=6)
    assert repr(comparison) == "Comparison(only: 6 answered, 0 failed)"
