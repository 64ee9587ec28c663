"""The command line: what each command of `bench-harness` does."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil
from rich.console import Console

from bench_harness import analysis, selfcheck, store
from bench_harness.ablation.command import EXIT_INTERRUPTED, ablate
from bench_harness.arguments import DEFAULT_PLOTS, DEFAULT_WORKLOADS, EXIT_USAGE, build_parser
from bench_harness.catalogue import COMMON, Workload, find_workloads, parse_workload
from bench_harness.compare import changes, print_changes
from bench_harness.details import details_of
from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BuildError, build_cells
from bench_harness.peers import find_allocators, select_allocators
from bench_harness.plan import NATIVE, Contender, Group, Plan
from bench_harness.progress import show_progress
from bench_harness.report import write_report
from bench_harness.routes import ROUTES, python_contenders
from bench_harness.run import run_plan
from bench_harness.store import Results
from bench_harness.table import make_console, print_details, print_groups, print_means
from bench_harness.tracing.command import record_command

__all__ = ["main"]

EXIT_FAILED = 1

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


def _list(_: argparse.Namespace, console: Console) -> int:
    def line(text: str) -> None:
        console.print(text, markup=False, soft_wrap=True)

    build_cells(log=line)
    console.print("workloads", style="bold")
    for workload in find_workloads().values():
        missing = f" (not here: {workload.missing})" if workload.missing else ""
        line(f"  {workload.name} ({workload.kind}): {workload.description}{missing}")
        for p in workload.parameters:
            if p.name not in COMMON:
                numbers = f"{p.smallest:.10g}..{p.largest:.10g} {p.unit}".rstrip()
                values = "|".join(p.choices) or (numbers if p.kind != "file" else "a file")
                shown = p.default if isinstance(p.default, str) else f"{p.default:.10g}"
                line(f"      {p.name}={shown}  ({values}) {p.help}")
    console.print("allocators", style="bold")
    for allocator in find_allocators().values():
        line(f"  {allocator.name}: {allocator.version}  {allocator.path or 'no preload'}")
    console.print("routes of Python workloads", style="bold")
    for route in ROUTES.values():
        line(f"  {route.name}: {route.description}")
    return 0


def _chosen_workloads(wanted: Sequence[str], console: Console) -> list[tuple[Workload, dict[str, str]]]:
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


def _make_plan(
    arguments: argparse.Namespace,
    groups: Sequence[Group],
    settings: Sequence[str],
    routes: Sequence[str],
    interpreter: Path,
) -> Plan:
    allocators = select_allocators(find_allocators(), arguments.allocator, settings)
    contenders = []
    if any(group.workload.kind != "python" for group in groups):
        contenders += [Contender(a.name, a, NATIVE) for a in allocators]
    if any(group.workload.kind == "python" for group in groups):
        contenders += python_contenders(allocators, interpreter, routes)
    names = [c.name for c in contenders]
    if arguments.base is not None and arguments.base not in names:
        raise UsageError(f"--base {arguments.base}: not in this run; there are {', '.join(names)}")
    if getattr(arguments, "latency", False) and any(group.workload.kind != NATIVE for group in groups):
        raise UsageError("--latency: single calls are timed in native workloads only")
    cap = arguments.memory_cap << 20 if arguments.memory_cap else psutil.virtual_memory().total // 2
    return Plan(
        groups=tuple(dict.fromkeys(groups)),
        contenders=tuple(contenders),
        repeat=arguments.repeat,
        max_repeat=max(arguments.repeat, getattr(arguments, "max_repeat", None) or 0),
        precision=getattr(arguments, "precision", 0.0),
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        seed=arguments.seed,
        timeout=arguments.timeout,
        memory_cap=cap,
        retries=arguments.retries,
        interpreter=interpreter,
        latency=getattr(arguments, "latency", False),
    )


def _measure(plan: Plan, arguments: argparse.Namespace, console: Console, target: Path) -> Results | None:
    """Run the plan into the file `target`; None when the user interrupted it."""
    command = ["bench-harness", *sys.argv[1:]]
    try:
        with show_progress(console) as progress:
            scheduler = getattr(arguments, "scheduler", None)
            if scheduler is not None:
                from bench_harness.cluster import run_on_cluster  # an optional extra, imported when asked for

                return run_on_cluster(plan, target, command, progress, arguments.resume, scheduler)
            return run_plan(plan, target, command, progress, arguments.resume)
    except KeyboardInterrupt:
        again = command if "--resume" in command else [*command, "--resume"]
        text = f"interrupted; the finished cells are kept, go on with: {shlex.join(again)}"
        console.print(text, markup=False, soft_wrap=True)
        return None


def _run(arguments: argparse.Namespace, console: Console) -> int:
    if shutil.which(str(arguments.python)) is None:
        raise UsageError(f"--python {arguments.python}: no such interpreter")
    build_cells(log=lambda line: console.print(line, markup=False))
    chosen = _chosen_workloads(arguments.workload or DEFAULT_WORKLOADS, console)
    groups = [
        Group(workload, tuple(values.items()), threads)
        for workload, values in chosen
        for threads in workload.thread_counts(arguments.threads)
    ]
    plan = _make_plan(arguments, groups, arguments.settings, arguments.route, arguments.python)
    results = _measure(plan, arguments, console, arguments.json)
    if results is None:
        return EXIT_INTERRUPTED
    for machine in results.machines:
        _show(analysis.one_machine(results, machine), arguments.base, console)
    plots = arguments.plots or (DEFAULT_PLOTS if not arguments.workload else None)
    if plots is not None and len(results.machines) == 1:
        # The default run replaces the one picture that it is about, and leaves the rest of the folder alone.
        _draw(results, arguments.base, plots, console, None if arguments.workload else list(DEFAULT_WORKLOADS))
    console.print(f"results: {arguments.json}", markup=False)
    return 0 if any(cell["status"] == "ok" for cell in results.cells) else EXIT_FAILED


def _plots(arguments: argparse.Namespace, console: Console) -> int:
    build_cells(log=lambda line: console.print(line, markup=False))
    found = find_workloads()
    groups = []
    for text, threads in STANDARD_SET:
        workload, values = parse_workload(text, found)
        groups += [Group(workload, tuple(values.items()), n) for n in threads]
    plan = _make_plan(arguments, groups, (), (), Path(sys.executable))
    results = _measure(plan, arguments, console, arguments.json)
    if results is None:
        return EXIT_INTERRUPTED
    _show(results, arguments.base, console)
    _draw(results, arguments.base, arguments.out, console)
    return 0


def _ablate(arguments: argparse.Namespace, console: Console) -> int:
    return ablate(arguments, console, _measure)


def _show(results: Results, base: str | None, console: Console) -> None:
    chosen = analysis.choose_base(results, base)
    groups = analysis.analyse(results, chosen)
    print_groups(console, groups)
    print_details(console, [(d.title, d.headings, d.lines) for d in details_of(groups)])
    print_means(console, groups)
    share = analysis.disturbed_share(results)
    if share > analysis.BUSY_SHARE:
        console.print(
            f"{share:.0%} of the cells were disturbed by other load: the numbers tell of that load too; "
            "CPU ns/op suffers least, a quiet hour cures it",
            soft_wrap=True,
        )


def _draw(results: Results, base: str | None, out: Path, console: Console, only: Sequence[str] | None = None) -> None:
    from bench_harness.pictures import draw  # matplotlib takes a second to import; most commands do without

    groups = analysis.analyse(results, analysis.choose_base(results, base))
    files = draw(groups, out, only)
    shown = ", ".join(str(path) for path in files if path.suffix == ".png")
    console.print(f"pictures: {shown or 'none, no cell ran'}", markup=False, soft_wrap=True)


def _load(arguments: argparse.Namespace) -> Results:
    files = arguments.file if isinstance(arguments.file, list) else [arguments.file]
    return analysis.one_machine(store.merge([store.load(path) for path in files]), arguments.machine)


def _plot(arguments: argparse.Namespace, console: Console) -> int:
    _draw(_load(arguments), arguments.base, arguments.out, console)
    return 0


def _compare(arguments: argparse.Namespace, console: Console) -> int:
    before, after = (
        analysis.one_machine(store.load(path), arguments.machine) for path in (arguments.before, arguments.after)
    )
    print_changes(console, changes(before, after))
    return 0


def _report(arguments: argparse.Namespace, console: Console) -> int:
    results = _load(arguments)
    groups = analysis.analyse(results, analysis.choose_base(results, arguments.base))
    write_report(results, groups, arguments.out)
    console.print(f"report: {arguments.out}", markup=False)
    return 0


def _ratio(arguments: argparse.Namespace, console: Console) -> int:
    _show(_load(arguments), arguments.base, console)
    return 0


def _selfcheck(arguments: argparse.Namespace, console: Console) -> int:
    build_cells(log=lambda line: console.print(line, markup=False))
    return 0 if selfcheck.run(arguments.allocator, arguments.repeat, arguments.seconds, console) else EXIT_FAILED


def _record(arguments: argparse.Namespace, console: Console) -> int:
    build_cells(log=lambda line: console.print(line, markup=False))
    return record_command(arguments.program, arguments.out, arguments.all, console)


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, Console], int]] = {
    "list": _list,
    "run": _run,
    "plot": _plot,
    "plots": _plots,
    "ablate": _ablate,
    "compare": _compare,
    "report": _report,
    "ratio": _ratio,
    "selfcheck": _selfcheck,
    "record": _record,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    Returns:
        0, 1 when nothing could be measured or a check failed, 2 for bad arguments, 130 when interrupted.
    """
    arguments = build_parser().parse_args(argv)
    try:
        return _ACTIONS[arguments.command](arguments, make_console())
    except UsageError as error:
        print(f"bench-harness: {error}", file=sys.stderr)
        return EXIT_USAGE
    except (HarnessError, BuildError) as error:
        print(f"bench-harness: {error}", file=sys.stderr)
        return EXIT_FAILED
    except BrokenPipeError:
        # The reader of our output is gone; keep Python from complaining about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_FAILED
