"""User against system time: what an allocator costs in the kernel."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench_harness.reporting.pictures.style import footnote, look_of
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["cputime_figure"]


def cputime_figure(groups: Sequence[GroupRows]) -> Figure:
    """Nanoseconds of CPU time per operation, user and system stacked, one panel per group."""
    shown = [g for g in groups if any(_per_operation(row.user, row) is not None for row in g.competitors)]
    columns = min(3, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    tallest = max((len(g.competitors) for g in shown), default=1)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(4.4 * columns, lines * (0.9 + 0.34 * tallest) + 0.7),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, group in zip(grid.flat, shown, strict=False):
        rows = [row for row in group.competitors if _per_operation(row.user, row) is not None][::-1]
        looks = look_of([row.contender for row in group.competitors])
        user = [_per_operation(row.user, row) or 0.0 for row in rows]
        system = [_per_operation(row.system, row) or 0.0 for row in rows]
        colours = [looks[row.contender].colour for row in rows]
        axes.barh(range(len(rows)), user, color=colours, height=0.66, label="user")
        axes.barh(range(len(rows)), system, left=user, color="white", edgecolor=colours, hatch="////", height=0.66)
        axes.set_yticks(range(len(rows)), [row.contender for row in rows])
        axes.set_title(group.title, fontsize=10)
        axes.grid(axis="y", visible=False)
        axes.tick_params(axis="y", length=0)
    figure.suptitle(
        "CPU time, ns per operation: user (solid) and system (hatched)", x=0.01, ha="left", fontsize=13, weight="bold"
    )
    footnote(figure, [row for g in shown for row in g.competitors], "medians over the rounds; less is better")
    return figure


def _per_operation(seconds: float | None, row: Row) -> float | None:
    operations = [c["operations"] for c in row.cells if c["operations"]]
    if seconds is None or not operations:
        return None
    return seconds * 1e9 * len(operations) / float(sum(operations))
