"""The statistics: right on data whose truth is known, silent where there is too little of it."""

from __future__ import annotations

import random

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from bench_harness import statistics
from bench_harness.statistics import Comparison
from bench_harness.verdicts.changes import compare_unpaired

positive = st.floats(1e-3, 1e9)


@settings(max_examples=40, deadline=None)
@given(st.lists(positive, min_size=1, max_size=15))
def test_a_summary_lies_within_its_data(values: list[float]) -> None:
    s = statistics.summarise(values)
    assert s.minimum <= s.low <= s.median <= s.high <= s.maximum
    assert s.median == float(np.median(values)) and s.count == len(values)


def test_no_data_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        statistics.summarise([])
    with pytest.raises(ValueError, match="positive"):
        statistics.geometric_mean([1.0, 0.0])


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    """95 % nominal; the percentile interval of a median of 9 is known to cover 90 to 99 %."""
    generator = np.random.default_rng(3)
    hits = 0
    for _ in range(300):
        s = statistics.summarise([float(x) for x in generator.lognormal(0, 0.3, 9)])
        hits += s.low <= 1.0 <= s.high
    assert 0.88 <= hits / 300 <= 1.0


def test_the_drift_of_a_slow_machine_cancels_in_pairs() -> None:
    """Each round is up to four times slower than another; the ratio within the round is exactly 1.5."""
    noise = random.Random(1)
    drift = {r: noise.uniform(1, 4) for r in range(9)}
    base = {r: 100.0 / d for r, d in drift.items()}
    ours = {r: 150.0 / d for r, d in drift.items()}
    c = statistics.compare(ours, base)
    assert c is not None and c.ratio == pytest.approx(1.5) and c.significant is True
    assert c.low == pytest.approx(1.5) and c.high == pytest.approx(1.5)


def test_one_wild_round_neither_makes_nor_breaks_a_verdict() -> None:
    base = dict.fromkeys(range(12), 100.0)
    equal = {r: 100.0 * (1 + 0.001 * (-1) ** r) for r in range(12)} | {3: 1000.0}
    better = {r: 110.0 + r * 0.01 for r in range(12)} | {3: 20.0}
    same, ahead = statistics.compare(equal, base), statistics.compare(better, base)
    assert same is not None and same.significant is False and same.ratio == pytest.approx(1.0, abs=0.002)
    assert ahead is not None and ahead.significant is True and ahead.ratio == pytest.approx(1.1, abs=0.002)


@pytest.mark.parametrize("rounds", [1, 2, 5])
def test_too_few_rounds_give_no_verdict(rounds: int) -> None:
    c = statistics.compare(dict.fromkeys(range(rounds), 200.0), dict.fromkeys(range(rounds), 100.0))
    assert c is not None and c.significant is None and c.ratio == 2.0


def test_the_fewest_rounds_can_give_one() -> None:
    n = statistics.FEWEST_ROUNDS
    c = statistics.compare({r: 200.0 + r for r in range(n)}, dict.fromkeys(range(n), 100.0))
    assert c is not None and c.significant is True


def test_only_rounds_that_both_have_are_compared() -> None:
    assert statistics.compare({1: 2.0}, {2: 1.0}) is None
    c = statistics.compare({1: 2.0, 2: 50.0}, {1: 1.0, 3: 9.0})
    assert c is not None and c.rounds == 1 and c.ratio == 2.0


@pytest.mark.parametrize("rounds", [6, 8, 10])
@pytest.mark.parametrize("digits", [0, 1, 8])
def test_the_signed_rank_test_is_the_exact_one(rounds: int, digits: int) -> None:
    """Against scipy, which enumerates all signs; few digits make zeros and ties."""
    generator = np.random.default_rng(rounds + digits)
    for shift in (0.0, 1.0):
        data = np.round(generator.normal(shift, 1.5, rounds), digits)
        signs = scipy.stats.PermutationMethod(n_resamples=np.inf)
        expected = scipy.stats.wilcoxon(data, method=signs).pvalue
        assert statistics.signed_rank_p(data.tolist()) == pytest.approx(float(expected))


def test_many_differences_are_tested_by_the_normal_law() -> None:
    data = np.random.default_rng(1).normal(0.2, 1, statistics.EXACT_MOST + 1)
    expected = scipy.stats.wilcoxon(data, method="approx").pvalue
    assert statistics.signed_rank_p(data.tolist()) == pytest.approx(float(expected), rel=0.02)
    assert statistics.signed_rank_p(data[:-1].tolist()) == pytest.approx(
        float(scipy.stats.wilcoxon(data[:-1], method="exact").pvalue)
    )
    assert statistics.signed_rank_p([0.0] * 9) == 1.0


def test_identical_series_do_not_differ() -> None:
    c = statistics.compare(dict.fromkeys(range(8), 5.0), dict.fromkeys(range(8), 5.0))
    assert c is not None and c.significant is False and c.ratio == 1.0


def test_equal_contenders_are_told_apart_no_more_often_than_stated() -> None:
    """400 A/A tables of 10 comparisons, noise with heavy tails: at most 5 % of the tables claim anything."""
    generator = np.random.default_rng(11)
    false_tables = 0
    for _ in range(400):
        table: list[Comparison | None] = []
        for _ in range(10):
            a, b = (dict(enumerate(np.exp(0.05 * generator.standard_t(2, 9)).tolist())) for _ in range(2))
            p = statistics.signed_rank_p([float(np.log(a[r] / b[r])) for r in a])
            table.append(Comparison(1.0, 1.0, 1.0, p, 9, p < statistics.ALPHA))
        false_tables += any(c is not None and c.significant for c in statistics.control_errors(table))
    assert false_tables / 400 <= statistics.ALPHA + 0.03  # three standard errors of 400 tables


def test_error_control_keeps_clear_differences_and_drops_chance_ones() -> None:
    def row(p: float) -> Comparison:
        return Comparison(1.1, 1.0, 1.2, p, 9, p < 0.05)

    chance = statistics.control_errors([row(0.04), *[row(0.5)] * 19, None])
    assert not any(c is not None and c.significant for c in chance) and chance[-1] is None
    clear = statistics.control_errors([row(0.004)] * 10 + [row(0.9)])
    assert [c.significant for c in clear if c is not None] == [True] * 10 + [False]
    unsure = Comparison(2.0, 2.0, 2.0, 1.0, 3, None)
    assert statistics.control_errors([unsure]) == [unsure]


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=20))
def test_the_geometric_mean_of_ratios_and_of_their_inverses_are_inverse(ratios: list[float]) -> None:
    assert statistics.geometric_mean([1 / r for r in ratios]) == pytest.approx(1 / statistics.geometric_mean(ratios))


def test_unpaired_comparison_of_two_files() -> None:
    noise = np.random.default_rng(2)
    before = [float(x) for x in noise.normal(100, 1, 8)]
    faster = compare_unpaired(before, [x * 1.2 for x in before])
    same = compare_unpaired(before, [float(x) for x in noise.normal(100, 1, 8)])
    assert faster is not None and faster.significant is True and faster.low > 1.15
    assert same is not None and same.significant is False
    few = compare_unpaired([1.0], [2.0])
    assert few is not None and few.significant is None
    assert compare_unpaired([], [1.0]) is None
