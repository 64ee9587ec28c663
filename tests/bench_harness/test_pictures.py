"""Pictures: the right set for the data, marks that differ without colour, a Pareto front that is one."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench_harness import analysis
from bench_harness.pictures import draw, slug
from bench_harness.pictures.pareto import pareto_figure, pareto_front
from bench_harness.pictures.style import look_of, pleasant
from bench_harness.store import Results
from tests.bench_harness.conftest import failed_cell, make_results

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
    assert len(many) == 20


def test_a_label_as_a_file_name() -> None:
    assert slug("churn:live=5000,max=64") == "churn-live-5000-max-64"
