"""The commands of the command line, one function each. Imported only when one of them is wanted."""

from __future__ import annotations

import argparse
import time

from rtmalloc import __version__, _core
from rtmalloc.commands import classes, profiles
from rtmalloc.doctor import checks
from rtmalloc.interpreter.options import options
from rtmalloc.launcher import environment_lines, launch
from rtmalloc.observe import stats_file
from rtmalloc.observe.stats import Stats
from rtmalloc.settings import library_path

_EPILOG = """\
What is not a command is a Python program, and runs on rtmalloc with every allocation:
  python -m rtmalloc script.py arguments...
  python -m rtmalloc -m module arguments...
  python -m rtmalloc -c code arguments...
Options of the interpreter may stand before -m rtmalloc, or in front of the program.
"""


def _run(arguments: argparse.Namespace) -> int:
    """Become a program on the preload library. Comes here only with options that the launcher leaves to argparse."""
    command = arguments.command[1:] if arguments.command[:1] == ["--"] else arguments.command
    if not command:
        raise launch.LaunchError("run: which program? `rtmalloc run -- command arguments...`", launch.EXIT_USAGE)
    launch.launch_command(
        command, children=not arguments.no_children, config=arguments.config, profile=arguments.profile
    )


def _env(arguments: argparse.Namespace) -> int:
    """Print the lines that put a program on rtmalloc."""
    print("\n".join(environment_lines.lines_for(arguments.format, arguments.options)))
    return 0


def _libpath(_: argparse.Namespace) -> int:
    """Print the path of the preload library."""
    print(library_path())
    return 0


def _doctor_command(arguments: argparse.Namespace) -> int:
    """Print what the checks find; 1 when something does not work."""
    findings = checks.examine()
    print(checks.as_json(findings) if arguments.json else checks.as_text(findings))
    return int(any(finding.level == checks.PROBLEM for finding in findings))


def _options_command(arguments: argparse.Namespace) -> int:
    """Print the table of options."""
    rows = options().values()
    if arguments.markdown:
        print("| option | default | range | what it does |\n|---|---|---|---|")
        for option in rows:
            default = f"{option.default} {option.unit}".strip()
            print(f"| `{option.name}` | {default} | {option.least} to {option.most} | {option.description} |")
    else:
        for option in rows:
            print(f"{option.name} = {option.value}")
            print(f"    {option.description} ({option.range}; default {option.default})")
        print(f"config = {_core.size_classes()[1]}")
        print("    file with a table of size classes, read once at start (RTMALLOC_OPTIONS only; default: built in)")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    """Print what another process has written about itself."""
    stats, written_at = stats_file.read(arguments.pid, arguments.file)
    if arguments.json:
        print(stats.to_json(indent=2))
    else:
        print(_stats_text(stats, max(0.0, time.time() - written_at)))
    return 0


_MIB = 1 << 20


def _stats_text(stats: Stats, age: float) -> str:
    """The numbers for reading: totals in MiB, then a line per size class and one per thread."""
    lines = [f"written {age:.1f} s ago, {stats.threads} threads"]
    for name in ("allocated", "cached", "active", "resident", "dirty", "muzzy", "metadata", "reserved", "purged"):
        lines.append(f"{name:10}{getattr(stats, name) / _MIB:12.1f} MiB")
    lines.append(f"{'size':>10}{'blocks':>12}{'free':>12}{'spans':>10}")
    lines += [f"{c.size:10}{c.blocks:12}{c.free_blocks:12}{c.spans:10}" for c in stats.classes]
    lines.append(f"{'thread':>10}{'cached KiB':>12}{'spans':>12}{'MiB':>10}{'free':>10}")
    for t in stats.per_thread:
        mib, free = t.span_bytes / _MIB, t.span_free / _MIB
        name = str(t.native_id) if t.live else "(ended)"
        lines.append(f"{name:>10}{t.cached >> 10:12}{t.spans:12}{mib:10.1f}{free:10.1f}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The parser of all commands; what it parses has the command's function as ``run``."""
    program = argparse.ArgumentParser(
        prog="rtmalloc",
        description="Run programs on the rtmalloc allocator, and look at it.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    program.add_argument("--version", action="version", version=f"rtmalloc {__version__}")
    commands = program.add_subparsers(required=True, metavar="command", dest="chosen")

    run = commands.add_parser("run", help="start any program on rtmalloc")
    run.add_argument("--no-children", action="store_true", help="programs that it starts are not on rtmalloc")
    run.add_argument("--config", metavar="FILE", help="a table of size classes for it (docs/profiles.md)")
    run.add_argument("--profile", metavar="DIRECTORY", help="record requested sizes; each process writes a file there")
    run.add_argument("command", nargs=argparse.REMAINDER, metavar="-- command ...", help="the program, its arguments")
    run.set_defaults(run=_run)

    env = commands.add_parser("env", help="print the lines that put a program on rtmalloc")
    env.add_argument("--format", choices=environment_lines.FORMATS, default="shell", help="what will start it")
    env.add_argument("--options", default="", metavar="NAME=VALUE,...", help="value for RTMALLOC_OPTIONS")
    env.set_defaults(run=_env)

    libpath = commands.add_parser("libpath", help="print the path of the preload library, for LD_PRELOAD")
    libpath.set_defaults(run=_libpath)

    doctor = commands.add_parser("doctor", help="what would keep rtmalloc from working here, and how to mend it")
    doctor.add_argument("--json", action="store_true", help="as a JSON array")
    doctor.set_defaults(run=_doctor_command)

    options = commands.add_parser("options", help="list the options for RTMALLOC_OPTIONS and configure()")
    options.add_argument("--markdown", action="store_true", help="as a table for documentation")
    options.set_defaults(run=_options_command)

    profiles.add(commands.add_parser("profile", help="requested sizes: merge, report, optimise"))
    classes.add(commands.add_parser("classes", help="tables of size classes: compile"))

    stats = commands.add_parser("stats", help="statistics of a process that called rtmalloc.stats_file()")
    stats.add_argument("pid", type=int, help="process id")
    stats.add_argument("--file", help="the file it writes, if not the default; {pid} is the process id")
    stats.add_argument("--json", action="store_true", help="as JSON")
    stats.set_defaults(run=_stats)
    return program
