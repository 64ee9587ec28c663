"""User against system time: what an allocator costs in the kernel."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.reporting.pictures.style import WIDE, columns_of, footnote, headline, look_of, wrapped
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["cputime_figure"]

_PANEL = 3.2  # inches, the least width
_TITLE = 0.5  # share of a panel's width that its title has, beside the names
_ROOM = 1.05  # of the longest bar
_BAR = 0.24  # inches, the height of a bar with its gap


def _panel(axes: Axes, group: GroupRows, inches: float) -> None:
    rows = [row for row in group.competitors if _per_operation(row.user, row) is not None][::-1]
    looks = look_of([row.contender for row in group.competitors])
    user = [_per_operation(row.user, row) or 0.0 for row in rows]
    system = [_per_operation(row.system, row) or 0.0 for row in rows]
    colours = [looks[row.contender].colour for row in rows]
    axes.barh(range(len(rows)), user, color=colours, height=0.66, label="user")
    axes.barh(range(len(rows)), system, left=user, color="white", edgecolor=colours, hatch="////", height=0.66)
    axes.set_xlim(0, _ROOM * max([*(u + k for u, k in zip(user, system, strict=True)), 1e-9]))
    axes.set_yticks(range(len(rows)), [row.contender for row in rows])
    # Its left end is the axes', not the names'.
    axes.set_title(wrapped(group.title, inches * _TITLE, 10, bold=True))
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def cputime_figure(groups: Sequence[GroupRows], width: float = WIDE) -> Figure:
    """Nanoseconds of CPU time per operation, user and system stacked, one panel per group."""
    shown = [g for g in groups if any(_per_operation(row.user, row) is not None for row in g.competitors)]
    columns = columns_of(width, _PANEL, max(1, len(shown)))
    lines = max(1, -(-len(shown) // columns))
    tallest = max((len(g.competitors) for g in shown), default=1)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(width, lines * (0.75 + _BAR * tallest) + 0.9),
        squeeze=False,
        layout="constrained",
    )
    for axes in grid.flat[len(shown) :]:
        axes.set_visible(False)
    for axes, group in zip(grid.flat, shown, strict=False):
        _panel(axes, group, width / columns)
    headline(figure, "CPU time, ns per operation: user (solid) and system (hatched)")
    footnote(figure, [row for g in shown for row in g.competitors], "medians over the rounds; less is better")
    return figure


def _per_operation(seconds: float | None, row: Row) -> float | None:
    operations = [c["operations"] for c in row.cells if c["operations"]]
    if seconds is None or not operations:
        return None
    return seconds * 1e9 * len(operations) / float(sum(operations))
