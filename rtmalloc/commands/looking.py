"""``rtmalloc doctor``, ``options`` and ``stats``: look at the surroundings, the settings, a process."""

from __future__ import annotations

import argparse
import time
from typing import Any

from rtmalloc import _core
from rtmalloc.doctor.examination import examine
from rtmalloc.doctor.finding import PROBLEM, as_json, as_text
from rtmalloc.interpreter.options import options
from rtmalloc.observe import stats_reader
from rtmalloc.observe.stats import Stats


def _doctor(arguments: argparse.Namespace) -> int:
    """Print what the checks find; 1 when something does not work."""
    findings = examine()
    print(as_json(findings) if arguments.json else as_text(findings))
    return int(any(finding.level == PROBLEM for finding in findings))


def _options(arguments: argparse.Namespace) -> int:
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
        print("    compiled table of size classes, read once at start (RTMALLOC_OPTIONS only; default: built in)")
    return 0


def _stats(arguments: argparse.Namespace) -> int:
    """Print what another process has written about itself."""
    stats, written_at = stats_reader.read(arguments.pid, arguments.file)
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
    lines.append(f"{'thread':>10}{'slot':>12}{'cached KiB':>12}{'room KiB':>12}")
    for t in stats.per_thread:
        name = str(t.native_id) if t.live else "(ended)"
        lines.append(f"{name:>10}{t.slot:12}{t.cached >> 10:12}{t.capacity >> 10:12}")
    return "\n".join(lines)


def add(commands: Any) -> None:
    """Add the commands to ``commands``, the sub-parsers of the program."""
    doctor = commands.add_parser("doctor", help="what would keep rtmalloc from working here, and how to mend it")
    doctor.add_argument("--json", action="store_true", help="as a JSON array")
    doctor.set_defaults(run=_doctor)

    settings = commands.add_parser("options", help="list the options for RTMALLOC_OPTIONS and configure()")
    settings.add_argument("--markdown", action="store_true", help="as a table for documentation")
    settings.set_defaults(run=_options)

    stats = commands.add_parser("stats", help="statistics of a process that writes them (RTMALLOC_STATS_FILE=1)")
    stats.add_argument("pid", type=int, help="process id")
    stats.add_argument("--file", help="the file it writes, if not the default; {pid} is the process id")
    stats.add_argument("--json", action="store_true", help="as JSON")
    stats.set_defaults(run=_stats)
