"""``rtmalloc classes compile``: a table of size classes as the file that a process reads when it starts."""

from __future__ import annotations

import argparse
import os

from rtmalloc.launcher.table_cache import compile_file

SUFFIX = ".classes"
"""What a compiled table's name ends in, unless ``--out`` says otherwise."""


def _compile(arguments: argparse.Namespace) -> int:
    """Check a table file and write what the allocator reads."""
    data = compile_file(arguments.file)
    out = arguments.out or os.path.splitext(arguments.file)[0] + SUFFIX
    fresh = f"{out}.{os.getpid()}"
    with open(fresh, "wb") as file:
        file.write(data)
    os.replace(fresh, out)
    print(f"{out}: use it with RTMALLOC_OPTIONS=config={os.path.abspath(out)}")
    return 0


def add(program: argparse.ArgumentParser) -> None:
    """Add the command to the parser of ``rtmalloc classes``."""
    commands = program.add_subparsers(required=True, metavar="command", dest="classes_command")
    one = commands.add_parser("compile", help="check a table file and write what RTMALLOC_OPTIONS=config= takes")
    one.add_argument("file", metavar="FILE", help="a table of size classes, like rtmalloc.toml")
    one.add_argument("-o", "--out", metavar="OUT", help=f"file to write (FILE with the suffix {SUFFIX})")
    one.set_defaults(run=_compile)
