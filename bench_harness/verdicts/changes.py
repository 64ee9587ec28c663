"""Two result files side by side: did anything change between them?

The runs were not interleaved, so the test is the unpaired one of Mann and Whitney, and a slow hour of the
machine can look like a change: the text says so. Only cells of one machine type are compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench_harness import statistics
from bench_harness.errors import HarnessError
from bench_harness.measuring.store import Results
from bench_harness.statistics import Comparison

__all__ = ["Change", "changes", "compare_unpaired"]

# The exact two-sided test of 4 against 4 cannot come below 2.9 %, of 3 against 3 not below 10 %.
FEWEST = 4


@dataclass(frozen=True)
class Change:
    """One contender in one group, in both files; ratios are B / A, None where a file has no such cell."""

    title: str
    contender: str
    speeds: tuple[float, float]
    sizes: tuple[float, float]
    speed: Comparison | None
    size: Comparison | None


def compare_unpaired(before: Sequence[float], after: Sequence[float]) -> Comparison | None:
    """The ratio of medians after / before with a bootstrap interval and the Mann-Whitney verdict.

    Returns:
        None when a series is empty or has a zero median.
    """
    if not before or not after or not np.median(before):
        return None
    a, b = np.asarray(before, float), np.asarray(after, float)
    ratio = float(np.median(b) / np.median(a))
    if len(a) < FEWEST or len(b) < FEWEST:
        return Comparison(ratio, ratio, ratio, 1.0, min(len(a), len(b)), None)
    # Resampled on its own, so that unequal numbers of rounds are no obstacle.
    generator = np.random.default_rng(statistics.SEED)
    resampled = (generator.choice(series, (statistics.RESAMPLES, len(series))) for series in (b, a))
    draws = np.divide(*(np.median(rows, axis=1) for rows in resampled))
    tail = (1 - statistics.CONFIDENCE) / 2 * 100
    low, high = np.percentile(draws, [tail, 100 - tail])
    p = float(stats.mannwhitneyu(a, b, alternative="two-sided").pvalue)
    return Comparison(ratio, float(low), float(high), p, min(len(a), len(b)), p < statistics.ALPHA)


def _series(results: Results, name: str) -> dict[tuple[str, int, str], list[float]]:
    table: dict[tuple[str, int, str], list[float]] = {}
    for cell in results.cells:
        if cell["status"] == "ok" and cell[name]:
            table.setdefault((cell["label"], cell["threads"], cell["contender"]), []).append(cell[name])
    return table


def changes(before: Results, after: Results) -> list[Change]:
    """All cells that both files have, with verdicts under the table's error control.

    Raises:
        HarnessError: the files are of different machine types, or have no cell in common.
    """
    if set(before.machines) != set(after.machines):
        raise HarnessError(
            f"the files are of different machine types ({', '.join(before.machines)} and "
            f"{', '.join(after.machines)}): their numbers must not be compared"
        )
    speeds = _series(before, "throughput"), _series(after, "throughput")
    sizes = _series(before, "peak_rss_bytes"), _series(after, "peak_rss_bytes")
    keys = sorted(sizes[0].keys() & sizes[1].keys())
    if not keys:
        raise HarnessError("the files have no successful cell in common")
    speed = statistics.control_errors([compare_unpaired(speeds[0].get(k, []), speeds[1].get(k, [])) for k in keys])
    size = statistics.control_errors([compare_unpaired(sizes[0][k], sizes[1][k]) for k in keys])

    def medians(
        pair: tuple[dict[tuple[str, int, str], list[float]], ...], k: tuple[str, int, str]
    ) -> tuple[float, float]:
        return float(np.median(pair[0].get(k, [0.0]))), float(np.median(pair[1].get(k, [0.0])))

    return [
        Change(f"{k[0]} x{k[1]}", k[2], medians(speeds, k), medians(sizes, k), speed[i], size[i])
        for i, k in enumerate(keys)
    ]
