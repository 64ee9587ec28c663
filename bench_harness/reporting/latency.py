"""Latency of single calls over all rounds, as tables: histograms are added up, so a percentile is one of all calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from bench_harness.measuring.latency import KINDS, PERCENTILES, Latency
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["describe_ns", "latency_lines", "latency_of"]


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
