"""`bench-harness record`: run a program with the recorder in front of its allocator, and keep what it asked for."""

from __future__ import annotations

import ctypes
import datetime
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BIN
from bench_harness.tracing.files import TraceHead, compress, make_plain, read_head
from bench_harness.tracing.raw import RawFile, read_raw

__all__ = ["Recording", "record"]

_PR_SET_THP_DISABLE = 41
_RAW_LARGE = 131072  # as in native/raw.h
FEWEST_EVENTS = 100  # a process with fewer has nothing to replay


@dataclass(frozen=True)
class Recording:
    """One process's trace.

    Attributes:
        path: the trace.
        head: what it holds.
        process: what the recorder knew of the process.
    """

    path: Path
    head: TraceHead
    process: RawFile


def _small_pages() -> None:
    """In the child before exec: no huge pages, which would make every 512th page look like 512 touched ones."""
    ctypes.CDLL(None).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0)


def _run(program: Sequence[str], folder: Path) -> int:
    """The program's exit status; its standard streams and signals are the terminal's."""
    recorder = BIN / "librecorder.so"
    before = os.environ.get("LD_PRELOAD")
    environment = {
        **os.environ,
        "LD_PRELOAD": f"{recorder}:{before}" if before else str(recorder),
        "BENCH_HARNESS_RECORD": str(folder),
        # The C library then maps each large block anew, and the pages that are resident when it goes are those touched.
        "MALLOC_MMAP_THRESHOLD_": str(_RAW_LARGE),
    }
    process = subprocess.Popen(program, env=environment, preexec_fn=_small_pages)
    while True:
        try:
            return process.wait()
        except KeyboardInterrupt:
            continue  # the terminal sent it to the program as well, whose end is awaited


def _sources(process: RawFile, found: dict[str, RawFile]) -> list[str]:
    """The files that make the process's trace: its ancestors' up to the forks, the oldest first, and its own."""
    files = [str(process.path)]
    until, parent = process.inherited, found.get(process.parent_file)
    while parent is not None:
        files.insert(0, f"{parent.path}:{until}")
        until, parent = parent.inherited, found.get(parent.parent_file)
    return files


def _write(process: RawFile, found: dict[str, RawFile], target: Path) -> Recording:
    info = {
        "source": "recorded",
        "command": list(process.command),
        "recorded": datetime.datetime.fromtimestamp(process.began * 1e-9, datetime.timezone.utc).isoformat(
            "T", "seconds"
        ),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, kernel {platform.release()}",
        "ended": process.ended,
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".") as folder:
        plain = Path(folder) / "plain"
        make_plain(plain, info, _sources(process, found))
        head = read_head(plain)
        compress(plain, target)
    return Recording(target, head, process)


def record(program: Sequence[str], out: Path, every: bool = False) -> tuple[int, list[Recording], list[RawFile]]:
    """Run a program and write its trace.

    Args:
        program: the command.
        out: the trace of that process of the program that asked most; others of a run with `every` get a number.
        every: write the traces of all its processes that asked 100 times or more.
    Returns:
        The program's exit status, the traces written, and the processes that were left out.
    Raises:
        UsageError: there is no such program.
        HarnessError: nothing was recorded.
    """
    if shutil.which(program[0]) is None:
        raise UsageError(f"record: no such program: {program[0]}")
    out.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target: 32 bytes an event may be more than /tmp has.
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".record-") as folder:
        status = _run(program, Path(folder).resolve())
        found = {path.name: read_raw(path) for path in sorted(Path(folder).glob("*.raw"))}
        ranked = sorted(found.values(), key=lambda process: -process.events)
        chosen = [p for p in ranked if p.events >= FEWEST_EVENTS][: None if every else 1]
        if not chosen:
            raise HarnessError(
                f"record: {program[0]} asked its allocator fewer than {FEWEST_EVENTS} times: it is linked statically, "
                "has an allocator of its own, or removes LD_PRELOAD from its environment"
            )
        stem, suffix = out.name.partition(".")[::2]
        names = [out, *(out.with_name(f"{stem}-{n}.{suffix}") for n in range(2, len(chosen) + 1))]
        written = [_write(process, found, target) for process, target in zip(chosen, names, strict=True)]
    return status, written, [p for p in ranked if p not in chosen]
