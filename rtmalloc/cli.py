"""The command line: ``rtmalloc`` and ``python -m rtmalloc``."""

from __future__ import annotations

import argparse
import sys

from rtmalloc._api import library_path


def _libpath(_: argparse.Namespace) -> int:
    """Print the path of the preload library."""
    print(library_path())
    return 0


def main(arguments: list[str] | None = None) -> None:
    """Run one command; exits with 0 for success, 1 for a failure told in one sentence, 2 for wrong usage."""
    parser = argparse.ArgumentParser(prog="rtmalloc", description="Run programs on the rtmalloc allocator.")
    commands = parser.add_subparsers(required=True, metavar="command")
    libpath = commands.add_parser("libpath", help="print the path of the preload library, for LD_PRELOAD")
    libpath.set_defaults(run=_libpath)
    options = parser.parse_args(arguments)
    try:
        sys.exit(options.run(options))
    except FileNotFoundError as error:
        sys.exit(f"rtmalloc: {error}")
