"""The ablation as a picture: a line per switch, a panel per measure, intervals about "no difference".

Shape, filling and place say what colour says: a filled triangle that points up is a confirmed gain, one that points
down a confirmed loss, an open circle is not separable. An idea heads the lines of its switches, so that the picture
is as wide as a page.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import FixedLocator, NullLocator

from bench_harness.ablation.effects import MEASURES, Effect, SwitchEffects, Verdict
from bench_harness.reporting.pictures.style import GREY, INK, SMALL, WIDE, headline, pleasant, save, wrapped

__all__ = ["ablation_figure", "draw_ablation"]

_GAIN, _LOSS = "#0072B2", "#D55E00"  # Okabe and Ito: told apart with any colour vision, and dark and middle in grey
_LOOKS = {Verdict.BETTER: ("^", _GAIN, _GAIN), Verdict.WORSE: ("v", _LOSS, _LOSS)}
_OPEN = ("o", "white", GREY)
_EDGE = 2.0  # the widest ratio that a panel shows; what is beyond it stands at the edge, with its number
_TICKS = (0.5, 0.7, 1.0, 1.4, 2.0)

_LINE = 0.245  # inches, a line of the table
_TOP, _BOTTOM = 0.95, 1.15  # inches for titles, and for ticks, legend and footnote
_LEFT, _RIGHT = 1.95, 0.15  # inches for the switches' names, and beside the last panel
_BAND = "#efefef"
_GUESSES = (0.66, 0.78, 0.9)  # of the width, where an idea's guesses stand
_GUESS_SIGN = 0.052  # of the width, from a guess's name to its sign

_FOOTNOTE = (
    "with the idea / without it, over the workloads that it should move; bars: 95 % intervals; beyond 2: at the edge, "
    "with the number; guess: +++ major, ++ moderate, + minor, - neutral, ? none"
)


def _places(found: Sequence[SwitchEffects]) -> tuple[list[float], list[tuple[float, int]]]:
    """The line of each switch, downwards, and the line of each idea with the number of its first switch."""
    places: list[float] = []
    heads: list[tuple[float, int]] = []
    at = 0.0
    for i, f in enumerate(found):
        if not i or f.item is not found[i - 1].item:
            heads.append((at, i))
            at += 1
        places.append(at)
        at += 1
    return places, heads


def _point(axes: Axes, y: float, effect: Effect) -> None:
    c = effect.both
    if c is None:
        axes.text(1, y, "not counted", ha="center", va="center", fontsize=SMALL, color=GREY)
        return
    mark, face, edge = _LOOKS.get(effect.verdict, _OPEN)
    low, high = (min(max(value, 1 / _EDGE), _EDGE) for value in (c.low, c.high))
    axes.plot([low, high], [y, y], color=edge, linewidth=1.6, solid_capstyle="butt")
    x = min(max(c.ratio, 1 / _EDGE), _EDGE)
    axes.plot([x], [y], marker=mark, markerfacecolor=face, markeredgecolor=edge, markersize=6.5, clip_on=False)
    if x != c.ratio:
        right = x > 1
        axes.annotate(
            f"{c.ratio:.3g}",
            (x, y),
            xytext=(-7 if right else 7, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=SMALL,
        )


def _panel(axes: Axes, found: Sequence[SwitchEffects], places: Sequence[float], number: int) -> None:
    measure = MEASURES[number]
    axes.set_xscale("log")
    axes.axvline(1, color=INK, linewidth=1, zorder=0)
    for y, f in zip(places, found, strict=True):
        _point(axes, y, f.moved[number])
    axes.set_xlim(1 / _EDGE / 1.06, _EDGE * 1.06)
    axes.xaxis.set_major_locator(FixedLocator(_TICKS))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS], fontsize=SMALL)
    axes.set_title(f"{measure.title}\n({'right' if measure.more_is_better else 'left'} is a gain)", fontsize=9)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _heads(figure: Figure, found: Sequence[SwitchEffects], heads: Sequence[tuple[float, int]]) -> None:
    """A band over the whole width for each idea: its number, its name, and what was guessed of it."""
    height = figure.get_figheight()
    for y, i in heads:
        item = found[i].item
        middle = 1 - (_TOP + (y + 0.5) * _LINE) / height
        size = 0.86 * _LINE / height
        figure.add_artist(Rectangle((0.01, middle - size / 2), 0.98, size, facecolor=_BAND, zorder=2))

        def write(x: float, text: str, middle: float = middle, bold: bool = False, colour: str = INK) -> None:
            weight = "bold" if bold else "normal"
            figure.text(x, middle, text, fontsize=SMALL, va="center", weight=weight, color=colour, zorder=3)

        if item.number is not None:
            write(0.018, str(item.number), bold=True)
        write(0.045, item.idea, bold=True)
        guess = item.guess
        names = ("speed", "RSS", "frag.")
        for x, name, sign in zip(_GUESSES, names, (guess.speed, guess.rss, guess.fragmentation), strict=True):
            write(x, name, colour=GREY)
            write(x + _GUESS_SIGN, sign, bold=True)
        write(_GUESSES[0] - 0.07, "guess:", colour=GREY)


def _legend(figure: Figure) -> None:
    marks = [
        Line2D([], [], marker=mark, markerfacecolor=face, markeredgecolor=edge, color=edge, label=label)
        for (mark, face, edge), label in (
            (_LOOKS[Verdict.BETTER], "confirmed gain"),
            (_LOOKS[Verdict.WORSE], "confirmed loss"),
            (_OPEN, "not separable"),
        )
    ]
    place = (0.0, 0.42 / figure.get_figheight())
    figure.legend(handles=marks, loc="lower left", bbox_to_anchor=place, ncols=3, frameon=False, fontsize=SMALL)
    note = wrapped(_FOOTNOTE, WIDE * 0.97, SMALL)
    figure.text(0.01, 0.08 / figure.get_figheight(), note, fontsize=SMALL, color=GREY)


def ablation_figure(found: Sequence[SwitchEffects], title: str) -> Figure:
    """One line per switch, one panel per measure; ratios with the idea / without it, on a logarithmic scale."""
    places, heads = _places(found)
    lines = (places[-1] if places else 0) + 1
    height = _TOP + lines * _LINE + _BOTTOM
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(WIDE, height), sharey=True)
    figure.subplots_adjust(
        left=_LEFT / WIDE, right=1 - _RIGHT / WIDE, top=1 - _TOP / height, bottom=_BOTTOM / height, wspace=0.09
    )
    for number, axes in enumerate(panels):
        _panel(axes, found, places, number)
    panels[0].set_ylim(lines - 0.5, -0.5)
    panels[0].set_yticks(places, [f.switch.name for f in found], fontsize=SMALL)
    _heads(figure, found, heads)
    headline(figure, title)
    _legend(figure)
    return figure


def draw_ablation(found: Sequence[SwitchEffects], out: Path, title: str) -> list[Path]:
    """Write `ablation.png` and `ablation.svg` into the folder `out`, made if it is not there; returns the files."""
    with pleasant():
        return save(ablation_figure(found, title), out, "ablation")
