"""One cell from outside: its own peak, its proof, and every way in which it can fail."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from bench_harness.errors import CellFailure
from bench_harness.measuring.observation import Launch, observe, prove_allocator
from bench_harness.measuring.plan import NATIVE, Cell, Contender, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.peers.allocators import Allocator

MIB = 1 << 20
CAP = 1024 * MIB


def launch(allocator: Allocator, path: Path, *arguments: str, preload: bool = True) -> Launch:
    return Launch([str(path), *arguments, "gate=1"], allocator, preload)


def test_peak_rss_is_the_childs_own_even_under_a_fat_parent(
    cells: dict[str, Path], allocators: dict[str, Allocator]
) -> None:
    ballast = bytearray(300 * MIB)
    ballast[::4096] = b"x" * len(ballast[::4096])  # every page is resident
    seen = observe(launch(allocators["glibc"], cells["churn"], "live=100", "ops=1000"), 20, CAP, random.Random(1))
    assert len(ballast) == 300 * MIB
    assert 0 < seen.report["peak_rss_bytes"] < 5 * MIB
    # What the cell says of itself and what the kernel shows from outside at the gate agree; the difference is
    # what the symbol look-up at the end touched.
    assert 0 <= seen.status["VmHWM"] - seen.report["peak_rss_bytes"] < MIB


def test_the_trap_is_real_ru_maxrss_carries_over_exec() -> None:
    """The reason for VmHWM: a child of a fat parent reports its parent's size in ru_maxrss."""
    script = (
        "import os, sys; ballast = b'x' * (300 << 20); pid = os.posix_spawn('/bin/true', ['true'], {});"
        "print(os.wait4(pid, 0)[2].ru_maxrss >> 10)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert int(said.stdout) > 250


def test_the_cell_is_served_and_proven_by_the_preloaded_library(cells: dict[str, Path], known: Allocator) -> None:
    seen = observe(launch(known, cells["churn"], "ops=1000"), 20, CAP, random.Random(1))
    prove_allocator(known, seen.report, seen.maps)
    assert str(known.path) in seen.maps


def test_a_cell_that_another_allocator_served_fails(cells: dict[str, Path], known: Allocator) -> None:
    seen = observe(launch(known, cells["churn"], "ops=1000", preload=False), 20, CAP, random.Random(1))
    with pytest.raises(CellFailure, match=r"malloc was served by .*libc.* not by known"):
        prove_allocator(known, seen.report, seen.maps)


def test_a_lie_about_the_library_is_found_in_the_maps(known: Allocator) -> None:
    report = {"malloc_object": str(known.path), "free_object": str(known.path)}
    with pytest.raises(CellFailure, match="not mapped"):
        prove_allocator(known, report, frozenset({"/usr/bin/true"}))
    with pytest.raises(CellFailure, match="replaced while the cell ran"):
        prove_allocator(known, report, frozenset({f"{known.path} (deleted)"}))


def test_rss_is_sampled_from_outside(cells: dict[str, Path], allocators: dict[str, Allocator]) -> None:
    arguments = ("mib=40", "idle=0.3")
    seen = observe(launch(allocators["glibc"], cells["burst"], *arguments), 20, CAP, random.Random(1))
    assert len(seen.samples) >= 5
    assert seen.samples == sorted(seen.samples)
    largest = max(rss for _, rss in seen.samples)
    assert 30 * MIB < largest <= seen.status["VmHWM"] + MIB
    assert seen.samples[0][0] <= seen.report["marks"][-1]["at_ns"]


@pytest.fixture
def script(tmp_path: Path) -> Callable[[str], list[str]]:
    """A child made of Python text, started like a cell."""

    def make(text: str) -> list[str]:
        path = tmp_path / "child.py"
        path.write_text(text)
        return [sys.executable, str(path)]

    return make


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "killed by SIGSEGV"),
        ("import sys; sys.exit('disk on fire')", "exit code 1: disk on fire"),
        ("pass", "ended without a result"),
        ("print('hello'); input()", "printed no JSON but: hello"),
        ("import time; time.sleep(60)", "hung: not finished after 0.5 s"),
        ("b = b'x' * (200 << 20); import time; time.sleep(60)", "exceeded the memory cap"),
        ("print('{}', flush=True); import time; time.sleep(60)", "hung at exit"),
        (
            "import sys; print('{}', flush=True); sys.stdin.read(); sys.exit(7)",
            "after its result: exit code 7",
        ),
    ],
)
def test_a_failing_child_is_one_reason(
    allocators: dict[str, Allocator], script: Callable[[str], list[str]], text: str, reason: str
) -> None:
    timeout = 0.5 if "hung" in reason else 20
    with pytest.raises(CellFailure, match=reason):
        observe(Launch(script(text), allocators["glibc"]), timeout, 100 * MIB, random.Random(1))


