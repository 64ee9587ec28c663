"""How the pictures look: colours for the colour-blind, marks that survive grey, one width and one scale for all.

Every picture is as wide as a page (`WIDE`) or as a telephone (`NARROW`), so that text is equally large in all of them;
what does not fit beside each other goes below.
"""

from __future__ import annotations

import re
import textwrap
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.figure import Figure

from bench_harness.peers.declaration import DEFAULT, base_name, declared, preset_of
from bench_harness.verdicts.analysis import Row

__all__ = [
    "GREY",
    "INK",
    "NARROW",
    "SMALL",
    "WIDE",
    "Look",
    "columns_of",
    "footnote",
    "headline",
    "headline_and_legend",
    "look_of",
    "plain_name",
    "pleasant",
    "preset_marks",
    "save",
    "wrapped",
]

INK = "#222222"
GREY = "#767676"  # 4.5 : 1 on white, the least contrast for small text
WIDE, NARROW = 10.0, 3.7  # inches: a page, a telephone
SMALL = 8.5  # points, the smallest text
_HEADLINE = 12.0
_LINE = 1.25  # height of a line, in sizes of its letters
# Widths of a letter on average, in inches, by the text's size in points.
_LETTER = 0.0071
_BOLD = 1.25  # bold text is so much wider

# Okabe and Ito's palette without its yellow, which is lost on white; each colour has a mark and a dash of
# its own. No dash is longer than a legend's handle shows.
_PALETTE = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#56B4E9", "#7A5195", "#B8860B", "#444444")
_MARKS = ("o", "s", "^", "D", "v", "P", "X", "p")
_DASHES: tuple[str | tuple[int, tuple[float, ...]], ...] = (
    "-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)), (0, (2, 2)), (0, (4, 3)),
    (0, (6, 1, 2, 1)),
)  # fmt: skip
_HANDLE = 3.6  # length of a legend's handle, in letters: two periods of the longest dash
_Fill = Literal["full", "none", "left", "bottom"]
# As an allocator comes, and with its presets in the order of their first declaration.
_FILLS: tuple[_Fill, ...] = ("full", "none", "left", "bottom")
_FILL_SIGNS = {"full": "●", "none": "○", "left": "◐", "bottom": "◒"}

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.titlesize": 10,
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
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.facecolor": "white",
    "svg.fonttype": "none",
    "svg.hashsalt": "bench_harness",  # the same data gives the same file
}


@dataclass(frozen=True)
class Look:
    """A contender's colour, mark and dash; the mark's filling tells the preset."""

    colour: str
    mark: str
    dash: str | tuple[int, tuple[float, ...]]
    fill: _Fill = "full"

    @property
    def marker(self) -> dict[str, Any]:
        """What matplotlib takes for the mark."""
        edge = "white" if self.fill == "full" else self.colour
        return {
            "marker": self.mark,
            "fillstyle": self.fill,
            "markerfacecoloralt": "white",
            "markerfacecolor": "white" if self.fill == "none" else self.colour,
            "markeredgecolor": edge,
        } | ({"fillstyle": "full"} if self.fill == "none" else {})


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
        figure.set_layout_engine("none")  # laid out once, the same for all formats
        written.append(path)
    plt.close(figure)
    return written


def _presets() -> list[str]:
    known = [preset for row in declared().allocators.values() for preset in row.presets]
    return list(dict.fromkeys([DEFAULT, *known]))


def _fill_of(preset: str) -> _Fill:
    known = _presets()
    return _FILLS[known.index(preset) % len(_FILLS)] if preset in known else "full"


def _fixed(name: str) -> int | None:
    """The number of the look that `peers.toml` gives a contender, in every picture the same; None for others."""
    if "/" in name or "[" in name:
        return None
    route = next((route for route in declared().routes.values() if route.name == name), None)
    return route.look if route is not None else declared().row(base_name(name)).look


