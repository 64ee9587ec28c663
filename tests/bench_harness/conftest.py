"""What the harness's tests share: built cells, and result files made of chosen numbers."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_harness.ablation.declaration import Declaration, read
from bench_harness.measuring.catalogue import Workload, find_workloads
from bench_harness.measuring.plan import NATIVE, Contender, Group, Plan
from bench_harness.measuring.store import SCHEMA_VERSION, Results
from bench_harness.native.build import build_cells
from bench_harness.peers.allocators import Allocator, find_allocators

MIB = 1 << 20
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session", autouse=True)
def cells() -> dict[str, Path]:
    """The native cells and probe libraries, built if they are not fresh, by file name."""
    return {path.name: path for path in build_cells(log=lambda _: None)}


@pytest.fixture(scope="session")
def workloads(cells: dict[str, Path]) -> dict[str, Workload]:
    return find_workloads()


@pytest.fixture(scope="session")
def allocators(cells: dict[str, Path]) -> dict[str, Allocator]:
    return find_allocators()


@pytest.fixture(scope="session")
def known(cells: dict[str, Path]) -> Allocator:
    """The allocator of known cost, under the name `known`."""
    from bench_harness.peers.selection import select_allocators

    return select_allocators({}, [f"known={cells['libknown.so']}"], (), probe=False)[0]


@pytest.fixture
def make_plan(workloads: dict[str, Workload], allocators: dict[str, Allocator]) -> Callable[..., Plan]:
    """A short plan: `make_plan(repeat=2, workload="churn", values={...}, contenders=[...])`."""

    def make(
        workload: str = "churn",
        values: dict[str, str] | None = None,
        contenders: list[Contender] | None = None,
        threads: tuple[int, ...] = (1,),
        **changes: Any,
    ) -> Plan:
        parameters = tuple((values or {}).items())
        plan = Plan(
            groups=tuple(Group(workloads[workload], parameters, n) for n in threads),
            contenders=tuple(contenders or [Contender("glibc", allocators["glibc"], NATIVE)]),
            repeat=1,
            max_repeat=1,
            precision=0.0,
            seconds=0.05,
            warmup=0.0,
            seed=1,
            timeout=30.0,
            memory_cap=1024 * MIB,
            retries=0,
            interpreter=Path(sys.executable),
        )
        return replace(plan, **changes)

    return make


class Quiet:
    """A progress display that only remembers."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.begun: list[Any] = []

    def plan(self, cells: int, seconds: float) -> None:
        self.lines.append(f"{cells} cells")

    def begin(self, cell: Any) -> None:
        self.begun.append(cell.key)

    def end(self, cell: Any, entry: dict[str, Any]) -> None: ...

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def quiet() -> Quiet:
    return Quiet()


def make_cell(
    contender: str,
    number: int,
    throughput: float,
    peak: int = 10 * MIB,
    label: str = "larson",
    threads: int = 1,
    machine: str = "m1",
    **changes: Any,
) -> dict[str, Any]:
    """A successful cell's entry with chosen numbers."""
    cell = {
        "workload": label.partition(":")[0],
        "label": label,
        "threads": threads,
        "contender": contender,
        "allocator": contender,
        "route": "native",
        "round": number,
        "machine": machine,
        "started": "2026-01-01T00:00:00+00:00",
        "status": "ok",
        "reason": None,
        "attempts": 1,
        "parameters": {"threads": threads},
        "operations": int(throughput),
        "seconds": 1.0,
        "throughput": throughput,
        "user_seconds": 0.9,
        "system_seconds": 0.1,
        "minor_faults": 10,
        "major_faults": 0,
        "involuntary_switches": 1,
        "peak_rss_bytes": peak,
        "window_rss_bytes": peak,
        "end_rss_bytes": peak,
        "live_bytes": MIB,
        "harness_bytes": 0,
        "overhead": peak / MIB,
        "metrics": {},
        "marks": [],
        "samples": [[0.0, MIB], [0.5, peak], [1.0, peak]],
        "served_by": "/lib/libc.so.6",
        "disturbance": {"other": 0.0, "steal": 0.0, "disturbed": False},
        "elapsed": 1.1,
    }
    return {**cell, **changes}


IDENTITY = (
    "workload",
    "label",
    "threads",
    "contender",
    "allocator",
    "route",
    "round",
    "machine",
    "started",
    "attempts",
)


