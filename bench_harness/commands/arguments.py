"""The command line's arguments: names, ranges and help of every command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from bench_harness import __version__
from bench_harness.ablation.declaration import ROWS
from bench_harness.measuring.routes import ROUTES
from bench_harness.peers.declaration import declared

__all__ = ["DEFAULT_WORKLOADS", "EXIT_USAGE", "build_parser"]

EXIT_USAGE = 2

# The default run: the real thing on every allocator found at two presets. With all set-up of a fresh machine it ends in
# under four minutes on two cores; rounds are worth more than length.
DEFAULT_WORKLOADS = ("larson",)
DEFAULT_THREADS = "1,2,4"
DEFAULT_REPEAT = 7
DEFAULT_SECONDS, DEFAULT_WARMUP = 0.3, 0.1
PLOTS_SECONDS = 0.5
DEFAULT_RESULTS = Path("results/last.json")
DEFAULT_PLOTS = Path("plots")
DEFAULT_TRACE = Path("results/program.trace.zst")
DEFAULT_ABLATION = Path("results/ablation.json")


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
        raise argparse.ArgumentTypeError(f"{text!r} must be numbers from 1 to 4096 separated by commas: 1,2,4")
    return tuple(dict.fromkeys(values))


def _number(low: float, high: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} must be a number from {low:g} to {high:g}")
        return value

    return parse


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from {low} to {high}")
        return value

    return parse


def _competing(run: argparse.ArgumentParser) -> None:
    """The options of every command that compares allocators."""
    add = run.add_argument
    add(
        "--allocator",
        action="append",
        default=[],
        metavar="NAME[:PRESET][=/path/lib.so]",
        help=f"may be repeated (default: all found, each at the presets {' and '.join(declared().presets)})",
    )
    add("--base", default=None, help=f"contender that ratios refer to (default {', or '.join(declared().base)})")


def _measuring(run: argparse.ArgumentParser, repeat: int, seconds: float, warmup: float) -> None:
    """The options of every command that measures."""
    add = run.add_argument
    add("--seconds", type=_number(0.01, 3600), default=seconds, help=f"measured window (default {seconds:g})")
    add("--warmup", type=_number(0, 600), default=warmup, help=f"seconds before it (default {warmup:g})")
    add("--repeat", type=_whole(1, 10_000), default=repeat, help=f"rounds (default {repeat})")
    add("--seed", type=_whole(0, 2**31), default=4141, help="of the order (default 4141)")
    add(
        "--timeout",
        type=_number(0.1, 86400),
        default=60.0,
        help="seconds that a cell may take beyond its window (default 60)",
    )
    add(
        "--memory-cap",
        type=_whole(1, 1 << 24),
        default=None,
        metavar="MIB",
        help="RSS above which a cell fails (default: half of the machine's memory)",
    )
    add(
        "--retries",
        type=_whole(0, 10),
        default=1,
        help="repeats of a cell that other load disturbed (default 1; in all at most a fifth of the cells)",
    )
    add("--resume", action="store_true", help="keep the finished cells of an interrupted run")


def _results_file(command: argparse.ArgumentParser, several: bool) -> None:
    command.add_argument("file", type=Path, nargs="+" if several else None, metavar="FILE", help="result file")
    command.add_argument("--base", default=None, help="contender that ratios refer to")
    command.add_argument("--machine", default=None, help="machine id, when the file holds several")


def _ablation(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add(
        "ideas",
        nargs="*",
        metavar="IDEA",
        help="numbers of ideas or names of switches (default: all); --list shows them",
    )
    add("--list", action="store_true", help="show the ideas, their switches and workloads; measure nothing")
    _measuring(command, repeat=9, seconds=0.4, warmup=0.1)
    add(
        "--json", type=Path, default=DEFAULT_ABLATION, metavar="FILE", help=f"default {DEFAULT_ABLATION}; see --confirm"
    )
    add(
        "--confirm",
        type=Path,
        default=None,
        metavar="FILE",
        help="an earlier run that serves as the repeat (default: measure twice, the repeat into NAME-again.json)",
    )
    add(
        "--show",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="measure nothing: table and picture of these results and their repeats; may be given again",
    )
    add("--details", action="store_true", help="a line per workload as well")
    add("--markdown", type=Path, default=None, metavar="FILE", help="write the tables there too")
    add("--plots", type=Path, default=DEFAULT_PLOTS, metavar="DIR", help=f"default {DEFAULT_PLOTS}")
    add("--rows", type=Path, default=ROWS, metavar="FILE", help=f"the file that declares ideas (default {ROWS.name})")


def _chosen(run: argparse.ArgumentParser) -> None:
    """The options of `run` that choose what is measured, and how a Python program comes to it."""
    add = run.add_argument
    add(
        "--workload",
        action="append",
        default=[],
        metavar="NAME[:PARAM=VALUE,...]",
        help=f"may be repeated; all, native, python or program for many (default: {', '.join(DEFAULT_WORKLOADS)})",
    )
    add(
        "--threads",
        type=_integers,
        default=_integers(DEFAULT_THREADS),
        metavar="1,2,4",
        help=f"default {DEFAULT_THREADS}",
    )
    _competing(run)
    add(
        "--set",
        action="append",
        default=[],
        metavar="NAME[:PRESET].OPTION=VALUE",
        dest="settings",
        help="adds a variant of the allocator NAME with this option; refused when it has no such option",
    )
    add(
        "--route",
        action="append",
        default=[],
        metavar="NAME",
        help=f"for Python workloads, may be repeated (default: all that fit): {', '.join(ROUTES)}",
    )
    add(
        "--python",
        type=Path,
        default=Path(sys.executable),
        metavar="PATH",
        help="interpreter of the Python workloads (default: this one)",
    )


def _run(run: argparse.ArgumentParser) -> None:
    _chosen(run)
    _measuring(run, DEFAULT_REPEAT, DEFAULT_SECONDS, DEFAULT_WARMUP)
    add = run.add_argument
    add("--latency", action="store_true", help="time every single malloc and free of native workloads")
    add(
        "--max-repeat",
        type=_whole(1, 10_000),
        default=None,
        help="rounds that a group may get while its intervals are wider than --precision (default: --repeat)",
    )
    add(
        "--precision",
        type=_number(0, 1),
        default=0.02,
        help="relative half-width of the median's 95 %% interval that is narrow enough (default 0.02)",
    )
    add("--json", type=Path, default=DEFAULT_RESULTS, metavar="FILE", help=f"default {DEFAULT_RESULTS}")
    add(
        "--plots",
        type=Path,
        default=None,
        metavar="DIR",
        help=f"draw the pictures there (default: {DEFAULT_PLOTS} when no --workload is given)",
    )
    add(
        "--scheduler",
        default=None,
        metavar="ADDRESS",
        help="send the cells to this Dask cluster (extra `dask`), one cell per worker at a time",
    )


def _peers(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("names", nargs="*", metavar="NAME", help="default: all that can be got, anew")
    add("--missing", action="store_true", help="only those that a run compares and that are not here")


def _plot(command: argparse.ArgumentParser) -> None:
    _results_file(command, several=True)
    command.add_argument("--out", type=Path, default=DEFAULT_PLOTS, metavar="DIR", help=f"default {DEFAULT_PLOTS}")


def _plots(command: argparse.ArgumentParser) -> None:
    _competing(command)
    _measuring(command, 6, PLOTS_SECONDS, DEFAULT_WARMUP)
    add = command.add_argument
    add("--out", type=Path, default=DEFAULT_PLOTS, metavar="DIR", help=f"default {DEFAULT_PLOTS}")
    add("--json", type=Path, default=Path("results/plots.json"), metavar="FILE")


def _compare(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("before", type=Path, metavar="A.json")
    add("after", type=Path, metavar="B.json")
    add("--machine", default=None, help="machine id, when the files hold several")


def _report(command: argparse.ArgumentParser) -> None:
    _results_file(command, several=True)
    command.add_argument("--out", type=Path, default=Path("report.html"), metavar="FILE", help="default report.html")


def _page(command: argparse.ArgumentParser) -> None:
    _results_file(command, several=True)
    add = command.add_argument
    add("--title", default="Measurements", metavar="TEXT", help="default Measurements")
    add("--out", type=Path, default=Path("measurements.md"), metavar="FILE", help="default measurements.md")


def _ratio(command: argparse.ArgumentParser) -> None:
    _results_file(command, several=False)


def _record(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--out", type=Path, default=DEFAULT_TRACE, metavar="FILE", help=f"default {DEFAULT_TRACE}")
    add("--all", action="store_true", help="a trace of every process, not only of the busiest")
    add("program", nargs=argparse.REMAINDER, metavar="-- PROGRAM ARGUMENT...", help="the command")


def _selfcheck(command: argparse.ArgumentParser) -> None:
    add = command.add_argument
    add("--repeat", type=_whole(6, 1000), default=9, help="rounds of the A/A test (default 9)")
    add("--seconds", type=_number(0.05, 60), default=0.5, help="window of its cells (default 0.5)")
    add(
        "--allocator",
        action="append",
        default=[],
        metavar="NAME[:PRESET][=/path/lib.so]",
        help=f"tested against itself (default {declared().system})",
    )


_COMMANDS: Sequence[tuple[str, str, Callable[[argparse.ArgumentParser], None]]] = (
    ("list", "workloads with their parameters, allocators with their presets, routes", lambda _: None),
    ("peers", "get allocators to compare with, without root and without a compiler", _peers),
    ("run", "measure workloads x allocators x threads x repeats", _run),
    ("plot", "pictures of result files", _plot),
    ("plots", "measure the README's standard set and draw it", _plots),
    ("ablate", "every idea of an allocator on and off: what is each worth?", _ablation),
    ("compare", "two result files: what changed from A to B", _compare),
    ("report", "one self-contained HTML file", _report),
    ("page", "one Markdown page with a summary table per result file", _page),
    ("ratio", "tables of a result file with ratios to a base", _ratio),
    ("record", "run a program and write what it asks of its allocator", _record),
    ("selfcheck", "A/A and known-answer tests of the harness itself", _selfcheck),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; the chosen one is `namespace.command`."""
    parser = _Parser(prog="bench-harness", description="Compare memory allocators, with error bars.")
    parser.add_argument("--version", action="version", version=f"bench-harness {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    for name, text, declare in _COMMANDS:
        declare(commands.add_parser(name, help=text))
    return parser
