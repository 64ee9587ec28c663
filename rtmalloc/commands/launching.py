"""``rtmalloc run``, ``env`` and ``libpath``: programs on the preload library."""

from __future__ import annotations

import argparse
from typing import Any

from rtmalloc.launcher import environment_lines, launch
from rtmalloc.settings import library_path


def _run(arguments: argparse.Namespace) -> int:
    """Become a program on the preload library. Comes here only with options that the launcher leaves to argparse."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        arguments.parser.error("which program? `rtmalloc run -- command arguments...`")
    launch.launch_command(
        command,
        children=not arguments.no_children,
        config=arguments.config,
        profile=arguments.profile,
        heap_profile=arguments.heap_profile,
    )


def _env(arguments: argparse.Namespace) -> int:
    """Print the lines that put a program on rtmalloc."""
    print("\n".join(environment_lines.lines_for(arguments.format, arguments.options)))
    return 0


def _libpath(_: argparse.Namespace) -> int:
    """Print the path of the preload library."""
    print(library_path())
    return 0


def add(commands: Any) -> None:
    """Add the commands to ``commands``, the sub-parsers of the program."""
    usage = "rtmalloc run [--no-children] [--config FILE] [--profile DIR] [--heap-profile DIR] -- command ..."
    run = commands.add_parser("run", usage=usage, help="start any program on rtmalloc")
    run.add_argument("--no-children", action="store_true", help="programs that it starts are not on rtmalloc")
    run.add_argument("--config", metavar="FILE", help="a table of size classes for it (docs/profiles.md)")
    run.add_argument("--profile", metavar="DIRECTORY", help="record requested sizes; each process writes a file there")
    run.add_argument("--heap-profile", metavar="DIRECTORY", help="record who holds memory (docs/heap-profile.md)")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- command ...", help="the program, its arguments")
    run.set_defaults(run=_run)

    env = commands.add_parser("env", help="print the lines that put a program on rtmalloc")
    env.add_argument("--format", choices=environment_lines.FORMATS, default="shell", help="what will start it")
    env.add_argument("--options", default="", metavar="NAME=VALUE,...", help="value for RTMALLOC_OPTIONS")
    env.set_defaults(run=_env)

    libpath = commands.add_parser("libpath", help="print the path of the preload library, for LD_PRELOAD")
    libpath.set_defaults(run=_libpath)
