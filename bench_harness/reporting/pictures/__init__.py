"""The pictures of a result file, each as PNG and SVG."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from matplotlib.figure import Figure

from bench_harness.reporting.pictures.cputime import cputime_figure
from bench_harness.reporting.pictures.latency import has_latency, latency_figure
from bench_harness.reporting.pictures.pareto import pareto_figure
from bench_harness.reporting.pictures.ratios import ratio_figure
from bench_harness.reporting.pictures.scaling import scaling_figure
from bench_harness.reporting.pictures.style import NARROW, WIDE, pleasant, save
from bench_harness.reporting.pictures.timeline import has_timeline, timeline_figure
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["NARROW", "WIDE", "draw", "slug"]


def slug(label: str) -> str:
    """A label as a file name: `churn:live=5000` gives `churn-live-5000`."""
    return re.sub(r"[^\w.]+", "-", label).strip("-")


def _plan(groups: Sequence[GroupRows]) -> list[tuple[str, Callable[[float], Figure]]]:
    """File names and what draws them at a width: only pictures for which there is data."""
    jobs: list[tuple[str, Callable[[float], Figure]]] = []
    for number, base in enumerate(dict.fromkeys(g.base for g in groups)):
        mine = [g for g in groups if g.base == base]
        if any(r.throughput_ratio for g in mine for r in g.competitors):
            name = "ratios" if number == 0 else f"ratios-{slug(base)}"
            jobs.append((name, partial(ratio_figure, mine, base)))
    for label in dict.fromkeys(g.label for g in groups):
        mine = [g for g in groups if g.label == label and any(r.throughput for r in g.competitors)]
        if not mine:
            continue
        jobs.append((slug(label), partial(pareto_figure, mine)))
        if len(mine) > 1:
            jobs.append((f"{slug(label)}-scaling", partial(scaling_figure, mine)))
        for g in mine:
            if has_latency(g):
                name = f"{slug(label)}-latency" + (f"-{g.threads}" if g.threads != 1 else "")
                jobs.append((name, partial(latency_figure, g)))
            if has_timeline(g):
                name = f"{slug(label)}-time" + (f"-{g.threads}" if g.threads != 1 else "")
                jobs.append((name, partial(timeline_figure, g)))
    if any(r.user for g in groups for r in g.competitors):
        jobs.append(("cpu-time", partial(cputime_figure, groups)))
    return jobs


def draw(
    groups: Sequence[GroupRows],
    out: Path,
    only: Sequence[str] | None = None,
    formats: Sequence[str] = ("png", "svg"),
    width: float = WIDE,
) -> list[Path]:
    """Draw every picture that the data supports.

    Args:
        groups: the analysed results.
        out: folder, made if it is not there.
        only: names without suffix to which the set is limited.
        formats: file suffixes.
        width: inches: `WIDE` for a page, `NARROW` for a telephone.
    Returns:
        The files that were written.
    """
    written: list[Path] = []
    with pleasant():
        for name, make in _plan(groups):
            if only is not None and name not in only:
                continue
            written += save(make(width), out, name, formats)
    return written
