"""From arguments to a plan, and from a plan to a result file: what every command that measures shares."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from rich.console import Console

from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.catalogue import Workload, find_workloads, parse_workload
from bench_harness.measuring.plan import NATIVE, Contender, Group, Plan, settings_of
from bench_harness.measuring.routes import python_contenders
from bench_harness.measuring.run import run_plan
from bench_harness.measuring.store import Results
from bench_harness.native.build import build_cells
from bench_harness.peers.allocators import Allocator, find_allocators
from bench_harness.peers.declaration import DEFAULT, declared
from bench_harness.peers.selection import select_allocators
from bench_harness.reporting.progress import show_progress

__all__ = ["EXIT_FAILED", "EXIT_INTERRUPTED", "build", "chosen_workloads", "make_plan", "measure"]

EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def build(console: Console) -> None:
    """Build the native cells that are out of date, with a line for each."""
    build_cells(log=lambda line: console.print(line, markup=False))


def chosen_workloads(wanted: Sequence[str], console: Console) -> list[tuple[Workload, dict[str, str]]]:
    """The workloads that the command line names, with their parameters.

    Args:
        wanted: `NAME:PARAMETER=VALUE,...` texts; `all`, `native`, `python` and `program` mean many.
        console: told which of the many cannot run here, and why.
    Raises:
        UsageError: no such workload or parameter, or a value out of range.
        HarnessError: a workload that is named needs what this machine has not.
    """
    found = find_workloads()
    chosen: list[tuple[Workload, dict[str, str]]] = []
    for text in wanted:
        if text in ("all", "native", "python", "program"):
            chosen += [(w, {}) for w in found.values() if text in ("all", w.kind)]
        else:
            workload, values = parse_workload(text, found)
            if workload.missing:
                raise HarnessError(f"--workload {workload.name}: {workload.missing}")
            chosen.append((workload, values))
    for workload, _ in chosen:
        if workload.missing:
            console.print(f"skipped: {workload.name}: {workload.missing}", markup=False)
    return [(workload, values) for workload, values in chosen if not workload.missing]


def _for_python(allocators: Sequence[Allocator], wanted: Sequence[str]) -> list[Allocator]:
    """A Python program has several routes to each allocator: presets take part where they are named."""
    return [a for a in allocators if wanted or a.preset == DEFAULT]


def _contenders(
    groups: Sequence[Group],
    allocators: Sequence[Allocator],
    wanted: Sequence[str],
    interpreter: Path,
    routes: Sequence[str],
) -> list[Contender]:
    contenders = []
    if any(group.workload.kind != "python" for group in groups):
        contenders += [Contender(a.name, a, NATIVE) for a in allocators]
    if any(group.workload.kind == "python" for group in groups):
        contenders += python_contenders(_for_python(allocators, wanted), interpreter, routes, declared().presets)
    return contenders


def make_plan(
    arguments: argparse.Namespace,
    groups: Sequence[Group],
    interpreter: Path,
    console: Console,
    settings: Sequence[str] = (),
    routes: Sequence[str] = (),
) -> Plan:
    """The plan of a run.

    Args:
        arguments: as `arguments.py` declares them for commands that compare and measure.
        groups: what is measured.
        interpreter: runs Python cells.
        console: told which allocators are left out, and why.
        settings: `NAME.OPTION=VALUE` texts.
        routes: of Python cells; empty means all.
    Raises:
        UsageError: there is no such allocator, preset, option, route or base; latency is wanted where none is told.
    """
    latency = getattr(arguments, "latency", False)
    if latency and any(group.workload.kind != NATIVE for group in groups):
        raise UsageError("--latency: single calls are timed in native workloads only")
    say = partial(console.print, markup=False, soft_wrap=True)
    allocators = select_allocators(find_allocators(), arguments.allocator, settings, say=say)
    contenders = _contenders(groups, allocators, arguments.allocator, interpreter, routes)
    names = [c.name for c in contenders]
    if arguments.base is not None and arguments.base not in names:
        raise UsageError(f"--base {arguments.base}: not in this run; there are {', '.join(names)}")
    return Plan(
        groups=tuple(dict.fromkeys(groups)),
        contenders=tuple(contenders),
        repeat=arguments.repeat,
        max_repeat=max(arguments.repeat, getattr(arguments, "max_repeat", None) or 0),
        precision=getattr(arguments, "precision", 0.0),
        **settings_of(arguments),
        interpreter=interpreter,
        latency=latency,
    )


def measure(plan: Plan, arguments: argparse.Namespace, console: Console, target: Path) -> Results | None:
    """Run the plan into the file `target`; None when the user interrupted it."""
    command = ["bench-harness", *sys.argv[1:]]
    try:
        with show_progress(console) as progress:
            scheduler = getattr(arguments, "scheduler", None)
            if scheduler is not None:
                from bench_harness.measuring.cluster import run_on_cluster  # an optional extra

                return run_on_cluster(plan, target, command, progress, arguments.resume, scheduler)
            return run_plan(plan, target, command, progress, arguments.resume)
    except KeyboardInterrupt:
        again = command if "--resume" in command else [*command, "--resume"]
        text = f"interrupted; the finished cells are kept, go on with: {shlex.join(again)}"
        console.print(text, markup=False, soft_wrap=True)
        return None
