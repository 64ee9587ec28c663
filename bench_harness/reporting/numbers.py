"""Numbers as text: rates, sizes, and ratios with their verdicts."""

from __future__ import annotations

from bench_harness.statistics import Comparison

__all__ = ["MIB", "describe_verdict", "mebibytes", "si"]

MIB = 1 << 20


def si(value: float) -> str:
    """A rate with three digits and a unit prefix: 12.3M."""
    for limit, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= limit:
            return f"{value / limit:.3g}{prefix}" if value / limit < 100 else f"{value / limit:.0f}{prefix}"
    return f"{value:.3g}"


def mebibytes(value: float) -> str:
    """Bytes as MiB with one decimal."""
    return f"{value / MIB:.1f}"


def describe_verdict(comparison: Comparison | None) -> str:
    """A ratio with its interval, and `=` where no difference can be claimed, `?` where too few rounds ran."""
    if comparison is None:
        return "-"
    sign = "?" if comparison.significant is None else "" if comparison.significant else "="
    if comparison.rounds == 1:
        return f"{comparison.ratio:.3f} {sign}"  # one round has no interval
    return f"{comparison.ratio:.3f} [{comparison.low:.3f} {comparison.high:.3f}]{sign}"
