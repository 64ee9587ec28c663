"""Throughput and peak RSS over the number of threads, a line of panels for each preset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from bench_harness.reporting.numbers import MIB, si
from bench_harness.reporting.pictures.pareto import intervals
from bench_harness.reporting.pictures.style import (
    WIDE,
    Look,
    columns_of,
    footnote,
    headline_and_legend,
    look_of,
    plain_name,
)
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["by_preset", "scaling_figure"]

_PANEL = (3.2, 2.8)  # inches, the least width and the height
_MEASURES = (("throughput", "operations per second", 1.0), ("peak_rss", "peak RSS, MiB", float(MIB)))


def by_preset(rows: Sequence[Row]) -> dict[str, list[str]]:
    """The contenders of each preset, in the order in which they come."""
    found: dict[str, list[str]] = {}
    for row in rows:
        names = found.setdefault(row.preset, [])
        if row.contender not in names:
            names.append(row.contender)
    return found


def _lines(axes: Axes, groups: Sequence[GroupRows], names: Sequence[str], field: str, scale: float) -> float:
    """Draw one measure of some contenders; returns the highest end of an interval."""
    looks: dict[str, Look] = look_of(names)
    highest = 0.0
    for name in names:
        look = looks[name]
        series = [(g.threads, s) for g in groups if (row := g.row(name)) and (s := getattr(row, field))]
        axes.errorbar(
            [x for x, _ in series],
            [s.median / scale for _, s in series],
            yerr=[
                [(s.median - s.low) / scale for _, s in series],
                [(s.high - s.median) / scale for _, s in series],
            ],
            color=look.colour,
            linestyle=look.dash,
            markersize=7,
            capsize=3,
            elinewidth=1,
            label=plain_name(name),
            **look.marker,
        )
        highest = max([highest, *(s.high / scale for _, s in series)])
    return highest


def _overhead(groups: Sequence[GroupRows]) -> str:
    """The harness's own limit in words: its line would be far above the others and flatten them."""
    probe = [(g.threads, row.throughput.median) for g in groups for row in g.rows if row.is_probe and row.throughput]
    told = ", ".join(f"{threads}: {si(speed)}" for threads, speed in probe)
    return f"; the loop alone (no-op allocator), op/s by threads: {told}" if told else ""


def _finish(axes: Axes, threads: Sequence[int], title: str, highest: float) -> None:
    axes.set_title(title)
    axes.set_xlabel("threads")
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(threads))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set_ylim(0, 1.08 * highest or 1)


def scaling_figure(groups: Sequence[GroupRows], width: float = WIDE) -> Figure:
    """Throughput and peak RSS over the number of threads, both from zero.

    Args:
        groups: of one workload and its parameters, with at least two different numbers of threads.
        width: inches.
    """
    groups = sorted(groups, key=lambda g: g.threads)
    rows = [row for group in groups for row in group.competitors]
    presets = by_preset(rows)
    columns = columns_of(width, _PANEL[0], len(_MEASURES))
    panels = [(preset, names, *measure) for preset, names in presets.items() for measure in _MEASURES]
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(width, _PANEL[1] * lines + 1.2), squeeze=False, layout="constrained"
    )
    highest: dict[str, float] = {}
    for axes, (_, names, field, _, scale) in zip(grid.flat, panels, strict=True):
        highest[field] = max(highest.get(field, 0.0), _lines(axes, groups, names, field, scale))
    for axes, (preset, _, field, title, _) in zip(grid.flat, panels, strict=True):
        _finish(
            axes, [g.threads for g in groups], f"{title}{f': {preset}' if len(presets) > 1 else ''}", highest[field]
        )
        if field == "throughput":
            axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    entries: dict[str, Any] = {}
    for axes in grid[:, 0]:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)  # as it comes, before its presets
    headline_and_legend(figure, f"{groups[0].label}: scaling with threads", entries)
    footnote(figure, rows, intervals(groups) + _overhead(groups))
    return figure