def failed_cell(contender: str, number: int, reason: str, **changes: Any) -> dict[str, Any]:
    """A failed cell's entry."""
    cell = make_cell(contender, number, 1.0, **changes)
    return {**{name: cell[name] for name in IDENTITY}, "status": "failed", "reason": reason}


def make_machine(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "cpu": "test <cpu>",
        "cores": 2,
        "memory_bytes": 1 << 33,
        "architecture": "x86_64",
        "kernel": "6",
        "glibc": "2.36",
        "transparent_hugepages": "madvise",
        "hostname": "h",
    }


def make_allocator(name: str) -> dict[str, Any]:
    return {"path": None, "version": "1", "sha256": "", "family": name, "environment": {}}


def make_results(cells: list[dict[str, Any]], machines: tuple[str, ...] = ("m1",)) -> Results:
    """A result file around cells."""
    workload = {"description": "d", "operation": "free + malloc", "kind": "native"}
    header = {
        "schema_version": SCHEMA_VERSION,
        "harness_version": "0",
        "created": "2026-01-01T00:00:00+00:00",
        "command": ["bench-harness", "run"],
        "machines": {name: make_machine(name) for name in machines},
        "allocators": {c["allocator"]: make_allocator(c["allocator"]) for c in cells},
        "workloads": {c["workload"]: workload for c in cells},
        "settings": {
            "seconds": 1.0,
            "warmup": 0.2,
            "repeat": 3,
            "max_repeat": 3,
            "precision": 0.02,
            "seed": 1,
            "timeout": 60.0,
            "memory_cap_bytes": 1 << 30,
            "retries": 1,
        },
    }
    return Results(header, cells)


def make_sample() -> Results:
    """Three allocators and the probe over two workloads and two numbers of threads, eight noisy rounds."""
    noise = random.Random(5)
    speeds = {"glibc": 40e6, "jemalloc": 60e6, "rtmalloc": 120e6, "noop": 200e6}
    sizes = {"glibc": 10, "jemalloc": 14, "rtmalloc": 9, "noop": 6}
    moments = (("filled", 0.1), ("idle 0 s", 0.2), ("idle 1 s", 1.2))
    marks = [{"name": name, "at": at, "rss_bytes": MIB, "live_bytes": MIB} for name, at in moments]
    cells = []
    for label, threads in (("larson", 1), ("larson", 2), ("burst", 1)):
        extra: dict[str, Any] = {"marks": marks, "metrics": {"page_bound_bytes": 2 * MIB}} if label == "burst" else {}
        for name, speed in speeds.items():
            for number in range(8):
                throughput = speed * threads * noise.gauss(1, 0.01)
                peak = int(sizes[name] * MIB * noise.gauss(1, 0.01))
                cells.append(make_cell(name, number, throughput, peak, label, threads, **extra))
    return make_results(cells)


@pytest.fixture
def sample() -> Results:
    """A sample of the test's own."""
    return make_sample()


ROWS_TEXT = """
[allocator]
name = "rtmalloc"
variants = "built/{}.so"
build = ["{python}", "copy.py"]

[[items]]
number = 3
idea = "First idea"
guess = { speed = "++", rss = "-", fragmentation = "-" }
says = "much"

[[items.switches]]
name = "first"
tells = "on against off"
on = {}
off = { options = ["bin_max=4"] }
moves = ["churn:live=100 x1", "churn:live=200 x1"]
still = ["larson x1", "xmalloc x2"]

[[items]]
idea = "Second idea"
guess = { speed = "?", rss = "?", fragmentation = "?" }

[[items.switches]]
name = "second"
tells = "a variant against the default"
on = { variant = "other", options = ["bin_max=8"] }
off = {}
moves = ["churn:live=100 x1"]
still = ["larson x1", "larson x2"]
"""


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of two ideas, whose variant is a copy of the real library."""
    folder = tmp_path / "package"
    folder.mkdir()
    library = ROOT / "rtmalloc" / "lib" / "librtmalloc.so"
    (tmp_path / "copy.py").write_text(
        "import shutil, sys, pathlib\n"
        "if sys.argv[1] != 'other': sys.exit(f'error: there is no variant {sys.argv[1]!r}')\n"
        "pathlib.Path('built').mkdir(exist_ok=True)\n"
        f"shutil.copy({str(library)!r}, 'built/other.so')\n"
    )
    (folder / "rows.toml").write_text(ROWS_TEXT)
    return folder / "rows.toml"


@pytest.fixture
def declared(rows: Path, workloads: dict[str, Workload]) -> Declaration:
    return read(rows, workloads)
