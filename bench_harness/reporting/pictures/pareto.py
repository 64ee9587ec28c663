"""Throughput against peak RSS: who pays what memory for what speed, with the Pareto front and error bars."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from bench_harness.peers.declaration import DEFAULT, base_name
from bench_harness.reporting.numbers import MIB, si
from bench_harness.reporting.pictures.labels import Labelled, label_points
from bench_harness.reporting.pictures.style import (
    GREY,
    WIDE,
    Look,
    columns_of,
    footnote,
    headline,
    look_of,
    preset_marks,
)
from bench_harness.statistics import Summary
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["pareto_figure", "pareto_front"]

_PANEL = (3.2, 3.6)  # inches, the least width and the height
_ALONE = 4.4  # the height of a single panel on a page
_MOST_COLUMNS = 3


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


def _point(axes: Axes, look: Look, speed: Summary, size: Summary) -> None:
    axes.errorbar(
        [size.median / MIB],
        [speed.median],
        xerr=_bar(size, MIB),
        yerr=_bar(speed),
        color=look.colour,
        markersize=8,
        elinewidth=1.1,
        capsize=2.5,
        zorder=3,
        **look.marker,
    )


def _families(shown: Sequence[tuple[Row, Summary, Summary]]) -> dict[str, list[tuple[Row, Summary, Summary]]]:
    """The points of an allocator as it comes and with its presets, together; variants stand alone."""
    found: dict[str, list[tuple[Row, Summary, Summary]]] = {}
    for entry in shown:
        name = entry[0].contender
        plain = "/" not in name and "[" not in name
        found.setdefault(base_name(name) if plain else name, []).append(entry)
    return found


def _ends(summary: Summary, scale: float = 1.0) -> tuple[float, float, float]:
    return summary.low / scale, summary.median / scale, summary.high / scale


_Line = list[tuple[float, float]]


def _panel(axes: Axes, group: GroupRows, looks: dict[str, Look]) -> tuple[list[Labelled], list[_Line]]:
    """Draw a group; returns its points and lines, for the names that come last."""
    shown = _measured(group)
    points: list[Labelled] = []
    lines: list[_Line] = []
    for name, members in _families(shown).items():
        members = sorted(members, key=lambda entry: entry[0].preset != DEFAULT)
        start = (members[0][2].median / MIB, members[0][1].median)
        for i, (row, speed, size) in enumerate(members):
            look = looks[row.contender]
            _point(axes, look, speed, size)
            points.append(Labelled(_ends(size, MIB), _ends(speed), "" if i else name, look.colour))
            if i:
                lines.append([start, (size.median / MIB, speed.median)])
                axes.plot(*zip(*lines[-1], strict=True), color=look.colour, linewidth=0.9, alpha=0.6, zorder=2)
    _limits(axes, shown)
    lines.append(_front(axes, [(size.median / MIB, speed.median) for _, speed, size in shown]))
    axes.set_title(f"{group.threads} thread{'s' if group.threads != 1 else ''}")
    axes.set_xlabel("peak RSS, MiB  (less is better)")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: si(value)))
    return points, lines


def _limits(axes: Axes, shown: Sequence[tuple[Row, Summary, Summary]]) -> None:
    """Both axes from zero, so that distances are honest, with room for labels."""
    axes.set_xlim(0, 1.22 * max((size.high / MIB for _, _, size in shown), default=1))
    axes.set_ylim(0, 1.15 * max((speed.high for _, speed, _ in shown), default=1))


def _front(axes: Axes, points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """The staircase of what is attainable: from the bottom, over the points, to the right edge; returns its corners."""
    front = pareto_front(points)
    if not front:
        return []
    xs = [front[0][0], *(x for x, _ in front), axes.get_xlim()[1]]
    ys = [0.0, *(y for _, y in front), front[-1][1]]
    axes.plot(xs, ys, color=GREY, linewidth=1.1, linestyle=(0, (4, 3)), drawstyle="steps-post", zorder=1)
    axes.fill_between(xs, ys, step="post", color="#f3f3f3", zorder=0)
    corners = [(xs[0], ys[0])]
    for x, y in zip(xs[1:], ys[1:], strict=True):
        corners += [(x, corners[-1][1]), (x, y)]
    return corners


def intervals(groups: Sequence[GroupRows]) -> str:
    """What the bars are, for a footnote: one round has none."""
    rounds = max((g.rounds for g in groups), default=0)
    return f"median and 95 % bootstrap interval of {rounds} rounds" if rounds > 1 else "one round, no interval"


def pareto_figure(groups: Sequence[GroupRows], width: float = WIDE) -> Figure:
    """One panel per number of threads of one workload.

    Args:
        groups: of the same workload and parameters, at least one.
        width: inches.
    """
    rows = [row for group in groups for row in group.competitors]
    looks = look_of(list(dict.fromkeys(row.contender for row in rows)))
    columns = min(len(groups), columns_of(width, _PANEL[0], _MOST_COLUMNS))
    lines = -(-len(groups) // columns)
    figure, grid = plt.subplots(
        lines,
        columns,
        figsize=(width, (_ALONE if columns == 1 and width >= WIDE else _PANEL[1]) * lines + 1.2),
        squeeze=False,
        layout="constrained",
    )
    headline(figure, f"{groups[0].label}: throughput against peak RSS")
    marks = preset_marks(rows)
    footnote(
        figure,
        rows,
        f"{f'{marks}; ' if marks else ''}one operation = {groups[0].operation}; {intervals(groups)}; "
        "dashed: Pareto front (up and left is better)",
    )
    for axes in grid.flat[len(groups) :]:
        axes.set_visible(False)
    for axes in grid[:, 0]:
        axes.set_ylabel("operations per second  (more is better)")
    drawn = [(axes, *_panel(axes, group, looks)) for axes, group in zip(grid.flat, groups, strict=False)]
    figure.draw_without_rendering()  # the layout, of which names need to know the sizes
    for axes, points, corners in drawn:
        label_points(axes, points, corners)
    return figure
