"""Throughput over the number of threads, with the no-op allocator as the harness's own limit."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench_harness.reporting.numbers import MIB, si
from bench_harness.reporting.pictures.style import GREY, footnote, look_of
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["scaling_figure"]


def scaling_figure(groups: Sequence[GroupRows]) -> Figure:
    """Two panels over the number of threads: throughput, and peak RSS.

    Args:
        groups: of one workload and its parameters, with at least two different numbers of threads.
    """
    groups = sorted(groups, key=lambda g: g.threads)
    names = list(dict.fromkeys(row.contender for group in groups for row in group.competitors))
    looks = look_of(names)
    threads = [group.threads for group in groups]
    figure, (speeds, sizes) = plt.subplots(1, 2, figsize=(9.6, 4.4), layout="constrained")
    for name in names:
        look = looks[name]
        rows = [(g.threads, row) for g in groups if (row := g.row(name)) and row.throughput and row.peak_rss]
        for axes, field, scale in ((speeds, "throughput", 1.0), (sizes, "peak_rss", MIB)):
            series = [(x, getattr(row, field)) for x, row in rows]
            axes.errorbar(
                [x for x, _ in series],
                [s.median / scale for _, s in series],
                yerr=[
                    [(s.median - s.low) / scale for _, s in series],
                    [(s.high - s.median) / scale for _, s in series],
                ],
                color=look.colour,
                marker=look.mark,
                linestyle=look.dash,
                markersize=7,
                markeredgecolor="white",
                capsize=3,
                elinewidth=1,
                label=name,
            )
    probe = [(g.threads, row.throughput.median) for g in groups for row in g.rows if row.is_probe and row.throughput]
    if probe:
        speeds.plot(*zip(*probe, strict=True), color=GREY, linestyle=":", label="loop overhead (no-op)")
    for axes, title in ((speeds, "operations per second"), (sizes, "peak RSS, MiB")):
        axes.set_title(title)
        axes.set_xlabel("threads")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(threads))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_ylim(bottom=0)
    speeds.yaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    figure.suptitle(f"{groups[0].label}: scaling with threads", x=0.01, ha="left", fontsize=13, weight="bold")
    handles, labels = speeds.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9)
    footnote(figure, [row for group in groups for row in group.competitors], "median and 95 % bootstrap interval")
    return figure
