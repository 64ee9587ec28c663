"""Latency against percentile: how long the calls take that are not the usual ones, a line of panels per preset."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.measuring.latency import KINDS
from bench_harness.reporting.latency import describe_ns, latency_of
from bench_harness.reporting.pictures.scaling import by_preset
from bench_harness.reporting.pictures.style import (
    SMALL,
    WIDE,
    columns_of,
    footnote,
    headline_and_legend,
    look_of,
    plain_name,
)
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["has_latency", "latency_figure"]

_PANEL = (3.2, 3.4)  # inches, the least width and the height
_LEAST_SHARE = 1e-3  # of the calls: a kind that is rarer than this beside the others gets no panel
_TICKS = (1.0, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
_OVERHEAD, _OVERHEAD_COLOUR = "(loop overhead)", "#b0b0b0"
_NOTE = (
    "both axes are logarithmic; the line of the loop overhead is what interrupts and other threads add to any call, "
    "since that allocator does nothing"
)


def _kinds(group: GroupRows) -> list[str]:
    counts = {kind: sum(one.count for row in group.rows if (one := latency_of(row, kind))) for kind in KINDS}
    return [kind for kind, count in counts.items() if count > _LEAST_SHARE * sum(counts.values())]


def has_latency(group: GroupRows) -> bool:
    """True when a run with `--latency` timed the group's calls."""
    return bool(_kinds(group))


def _percentile_name(share: float) -> str:
    digits = max(0, len(f"{share:.10f}".rstrip("0")) - 4)  # 0.01 has none: 99 %
    return f"{100 * (1 - share):.{digits}f} %"


def _lines(axes: Axes, group: GroupRows, names: Sequence[str], kind: str) -> float:
    """Draw one kind of some contenders, and of the loop alone; returns the smallest share of calls that it shows."""
    looks = look_of(names)
    least = 1.0
    for row in group.rows:
        one = latency_of(row, kind)
        if one is None or not (row.is_probe or row.contender in names):
            continue
        shares, times = one.course()
        least = min(least, shares[-1])
        look = looks.get(row.contender)
        axes.plot(
            [*shares, shares[-1]],
            [*times, one.longest],
            drawstyle="steps-post",
            color=look.colour if look else _OVERHEAD_COLOUR,
            linestyle=look.dash if look else "-",
            linewidth=1.8 if look else 1.2,
            label=plain_name(row.contender) if look else _OVERHEAD,
        )
    return least


def _finish(axes: Axes, title: str, least: float) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(title)
    axes.yaxis.set_major_formatter(lambda ns, _: describe_ns(ns))
    axes.set_xlabel("percentile of the calls")
    axes.set_xlim(1.0, least)
    ticks = [share for share in _TICKS if least <= share < 1.0]
    names = [_percentile_name(share) for share in ticks]
    axes.set_xticks(ticks, names, rotation=45, ha="right", fontsize=SMALL)
    axes.minorticks_off()


def latency_figure(group: GroupRows, width: float = WIDE) -> Figure:
    """A panel each for malloc and free, and realloc where it is called; all have the same axes.

    Args:
        group: one whose calls were timed.
        width: inches.
    """
    presets = by_preset(group.competitors)
    panels = [(preset, names, kind) for preset, names in presets.items() for kind in _kinds(group)]
    columns = columns_of(width, _PANEL[0], len(_kinds(group)))
    lines = -(-len(panels) // columns)
    figure, grid = plt.subplots(
        lines, columns, figsize=(width, _PANEL[1] * lines + 1.2), sharey=True, squeeze=False, layout="constrained"
    )
    for axes in grid.flat[len(panels) :]:
        axes.set_visible(False)
    least = min(_lines(axes, group, names, kind) for axes, (_, names, kind) in zip(grid.flat, panels, strict=False))
    entries: dict[str, Any] = {}
    for axes, (preset, _, kind) in zip(grid.flat, panels, strict=False):
        _finish(axes, f"{kind}{f': {preset}' if len(presets) > 1 else ''}", least)
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            entries.setdefault(label, handle)  # as it comes, before its presets
    if _OVERHEAD in entries:
        entries[_OVERHEAD] = entries.pop(_OVERHEAD)  # the last line of the legend
    headline_and_legend(figure, f"{group.title}: time of single calls", entries)
    footnote(figure, group.competitors, _NOTE)
    return figure
