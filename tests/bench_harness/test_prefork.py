"""Forked workers: what they share and un-share is seen, and a worker that fails fails the cell."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_harness.measuring.plan import NATIVE as ROUTE
from bench_harness.measuring.plan import Cell, Contender, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.native.build import LIBRARY_FLAGS, NATIVE, compiler
from bench_harness.peers.allocators import Allocator

MIB = 1 << 20
QUARTERS = ["0 %", "25 %", "50 %", "75 %", "100 %"]


def run(path: Path, *arguments: str, preload: Path | None = None) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **({"LD_PRELOAD": str(preload)} if preload else {})}
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, env=env, timeout=60)


def report(path: Path, *arguments: str) -> dict[str, Any]:
    said = run(path, *arguments)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


def test_shared_pages_count_once_and_un_shared_ones_for_each_worker(cells: dict[str, Path]) -> None:
    seen = report(cells["prefork"], "mib=40", "workers=5", "requests=500", "hour=0.6", "session=64")
    assert [m["name"] for m in seen["marks"]] == QUARTERS
    first, last = seen["marks"][0]["rss_bytes"], seen["marks"][-1]["rss_bytes"]
    # glibc: a quarter more was built than is kept, and five small processes stand beside it.
    assert 40 * MIB < first < 70 * MIB
    dirty = [seen["metrics"][f"private_dirty_{q.replace(' ', '_')}_bytes"] for q in QUARTERS]
    assert dirty[0] < 5 * MIB < dirty[-1], "glibc's workers write into the holes of inherited pages"
    assert last - first <= dirty[-1]
    assert seen["peak_rss_bytes"] >= max(m["rss_bytes"] for m in seen["marks"])
    assert len(seen["samples"]) >= 6
    assert seen["operations"] == 5 * 500
    assert 0 < seen["seconds"] < 0.6, "the time between the requests is nobody's work"


def test_the_application_is_live_throughout(cells: dict[str, Path]) -> None:
    seen = report(cells["prefork"], "mib=8", "workers=2", "requests=10", "hour=0.1")
    assert {m["live_bytes"] / MIB for m in seen["marks"]} == {seen["live_bytes"] / MIB}
    assert seen["live_bytes"] / MIB == pytest.approx(8, rel=0.02)


def test_a_worker_whose_blocks_change_fails_the_cell(cells: dict[str, Path], tmp_path: Path) -> None:
    """The no-op allocator's blocks overlap; without its announcement that is corruption."""
    faulty = tmp_path / "faulty.so"
    source = str(NATIVE / "probes" / "noop.c")
    hidden = "-Dbench_harness_blocks_overlap=announced_under_another_name"
    subprocess.run([*compiler(), *LIBRARY_FLAGS, hidden, "-o", str(faulty), source], check=True)
    arguments = ("mib=4", "workers=2", "requests=100", "hour=0.1")
    said = run(cells["prefork"], *arguments, preload=faulty)
    assert said.returncode == 4
    assert said.stderr.splitlines()[-1] == "the application's blocks have changed in a worker"
    assert run(cells["prefork"], *arguments, preload=cells["libnoop.so"]).returncode == 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("prefork", {"mib": "20", "workers": "4", "requests": "200", "hour": "0.5"}),
        ("workers", {"mib": "4", "workers": "4", "requests": "40", "hour": "0.5", "freeze": "1"}),
    ],
)
def test_the_course_in_the_results_is_that_of_all_processes(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], name: str, values: dict[str, str]
) -> None:
    route = "pymalloc" if name == "workers" else ROUTE
    plan = make_plan(name, values, contenders=[Contender("glibc", allocators["glibc"], route)])
    entry = run_cell(plan.cells(0, plan.groups)[0], plan, "m")
    assert entry["status"] == "ok", entry["reason"]
    at, rss = zip(*entry["samples"], strict=True)
    assert list(at) == sorted(at) and 0 <= at[0] <= 0.2
    for mark in entry["marks"]:
        assert mark["outside_rss_bytes"] in rss
        assert mark["outside_rss_bytes"] == pytest.approx(mark["rss_bytes"], rel=0.2)
    assert entry["peak_rss_bytes"] >= max(m["rss_bytes"] for m in entry["marks"])


def test_freezing_keeps_the_collector_from_un_sharing(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    peaks = []
    for freeze in ("0", "1"):
        values = {"mib": "20", "workers": "4", "requests": "8", "hour": "0.5", "freeze": freeze}
        plan = make_plan("workers", values, contenders=[Contender("pymalloc", allocators["glibc"], "pymalloc")])
        entry = run_cell(Cell(plan.groups[0], plan.contenders[0], 0), plan, "m")
        assert entry["status"] == "ok", entry["reason"]
        peaks.append(entry["marks"][-1]["rss_bytes"])
    assert peaks[1] < 0.8 * peaks[0]
