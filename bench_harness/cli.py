"""The command line: `bench-harness list | run | plot | compare | report | ratio`."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

import psutil

from bench_harness import __version__, analysis, store
from bench_harness.catalogue import find_workloads, parse_workload
from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BuildError, build_cells
from bench_harness.peers import find_allocators, select_allocators
from bench_harness.plan import NATIVE, Contender, Group, Plan
from bench_harness.progress import show_progress
from bench_harness.run import run_plan
from bench_harness.table import make_console, print_groups, print_means

__all__ = ["main"]

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

DEFAULT_WORKLOADS = ("larson",)
DEFAULT_THREADS = "1,2"
DEFAULT_REPEAT = 7
DEFAULT_RESULTS = Path("results/last.json")


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line: they name the argument and what is valid, and end with status 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(EXIT_USAGE, f"{self.prog}: {message}\n")


def _integers(text: str) -> tuple[int, ...]:
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if not values or min(values) < 1 or max(values) > 4096:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be numbers from 1 to 4096 separated by commas, e.g. 1,2,4"
        )
    return tuple(dict.fromkeys(values))


def _number(low: float, high: float, whole: bool = False) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = int(text) if whole else float(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            kind = "a whole number" if whole else "a number"
            raise argparse.ArgumentTypeError(f"{text!r} must be {kind} from {low:g} to {high:g}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    parse = _number(low, high, whole=True)
    return lambda text: int(parse(text))


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="bench-harness", description="Compare memory allocators, with error bars.")
    parser.add_argument("--version", action="version", version=f"bench-harness {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)

    show = commands.add_parser("list", help="workloads with their parameters, allocators found, routes")
    show.set_defaults(action=_list)

    run = commands.add_parser("run", help="measure workloads x allocators x threads x repeats")
    run.add_argument(
        "--workload",
        action="append",
        default=[],
        metavar="NAME[:PARAM=VALUE,...]",
        help=f"may be repeated; 'all' for every one (default: {', '.join(DEFAULT_WORKLOADS)})",
    )
    run.add_argument(
        "--allocator",
        action="append",
        default=[],
        metavar="NAME[=/path/lib.so]",
        help="may be repeated (default: all found)",
    )
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="NAME.OPTION=VALUE",
        dest="settings",
        help="adds a variant of the allocator NAME with this option in NAME_OPTIONS",
    )
    run.add_argument("--threads", type=_integers, default=_integers(DEFAULT_THREADS), metavar="1,2,4")
    run.add_argument("--seconds", type=_number(0.01, 3600), default=1.0, help="measured window (default 1)")
    run.add_argument("--warmup", type=_number(0, 600), default=0.2, help="seconds before it (default 0.2)")
    run.add_argument(
        "--repeat", type=_whole(1, 10_000), default=DEFAULT_REPEAT, help=f"rounds (default {DEFAULT_REPEAT})"
    )
    run.add_argument(
        "--max-repeat",
        type=_whole(1, 10_000),
        default=None,
        help="rounds that a group may get while its intervals are wider than --precision",
    )
    run.add_argument(
        "--precision",
        type=_number(0, 1),
        default=0.02,
        help="relative half-width of the median's 95 %% interval (default 0.02)",
    )
    run.add_argument("--seed", type=_whole(0, 2**31), default=4141, help="of the order (default 4141)")
    run.add_argument(
        "--timeout",
        type=_number(1, 86400),
        default=60.0,
        help="seconds that a cell may take beyond its window (default 60)",
    )
    run.add_argument(
        "--memory-cap",
        type=_whole(16, 1 << 24),
        default=None,
        metavar="MIB",
        help="RSS above which a cell fails (default: half of the machine's memory)",
    )
    run.add_argument(
        "--retries", type=_whole(0, 10), default=1, help="repeats of a disturbed cell (default 1)"
    )
    run.add_argument("--base", default=None, help="contender that ratios refer to (default glibc)")
    run.add_argument(
        "--json",
        type=Path,
        default=DEFAULT_RESULTS,
        metavar="FILE",
        help=f"result file (default {DEFAULT_RESULTS})",
    )
    run.add_argument("--resume", action="store_true", help="keep the finished cells of an interrupted run")
    run.set_defaults(action=_run)

    ratio = commands.add_parser("ratio", help="tables of a result file with ratios to a base")
    ratio.add_argument("file", type=Path)
    ratio.add_argument("--base", default=None)
    ratio.add_argument("--machine", default=None, help="machine id, when the file holds several")
    ratio.set_defaults(action=_ratio)
    return parser


def _list(arguments: argparse.Namespace) -> int:
    console = make_console()
    console.print("workloads", style="bold")
    for workload in find_workloads().values():
        console.print(
            f"  {workload.name} ({workload.kind}): {workload.description}", markup=False, soft_wrap=True
        )
        for p in workload.parameters:
            if p.name in ("threads", "seconds", "warmup", "gate"):
                continue
            values = (
                "|".join(p.choices) if p.choices else f"{p.smallest:.10g}..{p.largest:.10g} {p.unit}".rstrip()
            )
            shown = p.default if isinstance(p.default, str) else f"{p.default:.10g}"
            console.print(f"      {p.name}={shown}  ({values}) {p.help}", markup=False, soft_wrap=True)
    console.print("allocators", style="bold")
    for allocator in find_allocators().values():
        console.print(
            f"  {allocator.name}: {allocator.version}  {allocator.path or 'no preload'}",
            markup=False,
            soft_wrap=True,
        )
    return 0


def _plan(arguments: argparse.Namespace) -> Plan:
    found = find_workloads()
    wanted = arguments.workload or list(DEFAULT_WORKLOADS)
    if "all" in wanted:
        wanted = list(found)
    chosen = [parse_workload(text, found) for text in wanted]
    groups = tuple(
        Group(workload, tuple(values.items()), threads)
        for workload, values in chosen
        for threads in workload.thread_counts(arguments.threads)
    )
    allocators = select_allocators(find_allocators(), arguments.allocator, arguments.settings)
    cap = arguments.memory_cap << 20 if arguments.memory_cap else psutil.virtual_memory().total // 2
    return Plan(
        groups=tuple(dict.fromkeys(groups)),
        contenders=tuple(Contender(a.name, a, NATIVE) for a in allocators),
        repeat=arguments.repeat,
        max_repeat=max(arguments.repeat, arguments.max_repeat or 0),
        precision=arguments.precision,
        seconds=arguments.seconds,
        warmup=arguments.warmup,
        seed=arguments.seed,
        timeout=arguments.timeout,
        memory_cap=cap,
        retries=arguments.retries,
    )


def _run(arguments: argparse.Namespace) -> int:
    console = make_console()
    build_cells(log=lambda line: console.print(line, markup=False))
    plan = _plan(arguments)
    names = [c.name for c in plan.contenders]
    if arguments.base is not None and arguments.base not in names:
        raise UsageError(f"--base {arguments.base}: not in this run; there are {', '.join(names)}")
    command = ["bench-harness", *sys.argv[1:]]
    try:
        with show_progress(console) as progress:
            results = run_plan(plan, arguments.json, command, progress, arguments.resume)
    except KeyboardInterrupt:
        console.print(
            f"interrupted; the finished cells are kept: {shlex.join(command)} --resume", markup=False
        )
        return EXIT_INTERRUPTED
    _show(results, arguments.base)
    console.print(f"results: {arguments.json}", markup=False)
    return 0 if any(cell["status"] == "ok" for cell in results.cells) else EXIT_FAILED


def _show(results: store.Results, base: str | None) -> None:
    console = make_console()
    chosen = analysis.choose_base(results, base)
    groups = analysis.analyse(results, chosen)
    print_groups(console, groups, chosen)
    if len(groups) > 1:
        print_means(console, groups, chosen)


def _ratio(arguments: argparse.Namespace) -> int:
    _show(analysis.one_machine(store.load(arguments.file), arguments.machine), arguments.base)
    return 0


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: arguments without the program's name; None takes those of the process.
    Returns:
        0, 1 when nothing could be measured, 2 for bad arguments, 130 when interrupted.
    """
    parser = _build_parser()
    arguments = parser.parse_args(argv)
    try:
        status: int = arguments.action(arguments)
        return status
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
