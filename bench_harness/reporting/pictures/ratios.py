"""A heat map of ratios to a base: every group a row, every contender a column, speed and RSS side by side."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.reporting.pictures.style import footnote
from bench_harness.statistics import Comparison
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["ratio_figure"]

_SPAN = 2.0  # doublings from the middle to the end of the colour scale
_DARK = 0.62  # beyond this share of the scale the text is white


def _draw(axes: Axes, title: str, table: Sequence[Sequence[Comparison | None]], more_is_better: bool) -> None:
    logs = np.array([[np.log2(c.ratio) if c else np.nan for c in line] for line in table], dtype=float)
    shade = logs if more_is_better else -logs
    colours = plt.get_cmap("BrBG").with_extremes(bad="#eeeeee")
    axes.imshow(np.ma.masked_invalid(shade), cmap=colours, vmin=-_SPAN, vmax=_SPAN, aspect="auto")
    for y, line in enumerate(table):
        for x, c in enumerate(line):
            if c is None:
                axes.text(x, y, "-", ha="center", va="center", fontsize=9)
                continue
            sign = "?" if c.significant is None else "" if c.significant else " ="
            strong = abs(shade[y, x]) > _DARK * _SPAN
            better = shade[y, x] > 0 and c.significant
            ink, weight = "white" if strong else "#222222", "bold" if better else "normal"
            axes.text(x, y, f"{c.ratio:.2f}{sign}", ha="center", va="center", fontsize=9, color=ink, weight=weight)
    axes.set_title(title)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def ratio_figure(groups: Sequence[GroupRows], base: str) -> Figure:
    """Ratios of throughput and of peak RSS to `base`; green is better, brown is worse."""
    groups = [g for g in groups if g.row(base) is not None]
    names = list(dict.fromkeys(r.contender for g in groups for r in g.competitors if r.contender != base))
    width = 3.4 + 2 * max(1.6, 0.95 * len(names))
    figure, (speeds, sizes) = plt.subplots(
        1, 2, figsize=(width, 1.9 + 0.36 * len(groups)), sharey=True, layout="constrained"
    )
    for axes, title, field, more in (
        (speeds, f"throughput / {base}", "throughput_ratio", True),
        (sizes, f"peak RSS / {base}", "rss_ratio", False),
    ):
        table = [[getattr(row, field) if (row := g.row(name)) else None for name in names] for g in groups]
        _draw(axes, title, table, more)
        axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    speeds.set_yticks(range(len(groups)), [g.title for g in groups])
    figure.suptitle(f"Ratios to {base}", x=0.01, ha="left", fontsize=13, weight="bold")
    footnote(
        figure,
        [row for g in groups for row in g.competitors],
        "green: better than the base, brown: worse, bold: significantly better\n"
        "'=' no significant difference, '?' too few rounds for a verdict, '-' did not run",
    )
    return figure