def process_is_alive(pid: int) -> bool:
    """Whether the process still runs; a zombie does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_child_that_fails_leaves_no_process_behind(
    allocators: dict[str, Allocator], script: Callable[[str], list[str]], tmp_path: Path
) -> None:
    note = tmp_path / "pid"
    text = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(note)!r}, 'w').write(str(child.pid)); time.sleep(600)"
    )
    with pytest.raises(CellFailure, match="hung"):
        observe(Launch(script(text), allocators["glibc"]), 3, CAP, random.Random(1))
    # A kill is only a request: the process is gone when the kernel next runs it.
    deadline = time.monotonic() + 20
    while process_is_alive(int(note.read_text())) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not process_is_alive(int(note.read_text()))


def test_a_missing_program_is_a_failed_cell(allocators: dict[str, Allocator]) -> None:
    with pytest.raises(CellFailure, match="could not start /nowhere/cell"):
        observe(Launch(["/nowhere/cell"], allocators["glibc"]), 1, CAP, random.Random(1))


def test_the_users_environment_does_not_reach_the_cell(
    monkeypatch: pytest.MonkeyPatch, allocators: dict[str, Allocator], script: Callable[[str], list[str]]
) -> None:
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    text = "import json, os; print(json.dumps(dict(os.environ)), flush=True); input"
    seen = observe(Launch(script(text), allocators["glibc"], environment={"GIVEN": "1"}), 20, CAP, random.Random(1))
    assert seen.report["GIVEN"] == "1"
    assert "MALLOC_ARENA_MAX" not in seen.report and "LD_PRELOAD" not in seen.report


def test_an_entry_has_the_numbers_and_a_failure_its_reason(make_plan: Callable[..., Plan], known: Allocator) -> None:
    plan = make_plan(values={"live": "200", "ops": "1000"})
    good = run_cell(Cell(plan.groups[0], plan.contenders[0], 0), plan, "m")
    assert good["status"] == "ok" and good["throughput"] > 0 and good["overhead"] > 1
    assert good["label"] == "churn:live=200,ops=1000" and good["parameters"]["live"] == 200
    gone = replace(known, path=Path("/nowhere/lib.so"))
    bad = run_cell(Cell(plan.groups[0], Contender("known", gone, NATIVE), 0), plan, "m")
    assert bad["status"] == "failed" and "/nowhere/lib.so" in bad["reason"]


def test_a_library_that_is_rebuilt_during_a_run_is_not_mixed_in(
    make_plan: Callable[..., Plan], known: Allocator, tmp_path: Path
) -> None:
    assert known.path is not None
    copy = tmp_path / "libcopy.so"
    copy.write_bytes(known.path.read_bytes())
    mine = replace(known, path=copy)
    plan = make_plan()
    assert run_cell(Cell(plan.groups[0], Contender("x", mine, NATIVE), 0), plan, "m")["status"] == "ok"
    with copy.open("ab") as file:
        file.write(b"\0")
    entry = run_cell(Cell(plan.groups[0], Contender("x", mine, NATIVE), 0), plan, "m")
    assert entry["status"] == "failed" and "rebuilt since the run began" in entry["reason"]
