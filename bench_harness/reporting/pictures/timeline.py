"""RSS over time, as it is seen from outside, with the bound of the pages that are still needed."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.reporting.numbers import MIB
from bench_harness.reporting.pictures.style import GREY, INK, footnote, look_of
from bench_harness.verdicts.analysis import GroupRows, Row

__all__ = ["has_timeline", "timeline_figure"]

_NEAR = 0.03  # of the width: marks closer than this share a label
_LEAST_MARKS = 2  # a workload with phases tells of at least two moments


def _typical(row: Row) -> dict[str, Any] | None:
    """The cell whose peak is the median one: one real course, not an average that nobody ran."""
    cells = sorted((c for c in row.cells if c["samples"]), key=lambda c: c["peak_rss_bytes"])
    return cells[len(cells) // 2] if cells else None


def has_timeline(group: GroupRows) -> bool:
    """True for workloads that have phases, of which a course over time tells more than a peak."""
    return any(len(cell["marks"]) >= _LEAST_MARKS for row in group.competitors for cell in row.cells)


def _phases(axes: Axes, cell: dict[str, Any]) -> None:
    """Thin lines at the moments that the workload itself reports."""
    left, right = axes.get_xlim()
    near = (right - left) * _NEAR
    moments: list[tuple[float, str]] = []
    for mark in cell["marks"]:
        if mark["name"].startswith("idle ") and mark["name"] != "idle 0 s":
            continue
        name = "idle" if mark["name"] == "idle 0 s" else mark["name"]
        if moments and mark["at"] - moments[-1][0] < near:
            moments[-1] = (moments[-1][0], f"{moments[-1][1]}, {name}")  # else their names cover each other
        else:
            moments.append((mark["at"], name))
    for at, name in moments:
        axes.axvline(at, color="#d0d0d0", linewidth=0.9, zorder=0)
        axes.text(at, axes.get_ylim()[1], f" {name}", rotation=90, va="top", ha="left", fontsize=8, color=GREY)


def _idle_spans(cell: dict[str, Any]) -> list[tuple[float, float]]:
    """The times in which the workload holds what it has: from each `idle 0 s` to the next moment of another kind."""
    marks = cell["marks"]
    end = cell["samples"][-1][0]
    spans = []
    for i, mark in enumerate(marks):
        if mark["name"] == "idle 0 s":
            later = [m["at"] for m in marks[i + 1 :] if not m["name"].startswith("idle ") or m["name"] == "idle 0 s"]
            spans.append((mark["at"], min([*later, end])))
    return spans


def _floors(axes: Axes, group: GroupRows) -> None:
    """The page bound over the idle time that it belongs to; of all contenders the lowest, since layouts differ.

    A workload that idles once has `page_bound_bytes`; one that idles before as well says so by
    `page_bound_thinned_bytes`.
    """
    cells = [cell for row in group.competitors if (cell := _typical(row)) is not None and _idle_spans(cell)]
    for name, which in (("page_bound_thinned_bytes", 0), ("page_bound_bytes", -1)):
        known = [(c["metrics"][name] / MIB, c) for c in cells if c["metrics"].get(name, -1) > 0]
        if not known:
            continue
        bound, cell = min(known, key=lambda pair: pair[0])
        low, high = _idle_spans(cell)[which]
        axes.plot([low, high], [bound, bound], color=INK, linewidth=1.1, linestyle=":")
        axes.annotate(
            "pages with a live byte (lowest)",
            ((low + high) / 2, bound),
            xytext=(0, -3),
            textcoords="offset points",
            fontsize=8,
            va="top",
            ha="center",
        )


def timeline_figure(group: GroupRows) -> Figure:
    """The course of one group: a line per contender, the page bound as a floor while it idles."""
    looks = look_of([row.contender for row in group.competitors])
    figure, axes = plt.subplots(figsize=(9.2, 4.8), layout="constrained")
    first: dict[str, Any] | None = None
    for row in group.competitors:
        cell = _typical(row)
        if cell is None:
            continue
        first = first or cell
        look = looks[row.contender]
        axes.plot(
            [at for at, _ in cell["samples"]],
            [rss / MIB for _, rss in cell["samples"]],
            color=look.colour,
            linestyle=look.dash,
            linewidth=1.9,
            label=row.contender,
        )
    axes.set_ylim(0, 1.22 * axes.get_ylim()[1])
    if first is not None:
        _phases(axes, first)
    _floors(axes, group)
    axes.set_xlabel("seconds")
    axes.set_ylabel("RSS, MiB")
    figure.legend(loc="outside right upper", frameon=False, fontsize=9)
    figure.suptitle(f"{group.label}: RSS over time", x=0.01, ha="left", fontsize=13, weight="bold")
    footnote(figure, group.competitors, "sampled from outside; of each allocator the run with the median peak")
    return figure
