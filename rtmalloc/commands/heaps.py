"""``rtmalloc heap`` and ``explain``: who holds the memory of a process that records a heap profile."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from rtmalloc.observe import heap_reader
from rtmalloc.profile import heap_page
from rtmalloc.profile.heap_profile import HeapProfile, load_heap


def _profile(name: str, timeout: float) -> HeapProfile:
    """The profile of a process, if the name is a number, or of a file."""
    return load_heap(heap_reader.ask(int(name), timeout) if name.isdecimal() else name)


def _heap(arguments: argparse.Namespace) -> int:
    """Show a profile, or write it in another form."""
    if arguments.target[0] == "report":
        return _report(arguments)
    if len(arguments.target) != 1:
        arguments.parser.error("one process or file, or `report FILE`")
    profile = _profile(arguments.target[0], arguments.timeout)
    if arguments.against:
        profile = profile.minus(load_heap(arguments.against))
    if arguments.output is None:
        view = heap_page.lives if arguments.lives else heap_page.summary
        print(view(profile, arguments.rows))
        return 0
    if arguments.format == "pprof":
        profile.to_pprof(arguments.output)
    elif arguments.format == "collapsed":
        profile.to_collapsed(arguments.output)
    else:
        profile.save(arguments.output)
    print(f"{arguments.output} written", file=sys.stderr)
    return 0


def _report(arguments: argparse.Namespace) -> int:
    """Write the page of a file."""
    if len(arguments.target) != 2:
        arguments.parser.error("which file? `rtmalloc heap report FILE`")
    name = arguments.target[1]
    profile = _profile(name, arguments.timeout)
    before = load_heap(arguments.against) if arguments.against else None
    output = arguments.output or f"{Path(name).stem}.html"
    Path(output).write_text(heap_page.page(profile, before), encoding="utf-8")
    print(f"{os.path.abspath(output)} written", file=sys.stderr)
    return 0


def _explain(arguments: argparse.Namespace) -> int:
    """One screen about a process or a file."""
    print(heap_page.explain(_profile(arguments.target, arguments.timeout)))
    return 0


def add(commands: Any) -> None:
    """Add the commands to ``commands``, the sub-parsers of the program."""
    usage = "rtmalloc heap PID|FILE [options]\n       rtmalloc heap report PID|FILE [-o PAGE] [--against FILE]"
    heap = commands.add_parser("heap", usage=usage, help="who holds memory: a process, or a file of it; a page")
    heap.add_argument("target", nargs="+", metavar="PID|FILE", help="a process that records, or what one has written")
    heap.add_argument("--against", metavar="FILE", help="an earlier profile: show what has changed since")
    heap.add_argument("--format", choices=("pprof", "collapsed", "json"), default="pprof", help="of the output")
    heap.add_argument("-o", "--output", metavar="OUT", help="file to write; without it a table")
    heap.add_argument("--lives", action="store_true", help="show how long blocks that are gone have lived")
    heap.add_argument("--rows", type=int, default=20, help="sites to show (20)")
    heap.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for a process (10)")
    heap.set_defaults(run=_heap)

    explain = commands.add_parser("explain", help="one screen: how much, who holds it, what comes back")
    explain.add_argument("target", metavar="PID|FILE", help="a process that records, or what one has written")
    explain.add_argument("--timeout", type=float, default=10.0, help="seconds to wait for a process (10)")
    explain.set_defaults(run=_explain)
