"""Latency of single calls: percentiles from the histograms that cells report, as tables and as series.

A histogram is a list of [ns, count] by rising ns: so many calls took at most ns and more than the entry before; its
steps are 1.6 % wide (native/preload/latency.c). Histograms of several rounds are added up, so that a percentile is one
of all calls of all rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench_harness.analysis import GroupRows, Row

__all__ = ["KINDS", "PERCENTILES", "Latency", "describe_ns", "latency_entry", "latency_lines", "latency_of"]

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


def _added(entries: Iterable[Mapping[str, Any]]) -> Latency:
    sums: Counter[float] = Counter()
    longest = 0.0
    for entry in entries:
        for ns, count in entry["buckets"]:
            sums[ns] += count
        longest = max(longest, entry["longest_ns"])
    return Latency(tuple(sorted(sums.items())), longest)


def latency_of(row: Row, kind: str) -> Latency | None:
    """All calls of one kind of a contender's successful cells; None when none were timed."""
    entries = [cell["latency"][kind] for cell in row.cells if kind in cell.get("latency", {})]
    return _added(entries) if entries else None


def describe_ns(ns: float) -> str:
    """A time with three digits and its unit."""
    for limit, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if ns >= limit:
            return f"{ns / limit:.3g} {unit}"
    return f"{ns:.3g} ns"


def latency_lines(group: GroupRows) -> tuple[tuple[str, ...], list[tuple[str, ...]]] | None:
    """Headings and lines of a group's table; None when none of its calls were timed."""
    kinds = [kind for kind in KINDS if any(latency_of(row, kind) for row in group.rows)]
    if not kinds:
        return None
    names = (*(f"p{percent:g}" for percent in PERCENTILES), "longest")
    headings = ("allocator", *(f"{kind} {name}" for kind in kinds for name in names))
    lines = []
    for row in group.rows:
        texts: list[str] = []
        for kind in kinds:
            one = latency_of(row, kind)
            times: Sequence[float] = [*(one.percentile(p) for p in PERCENTILES), one.longest] if one else []
            texts += [describe_ns(ns) for ns in times] or ["-"] * len(names)
        lines.append(("(loop overhead)" if row.is_probe else row.contender, *texts))
    return headings, lines
