"""A heat map of ratios to a base: every group a row, every contender a column, speed and RSS apart."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench_harness.reporting.pictures.style import INK, SMALL, WIDE, footnote, headline, wrapped
from bench_harness.statistics import Comparison
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["ratio_figure"]

_SPAN = 2.0  # doublings from the middle to the end of the colour scale
_DARK = 0.62  # beyond this share of the scale the text is white
_CELL = (0.56, 0.36)  # inches
_TITLES = 0.34  # share of the width that the groups' titles may have
_TITLE_LINE = 0.155  # inches, one line of them
_NAMES = 1.3  # inches above and below the cells: title, turned names
_MEASURES = (("throughput", "throughput_ratio", True), ("peak RSS", "rss_ratio", False))


def _draw(axes: Axes, title: str, table: Sequence[Sequence[Comparison | None]], more_is_better: bool) -> None:
    logs = np.array([[np.log2(c.ratio) if c else np.nan for c in line] for line in table], dtype=float)
    shade = logs if more_is_better else -logs
    colours = plt.get_cmap("BrBG").with_extremes(bad="#eeeeee")
    axes.imshow(np.ma.masked_invalid(shade), cmap=colours, vmin=-_SPAN, vmax=_SPAN, aspect="auto")
    for y, line in enumerate(table):
        for x, c in enumerate(line):
            if c is None:
                axes.text(x, y, "-", ha="center", va="center", fontsize=SMALL)
                continue
            sign = "?" if c.significant is None else "" if c.significant else " ="
            strong = abs(shade[y, x]) > _DARK * _SPAN
            better = shade[y, x] > 0 and c.significant
            ink, weight = "white" if strong else INK, "bold" if better else "normal"
            axes.text(x, y, f"{c.ratio:.2f}{sign}", ha="center", va="center", fontsize=SMALL, color=ink, weight=weight)
    axes.set_title(title)
    axes.grid(visible=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.tick_params(length=0)


def _parts(names: Sequence[str], width: float) -> list[list[str]]:
    """The contenders as equal parts that fit into the width, each a panel of its own."""
    fit = max(1, int(width * (1 - _TITLES) / _CELL[0]))
    count = max(1, -(-len(names) // fit))
    size = -(-len(names) // count)
    return [list(names[i : i + size]) for i in range(0, len(names), size)]


def ratio_figure(groups: Sequence[GroupRows], base: str, width: float = WIDE) -> Figure:
    """Ratios of throughput and of peak RSS to `base`; green is better, brown is worse."""
    groups = [g for g in groups if g.row(base) is not None]
    names = list(dict.fromkeys(r.contender for g in groups for r in g.competitors if r.contender != base))
    beside = 2 * len(names) * _CELL[0] <= width * (1 - _TITLES)
    parts = [names] if beside else _parts(names, width)
    panels = [(part, *measure) for measure in _MEASURES for part in parts]
    columns = len(panels) if beside else 1
    lines = 1 if beside else len(panels)
    titles = [wrapped(g.title, width * _TITLES, 9) for g in groups]
    row = max([_CELL[1], *(_TITLE_LINE * (title.count("\n") + 1.5) for title in titles)])
    height = lines * (_NAMES + row * len(groups)) + 0.9
    figure, grid = plt.subplots(lines, columns, figsize=(width, height), squeeze=False, layout="constrained")
    for i, (axes, (part, what, field, more)) in enumerate(zip(grid.flat, panels, strict=True)):
        table = [[getattr(of, field) if (of := g.row(name)) else None for name in part] for g in groups]
        _draw(axes, f"{what} / {base}", table, more)
        axes.set_xticks(range(len(part)), part, rotation=30, ha="right")
        axes.set_yticks(range(len(groups)), titles if i % columns == 0 else [""] * len(groups))
    headline(figure, f"Ratios to {base}")
    footnote(
        figure,
        [row for g in groups for row in g.competitors],
        "green: better than the base, brown: worse, bold: significantly better; "
        "'=' no significant difference, '?' too few rounds for a verdict, '-' did not run",
    )
    return figure
