"""Python routes: each one really serves Python as it says, and is caught when it does not."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from bench_harness.errors import CellFailure, UsageError
from bench_harness.measuring import routes
from bench_harness.measuring.catalogue import PYTHON_WORKLOADS, Workload
from bench_harness.measuring.plan import Cell, Contender, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.measuring.routes import ROUTES, _prove_objects, launch_of, python_contenders
from bench_harness.peers.allocators import Allocator
from bench_harness.peers.options import variant, with_preset

PYTHON = Path(sys.executable)


def run(plan: Plan, contender: Contender) -> dict[str, object]:
    return run_cell(Cell(plan.groups[0], contender, 0), plan, "m")


# Values with which a workload of a fixed amount of work ends soon.
SMALL = {
    "service": {"idle": "0.3", "documents": "500"},
    "workers": {"mib": "2", "workers": "2", "requests": "20", "hour": "0.2"},
    "pool": {"rounds": "3", "gap": "1", "documents": "200"},
}


@pytest.mark.parametrize("name", [path.stem for path in sorted(PYTHON_WORKLOADS.glob("[!_]*.py"))])
def test_every_python_workload_runs(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], name: str
) -> None:
    plan = make_plan(name, SMALL.get(name, {}), seconds=0.3)
    entry = run(plan, Contender("pymalloc", allocators["glibc"], "pymalloc"))
    assert entry["status"] == "ok", entry["reason"]
    assert entry["operations"] and isinstance(entry["peak_rss_bytes"], int) and entry["peak_rss_bytes"] > 5 << 20


def test_a_python_workload_declares_what_a_native_one_does(workloads: dict[str, Workload]) -> None:
    python = [w for w in workloads.values() if w.kind == "python"]
    assert len(python) >= 6
    for workload in python:
        assert workload.description and workload.operation
        assert workload.thread_counts([1, 2, 4]) == [1]


def test_malloc_serves_python_when_told_to(make_plan: Callable[..., Plan], allocators: dict[str, Allocator]) -> None:
    plan = make_plan("instances", {"live": "100"})
    for name in ("glibc", "jemalloc"):
        if name in allocators:
            entry = run(plan, Contender(f"malloc/{name}", allocators[name], "malloc"))
            assert entry["status"] == "ok", entry["reason"]


def test_a_route_that_did_not_happen_is_a_failed_cell(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = make_plan("instances", {"live": "100"})
    monkeypatch.setitem(ROUTES, "malloc", replace(ROUTES["malloc"], environment={}))
    entry = run(plan, Contender("malloc/glibc", allocators["glibc"], "malloc"))
    assert entry["status"] == "failed" and "route malloc: Python's objects were served by" in str(entry["reason"])


@pytest.mark.parametrize(
    ("route", "report", "right"),
    [
        ("pymalloc", {"objects_object": "/usr/bin/python3", "objects_are_malloc": False}, True),
        ("pymalloc", {"objects_object": "/usr/bin/python3", "objects_are_malloc": True}, False),
        ("malloc", {"objects_object": "/usr/bin/python3", "objects_are_malloc": False}, False),
        ("launcher", {"objects_object": "/usr/bin/python3", "objects_are_malloc": False}, False),
        (
            "install",
            {"objects_object": "/x/rtmalloc/_core.cpython-311.so", "objects_are_malloc": False},
            True,
        ),
    ],
)
def test_who_serves_small_objects_decides(known: Allocator, route: str, report: dict[str, object], right: bool) -> None:
    if right:
        _prove_objects(ROUTES[route], known, report)
    else:
        with pytest.raises(CellFailure, match=f"route {route}"):
            _prove_objects(ROUTES[route], known, report)


def test_routes_go_to_the_allocators_that_they_fit(allocators: dict[str, Allocator], known: Allocator) -> None:
    ours = replace(known, name="rtmalloc", family="rtmalloc")
    chosen = [allocators["glibc"], ours, variant(ours, ["x=1"]), allocators["noop"]]
    names = [c.name for c in python_contenders(chosen, PYTHON, ["pymalloc", "malloc", "preload", "launcher"])]
    assert names == [
        "pymalloc",
        "malloc/glibc",
        "malloc/rtmalloc",
        "malloc/rtmalloc[x=1]",
        "preload/rtmalloc",
        "preload/rtmalloc[x=1]",
        "launcher/rtmalloc",
        "launcher/rtmalloc[x=1]",
    ]
    assert variant(ours, ["x=1"]).environment == {"RTMALLOC_OPTIONS": "x=1"}
    with pytest.raises(UsageError, match=r"--route nonsense: unknown; valid are pymalloc"):
        python_contenders(chosen, PYTHON, ["nonsense"])


def test_pythons_own_allocators_have_presets_too(
    allocators: dict[str, Allocator], make_plan: Callable[..., Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_starts", lambda interpreter, environment: True)
    chosen = [allocators["glibc"], with_preset(allocators["glibc"], "low-memory")]
    contenders = python_contenders(chosen, PYTHON, ["pymalloc", "mimalloc"], ["default", "low-memory"])
    assert [c.name for c in contenders] == ["pymalloc", "PYTHONMALLOC=mimalloc", "PYTHONMALLOC=mimalloc:low-memory"]
    plan = make_plan("strings")
    launch = launch_of(Cell(plan.groups[0], contenders[2], 0), plan)
    assert launch.environment["PYTHONMALLOC"] == "mimalloc" and not launch.preload
    assert launch.allocator.environment == {"MIMALLOC_PURGE_DELAY": "0"}
    monkeypatch.setattr(routes, "_starts", lambda interpreter, environment: False)
    assert [c.name for c in python_contenders(chosen, PYTHON, ["mimalloc"], ["low-memory"])] == []


def test_a_call_before_anything_else_reaches_the_script(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the route `install` does for one allocator is a call that its declaration names."""
    (tmp_path / "early").mkdir()
    (tmp_path / "early" / "__init__.py").write_text("import os\ndef start():\n    os._exit(9)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(ROUTES, "install", replace(ROUTES["install"], call="early:start", objects="python"))
    plan = make_plan("strings")
    entry = run(plan, Contender("x", allocators["glibc"], "install"))
    assert entry["status"] == "failed" and "exit code 9" in str(entry["reason"])
