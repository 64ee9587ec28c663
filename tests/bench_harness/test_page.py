"""The page of a project's documentation: one summary table per result file."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench_harness.commands.cli import main
from bench_harness.measuring.store import Results, save
from bench_harness.reporting.page import render_page
from bench_harness.verdicts import analysis
from tests.bench_harness.conftest import failed_cell, make_results, make_sample


def page_of(results: Results, base: str | None = None) -> list[str]:
    return render_page("Numbers", [("larson", results, analysis.analyse(results, base))]).split("\n")


def test_a_line_has_the_base_and_the_best_of_the_others(sample: Results) -> None:
    lines = page_of(sample, "rtmalloc")
    (line,) = [line for line in lines if line.startswith("| larson | 2 |")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells[2] == "rtmalloc" and cells[3].startswith("2") and cells[3].endswith("M") and cells[4] == "9.0"
    assert cells[5] == "jemalloc" and 0.45 < float(cells[6].split()[0]) < 0.55
    assert cells[7] == "glibc" and cells[8].startswith("1.1")


def test_a_page_is_short_and_tells_how_it_was_made(sample: Results) -> None:
    lines = page_of(sample, "rtmalloc")
    assert len([line for line in lines if line.startswith("| larson |")]) == 2  # no line per cell
    text = "\n".join(lines)
    assert lines[0] == "# Numbers" and "bench-harness run" in text and "2026-01-01, 8 rounds" in text
    assert "- cpu test <cpu>, cores 2" in text
    assert "8 rounds" in text and "jemalloc (1)" in text and "| glibc | rtmalloc |" in text


def test_another_base_and_failures_are_told(sample: Results) -> None:
    (line,) = [line for line in page_of(sample, "glibc") if line.startswith("| burst |")]
    assert "| rtmalloc | 3." in line and "| rtmalloc | 0.9" in line
    cells = [*sample.cells, failed_cell("jemalloc", 9, "killed by SIGSEGV", label="burst")]
    assert "- jemalloc failed in burst, 1 thread: killed by SIGSEGV" in page_of(make_results(cells))


def test_the_command_writes_a_section_for_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("one", "two"):
        save(make_sample(), tmp_path / f"{name}.json")
    out = tmp_path / "page.md"
    files = [str(tmp_path / "one.json"), str(tmp_path / "two.json")]
    assert main(["page", *files, "--title", "All", "--out", str(out)]) == 0
    assert [line for line in out.read_text().split("\n") if line.startswith("#")] == [
        "# All",
        "## one",
        "## two",
        "## Machine and versions",
    ]
    assert str(out) in capsys.readouterr().out
