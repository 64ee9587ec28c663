"""Names beside points: placed where they cover neither each other, nor a point, nor a bar, nor leave the picture."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation
from matplotlib.transforms import Bbox

from bench_harness.reporting.pictures.style import SMALL

__all__ = ["Labelled", "label_points"]

_Across = Literal["left", "center", "right"]
_Along = Literal["bottom", "center", "top"]
_Place = tuple[int, int, _Across, _Along]

_MARK = 5.0  # half of a mark, in pixels
_BAR = 1.5  # half of a bar's width, in pixels
# What it costs to cover something: another name, a mark, a bar, a line; to leave the axes on one side.
_OVER_NAME, _OVER_MARK, _OVER_BAR, _OVER_LINE, _OUTSIDE = 5.0, 3.0, 2.0, 1.5, 4.0
_FAR = 0.012  # per point of distance, so that of two free places the nearer one is taken


def _places() -> tuple[_Place, ...]:
    """Where a label may stand relative to its point: (x, y) in points, horizontal and vertical alignment."""
    places: list[_Place] = []
    for far in (7, 14, 24, 36):
        places += [
            (far, 5, "left", "bottom"),
            (-far, 5, "right", "bottom"),
            (far, -5, "left", "top"),
            (-far, -5, "right", "top"),
            (0, far + 2, "center", "bottom"),
            (0, -far - 2, "center", "top"),
            (far + 3, 0, "left", "center"),
            (-far - 3, 0, "right", "center"),
            (far, far, "left", "bottom"),
            (-far, far, "right", "bottom"),
            (far, -far, "left", "top"),
            (-far, -far, "right", "top"),
        ]
    return tuple(places)


_PLACES = _places()


@dataclass(frozen=True)
class Labelled:
    """A point with its bars: `x` and `y` as (low, middle, high); without a name only its bars are in the way."""

    x: tuple[float, float, float]
    y: tuple[float, float, float]
    name: str
    colour: str


def _obstacles(axes: Axes, points: Sequence[Labelled]) -> tuple[list[Bbox], list[Bbox]]:
    """Marks and bars in pixels."""

    def at(x: float, y: float) -> tuple[float, float]:
        place = axes.transData.transform((x, y))
        return float(place[0]), float(place[1])

    marks, bars = [], []
    for p in points:
        x, y = at(p.x[1], p.y[1])
        marks.append(Bbox.from_extents(x - _MARK, y - _MARK, x + _MARK, y + _MARK))
        (left, _), (right, _) = at(p.x[0], p.y[1]), at(p.x[2], p.y[1])
        (_, low), (_, high) = at(p.x[1], p.y[0]), at(p.x[1], p.y[2])
        bars.append(Bbox.from_extents(left, y - _BAR, right, y + _BAR))
        bars.append(Bbox.from_extents(x - _BAR, low, x + _BAR, high))
    return marks, bars


def _box(place: _Place, point: tuple[float, float], size: tuple[float, float], pixels: float) -> Bbox:
    """Where a label of this size would be, in pixels; `pixels` to a point of the place's offsets."""
    x, y = point[0] + place[0] * pixels, point[1] + place[1] * pixels
    left = x - {"left": 0.0, "center": 0.5, "right": 1.0}[place[2]] * size[0]
    low = y - {"bottom": 0.0, "center": 0.5, "top": 1.0}[place[3]] * size[1]
    return Bbox.from_bounds(left, low, size[0], size[1])


_PIECES = 12  # of a slanting line, each of which has a box


def _line_boxes(axes: Axes, line: Sequence[tuple[float, float]]) -> list[list[Bbox]]:
    """The parts of a line between its corners, each as small boxes in pixels."""
    places = [axes.transData.transform(point) for point in line]
    parts = []
    for (x0, y0), (x1, y1) in itertools.pairwise(places):
        count = 1 if abs(x1 - x0) < 1 or abs(y1 - y0) < 1 else _PIECES
        ends = [(x0 + (x1 - x0) * i / count, y0 + (y1 - y0) * i / count) for i in range(count + 1)]
        parts.append(
            [
                Bbox.from_extents(min(a, c), min(b, d) - _BAR, max(a, c), max(b, d) + _BAR)
                for (a, b), (c, d) in itertools.pairwise(ends)
            ]
        )
    return parts


def label_points(axes: Axes, points: Sequence[Labelled], lines: Sequence[Sequence[tuple[float, float]]] = ()) -> None:
    """Write names beside their points.

    Args:
        axes: with its final limits, in a figure whose layout is done.
        points: all of them, also those without a name.
        lines: the corners of lines that names should not cross.
    """
    figure = axes.get_figure()
    assert isinstance(figure, Figure)
    frame = axes.get_window_extent()
    marks, bars = _obstacles(axes, points)
    parts = [part for line in lines for part in _line_boxes(axes, line)]
    taken: list[Bbox] = []

    def cost(place: _Place, box: Bbox) -> float:
        covered = sum(box.overlaps(other) for other in taken) * _OVER_NAME
        covered += sum(box.overlaps(mark) for mark in marks) * _OVER_MARK
        covered += sum(box.overlaps(bar) for bar in bars) * _OVER_BAR
        covered += sum(any(box.overlaps(piece) for piece in part) for part in parts) * _OVER_LINE
        covered += _OUTSIDE * ((box.x0 < frame.x0) + (box.x1 > frame.x1) + (box.y0 < frame.y0) + (box.y1 > frame.y1))
        return float(covered) + _FAR * (abs(place[0]) + abs(place[1]))

    for p in points:
        if not p.name:
            continue
        text = _label(axes, p)
        extent = text.get_window_extent()
        x, y = axes.transData.transform((p.x[1], p.y[1]))
        boxes = {
            place: _box(place, (float(x), float(y)), (extent.width, extent.height), figure.dpi / 72)
            for place in _PLACES
        }
        best = min(_PLACES, key=lambda place, boxes=boxes: cost(place, boxes[place]))  # type: ignore[misc]
        text.set_position(best[:2])
        text.set_horizontalalignment(best[2])
        text.set_verticalalignment(best[3])
        taken.append(boxes[best])


def _label(axes: Axes, point: Labelled) -> Annotation:
    text = axes.annotate(
        point.name,
        (point.x[1], point.y[1]),
        xytext=(0, 0),
        textcoords="offset points",
        fontsize=SMALL,
        color=point.colour,
        weight="bold",
    )
    text.set_in_layout(False)  # it stands inside the axes, whose place was found without it
    return text
