"""How the pictures look: colours for the colour-blind, marks that survive grey, labels at the data."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from bench_harness.verdicts.analysis import Row

__all__ = ["GREY", "INK", "Look", "footnote", "label_points", "look_of", "pleasant", "save"]

INK = "#222222"
GREY = "#767676"  # 4.5 : 1 on white, the least contrast for small text
_LETTERS_PER_INCH = 14  # of the footnote

# Okabe and Ito's palette without its yellow, which is lost on white; each colour has a mark and a dash of
# its own.
_PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#7A5195", "#B8860B", "#444444")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "p")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (7, 2, 1, 2)), (0, (3, 3)), (0, (9, 2)),
    (0, (10, 2)),
)  # fmt: skip
# Fixed, so that an allocator looks the same in every picture; others take what is left.
_FIXED = {"rtmalloc": 0, "glibc": 7, "jemalloc": 1, "mimalloc": 2, "tcmalloc": 3, "pymalloc": 7}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "bench_harness",  # the same data gives the same file
}


@dataclass(frozen=True)
class Look:
    """A contender's colour, mark and dash."""

    colour: str
    mark: str
    dash: str | tuple[int, tuple[float, ...]]


@contextmanager
def pleasant() -> Iterator[None]:
    """The settings of all pictures, restored afterwards."""
    with mpl.rc_context({"backend": "agg", **_SETTINGS}):
        yield


def save(figure: Figure, out: Path, name: str, formats: Sequence[str] = ("png", "svg")) -> list[Path]:
    """Write a figure into the folder `out`, made if it is not there, in every format, and close it.

    The files hold neither a date nor a version: the same data gives the same file.
    """
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for suffix in formats:
        path = out / f"{name}.{suffix}"
        figure.savefig(path, metadata={"Date": None} if suffix == "svg" else {"Software": None})
        written.append(path)
    plt.close(figure)
    return written


def look_of(names: Sequence[str]) -> dict[str, Look]:
    """A look for each contender, the same in every picture for those that are well known."""
    free = [i for i in range(len(_PALETTE)) if i not in {_FIXED[n] for n in names if n in _FIXED}]
    free = free or list(range(len(_PALETTE)))
    looks: dict[str, Look] = {}
    for name in names:
        i = _FIXED[name] if name in _FIXED else free[len(looks) % len(free)]
        if name not in _FIXED:
            free = [j for j in free if j != i] or list(range(len(_PALETTE)))
        looks[name] = Look(_PALETTE[i], _MARKS[i], _DASHES[i])
    return looks


_Across = Literal["left", "center", "right"]
_Along = Literal["bottom", "center", "top"]

# Where a label may stand relative to its point: (x, y) in points, horizontal and vertical alignment.
_PLACES: tuple[tuple[int, int, _Across, _Along], ...] = (
    (7, 5, "left", "bottom"), (-7, 5, "right", "bottom"), (7, -5, "left", "top"), (-7, -5, "right", "top"),
    (0, 9, "center", "bottom"), (0, -9, "center", "top"), (12, 0, "left", "center"), (-12, 0, "right",
    "center"), (14, 14, "left", "bottom"), (-14, 14, "right", "bottom"), (14, -14, "left", "top"), (-14, -14,
    "right", "top"), (0, 24, "center", "bottom"), (0, -24, "center", "top"),
)  # fmt: skip


def label_points(axes: Axes, points: Sequence[tuple[float, float, str, str]]) -> None:
    """Write names beside their points where they cover neither each other, nor a point, nor leave the axes.

    Args:
        axes: with its final limits and size.
        points: x, y, name and colour of each.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    frame = axes.get_window_extent()
    marks = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in
             (axes.transData.transform((x, y)) for x, y, _, _ in points)]  # fmt: skip
    taken: list[Bbox] = []
    for x, y, name, colour in points:
        text = axes.annotate(
            name, (x, y), xytext=(7, 5), textcoords="offset points", fontsize=9, color=colour, weight="bold"
        )
        best: tuple[float, tuple[int, int, _Across, _Along], Bbox] | None = None
        for place in _PLACES:
            text.set_position(place[:2])
            text.set_horizontalalignment(place[2])
            text.set_verticalalignment(place[3])
            box = text.get_window_extent()
            cost = float(sum(box.overlaps(other) for other in taken) * 4 + sum(box.overlaps(m) for m in marks) * 2)
            cost += 3 * (box.x0 < frame.x0 or box.x1 > frame.x1) + 3 * (box.y0 < frame.y0 or box.y1 > frame.y1)
            if best is None or cost < best[0]:
                best = (cost, place, box)
            if cost == 0:
                break
        assert best is not None
        text.set_position(best[1][:2])
        text.set_horizontalalignment(best[1][2])
        text.set_verticalalignment(best[1][3])
        taken.append(best[2])


def footnote(figure: Figure, rows: Sequence[Row], text: str = "") -> None:
    """A small line below the picture: what is shown, and which contenders failed and why."""
    reasons = Counter(f"{row.contender} failed: {reason}" for row in rows for reason in row.failures)
    failed = [f"{reason} ({count} x)" for reason, count in reasons.items()]
    wide = int(figure.get_figwidth() * _LETTERS_PER_INCH)
    lines = [line for paragraph in (text, *failed) for line in textwrap.wrap(paragraph, wide)]
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=8, color=GREY)
