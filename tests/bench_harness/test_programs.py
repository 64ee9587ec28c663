"""Real programs: served by the allocator in every process, driven by clients that are not, proven, or skipped."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_harness.commands import cli, measure
from bench_harness.errors import CellFailure
from bench_harness.measuring.catalogue import PROGRAMS, Workload, _missing, find_workloads
from bench_harness.measuring.plan import NATIVE, Cell, Contender, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.measuring.routes import _prove_program
from bench_harness.peers.allocators import Allocator
from bench_harness.reporting.table import make_console

NAMES = [path.stem for path in sorted(PROGRAMS.glob("[!_]*.py"))]
SMALL = {
    "compiler": {"functions": "5"},
    "lua": {"depth": "8", "rounds": "2"},
    "redis": {"requests": "2000", "idle": "0.1"},
    "sqlite": {"rows": "3000"},
    "uvicorn": {"requests": "200", "idle": "0.1"},
}

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(make_plan: Callable[..., Plan], workloads: dict[str, Workload]) -> Run:
    def run_one(name: str, allocator: Allocator, **values: str) -> dict[str, Any]:
        if workloads[name].missing:
            pytest.skip(workloads[name].missing)
        contender = Contender(allocator.name, allocator, NATIVE)
        plan = make_plan(name, {**SMALL[name], **values}, contenders=[contender])
        return run_cell(Cell(plan.groups[0], contender, 0), plan, "m")

    return run_one


def test_every_program_is_here_to_be_tested() -> None:
    assert set(SMALL) == set(NAMES)


@pytest.mark.parametrize("allocator", ["glibc", "rtmalloc"])
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_under_the_allocator(run: Run, allocators: dict[str, Allocator], name: str, allocator: str) -> None:
    if allocator not in allocators:
        pytest.skip(f"{allocator} is not here")
    entry = run(name, allocators[allocator])
    assert entry["status"] == "ok", entry["reason"]
    assert entry["operations"] > 0 and entry["throughput"] > 0
    assert entry["peak_rss_bytes"] > 2 << 20
    assert entry["user_seconds"] + entry["system_seconds"] > 0
    path = allocators[allocator].path
    assert Path(entry["served_by"]).name.startswith("libc.so") if path is None else entry["served_by"] == str(path)


@pytest.mark.parametrize("name", ["lua", "sqlite"])
def test_an_allocator_of_another_size_is_seen_in_the_peak(run: Run, known: Allocator, name: str) -> None:
    """Not the driver's memory, and not that of a program that another allocator served."""
    peaks = []
    for bytes_more in ("0", "2000"):
        fat = Allocator(known.name, known.path, "", known.sha256, {"KNOWN_FAT_BYTES": bytes_more}, known.family)
        entry = run(name, fat)
        if entry["status"] == "failed" and "alignment" in str(entry["reason"]):
            pytest.skip("the allocator of known cost refuses what the program asks for")
        assert entry["status"] == "ok", entry["reason"]
        peaks.append(entry["peak_rss_bytes"])
    assert peaks[1] > 1.5 * peaks[0]


def test_the_open_loop_counts_from_when_a_request_was_due(run: Run, allocators: dict[str, Allocator]) -> None:
    entry = run("uvicorn", allocators["glibc"], rate="200", requests="100")
    assert entry["status"] == "ok", entry["reason"]
    assert entry["seconds"] >= 0.495, "100 requests at 200 a second"
    metrics = entry["metrics"]
    assert 0 < metrics["request_p50_us"] <= metrics["request_p99_us"] <= metrics["request_longest_us"]


def test_every_process_of_a_program_must_have_been_served(allocators: dict[str, Allocator], known: Allocator) -> None:
    libc = "/lib/x86_64-linux-gnu/libc.so.6"
    good = {"malloc_object": libc, "free_object": libc, "program": "/usr/bin/gcc"}
    report = {**good, "processes": [good, good], "maps": [libc]}
    _prove_program(allocators["glibc"], report)
    with pytest.raises(CellFailure, match=r"malloc of gcc was served by /lib.*, not by known"):
        _prove_program(known, report)
    bad = {**good, "free_object": "/opt/own.so", "program": "/usr/lib/cc1"}
    with pytest.raises(CellFailure, match=r"free of cc1 was served by /opt/own.so, not by glibc"):
        _prove_program(allocators["glibc"], {**report, "processes": [good, bad]})
    with pytest.raises(CellFailure, match="no process of the program told what served it"):
        _prove_program(allocators["glibc"], {**report, "processes": []})
    with pytest.raises(CellFailure, match="not mapped"):
        _prove_program(allocators["glibc"], {**report, "maps": ["/usr/bin/gcc"]})


def test_the_no_op_allocator_serves_no_program(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    contenders = [Contender(name, allocators[name], NATIVE) for name in ("glibc", "noop")]
    plan = make_plan("sqlite", contenders=contenders)
    assert [c.name for c in plan.contenders_of(plan.groups[0])] == ["glibc"]


def test_what_is_missing_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], cells: Any
) -> None:
    assert _missing(["sh", "module:json"]) == ""
    assert _missing(["nothing|sh"]) == ""
    assert _missing(["nothing|none"]) == "nothing or none is not installed"
    assert _missing(["module:no_such_module"]) == "the Python package no_such_module is not installed"
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if "redis" in name else which(name))
    assert find_workloads()["redis"].missing == "redis-server is not installed"
    assert cli.main(["run", "--workload", "redis", "--repeat", "1"]) == 1
    assert "--workload redis: redis-server is not installed" in capsys.readouterr().err
    chosen = measure.chosen_workloads(["program"], make_console())
    assert "redis" not in [workload.name for workload, _ in chosen]
    assert "skipped: redis: redis-server is not installed" in capsys.readouterr().out


def test_a_library_that_cannot_be_loaded_is_a_failed_cell(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loader only warns, and the program runs on: the witness tells who served it."""
    broken = Allocator("broken", Path("/nowhere.so"), "", "", {}, "broken")
    monkeypatch.setattr(Allocator, "check_unchanged", lambda self: None)
    entry = run("sqlite", broken)
    assert entry["status"] == "failed" and "not by broken" in entry["reason"]
