"""Every native workload: it describes itself, checks its arguments, and does the same work each time."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench_harness.measuring.catalogue import Workload
from bench_harness.native.build import workload_sources
from bench_harness.tracing import raw
from bench_harness.tracing.files import find_trace
from tests.bench_harness.tracing_tools import history, make_trace

NAMES = [path.stem for path in workload_sources()]
# They do a fixed amount of work and mark its phases; `seconds` and `warmup` say nothing to them.
PHASED = ("burst", "leak", "phases", "prefork", "replay", "threadchurn", "turns")
# Sizes at which each one ends within a fraction of a second.
SMALL: dict[str, list[str]] = {
    "burst": ["mib=4", "idle=0.06"],
    "leak": ["mib=1", "passing=7", "idle=0.01"],
    "phases": ["mib=4", "idle=0.06"],
    "threadchurn": ["lives=200"],
    "manythreads": ["idlers=10", "kib=64"],
    "large": ["max=1048576"],
    "prefork": ["mib=4", "workers=3", "requests=300", "hour=0.3"],
    "turns": ["rounds=3", "gap=1", "mib=2"],
}


@pytest.fixture(scope="module", autouse=True)
def small_trace(cells: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> None:
    """Replay has its size from a file; the allocator of known cost refuses alignments beyond 16."""
    writer = history(1, 3, 3000, makers=(raw.MALLOC, raw.CALLOC))
    SMALL["replay"] = [f"file={make_trace(writer, tmp_path_factory.mktemp('trace'))}"]


def run(path: Path, *arguments: str, preload: Path | None = None) -> dict[str, Any]:
    env = {"PATH": os.environ["PATH"], **({"LD_PRELOAD": str(preload)} if preload else {})}
    said = subprocess.run([str(path), *arguments], capture_output=True, text=True, env=env, timeout=60)
    assert said.returncode == 0, said.stderr
    report: dict[str, Any] = json.loads(said.stdout)
    return report


def most_threads(workload: Workload) -> int:
    return int(next(p.largest for p in workload.parameters if p.name == "threads"))


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_is_declared_with_range_and_help(workloads: dict[str, Workload], name: str) -> None:
    workload = workloads[name]
    assert workload.name == name and workload.description and workload.operation
    for p in workload.parameters:
        assert p.help
        if p.choices:
            assert p.default == p.choices[0]
        elif p.kind == "file":
            assert find_trace(str(p.default)).is_file()
        else:
            assert p.smallest <= float(p.default) <= p.largest


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("library", [None, "libnoop.so", "libknown.so"])
@pytest.mark.parametrize("name", NAMES)
def test_it_runs_and_reports(
    cells: dict[str, Path], workloads: dict[str, Workload], name: str, library: str | None, threads: int
) -> None:
    if threads > most_threads(workloads[name]):
        threads = 1
    preload = cells[library] if library else None
    report = run(cells[name], "ops=300", f"threads={threads}", *SMALL.get(name, []), preload=preload)
    assert report["workload"] == name
    assert report["operations"] > 0 and report["seconds"] > 0
    assert report["peak_rss_bytes"] >= report["window_rss_bytes"] > 0
    served = Path(report["malloc_object"]).name
    assert served == (library or "libc.so.6")


@pytest.mark.parametrize("name", [name for name in NAMES if name not in PHASED])
def test_the_window_lasts_as_long_as_it_was_told_to(cells: dict[str, Path], name: str) -> None:
    report = run(cells[name], "seconds=0.1", "warmup=0.05", "threads=2", *SMALL.get(name, []))
    assert report["seconds"] >= 0.1
    assert report["ended_ns"] - report["began_ns"] == pytest.approx(report["seconds"] * 1e9)


@pytest.mark.parametrize("name", NAMES)
def test_a_given_number_of_operations_is_the_same_work_each_time(
    cells: dict[str, Path], workloads: dict[str, Workload], name: str
) -> None:
    first, second = (run(cells[name], "ops=2000", *SMALL.get(name, [])) for _ in range(2))
    assert first["operations"] == second["operations"] > 0
    assert first["live_bytes"] == second["live_bytes"]


@pytest.mark.parametrize("name", ["larson", "churn", "xmalloc", "prodcons", "mixed", "realloc"])
def test_operations_are_counted_per_thread(cells: dict[str, Path], name: str) -> None:
    report = run(cells[name], "ops=10000", "threads=2")
    producers = {"xmalloc": 1, "prodcons": 1}.get(name, 2)
    assert 10_000 * producers <= report["operations"] < 11_000 * producers + 4096


def test_larson_passes_its_blocks_to_successors(cells: dict[str, Path]) -> None:
    """With 10 operations per life and 1000 in all, a chain of some hundred threads must keep its table."""
    report = run(cells["larson"], "slots=100", "rounds=1", "ops=5000", "threads=2")
    assert report["operations"] == 10_000
    assert 100 * 2 * 8 < report["live_bytes"] < 100 * 2 * 1000


def test_live_bytes_are_those_of_the_blocks(cells: dict[str, Path]) -> None:
    report = run(cells["churn"], "min=64", "max=64", "live=500", "threads=2", "ops=1000")
    assert report["live_bytes"] == 500 * 64 * 2


@pytest.mark.parametrize("shape", ["1:1", "1:N", "N:1"])
@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_pipelines_of_every_shape_end(cells: dict[str, Path], shape: str, threads: int) -> None:
    report = run(cells["prodcons"], f"shape={shape}", f"threads={threads}", "ops=3000", "depth=2")
    producers = {"1:1": (threads + 1) // 2, "1:N": 1, "N:1": max(1, threads - 1)}[shape]
    assert report["operations"] == producers * 3008  # 47 batches of 64
    assert report["metrics"]["in_flight_peak_bytes"] > 0


def test_producers_take_turns_when_there_are_pauses(cells: dict[str, Path]) -> None:
    report = run(cells["prodcons"], "shape=N:1", "threads=3", "pause=20", "burst=4", "seconds=0.2", "warmup=0")
    # 4 batches of 64 every 20 ms; without turns there would be millions.
    assert 0 < report["operations"] <= 4 * 64 * 13


@pytest.mark.parametrize("order", ["random", "age"])
@pytest.mark.parametrize("percent", [0, 90, 100])
def test_burst_frees_its_share_and_knows_the_page_bound(cells: dict[str, Path], order: str, percent: int) -> None:
    report = run(cells["burst"], "mib=8", f"percent={percent}", f"order={order}", "idle=0.02")
    kept = report["live_bytes"] / (8 << 20)
    assert kept == pytest.approx(1 - percent / 100, abs=0.02)
    bound = report["metrics"]["page_bound_bytes"]
    assert report["live_bytes"] <= bound <= report["peak_rss_bytes"]
    assert bound % 4096 == 0
    assert (bound == 0) == (percent == 100)
    assert [m["name"] for m in report["marks"]] == ["filled", "idle 0 s", "refilled"]


def test_the_page_bound_of_page_sized_gaps(cells: dict[str, Path]) -> None:
    """The allocator of known cost cuts slots of 1040 B: a random tenth of them touches about 4 of 10 pages."""
    report = run(cells["burst"], "mib=8", "min=1024", "max=1024", "percent=90", "idle=0", preload=cells["libknown.so"])
    slots = 8 << 10
    pages_in_all = slots * 1040 / 4096
    # A page meets 4.94 slots on average (4096 / 1040 + 1); one survivor among them is enough.
    expected = pages_in_all * (1 - 0.9**4.94)
    assert report["metrics"]["page_bound_bytes"] / 4096 == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize(("rounds", "shown"), [(1, 1), (3, 3), (16, 16), (40, 14)])
def test_turns_mark_the_top_of_their_rounds(cells: dict[str, Path], rounds: int, shown: int) -> None:
    """At most 16 rounds are marked, evenly and with the last one; each is looked at while its burst is whole."""
    report = run(cells["turns"], f"rounds={rounds}", "threads=3", "gap=0", "mib=1", "keep=10")
    names = [m["name"] for m in report["marks"]]
    assert len(names) == shown + 1 and names[-2:] == [f"round {rounds}", "end"]
    tops = report["marks"][:-1]
    assert all(m["live_bytes"] >= 1 << 20 for m in tops)
    assert report["peak_rss_bytes"] >= max(m["rss_bytes"] for m in tops)
    halves = [report["metrics"].get(f"{half}_half_peak_bytes") for half in ("first", "second")]
    # Two looks at one moment: the kernel's counters lag by some pages.
    assert max(filter(None, halves)) >= max(m["rss_bytes"] for m in tops) - (512 << 10)
    assert (halves[1] is None) == (rounds == 1)


def test_survivors_of_turns_live_for_eight_rounds(cells: dict[str, Path]) -> None:
    """From the ninth round on what is live at the top is steady: a rise of RSS is then the allocator's."""
    report = run(cells["turns"], "rounds=16", "threads=4", "gap=0", "mib=2", "keep=25")
    live = [m["live_bytes"] / (2 << 20) for m in report["marks"]]
    assert live[:9] == pytest.approx([1 + 0.25 * n for n in range(9)], rel=0.05)
    assert live[9:16] == pytest.approx([3.0] * 7, rel=0.05)
    assert live[16] == pytest.approx(2.0, rel=0.05)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("argument", "complaint"),
    [
        ("nonsense=1", "unknown argument; valid are"),
        ("threads=0", "must be a whole number from 1 to"),
        ("seconds=fast", "must be a number from"),
        ("ops=1.5", "must be a whole number"),
    ],
)
def test_a_bad_argument_ends_with_status_2_and_one_line(
    cells: dict[str, Path], name: str, argument: str, complaint: str
) -> None:
    said = subprocess.run(
        [str(cells[name]), *SMALL.get(name, []), argument], capture_output=True, text=True, timeout=20
    )
    assert said.returncode == 2
    assert complaint in said.stderr and len(said.stderr.splitlines()) == 1


def test_the_smallest_size_must_not_exceed_the_largest(cells: dict[str, Path]) -> None:
    said = subprocess.run([str(cells["churn"]), "min=2000"], capture_output=True, text=True, timeout=20)
    assert said.returncode == 2 and "must not exceed" in said.stderr


def test_out_of_memory_is_a_reason_and_not_a_crash(cells: dict[str, Path]) -> None:
    command = f"ulimit -v 200000; exec {cells['large']} min=67108864 max=67108864 live=8 ops=20"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)
    assert said.returncode == 3
    assert "returned NULL for 67108864 bytes" in said.stderr
