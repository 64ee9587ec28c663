"""Latency of single calls: what a cell's histograms tell, and what a result file keeps of them.

A histogram is a list of [ns, count] by rising ns: so many calls took at most ns and more than the entry before; its
steps are 1.6 % wide (native/preload/latency.c).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["KINDS", "PERCENTILES", "Latency", "latency_entry"]

KINDS = ("malloc", "free", "realloc")
PERCENTILES = (50.0, 99.0, 99.9, 99.99)


@dataclass(frozen=True)
class Latency:
    """The calls of one kind.

    Attributes:
        buckets: (ns, count) by rising ns.
        longest: ns of the longest call.
    """

    buckets: tuple[tuple[float, int], ...]
    longest: float

    @property
    def count(self) -> int:
        """Calls."""
        return sum(count for _, count in self.buckets)

    def percentile(self, percent: float) -> float:
        """The ns within which this share of the calls ended; the longest call bounds its bucket."""
        wanted = self.count * percent / 100
        reached = 0
        for ns, count in self.buckets:
            reached += count
            if reached >= wanted:
                return min(ns, self.longest)
        return self.longest

    def course(self) -> tuple[list[float], list[float]]:
        """For a picture: shares of the calls that took longer, falling, and the ns that they exceeded."""
        total, reached = self.count, 0
        shares, times = [], []
        for ns, count in self.buckets:
            shares.append((total - reached) / total)
            times.append(min(ns, self.longest))
            reached += count
        return shares, times


def latency_entry(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a result file keeps of a cell's latencies; None when the cell took none."""
    told = report.get("latency")
    if told is None:
        return None
    entry: dict[str, Any] = {name: told[name] for name in ("clock", "tick_ns", "cost_ns")}
    for kind in KINDS:
        one = Latency(tuple((ns, count) for ns, count in told[kind]["buckets"]), told[kind]["longest_ns"])
        if one.count:
            entry[kind] = {
                "count": one.count,
                **{f"p{percent:g}_ns": one.percentile(percent) for percent in PERCENTILES},
                "longest_ns": one.longest,
                "buckets": told[kind]["buckets"],
            }
    return entry
