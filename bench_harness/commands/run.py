"""`bench-harness run` and `plots`: measure, show, draw."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from rich.console import Console

from bench_harness.commands.arguments import DEFAULT_PLOTS, DEFAULT_WORKLOADS
from bench_harness.commands.measure import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    build,
    chosen_workloads,
    make_plan,
    measure,
)
from bench_harness.commands.show import draw_results, show_results
from bench_harness.errors import UsageError
from bench_harness.measuring.catalogue import find_workloads, parse_workload
from bench_harness.measuring.plan import Group
from bench_harness.verdicts import analysis

__all__ = ["plots", "run"]

# What the README shows: every kind of load once, at the numbers of threads where it says something.
STANDARD_SET = (
    ("larson", (1, 2, 4)),
    ("churn:live=5000", (1, 2)),
    ("xmalloc", (2, 4)),
    ("prodcons", (2, 4)),
    ("mixed", (1, 2)),
    ("burst", (1,)),
    ("phases", (1,)),
)


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Measure what the arguments name; tables, a result file, and pictures if wanted.

    Returns:
        0, 1 when no cell ran, 130 when interrupted.
    """
    if shutil.which(str(arguments.python)) is None:
        raise UsageError(f"--python {arguments.python}: no such interpreter")
    build(console)
    groups = [
        Group(workload, tuple(values.items()), threads)
        for workload, values in chosen_workloads(arguments.workload or DEFAULT_WORKLOADS, console)
        for threads in workload.thread_counts(arguments.threads)
    ]
    plan = make_plan(arguments, groups, arguments.python, console, arguments.settings, arguments.route)
    results = measure(plan, arguments, console, arguments.json)
    if results is None:
        return EXIT_INTERRUPTED
    for machine in results.machines:
        show_results(analysis.one_machine(results, machine), arguments.base, console)
    folder = arguments.plots or (DEFAULT_PLOTS if not arguments.workload else None)
    if folder is not None and len(results.machines) == 1:
        # The default run replaces the one picture that it is about, and leaves the rest of the folder alone.
        only = None if arguments.workload else list(DEFAULT_WORKLOADS)
        draw_results(results, arguments.base, folder, console, only)
    console.print(f"results: {arguments.json}", markup=False)
    return 0 if any(cell["status"] == "ok" for cell in results.cells) else EXIT_FAILED


def plots(arguments: argparse.Namespace, console: Console) -> int:
    """Measure the standard set and draw all of it.

    Returns:
        0, or 130 when interrupted.
    """
    build(console)
    found = find_workloads()
    groups = []
    for text, threads in STANDARD_SET:
        workload, values = parse_workload(text, found)
        groups += [Group(workload, tuple(values.items()), n) for n in threads]
    plan = make_plan(arguments, groups, Path(sys.executable), console)
    results = measure(plan, arguments, console, arguments.json)
    if results is None:
        return EXIT_INTERRUPTED
    show_results(results, arguments.base, console)
    draw_results(results, arguments.base, arguments.out, console)
    return 0
