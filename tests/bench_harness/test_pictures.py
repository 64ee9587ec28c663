"""Pictures: the right set for the data, marks that differ without colour, a Pareto front that is one."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from bench_harness.measuring.store import Results
from bench_harness.reporting import pictures
from bench_harness.reporting.pictures import draw, slug
from bench_harness.reporting.pictures.labels import Labelled, label_points
from bench_harness.reporting.pictures.pareto import pareto_figure, pareto_front
from bench_harness.reporting.pictures.style import NARROW, SMALL, WIDE, look_of, pleasant
from bench_harness.verdicts import analysis
from tests.bench_harness.conftest import failed_cell, make_cell, make_results, make_sample

Drawn = dict[float, list[tuple[str, Figure]]]
points = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=12)


@given(points)
def test_the_front_is_what_nobody_beats(found: list[tuple[float, float]]) -> None:
    front = pareto_front(found)

    def beaten(p: tuple[float, float]) -> bool:
        return any(q != p and q[0] <= p[0] and q[1] >= p[1] for q in found)

    assert set(front) == {p for p in found if not beaten(p)}
    assert front == sorted(front) and [y for _, y in front] == sorted(y for _, y in front)


def test_every_picture_that_the_data_supports_is_drawn(sample: Results, tmp_path: Path) -> None:
    files = draw(analysis.analyse(sample), tmp_path)
    names = {"larson", "larson-scaling", "burst", "burst-time", "ratios", "cpu-time"}
    assert {p.name for p in files} == {f"{n}.{s}" for n in names for s in ("png", "svg")}
    for path in files:
        assert path.stat().st_size > 3000
        if path.suffix == ".svg":
            ElementTree.parse(path)
        else:
            assert path.read_bytes().startswith(b"\x89PNG")
    assert not plt.get_fignums(), "a figure was left open"


def test_the_same_data_gives_the_same_file(sample: Results, tmp_path: Path) -> None:
    groups = analysis.analyse(sample)
    first, second = (draw(groups, tmp_path / d, ["larson"]) for d in ("a", "b"))
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_a_failure_is_written_into_the_picture(sample: Results, tmp_path: Path) -> None:
    crashed = make_results([*sample.cells, failed_cell("mimalloc", 0, "killed by SIGSEGV")])
    draw(analysis.analyse(crashed), tmp_path, ["larson"], formats=("svg",))
    assert "mimalloc failed: killed by SIGSEGV" in (tmp_path / "larson.svg").read_text()


def test_the_error_bars_are_the_intervals(sample: Results) -> None:
    group = next(g for g in analysis.analyse(sample) if g.label == "larson" and g.threads == 1)
    row = group.row("rtmalloc")
    assert row is not None and row.throughput is not None
    with pleasant():
        figure = pareto_figure([group])
        segments = [s for c in figure.axes[0].collections if hasattr(c, "get_segments") for s in c.get_segments()]
        plt.close(figure)
    vertical = [sorted(float(y) for _, y in s) for s in segments if s[0][0] == s[1][0]]
    assert any(ends == pytest.approx([row.throughput.low, row.throughput.high]) for ends in vertical)


def _luminance(colour: str) -> float:
    red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return float(0.2126 * red**2.2 + 0.7152 * green**2.2 + 0.0722 * blue**2.2)


def test_contenders_can_be_told_apart_without_colour() -> None:
    looks = look_of(["rtmalloc", "jemalloc", "mimalloc", "tcmalloc", "glibc", "sketch", "other"])
    for a, b in itertools.combinations(looks.values(), 2):
        assert a.mark != b.mark and a.dash != b.dash and a.colour != b.colour
    assert all(1.05 / (_luminance(look.colour) + 0.05) > 2.0 for look in looks.values()), "too pale on white"


def test_a_known_allocator_looks_the_same_in_every_company() -> None:
    assert look_of(["x", "glibc", "rtmalloc"])["rtmalloc"] == look_of(["rtmalloc"])["rtmalloc"]
    many = look_of([f"v{i}" for i in range(20)])
    assert len(set(many.values())) == 20
    plain, small = (look_of(["jemalloc", "jemalloc:low-memory"])[n] for n in ("jemalloc", "jemalloc:low-memory"))
    assert (plain.colour, plain.mark) == (small.colour, small.mark) and plain.fill != small.fill


def with_presets(sample: Results, label: str = "churn:live=100000,min=16,max=4096,order=random") -> Results:
    """The sample with presets, four thread counts, and a workload whose name is as long as they come."""
    cells = []
    for cell in sample.cells:
        twice = (cell["contender"], f"{cell['contender']}:low-memory") if cell["contender"] != "noop" else ("noop",)
        for name in twice:
            named = {**cell, "contender": name, "allocator": name}
            cells.append(named)
            if cell["label"] == "larson":
                cells += [{**named, "label": label, "threads": n} for n in (1, 2, 4)[: cell["threads"] * 2]]
    results = make_results(list({(c["label"], c["threads"], c["contender"], c["round"]): c for c in cells}.values()))
    for name, entry in results.header["allocators"].items():
        entry["family"], _, preset = name.partition(":")
        entry["preset"], entry["version"] = preset or "default", f"{entry['family']} 1.2.3"
    return results


def _figures(results: Results, width: float) -> Iterator[tuple[str, Figure]]:
    with pleasant():
        for name, make in pictures._plan(analysis.analyse(results)):
            figure = make(width)
            figure.draw_without_rendering()
            plt.close(figure)  # which only pyplot forgets
            yield name, figure


@pytest.fixture(scope="module")
def drawn() -> Drawn:
    """All pictures of results with presets, by width."""
    results = with_presets(make_sample())
    return {width: list(_figures(results, width)) for width in (WIDE, NARROW)}


def _beyond(figure: Figure) -> set[Text]:
    """Labels of ticks beyond the axes' limits: they are there, but not drawn."""
    found = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            found |= {tick.label1 for tick in axis.majorTicks if not low <= tick.get_loc() <= high}
    return found


