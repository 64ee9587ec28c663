"""RSS over time, as it is seen from outside, with the bound of the pages that are still needed.

Every allocator fills and refills at its own speed, so each moment that the workload reports is a mark on each line,
and its shape says which moment it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench_harness.reporting.numbers import MIB
from bench_harness.reporting.pictures.scaling import by_preset
from bench_harness.reporting.pictures.style import (
    GREY,
    INK,
    WIDE,
    Look,
    footnote,
    headline_and_legend,
    look_of,
    plain_name,
)
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["has_timeline", "timeline_figure"]

_LEAST_MARKS = 2  # a workload with phases tells of at least two moments
_PANEL = 3.0  # inches
_SHAPES = ("^", "o", "s", "D", "v", "P", "X")
_BOUND = "pages with a live byte"
_IDLE_BEGINS = "idle 0 s"

_Cells = list[tuple[str, dict[str, Any]]]  # a contender, and one cell of it


def _typical(row: Row) -> dict[str, Any] | None:
    """The cell whose peak is the median one: one real course, not an average that nobody ran."""
    cells = sorted((c for c in row.cells if c["samples"]), key=lambda c: c["peak_rss_bytes"])
    return cells[len(cells) // 2] if cells else None


def has_timeline(group: GroupRows) -> bool:
    """True for workloads that have phases, of which a course over time tells more than a peak."""
    return any(len(cell["marks"]) >= _LEAST_MARKS for row in group.competitors for cell in row.cells)


def _moments(cell: dict[str, Any]) -> list[tuple[str, float]]:
    """The moments that a cell reports, in order; of the looks while it idles only that idling begins."""
    return [
        ("idle" if mark["name"] == _IDLE_BEGINS else mark["name"], mark["at"])
        for mark in cell["marks"]
        if not mark["name"].startswith("idle ") or mark["name"] == _IDLE_BEGINS
    ]


def _rss_at(cell: dict[str, Any], at: float) -> float:
    """The RSS on the line that is drawn, between its two samples."""
    samples = cell["samples"]
    before = max((s for s in samples if s[0] <= at), default=samples[0])
    after = min((s for s in samples if s[0] > at), default=before)
    share = (at - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
    return float(before[1] + share * (after[1] - before[1])) / MIB


def _marks(axes: Axes, cells: _Cells, looks: dict[str, Look], shapes: dict[str, str]) -> None:
    for contender, cell in cells:
        last = cell["samples"][-1][0]
        for name, at in _moments(cell):
            if at <= last:
                axes.plot(
                    [at],
                    [_rss_at(cell, at)],
                    linestyle="",
                    marker=shapes[name],
                    markersize=6,
                    color=looks[contender].colour,
                    markeredgecolor="white",
                    zorder=4,
                )


def _idle_spans(cell: dict[str, Any]) -> list[tuple[float, float]]:
    """The times in which the workload holds what it has: from each `idle 0 s` to the next moment of another kind."""
    marks = cell["marks"]
    end = cell["samples"][-1][0]
    spans = []
    for i, mark in enumerate(marks):
        if mark["name"] == _IDLE_BEGINS:
            later = [m["at"] for m in marks[i + 1 :] if not m["name"].startswith("idle ") or m["name"] == _IDLE_BEGINS]
            spans.append((mark["at"], min([*later, end])))
    return spans


def _floors(axes: Axes, cells: _Cells) -> None:
    """The page bound over the idle time that it belongs to; of all contenders the lowest, since layouts differ.

    A workload that idles once has `page_bound_bytes`; one that idles before as well says so by
    `page_bound_thinned_bytes`.
    """
    idling = [cell for _, cell in cells if _idle_spans(cell)]
    for name, which in (("page_bound_thinned_bytes", 0), ("page_bound_bytes", -1)):
        known = [(c["metrics"][name] / MIB, c) for c in idling if c["metrics"].get(name, -1) > 0]
        if not known:
            continue
        bound, cell = min(known, key=lambda pair: pair[0])
        low, high = _idle_spans(cell)[which]
        axes.plot([low, high], [bound, bound], color=INK, linewidth=1.2, linestyle=":", zorder=5, label=_BOUND)


def _panel(axes: Axes, cells: _Cells, shapes: dict[str, str], title: str) -> None:
    looks = look_of([contender for contender, _ in cells])
    for contender, cell in cells:
        look = looks[contender]
        axes.plot(
            [at for at, _ in cell["samples"]],
            [rss / MIB for _, rss in cell["samples"]],
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.7,
            label=plain_name(contender),
        )
    _marks(axes, cells, looks, shapes)
    _floors(axes, cells)
    axes.set_title(title)
    axes.set_ylabel("RSS, MiB")
    axes.set_ylim(bottom=0)


def _entries(panels: Sequence[Axes], shapes: dict[str, str]) -> dict[str, Any]:
    """The legend: lines by allocator, the bound where there is one, marks by moment."""
    found = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    bound = found.pop(_BOUND, None)
    moments = {
        name: Line2D([], [], linestyle="", marker=shape, color=GREY, markersize=6) for name, shape in shapes.items()
    }
    return {**found, **({_BOUND: bound} if bound is not None else {}), **moments}


def timeline_figure(group: GroupRows, width: float = WIDE) -> Figure:
    """The course of one group: a line per contender, a panel per preset, the page bound as a floor while it idles."""
    cells = {row.contender: cell for row in group.competitors if (cell := _typical(row)) is not None}
    presets = {
        preset: found
        for preset, names in by_preset(group.competitors).items()
        if (found := [(name, cells[name]) for name in names if name in cells])
    }
    shapes = dict(zip(dict.fromkeys(n for c in cells.values() for n, _ in _moments(c)), _SHAPES * 3, strict=False))
    lines = max(1, len(presets))
    figure, grid = plt.subplots(
        lines,
        1,
        figsize=(width, _PANEL * lines + 1.2),
        squeeze=False,
        layout="constrained",
        sharex=True,
        sharey=True,
    )
    for axes, (preset, found) in zip(grid.flat, presets.items(), strict=False):
        _panel(axes, found, shapes, preset if lines > 1 else "")
    grid[-1, 0].set_xlabel("seconds")
    headline_and_legend(figure, f"{group.label}: RSS over time", _entries(list(grid.flat), shapes))
    footnote(
        figure,
        group.competitors,
        "sampled from outside; of each allocator the run with the median peak; marks: what the workload reports, each "
        f"allocator at its own time; {_BOUND}: of the allocator that has the fewest",
    )
    return figure
