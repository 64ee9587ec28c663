"""The command line: which command of `bench-harness` does what, and how it ends."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Mapping, Sequence

from rich.console import Console

from bench_harness.ablation.command import ablate
from bench_harness.commands import files, peers, record, selfcheck
from bench_harness.commands.arguments import EXIT_USAGE, build_parser
from bench_harness.commands.listing import list_all
from bench_harness.commands.measure import EXIT_FAILED, build, measure
from bench_harness.commands.run import plots, run
from bench_harness.errors import HarnessError, UsageError
from bench_harness.native.build import BuildError
from bench_harness.reporting.table import make_console

__all__ = ["main"]


def _ablate(arguments: argparse.Namespace, console: Console) -> int:
    return ablate(arguments, console, measure)


def _selfcheck(arguments: argparse.Namespace, console: Console) -> int:
    build(console)
    return 0 if selfcheck.run(arguments.allocator, arguments.repeat, arguments.seconds, console) else EXIT_FAILED


_ACTIONS: Mapping[str, Callable[[argparse.Namespace, Console], int]] = {
    "list": list_all,
    "peers": peers.get,
    "run": run,
    "plot": files.plot,
    "plots": plots,
    "ablate": _ablate,
    "compare": files.compare,
    "report": files.report,
    "page": files.page,
    "ratio": files.ratio,
    "record": record.record,
    "selfcheck": _selfcheck,
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
