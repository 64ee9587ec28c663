"""The recorder: every call is in the trace, however a program lives and ends, and the program notices nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import compiler
from bench_harness.tracing.files import make_plain, prepare
from bench_harness.tracing.raw import read_raw
from bench_harness.tracing.recording import _run, record
from tests.bench_harness.tracing_tools import Decoded, Operation, decode

PROGRAMS = Path(__file__).with_name("programs")
Compile = Callable[[str], Path]


@pytest.fixture(scope="session")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compile:
    folder = tmp_path_factory.mktemp("programs")

    def compile_program(name: str) -> Path:
        target = folder / name
        if not target.exists():
            flags = ["-O1", "-fno-builtin", "-Wall", "-o", str(target)]
            subprocess.run([*compiler(), *flags, str(PROGRAMS / f"{name}.c"), "-lpthread"], check=True)
        return target

    return compile_program


def recorded(folder: Path, *program: str) -> tuple[int, dict[str, Decoded]]:
    """The program's status, and every process's decoded trace by the recorder's file name."""
    status = _run(program, folder)
    decoded = {}
    for path in sorted(folder.glob("*.raw")):
        plain = path.with_suffix(".plain")
        make_plain(plain, {}, [str(path)])
        decoded[path.name] = decode(plain)
    return status, decoded


def with_size(seen: Decoded, size: int) -> Operation:
    (found,) = [op for op in seen.operations if op.size == size]
    return found


@pytest.mark.parametrize(("end", "status"), [("return", 0), ("_exit", 0), ("kill", -9), ("abort", -6), ("exec", 7)])
def test_every_call_is_there_however_the_program_ends(compiled: Compile, tmp_path: Path, end: str, status: int) -> None:
    seen_status, traces = recorded(tmp_path, str(compiled("calls")), end)
    assert seen_status == status
    first = next(seen for name, seen in traces.items() if name.endswith("-0.raw"))
    for size, kind, alignment in (
        (1001, "malloc", 1),
        (100002, "realloc", 1),
        (3009, "malloc", 1),
        (1004, "aligned", 256),
        (1024, "aligned", 512),
        (1005, "aligned", 128),
        (1006, "aligned", 4096),
        (4096, "aligned", 4096),
        (1008, "malloc", 1),
        (27, "malloc", 1),
        (50 << 20, "calloc", 1),
    ):
        op = with_size(first, size)
        assert (op.kind, op.alignment) == (kind, alignment), size
    frees = [op for op in first.operations if op.kind == "free"]
    # aligned (5), realloc(NULL), realloc(q, 0), strdup, p, big; stdio may free at its end.
    assert len(frees) >= 10
    assert with_size(first, 50 << 20).touched == 10 + 1, "the page with glibc's header, and ten"
    # What is still held was looked at only if the program came to its end.
    assert with_size(first, 3 << 20).touched == (8 if end == "return" else None)
    assert (len(traces) > 1) == (end == "exec"), "exec begins another file"


def test_a_program_that_does_what_is_hard_is_recorded_whole(compiled: Compile, tmp_path: Path) -> None:
    status, traces = recorded(tmp_path, str(compiled("storm")), "900")
    assert status == 0
    files = {name: read_raw(tmp_path / name) for name in traces}
    main = next(name for name, file in files.items() if file.command[0].endswith("storm") and not file.parent_file)
    seen = traces[main]
    # 900 threads three at a time, and 30 at once; 400 blocks each. What pthread_create itself takes comes on top.
    blocks = [op for op in seen.operations if op.kind == "malloc" and op.size <= 3000]
    assert len(blocks) >= 930 * 400
    assert len(seen.threads) == 931 and sum(ends for _, ends in seen.threads) == 930
    assert sum(op.size == 777 for op in seen.operations) >= 20
    assert (seen.head["unknown"], seen.head["unfreed"], seen.head["lost"]) == (0, 0, 0)
    assert seen.head["handed"] > 1000
    # A chunk for each thread that lives at one time, not for each that ever lived.
    assert (tmp_path / main).stat().st_size < 25 << 20
    children = [file for file in files.values() if file.parent_file == main]
    assert len(children) == 2, "one of fork(), and one of the bare system call"
    for child in children:
        assert child.inherited > 900 * 400
        plain = tmp_path / "child.plain"
        make_plain(plain, {}, [f"{tmp_path / main}:{child.inherited}", str(child.path)])
        grown = decode(plain)
        assert grown.head["inherited"] >= 64 and grown.head["unknown"] == 0
        assert sum(op.kind == "free" for op in grown.operations) >= 400


def test_the_program_notices_nothing(compiled: Compile, tmp_path: Path, cells: dict[str, Path]) -> None:
    env = {**os.environ, "LD_PRELOAD": str(cells["librecorder.so"]), "BENCH_HARNESS_RECORD": str(tmp_path)}
    said = subprocess.run([str(compiled("storm")), "1500"], capture_output=True, text=True, env=env, timeout=120)
    assert (said.returncode, said.stdout, said.stderr) == (0, "well\n", "")


def test_a_folder_that_cannot_be_written_stops_nothing(compiled: Compile, cells: dict[str, Path]) -> None:
    env = {**os.environ, "LD_PRELOAD": str(cells["librecorder.so"]), "BENCH_HARNESS_RECORD": "/nowhere/at/all"}
    said = subprocess.run([str(compiled("calls"))], capture_output=True, text=True, env=env, timeout=60)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_record_writes_the_busiest_process(compiled: Compile, tmp_path: Path) -> None:
    program = ["sh", "-c", f"{compiled('calls')}; {compiled('storm')} 60 > /dev/null; exit 3"]
    status, (recording,), others = record(program, tmp_path / "x.trace.zst")
    assert status == 3
    assert recording.process.command[0].endswith("storm")
    assert recording.head.info["source"] == "recorded"
    assert decode(prepare(str(recording.path))).head["events"] == recording.head["events"]
    assert [path.name for path in tmp_path.iterdir()] == ["x.trace.zst"], "nothing is left behind"
    assert {Path(process.command[0]).name for process in others} >= {"sh", "calls", "storm"}
    assert all(process.events <= recording.process.events for process in others)


def test_record_writes_every_process_when_asked(compiled: Compile, tmp_path: Path) -> None:
    _, recordings, _ = record(["sh", "-c", f"{compiled('storm')} 60 > /dev/null"], tmp_path / "x.trace.zst", every=True)
    assert [r.path.name for r in recordings] == ["x.trace.zst", "x-2.trace.zst", "x-3.trace.zst"]
    assert sum(bool(r.head["inherited"]) for r in recordings) == 2


def test_a_program_that_is_not_there_or_asks_for_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such program: none-such"):
        record(["none-such"], tmp_path / "x.trace.zst")
    source = tmp_path / "static.c"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run([*compiler(), "-static", "-o", str(tmp_path / "static"), str(source)], check=True)
    with pytest.raises(HarnessError, match="fewer than 100 times: it is linked statically"):
        record([str(tmp_path / "static")], tmp_path / "x.trace.zst")
