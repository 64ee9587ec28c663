"""`bench-harness record`: run a program and write what it asks of its allocator."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from rich.console import Console

from bench_harness.commands.measure import build
from bench_harness.errors import UsageError
from bench_harness.tracing import recording
from bench_harness.tracing.files import SUFFIX
from bench_harness.tracing.recording import Recording

__all__ = ["record"]

_SHOWN = 60  # characters of a command line
_OTHERS = 8  # processes that are named without a trace


def _command(words: Sequence[str]) -> str:
    text = shlex.join(words)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def _say(made: Recording, console: Console) -> None:
    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    head, path = made.head, made.path
    line(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {_command(made.process.command)}")
    line(
        f"  {head['events']} calls of {head['threads']} threads in {head['microseconds'] * 1e-6:.2f} s; "
        f"at most {head['peak_blocks']} blocks of {head['peak_bytes'] / (1 << 20):.1f} MiB live at once; "
        f"{head['handed']} blocks changed hands"
    )
    if head["inherited"]:
        line(f"  a forked child: its first {head['inherited']} calls make what it found")
    if head["unknown"]:
        line(f"  {head['unknown']} frees of blocks that were made before the recorder could see it: left out")
    if head["lost"]:
        line(f"  {head['lost']} calls could not be written, is the disk full? The trace lacks them")
    if not made.process.ended:
        line("  the process did not end by exit(): what it still held then counts as touched throughout")


def record(arguments: argparse.Namespace, console: Console) -> int:
    """Run and record a program, and tell what came of it.

    Returns:
        0; the program's own status is told.
    Raises:
        UsageError: no program, or a file name that says something else.
    """
    out, given = arguments.out, arguments.program
    words = list(given[1:] if given[:1] == ["--"] else given)
    if not words:
        raise UsageError("record: name a program: bench-harness record --out FILE -- PROGRAM ARGUMENT...")
    if not out.name.endswith(SUFFIX):
        raise UsageError(f"--out {out}: a trace's name ends in {SUFFIX}")
    build(console)
    status, recordings, others = recording.record(words, out, arguments.all)
    if status != 0:
        console.print(f"the program ended with status {status}", markup=False)
    for made in recordings:
        _say(made, console)
    if others:
        named = ", ".join(f"{_command(p.command[:1])} ({p.events} events)" for p in others[:_OTHERS])
        more = f" and {len(others) - _OTHERS} more" if len(others) > _OTHERS else ""
        console.print(f"without a trace: {named}{more}", markup=False, soft_wrap=True)
    return 0
