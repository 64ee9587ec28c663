"""Latency of single calls: every call is counted once, known times are found, and runs without it are untouched."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_harness.commands.cli import main
from bench_harness.measuring.latency import KINDS, Latency, latency_entry
from bench_harness.measuring.plan import NATIVE, Contender, Plan
from bench_harness.measuring.run import run_plan
from bench_harness.peers.allocators import Allocator
from bench_harness.reporting.details import details_of
from bench_harness.reporting.latency import describe_ns, latency_of
from bench_harness.reporting.pictures import draw
from bench_harness.verdicts.analysis import analyse
from tests.bench_harness.conftest import Quiet, make_cell, make_results


def run(path: Path, *arguments: str, front: Path, behind: Path | None = None, **env: str) -> dict[str, Any]:
    libraries = ":".join(str(p) for p in (front, behind) if p)
    env = {"PATH": os.environ["PATH"], "LD_PRELOAD": libraries, **env}
    said = subprocess.run([str(path), *arguments], capture_output=True, text=True, env=env, timeout=120)
    assert said.returncode == 0, said.stderr
    report: dict[str, Any] = json.loads(said.stdout)
    return report


def counts(report: dict[str, Any]) -> dict[str, int]:
    return {kind: sum(count for _, count in report["latency"][kind]["buckets"]) for kind in KINDS}


def test_every_call_is_counted_once(cells: dict[str, Path]) -> None:
    seen = counts(run(cells["churn"], "live=500", "threads=3", "ops=20000", front=cells["liblatency.so"]))
    # Beside the workload's own: what libc takes for each thread.
    assert 3 * 20_500 <= seen["malloc"] <= 3 * 20_500 + 20
    assert 3 * 20_000 <= seen["free"] <= 3 * 20_000 + 20
    assert seen["realloc"] == 0


def test_realloc_is_a_kind_of_its_own(cells: dict[str, Path]) -> None:
    seen = run(cells["realloc"], "ops=5000", front=cells["liblatency.so"])
    assert 4000 < counts(seen)["realloc"] <= 5000


def test_ended_threads_and_forked_children_count(cells: dict[str, Path]) -> None:
    front = cells["liblatency.so"]
    seen = run(cells["threadchurn"], "lives=500", "calls=100", "slots=50", front=front)
    assert counts(seen)["malloc"] >= 500 * 100
    arguments = ("mib=1", "workers=3", "requests=50", "kib=52", "hour=0.2")
    seen = run(cells["prefork"], *arguments, front=front)
    assert counts(seen)["malloc"] >= 3 * 50 * 90


def test_a_known_time_is_found(cells: dict[str, Path], known: Allocator) -> None:
    """An allocator that spins for 30 us: no call may be told as shorter, nor the usual one as much longer."""
    seen = run(
        cells["churn"], "live=50", "ops=400", front=cells["liblatency.so"], behind=known.path, KNOWN_SPIN_NS="30000"
    )
    for kind in ("malloc", "free"):
        entry = latency_entry(seen)
        assert entry is not None
        assert entry[kind]["buckets"][0][0] > 30_000 * 0.98, "a bucket is 1.6 % wide"
        assert entry[kind]["p50_ns"] < 2 * 30_000
        assert entry[kind]["longest_ns"] >= entry[kind]["p99.99_ns"] >= entry[kind]["p99_ns"] >= entry[kind]["p50_ns"]


def test_the_cost_of_the_clock_is_told_and_subtracted(cells: dict[str, Path]) -> None:
    told = run(cells["churn"], "ops=100000", front=cells["liblatency.so"], behind=cells["libnoop.so"])["latency"]
    assert told["clock"] in ("rdtsc", "clock_gettime") and told["tick_ns"] > 0 and told["cost_ns"] > 0
    # An allocator that does nothing takes less than reading the clock does.
    first = told["malloc"]["buckets"][0][0]
    assert first < 5 * told["cost_ns"]


def test_the_proof_is_of_the_allocator_behind_the_probe(cells: dict[str, Path], known: Allocator) -> None:
    front = cells["liblatency.so"]
    assert run(cells["churn"], "ops=10", front=front, behind=known.path)["malloc_object"] == str(known.path)
    assert Path(run(cells["churn"], "ops=10", front=front)["free_object"]).name.startswith("libc.so")


def test_a_run_that_does_not_ask_has_no_probe(make_plan: Callable[..., Plan], tmp_path: Path, quiet: Quiet) -> None:
    results = run_plan(make_plan(), tmp_path / "r.json", ["test"], quiet)
    assert "latency" not in results.cells[0] and results.header["settings"]["latency"] is False


def test_a_run_that_asks_keeps_histograms_and_shows_them(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], tmp_path: Path, quiet: Quiet
) -> None:
    contenders = [Contender(name, allocators[name], NATIVE) for name in ("glibc", "noop")]
    plan = make_plan("realloc", contenders=contenders, repeat=2, latency=True, threads=(2,))
    results = run_plan(plan, tmp_path / "r.json", ["test"], quiet)  # the schema is checked when it is saved
    assert [cell["status"] for cell in results.cells] == ["ok"] * 4, results.cells
    (group,) = groups = analyse(results)
    added = latency_of(group.rows[0], "realloc")
    assert added is not None
    parts = [cell["latency"]["realloc"] for cell in group.rows[0].cells]
    assert added.count == sum(part["count"] for part in parts)
    assert added.longest == max(part["longest_ns"] for part in parts)
    (table,) = [d for d in details_of(groups) if d.title == "realloc, 2 threads: time of single calls"]
    assert table.headings[:3] == ("allocator", "malloc p50", "malloc p99") or "realloc p50" in table.headings
    assert [line[0] for line in table.lines] == ["glibc", "(loop overhead)"]
    names = {path.name for path in draw(groups, tmp_path / "plots", formats=("png",))}
    assert "realloc-latency-2.png" in names


def test_single_calls_of_python_programs_are_not_timed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--workload", "strings", "--latency", "--repeat", "1"]) == 2
    assert "native workloads only" in capsys.readouterr().err


def test_percentiles_of_a_histogram() -> None:
    one = Latency(((10.0, 50), (20.0, 49), (1000.0, 1)), 990.0)
    assert [one.percentile(p) for p in (0, 50, 51, 99, 99.9, 100)] == [10, 10, 20, 20, 990, 990]
    shares, times = one.course()
    assert shares == pytest.approx([1.0, 0.5, 0.01]) and times == [10, 20, 990]


def test_rounds_are_added_up_and_cells_without_it_are_left_out() -> None:
    def cell(number: int, ns: float) -> dict[str, Any]:
        calls = {"count": 1, "buckets": [[ns, 1]], "longest_ns": ns}
        calls |= {f"p{p}_ns": ns for p in ("50", "99", "99.9", "99.99")}
        latency = {"clock": "rdtsc", "tick_ns": 0.4, "cost_ns": 20.0, "malloc": calls}
        return make_cell("glibc", number, 1e6, latency=latency)

    results = make_results([cell(0, 10.0), cell(1, 30.0), make_cell("glibc", 2, 1e6)])
    row = analyse(results)[0].rows[0]
    added = latency_of(row, "malloc")
    assert added is not None and (added.count, added.percentile(99), added.longest) == (2, 30.0, 30.0)
    assert latency_of(row, "free") is None


@pytest.mark.parametrize(
    ("ns", "text"), [(9.876, "9.88 ns"), (1234.0, "1.23 us"), (5e6, "5 ms"), (2.5e9, "2.5 s"), (0.0, "0 ns")]
)
def test_times_have_three_digits_and_a_unit(ns: float, text: str) -> None:
    assert describe_ns(ns) == text
