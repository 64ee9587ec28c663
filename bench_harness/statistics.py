"""The statistics of interleaved rounds: medians with bootstrap intervals, paired comparisons, error control.

Two contenders are compared round by round: within a round they ran next to each other, so the ratio of a
round is free of the machine's slow drift. The verdict is Wilcoxon's signed-rank test on the logarithms of
the ratios (exact for few rounds, indifferent to a single wild one); over a whole table the false discovery
rate is held at ALPHA by Benjamini and Hochberg's procedure. With fewer than six rounds that test cannot
reach 5 %, and no verdict is given.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

__all__ = [
    "ALPHA",
    "FEWEST_ROUNDS",
    "Comparison",
    "Summary",
    "compare",
    "control_errors",
    "geometric_mean",
    "relative_half_width",
    "signed_rank_p",
    "summarise",
]

ALPHA = 0.05  # rate of false verdicts that a table may have
FEWEST_ROUNDS = 6  # 2 / 2**6 = 3 % is the first p-value of the exact test below ALPHA
CONFIDENCE = 0.95
RESAMPLES = 2000
EXACT_MOST = 50  # differences up to which the signed-rank test is exact
SEED = 20_26  # of the bootstrap: the same file gives the same table


@dataclass(frozen=True)
class Summary:
    """A series of repeats: median with its bootstrap interval, extremes, and how many there were."""

    median: float
    low: float
    high: float
    minimum: float
    maximum: float
    count: int


@dataclass(frozen=True)
class Comparison:
    """A contender against a base: ratio of medians over paired rounds, its interval, and the verdict.

    Attributes:
        ratio: median over the rounds of contender / base.
        low, high: 95 % bootstrap interval of the ratio.
        p_value: of the signed-rank test; 1 when there are too few rounds.
        rounds: pairs that both ran.
        significant: after the table's error control; None when there are too few rounds for a verdict.
    """

    ratio: float
    low: float
    high: float
    p_value: float
    rounds: int
    significant: bool | None


def _bootstrap_median(values: Sequence[float]) -> tuple[float, float]:
    """The percentile interval of the median; degenerate series give their own extremes."""
    data = np.asarray(values, dtype=float)
    if len(data) < 3 or np.all(data == data[0]):
        return float(data.min()), float(data.max())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        interval = stats.bootstrap(
            (data,),
            np.median,
            confidence_level=CONFIDENCE,
            n_resamples=RESAMPLES,
            method="percentile",
            rng=np.random.default_rng(SEED),
        ).confidence_interval
    # Interpolated percentiles can leave the data by a last digit.
    low, high = np.clip([interval.low, interval.high], data.min(), data.max())
    return float(low), float(high)


def summarise(values: Sequence[float]) -> Summary:
    """Describe a series of at least one value.

    Raises:
        ValueError: the series is empty.
    """
    if not values:
        raise ValueError("a series of no values has no median")
    low, high = _bootstrap_median(values)
    return Summary(float(np.median(values)), low, high, min(values), max(values), len(values))


def relative_half_width(values: Sequence[float]) -> float:
    """Half the width of the median's interval, relative to the median; infinity for a zero median."""
    s = summarise(values)
    return (s.high - s.low) / 2 / abs(s.median) if s.median else float("inf")


def signed_rank_p(differences: Sequence[float]) -> float:
    """The two-sided p-value of Wilcoxon's signed-rank test; zeros are left out, ties share their ranks.

    Exact up to EXACT_MOST differences, by counting the signs that give each sum of ranks. scipy does so without
    ties only. Peak RSS has ties in every table, where scipy computes the statistic of each of the 2**n signs anew.
    """
    data = np.asarray(differences, dtype=float)
    data = data[data != 0]
    if len(data) == 0:
        return 1.0
    if len(data) > EXACT_MOST:
        return float(stats.wilcoxon(data).pvalue)
    ranks = np.rint(2 * stats.rankdata(np.abs(data))).astype(int)  # doubled, so that those of ties are whole
    total = int(ranks.sum())
    ways = np.zeros(total + 1)  # of choosing the signs, by the sum of the ranks that are positive
    ways[0] = 1
    for rank in ranks:
        ways[rank:] += ways[:-rank].copy()
    positive = int(ranks[data > 0].sum())
    return min(1.0, 2 * float(ways[: min(positive, total - positive) + 1].sum()) / 2.0 ** len(data))


def compare(contender: Mapping[int, float], base: Mapping[int, float]) -> Comparison | None:
    """Compare two series by round.

    Args:
        contender, base: positive values by round number.
    Returns:
        The comparison over the rounds that both have, None when there is none; `significant` is the single
        test's verdict until `control_errors` has seen the whole table.
    """
    rounds = sorted(contender.keys() & base.keys())
    ratios = np.array([contender[r] / base[r] for r in rounds if contender[r] > 0 and base[r] > 0])
    if len(ratios) == 0:
        return None
    s = summarise([float(x) for x in ratios])
    if len(ratios) < FEWEST_ROUNDS:
        return Comparison(s.median, s.low, s.high, 1.0, len(ratios), None)
    p = signed_rank_p(np.log(ratios).tolist())
    return Comparison(s.median, s.low, s.high, p, len(ratios), p < ALPHA)


def control_errors(comparisons: Sequence[Comparison | None]) -> list[Comparison | None]:
    """The same comparisons with verdicts under a false discovery rate of ALPHA over all that can have one."""
    tested = [c for c in comparisons if c is not None and c.significant is not None]
    if not tested:
        return list(comparisons)
    adjusted = iter(stats.false_discovery_control([c.p_value for c in tested], method="bh"))
    return [
        replace(c, significant=bool(next(adjusted) < ALPHA)) if c is not None and c.significant is not None else c
        for c in comparisons
    ]


def geometric_mean(ratios: Sequence[float]) -> float:
    """The geometric mean of positive ratios.

    Raises:
        ValueError: there is none, or one is not positive.
    """
    if not ratios or min(ratios) <= 0:
        raise ValueError("a geometric mean needs positive ratios")
    return float(stats.gmean(ratios))