def _texts(figure: Figure) -> list[Text]:
    beyond = _beyond(figure)
    return [t for t in figure.findobj(Text) if t.get_text().strip() and t.get_visible() and t not in beyond]


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_no_text_is_cut(drawn: Drawn, width: float) -> None:
    for name, figure in drawn[width]:
        page = figure.bbox
        for text in _texts(figure):
            box = text.get_window_extent()
            inside = box.x0 >= -2 and box.x1 <= page.x1 + 2 and box.y0 >= -2 and box.y1 <= page.y1 + 2
            assert inside, f"{name}: {text.get_text()!r} is cut"


@pytest.mark.parametrize("width", [WIDE, NARROW])
def test_text_is_equally_large_in_all_pictures(drawn: Drawn, width: float) -> None:
    for name, figure in drawn[width]:
        assert figure.get_figwidth() == width, name
        assert min(float(text.get_fontsize()) for text in _texts(figure)) >= SMALL, name


def test_a_title_and_a_legend_do_not_cover_each_other(drawn: Drawn) -> None:
    for name, figure in drawn[NARROW]:
        for legend in figure.legends:
            title = figure._suptitle  # type: ignore[attr-defined]
            lines = [line for line in title.get_text().split("\n") if line.strip()]
            top = figure.bbox.y1 - title.get_window_extent().y1
            height = len(lines) * title.get_fontsize() * figure.dpi / 72
            assert legend.get_window_extent().y1 <= figure.bbox.y1 - top - height + 2, name


def test_a_legends_handle_shows_a_dash_whole(drawn: Drawn) -> None:
    for _, figure in drawn[WIDE]:
        for legend in figure.legends:
            for line in legend.get_lines():
                pattern = line._dash_pattern[1]  # type: ignore[attr-defined]
                if line.get_linestyle() != "None" and pattern:
                    assert legend.handlelength * legend._fontsize > 1.5 * sum(pattern)  # type: ignore[attr-defined]


def test_names_keep_clear_of_bars_and_each_other() -> None:
    with pleasant():
        figure, axes = plt.subplots(figsize=(5, 4))
        axes.set_xlim(0, 10)
        axes.set_ylim(0, 10)
        points = [
            Labelled((4, 5, 6), (2, 5, 8), "first", "#222222"),
            Labelled((4.5, 5.5, 6.5), (1, 5.2, 9), "second", "#222222"),
            Labelled((1, 3, 5), (4, 4.5, 5), "third", "#222222"),
        ]
        figure.draw_without_rendering()
        label_points(axes, points, [[(2, 0), (2, 7), (10, 7)]])
        boxes = [text.get_window_extent() for text in axes.texts]
        transform = axes.transData.transform
        for p in points:
            (x, low), (_, high) = transform((p.x[1], p.y[0])), transform((p.x[1], p.y[2]))
            (left, y), (right, _) = transform((p.x[0], p.y[1])), transform((p.x[2], p.y[1]))
            bars = (Bbox.from_extents(x, low, x + 1, high), Bbox.from_extents(left, y, right, y + 1))
            assert not [box for box in boxes for bar in bars if box.overlaps(bar)]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
        plt.close(figure)


def test_the_loop_alone_does_not_flatten_the_others(sample: Results) -> None:
    (figure,) = (f for name, f in _figures(sample, WIDE) if name == "larson-scaling")
    highest = max(c["throughput"] for c in sample.cells if c["label"] == "larson" and c["contender"] != "noop")
    assert figure.axes[0].get_ylim()[1] < 1.2 * highest
    assert "the loop alone (no-op allocator), op/s by threads: 1: 200M" in figure.get_supxlabel().replace("\n", " ")


def test_versions_and_presets_are_in_the_picture(sample: Results, tmp_path: Path) -> None:
    draw(analysis.analyse(with_presets(sample)), tmp_path, ["larson"], formats=("svg",))
    text = (tmp_path / "larson.svg").read_text()
    assert "● default, ○ low-memory" in text and "jemalloc 1.2.3" in text


def test_each_allocator_bears_its_own_marks(sample: Results) -> None:
    """A slow allocator reports its moments later: its marks are on its line, not where the first one had them."""
    slow = [
        {**c, "marks": [{**m, "at": m["at"] + 0.3} for m in c["marks"]]} if c["contender"] == "glibc" else c
        for c in sample.cells
    ]
    (figure,) = (f for name, f in _figures(make_results(slow), WIDE) if name == "burst-time")
    lines = [np.asarray(line.get_xdata(), float) for line in figure.axes[0].lines]
    at = {round(float(x[0]), 3) for x in lines if len(x) == 1}
    assert at == {0.1, 0.2, 0.4, 0.5}


def test_one_round_claims_no_interval() -> None:
    cells = [make_cell(name, 0, 1e6 * i) for i, name in enumerate(("glibc", "jemalloc"), 1)]
    (figure,) = (f for name, f in _figures(make_results(cells), WIDE) if name == "larson")
    assert "one round, no interval" in figure.get_supxlabel()


def test_a_label_as_a_file_name() -> None:
    assert slug("churn:live=5000,max=64") == "churn-live-5000-max-64"
