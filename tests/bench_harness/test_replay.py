"""Replay: the recorded calls reach the allocator, in threads and an order that the recording allows."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench_harness.commands.cli import main
from bench_harness.measuring.plan import Cell, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.native.build import LIBRARY_FLAGS, NATIVE, compiler
from bench_harness.peers.allocators import Allocator
from bench_harness.tracing import raw
from bench_harness.tracing.files import compress, prepare
from bench_harness.tracing.raw import RawWriter
from bench_harness.tracing.recording import record
from tests.bench_harness.tracing_tools import history, make_trace

MIB = 1 << 20


def run(path: Path, *arguments: str, preload: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    env = {"PATH": os.environ["PATH"], **env, **({"LD_PRELOAD": str(preload)} if preload else {})}
    return subprocess.run([str(path), *arguments], capture_output=True, text=True, env=env, timeout=120)


def report(path: Path, *arguments: str, preload: Path | None = None, **env: str) -> dict[str, Any]:
    said = run(path, *arguments, preload=preload, **env)
    assert said.returncode == 0, said.stderr
    found: dict[str, Any] = json.loads(said.stdout)
    return found


@pytest.mark.parametrize("library", [None, "libnoop.so"])
@pytest.mark.parametrize("slice_events", [1, 50, 4096])
@pytest.mark.parametrize("threads", [1, 2, 7, 40])
def test_random_histories_are_replayed(
    cells: dict[str, Path], tmp_path: Path, threads: int, slice_events: int, library: str | None
) -> None:
    """Payload is checked in each block: a mix-up of slots or a lost hand-over would fail or hang the cell."""
    plain = make_trace(history(threads, threads, 6000), tmp_path, slice_events)
    for _ in range(3):
        seen = report(cells["replay"], f"file={plain}", preload=cells[library] if library else None)
    assert seen["operations"] >= 6000 - threads
    assert seen["metrics"]["recorded_threads"] == threads
    assert seen["live_bytes"] > 0
    assert [m["name"] for m in seen["marks"]] == ["25 %", "50 %", "75 %", "100 %"]


def test_it_is_the_allocator_that_is_asked(
    cells: dict[str, Path], allocators: dict[str, Allocator], tmp_path: Path
) -> None:
    if "rtmalloc" not in allocators or allocators["rtmalloc"].path is None:
        pytest.skip("rtmalloc is not built")
    plain = make_trace(history(3, 5, 20_000), tmp_path)
    seen = report(cells["replay"], f"file={plain}", preload=allocators["rtmalloc"].path)
    assert seen["malloc_object"] == str(allocators["rtmalloc"].path)


def test_blocks_that_change_are_a_failed_cell(cells: dict[str, Path], tmp_path: Path) -> None:
    """The no-op allocator without its announcement: blocks overlap, and realloc loses what they hold."""
    faulty = tmp_path / "faulty.so"
    hidden = "-Dbench_harness_blocks_overlap=announced_under_another_name"
    subprocess.run(
        [*compiler(), *LIBRARY_FLAGS, hidden, "-o", str(faulty), str(NATIVE / "probes" / "noop.c")], check=True
    )
    said = run(cells["replay"], f"file={make_trace(history(1, 1, 20_000), tmp_path)}", preload=faulty)
    assert said.returncode == 4
    assert "byte" in said.stderr and len(said.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ("p = next_malloc(n); return n == 5000 ? p + 1 : p;", "a block at an odd address"),
        ("p = next_malloc(n); if (n == 5000 && last) last[0] ^= 1; last = p; return p;", "first byte has changed"),
        ("return n == 5000 ? 0 : next_malloc(n);", "returned NULL for 5000 bytes"),
    ],
)
def test_each_fault_of_an_allocator_has_its_sentence(
    cells: dict[str, Path], tmp_path: Path, wrong: str, complaint: str
) -> None:
    source = tmp_path / "faulty.c"
    source.write_text(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stddef.h>\nstatic char *last;\n"
        "static void *next_malloc(size_t n) {\n    static void *(*f)(size_t);\n"
        '    if (!f) *(void **)&f = dlsym(RTLD_NEXT, "malloc");\n    return f(n);\n}\n'
        f"void *malloc(size_t n) {{ char *p; (void)last; (void)p; {wrong} }}\n"
    )
    subprocess.run([*compiler(), "-O1", "-shared", "-fPIC", "-o", str(tmp_path / "f.so"), str(source)], check=True)
    w = RawWriter()
    w.add(raw.MALLOC, 1, 1, 100)
    w.add(raw.MALLOC, 1, 2, 5000)
    w.add(raw.FREE, 1, 1)
    w.add(raw.FREE, 1, 2)
    said = run(cells["replay"], f"file={make_trace(w, tmp_path)}", preload=tmp_path / "f.so")
    assert said.returncode in (3, 4) and complaint in said.stderr


def test_only_what_was_touched_becomes_resident(cells: dict[str, Path], tmp_path: Path) -> None:
    w = RawWriter()
    w.add(raw.CALLOC, 1, 0x1000, 1 << 30)
    w.add(raw.MALLOC, 1, 0x2000, 100 * MIB)
    w.add(raw.MALLOC, 1, 0x3000, 10 * MIB)
    w.add(raw.TOUCHED, 1, 0x1000, 0)
    w.add(raw.TOUCHED, 1, 0x2000, 5 * MIB // 4096)
    seen = report(cells["replay"], f"file={make_trace(w, tmp_path)}")
    assert 15 * MIB < seen["peak_rss_bytes"] < 19 * MIB


def test_what_lives_at_once_is_what_lived_at_once(cells: dict[str, Path], tmp_path: Path) -> None:
    """A producer that is far faster than its consumer must not run ahead of the recorded order."""
    w = RawWriter()
    for n in range(50_000):
        w.add(raw.MALLOC, "producer", n % 100 + 1, 1000)
        if n >= 50:
            w.add(raw.FREE, "consumer", (n - 50) % 100 + 1)
    plain = make_trace(w, tmp_path, 512)
    # Blocks are slots of 1040 bytes, and memory never comes back: the peak counts what lived at once.
    seen = report(cells["replay"], f"file={plain}", preload=cells["libknown.so"])
    assert seen["metrics"]["peak_live_bytes"] == 51_000
    assert seen["peak_rss_bytes"] < 3 * MIB + (51 + 2 * 512) * 1040


def test_at_the_recorded_pace_it_takes_as_long(cells: dict[str, Path], tmp_path: Path) -> None:
    w = RawWriter()
    for n in range(300):
        w.add(raw.MALLOC, n % 3, n + 1, 100, ns=n * 1_000_000)
    plain = make_trace(w, tmp_path)
    assert 0.298 < report(cells["replay"], f"file={plain}", "pace=recorded")["seconds"] < 1.5
    assert report(cells["replay"], f"file={plain}")["seconds"] < 0.2


def test_many_short_threads_leave_nothing_behind(cells: dict[str, Path], tmp_path: Path) -> None:
    w = RawWriter()
    for n in range(3000):
        for k in range(4):
            w.add(raw.MALLOC, n, 4 * n + k + 1, 64)
        for k in range(4):
            w.add(raw.FREE, n + 1 if n % 2 else n, 4 * n + k + 1)
        w.add(raw.THREAD_END, n, 0)
    seen = report(cells["replay"], f"file={make_trace(w, tmp_path, 64)}")
    assert seen["metrics"]["recorded_threads"] == 3001
    assert seen["peak_rss_bytes"] < 10 * MIB


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda data: data[:-1], "is not whole"),
        (lambda data: b"x" + data[1:], "is not a trace of this harness's version"),
        (lambda data: b"", "is not a trace"),
    ],
)
def test_a_file_that_is_no_whole_trace_is_refused(
    cells: dict[str, Path], tmp_path: Path, change: Callable[[bytes], bytes], complaint: str
) -> None:
    plain = make_trace(history(1, 2, 500), tmp_path)
    plain.write_bytes(change(plain.read_bytes()))
    said = run(cells["replay"], f"file={plain}")
    assert said.returncode == 2 and complaint in said.stderr and len(said.stderr.splitlines()) == 1


def test_it_asks_for_its_file(cells: dict[str, Path]) -> None:
    said = run(cells["replay"])
    assert said.returncode == 2 and said.stderr == "file=: must name a file\n"
    assert run(cells["replay"], "file=/nowhere").stderr == "/nowhere: cannot be read\n"


def test_the_harness_runs_a_trace_file(make_plan: Callable[..., Plan], tmp_path: Path) -> None:
    target = tmp_path / "h.trace.zst"
    compress(make_trace(history(1, 3, 5000), tmp_path), target)
    plan = make_plan("replay", {"file": str(target)})
    entry = run_cell(Cell(plan.groups[0], plan.contenders[0], 0), plan, "m")
    assert entry["status"] == "ok", entry["reason"]
    assert entry["label"] == f"replay:file={target}" and entry["parameters"]["file"] == str(prepare(str(target)))
    assert plan.groups[0].takes_seconds > 0
    assert plan.groups[0].workload.takes([("file", str(target)), ("pace", "recorded")]) > 0.004


def test_a_bad_file_stops_the_run_before_it_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.rep").write_text("1\n2\n3\n4\n")
    assert main(["run", "--workload", f"replay:file={tmp_path / 'x.rep'}", "--repeat", "1"]) == 1
    assert "promises 3 operations, there are 0" in capsys.readouterr().err
    assert main(["run", "--workload", "replay:file=/nowhere", "--repeat", "1"]) == 2
    assert "no such file; with the harness come" in capsys.readouterr().err


def test_record_and_replay_by_the_command_line(
    tmp_path: Path, cells: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "churn.trace.zst"
    assert main(["record", "--out", str(out), "--", str(cells["churn"]), "ops=3000", "threads=2"]) == 0
    said = capfd.readouterr().out
    assert "calls of 3 threads" in said and str(out) in said
    json_file = tmp_path / "r.json"
    command = [
        "run",
        "--workload",
        f"replay:file={out}",
        "--allocator",
        "glibc",
        "--repeat",
        "2",
        "--json",
        str(json_file),
    ]
    assert main(command) == 0
    cell = json.loads(json_file.read_text())["cells"][0]
    assert cell["operations"] >= 2 * (2 * 3000 + 1000)


def test_bad_arguments_of_record(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["record", "--out", str(tmp_path / "x.trace.zst"), "--"]) == 2
    assert "name a program" in capsys.readouterr().err
    assert main(["record", "--out", str(tmp_path / "x.txt"), "--", "true"]) == 2
    assert "ends in .trace.zst" in capsys.readouterr().err


def test_a_recorded_program_ranks_allocators_as_itself_does(
    cells: dict[str, Path], known: Allocator, tmp_path: Path
) -> None:
    """Three allocators of known order: in peak RSS a fat one is last, in speed a slow one."""
    program = [str(cells["churn"]), "live=3000", "max=900", "ops=40000", "threads=2"]
    _, (recording,), _ = record(program, tmp_path / "churn.trace.zst")
    plain = prepare(str(recording.path))
    allocators: dict[str, tuple[Path | None, dict[str, str]]] = {
        "glibc": (None, {}),
        "fat": (known.path, {"KNOWN_FAT_BYTES": "8192"}),
        "slow": (known.path, {"KNOWN_SPIN_NS": "5000"}),
    }
    ranks: list[tuple[list[str], list[str]]] = []
    for path, *arguments in (program, [str(cells["replay"]), f"file={plain}"]):
        seen = {n: report(Path(path), *arguments, preload=lib, **env) for n, (lib, env) in allocators.items()}
        ranks.append(
            (
                sorted(seen, key=lambda n: int(seen[n]["peak_rss_bytes"])),
                sorted(seen, key=lambda n: float(seen[n]["seconds"]))[-1:],
            )
        )
    assert ranks[0][0][-1] == ranks[1][0][-1] == "fat"
    assert ranks[0] == ranks[1]
