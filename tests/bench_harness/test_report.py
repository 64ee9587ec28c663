"""report.html: self-contained, verdict first, safe, and usable at phone width in a real browser."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest

from bench_harness.measuring.store import Results
from bench_harness.reporting.html import render, write_report
from bench_harness.verdicts import analysis
from tests.bench_harness.conftest import failed_cell, make_results, make_sample

PHONE = (390, 844)  # CSS pixels


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page's text, which takes seconds to draw."""
    crashed = make_results([*make_sample().cells, failed_cell("mimalloc", 0, "killed by <SIGSEGV>")])
    path = tmp_path_factory.mktemp("report") / "out" / "report.html"
    write_report(crashed, analysis.analyse(crashed), path)
    assert [p.name for p in path.parent.iterdir()] == ["report.html"], "one file"
    return path.read_text()


@pytest.fixture
def page(written: str, tmp_path: Path) -> Path:
    path = tmp_path / "report.html"
    path.write_text(written)
    return path


def test_it_is_one_file_with_the_verdict_first(written: str) -> None:
    text = written
    assert not re.search(r'(?:src|href)="(?!data:)', text) and "<script" not in text and "url(" not in text
    places = [text.index(part) for part in ("rtmalloc is fastest", "data:image/png", "Tables</h2>", "To repeat this")]
    assert places == sorted(places)


def test_failures_and_machine_are_in_it_and_escaped(written: str) -> None:
    text = written
    assert "killed by &lt;SIGSEGV&gt;" in text and "<SIGSEGV>" not in text
    assert "test &lt;cpu&gt;" in text and "bench-harness run" in text


def test_an_evil_name_stays_text(sample: Results) -> None:
    evil = make_results([c for c in sample.cells if c["label"] == "burst"])  # which has tables of all kinds
    for cell in evil.cells:
        cell["contender"] = "<script>alert(1)</script>" if cell["contender"] == "jemalloc" else cell["contender"]
    text = render(evil, analysis.analyse(evil))
    assert "<script>alert" not in text and text.count("&lt;script&gt;alert(1)&lt;/script&gt;") >= 3


def browse(page: Path, *options: str) -> str:
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("needs a real browser: apt-get install chromium")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={page.parent / 'profile'}",
        *options,
        page.as_uri(),
    ]
    return subprocess.run(command, capture_output=True, text=True, timeout=90, check=True).stdout


def test_nothing_sticks_out_at_phone_width(page: Path) -> None:
    """Measured in a frame as wide as a telephone, because a headless window has a least width of its own."""
    ask = (
        "const i = [...document.images]; document.title = [document.documentElement.scrollWidth, innerWidth, i.length,"
        " Math.min(...i.map(x => x.clientWidth)), Math.max(...i.map(x => x.naturalWidth))].join(' ')"
    )
    inner = page.with_name("inner.html")
    inner.write_text(page.read_text().replace("</body>", f"<script>onload = () => {{ {ask} }}</script></body>"))
    frame = page.with_name("frame.html")
    frame.write_text(
        f'<iframe id="f" src="inner.html" style="width:{PHONE[0]}px;height:{PHONE[1]}px;border:0"></iframe>'
        "<script>onload = () => setTimeout(() => document.body.append("
        'document.getElementById("f").contentDocument.title), 500)</script>'
    )
    dom = browse(frame, "--allow-file-access-from-files", "--virtual-time-budget=5000", "--dump-dom")
    match = re.search(r"(\d+) (\d+) (\d+) (\d+) (\d+)", dom.rpartition("</script>")[2])
    assert match, dom[-300:]
    content, window, images, shown, natural = map(int, match.groups())
    assert window == PHONE[0] and content <= window
    assert images == 6
    # The pictures drawn for a telephone, whole, and hardly smaller than they were drawn: text stays as large.
    assert shown > 0.9 * window and natural / shown < 1.75


def test_a_screenshot_shows_a_page(page: Path) -> None:
    shot = page.with_name("shot.png")
    browse(page, "--window-size=1100,1400", f"--screenshot={shot}")
    pixels = matplotlib.image.imread(shot)[..., :3]
    assert pixels.shape[:2] == (1400, 1100)
    dark = np.mean(pixels.mean(axis=2) < 0.5)
    assert 0.005 < dark < 0.5, "the page is empty or black"
