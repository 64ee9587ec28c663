"""The ablation as a picture: a line per switch, a panel per measure, intervals about "no difference".

Shape, filling and place say what colour says: a filled triangle that points up is a confirmed gain, one that points
down a confirmed loss, an open circle is not separable.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from bench_harness.ablation.effects import MEASURES, Effect, SwitchEffects, Verdict
from bench_harness.reporting.pictures.style import GREY, INK, pleasant, save

__all__ = ["ablation_figure", "draw_ablation"]

_GAIN, _LOSS = "#0072B2", "#D55E00"  # Okabe and Ito: told apart with any colour vision, and dark and middle in grey
_LOOKS = {Verdict.BETTER: ("^", _GAIN, _GAIN), Verdict.WORSE: ("v", _LOSS, _LOSS)}
_OPEN = ("o", "white", GREY)
_EDGE = 2.0  # the widest ratio that a panel shows; what is beyond it stands at the edge, with its number
_TICKS = (0.5, 0.7, 0.85, 1.0, 1.2, 1.5, 2.0)
_LINE_INCHES = 0.27
_ITEM_GAP = 0.45  # lines of room before a new item
_IDEA_AT = -360  # points from the first panel's edge
_GUESS_AT = (-206, -177, -148)
_IDEA_LETTERS = 25


def _places(found: Sequence[SwitchEffects]) -> list[float]:
    """The height of each switch's line, downwards, with a gap between items."""
    places, at = [], 0.0
    for i, f in enumerate(found):
        if i and f.item is not found[i - 1].item:
            at += _ITEM_GAP
        places.append(at)
        at += 1
    return places


def _point(axes: Axes, y: float, effect: Effect) -> None:
    c = effect.both
    if c is None:
        axes.text(1, y, "not counted", ha="center", va="center", fontsize=7, color=GREY)
        return
    mark, face, edge = _LOOKS.get(effect.verdict, _OPEN)
    low, high = (min(max(value, 1 / _EDGE), _EDGE) for value in (c.low, c.high))
    axes.plot([low, high], [y, y], color=edge, linewidth=1.6, solid_capstyle="butt")
    x = min(max(c.ratio, 1 / _EDGE), _EDGE)
    axes.plot(
        [x], [y], marker=mark, color=edge, markerfacecolor=face, markeredgecolor=edge, markersize=6.5, clip_on=False
    )
    if x != c.ratio:
        right = x > 1
        axes.annotate(
            f"{c.ratio:.3g}",
            (x, y),
            xytext=(-7 if right else 7, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            fontsize=8,
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
    axes.set_xticks(_TICKS, [f"{tick:g}" for tick in _TICKS], fontsize=7.5)
    axes.set_title(f"{measure.title}\n({'right' if measure.more_is_better else 'left'} is a gain)", fontsize=10)
    axes.grid(axis="y", visible=False)
    axes.tick_params(axis="y", length=0)


def _beside(axes: Axes, text: str, y: float, x: int, **style: Any) -> None:
    """Text left of the first panel, `x` points from its edge, at the height of a line."""
    axes.annotate(
        text,
        (0, y),
        xycoords=("axes fraction", "data"),
        xytext=(x, 0),
        textcoords="offset points",
        va="center",
        **style,
    )


def _names(axes: Axes, found: Sequence[SwitchEffects], places: Sequence[float]) -> None:
    """Ideas and their guesses, left of their switches, which are the tick labels."""
    axes.set_yticks(places, [f.switch.name for f in found], fontsize=8.5)
    _beside(axes, "guess", -1.75, _GUESS_AT[1], ha="center", fontsize=8.5, color=GREY)
    for x, name in zip(_GUESS_AT, ("speed", "RSS", "frag."), strict=True):
        _beside(axes, name, -1.1, x, ha="center", fontsize=8, color=GREY)
    for i, f in enumerate(found):
        if i and f.item is found[i - 1].item:
            continue
        lines = textwrap.wrap(f.item.idea, _IDEA_LETTERS)
        if f.item.number is not None:
            _beside(axes, str(f.item.number), places[i], _IDEA_AT - 8, ha="right", fontsize=8.5, weight="bold")
        _beside(axes, "\n".join(lines), places[i], _IDEA_AT, fontsize=8.5, weight="bold", linespacing=1.15)
        for x, sign in zip(_GUESS_AT, (f.item.guess.speed, f.item.guess.rss, f.item.guess.fragmentation), strict=True):
            _beside(axes, sign, places[i], x, ha="center", fontsize=9, family="monospace")


def ablation_figure(found: Sequence[SwitchEffects], title: str) -> Figure:
    """One line per switch, one panel per measure; ratios with the idea / without it, on a logarithmic scale."""
    places = _places(found)
    height = (places[-1] + 1 if places else 1) * _LINE_INCHES
    figure, panels = plt.subplots(1, len(MEASURES), figsize=(19.0, height + 2.0), sharey=True)
    figure.subplots_adjust(
        left=0.282, right=0.985, top=1 - 1.05 / (height + 2.0), bottom=0.85 / (height + 2.0), wspace=0.07
    )
    for number, axes in enumerate(panels):
        _panel(axes, found, places, number)
    panels[0].set_ylim((places[-1] if places else 0) + 0.7, -0.7)
    _names(panels[0], found, places)
    for y in [y for i, y in enumerate(places) if i and found[i].item is not found[i - 1].item]:
        for axes in panels:
            axes.axhline(y - 0.5 - _ITEM_GAP / 2, color="#d0d0d0", linewidth=0.7, zorder=0)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, weight="bold")
    marks = [
        Line2D([], [], marker=mark, markerfacecolor=face, markeredgecolor=edge, color=edge, label=label)
        for (mark, face, edge), label in (
            (_LOOKS[Verdict.BETTER], "confirmed gain"),
            (_LOOKS[Verdict.WORSE], "confirmed loss"),
            (_OPEN, "not separable"),
        )
    ]
    figure.legend(handles=marks, loc="lower right", ncols=3, frameon=False, fontsize=9)
    figure.text(
        0.01,
        0.01,
        "with the idea / without it, over the workloads that it should move; bars: 95 % intervals; beyond 2: at the "
        "edge, with the number\nguess: speed, RSS, fragmentation: +++ major, ++ moderate, + minor, - neutral, ? none",
        fontsize=8,
        color=GREY,
    )
    return figure


def draw_ablation(found: Sequence[SwitchEffects], out: Path, title: str) -> list[Path]:
    """Write `ablation.png` and `ablation.svg` into the folder `out`, made if it is not there; returns the files."""
    with pleasant():
        return save(ablation_figure(found, title), out, "ablation")
