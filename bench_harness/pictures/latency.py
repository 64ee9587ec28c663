"""Latency against percentile: how long the calls take that are not the usual ones."""

from __future__ import annotations

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.analysis import GroupRows
from bench_harness.latency import KINDS
from bench_harness.latency_table import describe_ns, latency_of
from bench_harness.pictures.style import footnote, look_of

__all__ = ["has_latency", "latency_figure"]

_LEAST_SHARE = 1e-3  # of the calls: a kind that is rarer than this beside the others gets no panel
_TICKS = (1.0, 0.5, 0.1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8)
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
    if share == 1.0:
        return "0 %"
    digits = max(0, len(f"{share:.10f}".rstrip("0")) - 4)  # 0.01 has none: 99 %
    return f"{100 * (1 - share):.{digits}f} %"


def _panel(axes: Axes, group: GroupRows, kind: str) -> float:
    """Draw one kind; returns the smallest share of calls that it shows."""
    looks = look_of([row.contender for row in group.competitors])
    least = 1.0
    for row in group.rows:
        one = latency_of(row, kind)
        if one is None:
            continue
        shares, times = one.course()
        least = min(least, shares[-1])
        look = looks.get(row.contender)
        axes.plot(
            [*shares, shares[-1]],
            [*times, one.longest],
            drawstyle="steps-post",
            color=look.colour if look else "#b0b0b0",
            linestyle=look.dash if look else "-",
            linewidth=1.8 if look else 1.2,
            label=row.contender if look else "(loop overhead)",
        )
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_title(f"{kind}", fontsize=11)
    axes.yaxis.set_major_formatter(lambda ns, _: describe_ns(ns))
    axes.set_xlabel("percentile of the calls")
    return least


def latency_figure(group: GroupRows) -> Figure:
    """A panel each for malloc and free, and realloc where it is called."""
    kinds = _kinds(group)
    figure, grid = plt.subplots(
        1, len(kinds), figsize=(max(7.0, 4.6 * len(kinds)), 4.8), sharey=True, squeeze=False, layout="constrained"
    )
    least = min(_panel(axes, group, kind) for axes, kind in zip(grid.flat, kinds, strict=True))
    for axes in grid.flat:
        axes.set_xlim(1.0, least)
        ticks = [share for share in _TICKS if share >= least and share != 1.0]
        axes.set_xticks(ticks, [_percentile_name(share) for share in ticks], rotation=45, ha="right", fontsize=8)
        axes.minorticks_off()
    handles, labels = grid.flat[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False, fontsize=9, handlelength=3.5)
    figure.suptitle(f"{group.title}: time of single calls", x=0.01, ha="left", fontsize=13, weight="bold")
    footnote(figure, group.competitors, _NOTE)
    return figure
