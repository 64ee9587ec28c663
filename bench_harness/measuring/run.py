"""The run: rounds over the plan, each finished cell kept, more rounds where the intervals are still wide."""

from __future__ import annotations

import datetime
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from bench_harness import __version__, statistics
from bench_harness.measuring.machine import describe_machine
from bench_harness.measuring.plan import Cell, Group, Plan
from bench_harness.measuring.record import run_cell
from bench_harness.measuring.store import SCHEMA_VERSION, Journal, Results, resumable, save

__all__ = ["Progress", "expected_seconds", "make_header", "run_plan"]

RETRY_SHARE = 0.2  # of a run's cells may be repeated because others disturbed them
START_SECONDS = 0.08  # what a cell costs beside its window: process, filling, proof


class Progress(Protocol):
    """What shows a run's course."""

    def plan(self, cells: int, seconds: float) -> None:
        """The number of cells still to run and the time they will take."""

    def begin(self, cell: Cell) -> None:
        """A cell starts."""

    def end(self, cell: Cell, entry: dict[str, Any]) -> None:
        """A cell has ended, with this entry."""

    def say(self, line: str) -> None:
        """Show a line."""


def expected_seconds(plan: Plan, cells: Iterable[Cell]) -> float:
    """What these cells of the plan take, without repeats of disturbed ones."""
    return sum((c.group.takes_seconds or plan.warmup + plan.seconds) + START_SECONDS for c in cells)


def _allocators(plan: Plan) -> dict[str, dict[str, Any]]:
    by_name = {c.allocator.name: c.allocator for c in plan.contenders}
    return {
        name: {
            "path": str(a.path) if a.path else None,
            "version": a.version,
            "sha256": a.sha256,
            "family": a.family,
            "preset": a.preset,
            "options": list(a.options),
            "companions": [str(path) for path in a.companions],
            "environment": dict(a.environment),
        }
        for name, a in sorted(by_name.items())
    }


def make_header(plan: Plan, command: Sequence[str]) -> dict[str, Any]:
    """Everything of a result file but its cells."""
    machine = describe_machine()
    return {
        "schema_version": SCHEMA_VERSION,
        "harness_version": __version__,
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": list(command),
        "machines": {machine["id"]: machine},
        "allocators": _allocators(plan),
        "workloads": {
            g.workload.name: {
                "description": g.workload.description,
                "operation": g.workload.operation,
                "kind": g.workload.kind,
            }
            for g in plan.groups
        },
        "settings": {
            "seconds": plan.seconds,
            "warmup": plan.warmup,
            "repeat": plan.repeat,
            "max_repeat": plan.max_repeat,
            "precision": plan.precision,
            "seed": plan.seed,
            "timeout": plan.timeout,
            "memory_cap_bytes": plan.memory_cap,
            "retries": plan.retries,
            "interpreter": str(plan.interpreter),
            "latency": plan.latency,
        },
    }


def _unsettled(plan: Plan, cells: Iterable[dict[str, Any]], rounds: int) -> list[Group]:
    """The groups that deserve another round: some contender's interval is wider than the wanted precision."""
    if plan.precision <= 0 or rounds >= plan.max_repeat:
        return []
    series: defaultdict[tuple[str, int, str], list[float]] = defaultdict(list)
    for cell in cells:
        if cell["status"] == "ok" and cell["throughput"]:
            series[cell["label"], cell["threads"], cell["contender"]].append(cell["throughput"])

    def wide(group: Group) -> bool:
        mine = [
            values
            for (label, threads, _), values in series.items()
            if (label, threads) == (group.label, group.threads) and len(values) >= plan.repeat
        ]
        return any(statistics.relative_half_width(values) > plan.precision for values in mine)

    return [group for group in plan.groups if wide(group)]


def run_plan(
    plan: Plan,
    target: Path,
    command: Sequence[str],
    progress: Progress,
    resume: bool = False,
    execute: Callable[[Cell, Plan, str], dict[str, Any]] = run_cell,
) -> Results:
    """Run a plan and save its results.

    Args:
        plan: what to run.
        target: the result file; `target.journal` keeps the finished cells meanwhile.
        command: the command line, for the record.
        progress: shown the course.
        resume: keep the finished cells of an interrupted run of the same plan.
        execute: runs one cell; it never raises for a cell's own failure.
    Raises:
        HarnessError: the journal is of another run, or the file cannot be written.
        KeyboardInterrupt: the run was interrupted; the journal holds every finished cell.
    """
    header = make_header(plan, command)
    journal = Journal(target)
    old = journal.read() if resume else None
    results = Results(header)
    if old is not None:
        results = Results(old.header, list(resumable(old, header, journal.path)))
        progress.say(f"resuming: {len(results.cells)} cells are there already")
    else:
        journal.start(header)
    machine = next(iter(header["machines"]))
    finished = {(c["label"], c["threads"], c["contender"], c["round"]) for c in results.cells}

    spared = replace(plan, retries=0)

    def run(cells: Sequence[Cell]) -> None:
        for cell in cells:
            if cell.key in finished:
                continue
            progress.begin(cell)
            repeated = sum(entry["attempts"] - 1 for entry in results.cells)
            # On a machine that is always busy every cell would be repeated, to no avail.
            entry = execute(cell, plan if repeated <= total * RETRY_SHARE else spared, machine)
            journal.add(entry)
            results.cells.append(entry)
            progress.end(cell, entry)

    total = sum(len(plan.contenders_of(group)) for group in plan.groups) * plan.repeat
    rounds = [plan.cells(number, plan.groups) for number in range(plan.repeat)]
    waiting = [cell for cells in rounds for cell in cells if cell.key not in finished]
    progress.plan(len(waiting), expected_seconds(plan, waiting))
    for cells in rounds:
        run(cells)
    number = plan.repeat
    while groups := _unsettled(plan, results.cells, number):
        cells = plan.cells(number, groups)
        progress.plan(len(cells), expected_seconds(plan, cells))
        run(cells)
        number += 1
    save(results, target)
    journal.remove()
    return results
