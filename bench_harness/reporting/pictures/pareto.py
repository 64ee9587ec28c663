"""Throughput against peak RSS: who pays what memory for what speed, with the Pareto front and error bars."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from bench_harness.reporting.numbers import MIB, si
from bench_harness.reporting.pictures.style import GREY, footnote, label_points, look_of
from bench_harness.statistics import Summary
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["pareto_figure", "pareto_front"]

PANEL = (4.6, 4.2)  # inches
MOST_COLUMNS = 3


def pareto_front(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Those points that no other beats in both: less memory (x) and more throughput (y), by rising x."""
    front: list[tuple[float, float]] = []
    for x, y in sorted(points, key=lambda p: (p[0], -p[1])):
        if not front or y > front[-1][1]:
            front.append((x, y))
    return front


def _bar(summary: Summary, scale: float = 1.0) -> list[list[float]]:
    return [[(summary.median - summary.low) / scale], [(summary.high - summary.median) / scale]]


def _measured(group: GroupRows) -> list[tuple[Row, Summary, Summary]]:
    return [(r, r.throughput, r.peak_rss) for r in group.competitors if r.throughput and r.peak_rss]


def _panel(axes: Axes, group: GroupRows, names: Sequence[str]) -> None:
    looks = look_of(names)
    shown = _measured(group)
    for row, speed, size in shown:
        look = looks[row.contender]
        axes.errorbar(
            [size.median / MIB],
            [speed.median],
            xerr=_bar(size, MIB),
            yerr=_bar(speed),
            fmt=look.mark,
            color=look.colour,
            markersize=8,
            markeredgecolor="white",
            elinewidth=1.2,
            capsize=3,
            zorder=3,
        )
    _limits(axes, shown)
    _front(axes, [(size.median / MIB, speed.median) for _, speed, size in shown])
    axes.set_title(f"{group.threads} thread{'s' if group.threads != 1 else ''}")
    axes.set_xlabel("peak RSS, MiB  (less is better)")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    label_points(
        axes,
        [(size.median / MIB, speed.median, row.contender, looks[row.contender].colour) for row, speed, size in shown],
    )


def _limits(axes: Axes, shown: Sequence[tuple[Row, Summary, Summary]]) -> None:
    """Both axes from zero, so that distances are honest, with room for labels."""
    axes.set_xlim(0, 1.22 * max((size.high / MIB for _, _, size in shown), default=1))
    axes.set_ylim(0, 1.15 * max((speed.high for _, speed, _ in shown), default=1))


def _front(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    front = pareto_front(points)
    if not front:
        return
    # The staircase of what is attainable: from the bottom, over the points, to the right edge.
    xs = [front[0][0], *(x for x, _ in front), axes.get_xlim()[1]]
    ys = [0.0, *(y for _, y in front), front[-1][1]]
    axes.plot(xs, ys, color=GREY, linewidth=1.1, linestyle=(0, (4, 3)), drawstyle="steps-post", zorder=1)
    axes.fill_between(xs, ys, step="post", color="#f3f3f3", zorder=0)


def pareto_figure(groups: Sequence[GroupRows]) -> Figure:
    """One panel per number of threads of one workload.

    Args:
        groups: of the same workload and parameters, at least one.
    """
    names = list(dict.fromkeys(row.contender for group in groups for row in group.competitors))
    columns = min(len(groups), MOST_COLUMNS)
    lines = -(-len(groups) // columns)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(PANEL[0] * columns, PANEL[1] * lines + 0.5),
        squeeze=False,
        layout="constrained",
    )
    figure.suptitle(f"{groups[0].label}: throughput against peak RSS", x=0.01, ha="left", fontsize=13, weight="bold")
    rounds = max((len(row.cells) for group in groups for row in group.rows), default=0)
    footnote(
        figure,
        [row for group in groups for row in group.competitors],
        f"one operation = {groups[0].operation}; median and 95 % bootstrap interval of {rounds} rounds; "
        "dashed: Pareto front (up and left is better)",
    )
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("operations per second  (more is better)")
    for axes, group in zip(grid.flat, groups, strict=False):
        _panel(axes, group, names)
    return figure