def look_of(names: Sequence[str]) -> dict[str, Look]:
    """A look for each contender, the same in every picture for those that are well known."""
    fixed = {name: number for name in names if (number := _fixed(name)) is not None}
    free = [i for i in range(len(_PALETTE)) if i not in fixed.values()] or list(range(len(_PALETTE)))
    looks: dict[str, Look] = {}
    others = 0
    for name in names:
        if name in fixed:
            i, fill = fixed[name], _fill_of(preset_of(name))
        else:
            # When the colours are used up they come again with another filling.
            i, fill = free[others % len(free)], _FILLS[others // len(free) % len(_FILLS)]
            others += 1
        looks[name] = Look(_PALETTE[i], _MARKS[i], _DASHES[i], fill)
    return looks


def columns_of(width: float, least: float, most: int) -> int:
    """How many panels of at least `least` inches fit beside each other, at most `most`."""
    return max(1, min(most, int(width / least)))


def wrapped(text: str, inches: float, size: float, bold: bool = False) -> str:
    """Text folded to a width, with the size of its letters in points."""
    letters = max(8, int(inches / (_LETTER * size * (_BOLD if bold else 1))))
    if len(text) <= letters:
        return text
    # A workload's parameters may be parted at their commas, and a number of threads stays whole.
    parted = re.sub(r"(\d) thread", "\\1\u00a0thread", re.sub(r",(?=\S)", ", ", text))
    return "\n".join(textwrap.wrap(parted, letters, break_on_hyphens=False))


def headline(figure: Figure, text: str, below: int = 0) -> None:
    """The title of a picture, folded where it would be cut, with room for so many lines of a legend below it."""
    inside = figure.get_figwidth() * 0.98
    title = wrapped(text, inside, _HEADLINE, bold=True)
    figure.suptitle(title + "\n " * below, x=0.01, ha="left", fontsize=_HEADLINE, weight="bold")


def preset_marks(rows: Sequence[Row]) -> str:
    """`● default, ○ low-memory`: what the fillings mean, when there is more than one."""
    there = [preset for preset in _presets() if any(row.preset == preset for row in rows)]
    return ", ".join(f"{_FILL_SIGNS[_fill_of(p)]} {p}" for p in there) if len(there) > 1 else ""


def _versions(rows: Sequence[Row]) -> str:
    known = {row.family or row.contender: row.version for row in rows if row.version}
    return ", ".join(f"{name} {version}" for name, version in known.items())


def plain_name(contender: str) -> str:
    """A contender's name without its preset, for where that is said otherwise."""
    preset = preset_of(contender)
    return contender.removesuffix(f":{preset}") if preset != DEFAULT else contender


def headline_and_legend(figure: Figure, text: str, entries: Mapping[str, Any]) -> None:
    """The title, and what the lines are: beside a wide picture, below the title of a narrow one.

    Args:
        figure: the picture.
        text: its title.
        entries: handles by label.
    """
    wide = figure.get_figwidth() >= WIDE
    columns = 1 if wide else 2
    rows = -(-len(entries) // columns)
    headline(figure, text, 0 if wide else rows)
    title = figure.get_suptitle().count("\n") + 1 - (0 if wide else rows)
    top = 1 - title * _HEADLINE * _LINE / 72 / figure.get_figheight()
    place: dict[str, Any] = (
        {"loc": "outside right upper"} if wide else {"loc": "upper left", "bbox_to_anchor": (0, top)}
    )
    figure.legend(
        list(entries.values()),
        list(entries),
        ncols=columns,
        frameon=False,
        fontsize=SMALL,
        handlelength=_HANDLE,
        columnspacing=1.0,
        labelspacing=0.35,
        **place,
    )


def footnote(figure: Figure, rows: Sequence[Row], text: str = "") -> None:
    """Small lines below the picture: what is shown, which versions, and which contenders failed and why."""
    reasons = Counter(f"{row.contender} failed: {reason}" for row in rows for reason in row.failures)
    failed = [f"{reason} ({count} x)" for reason, count in reasons.items()]
    paragraphs = (text, _versions(rows), *failed)
    inside = figure.get_figwidth() * 0.97
    lines = [wrapped(paragraph, inside, SMALL) for paragraph in paragraphs if paragraph]
    if lines:
        figure.supxlabel("\n".join(lines), x=0.01, ha="left", fontsize=SMALL, color=GREY)
