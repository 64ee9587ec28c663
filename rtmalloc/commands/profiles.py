"""``rtmalloc profile merge | report | optimise``: what can be done with the files that RTMALLOC_PROFILE writes."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rtmalloc import _core
from rtmalloc.profile import optimise, report
from rtmalloc.profile.recording import Profile, ProfileError, load, merge
from rtmalloc.size_table import MAX_CLASSES, table_parse, table_read


def read_all(names: Sequence[str]) -> Profile:
    """The profiles of files, and of all ``rtmalloc-*.json`` in directories, as one.

    Raises:
        ProfileError: when one is no profile, or there is none.
        OSError: when one cannot be read.
    """
    files: list[Path] = []
    for name in names:
        path = Path(name)
        inside = sorted(path.glob("rtmalloc-*.json")) if path.is_dir() else [path]
        if not inside:
            raise ProfileError(f"{name}: no profile is in this directory (a process writes its own when it exits)")
        files += inside
    return merge([load(path) for path in files])


def _merge(arguments: argparse.Namespace) -> int:
    """Merge profiles into one file."""
    profile = read_all(arguments.files)
    profile.save(arguments.output)
    print(f"{arguments.output}: {profile.processes} processes, {sum(b.samples for b in profile.small)} samples")
    return 0


def _table_of(profile: Profile, name: str | None) -> tuple[Sequence[int], int, str]:
    """Sizes, objects per span and name of the table to look at: a file's, the recorded one, or this process's."""
    if name is not None:
        table = table_read(Path(name))
        return table.sizes, table.min_objects, name
    if profile.classes:
        return profile.classes, optimise.MIN_OBJECTS, "the table it was recorded with"
    return _core.size_classes()[0], optimise.MIN_OBJECTS, "the built-in table"


def _report(arguments: argparse.Namespace) -> int:
    """Show what a profile holds, and what a table wastes on it."""
    profile = read_all(arguments.files)
    sizes, min_objects, name = _table_of(profile, arguments.table)
    found = report.examine(profile, sizes, name, min_objects)
    if arguments.json:
        print(json.dumps(report.as_dict(found), indent=2))
    else:
        report.show(found, arguments.rows)
    if arguments.picture:
        report.draw(found, Path(arguments.picture))
        print(f"{arguments.picture} written", file=sys.stderr)
    return 0


def _optimise_command(arguments: argparse.Namespace) -> int:
    """Write the table that wastes least on a profile."""
    profile = read_all(arguments.files)
    largest = arguments.largest or _core.largest_small()
    wanted = optimise.demand(profile, largest)
    sizes = optimise.optimise(
        wanted,
        arguments.classes,
        arguments.max_waste,
        largest,
        keep=arguments.keep,
        min_objects=arguments.min_objects,
    )
    before_sizes, before_objects, _ = _table_of(profile, arguments.against)
    before = optimise.waste(before_sizes, wanted, before_objects)
    after = optimise.waste(sizes, wanted, arguments.min_objects)
    least = optimise.waste(range(16, largest + 1, 16), wanted, arguments.min_objects)
    asked = optimise.asked(wanted)
    per = "at an average moment" if wanted.by_life else "over all requests"
    lines = [
        f"{len(before_sizes)} classes before: {_bytes(before)} wasted {per}, {before / asked:.2%} of what is asked for",
        f"{len(sizes)} classes now: {_bytes(after)}, {after / asked:.2%}: "
        + (f"{1 - after / before:.1%} less" if before > 0 else "nothing was wasted before"),
        f"a class for each 16 bytes: {_bytes(least)}, {least / asked:.2%}",
    ]
    programs = ", ".join(sorted(profile.programs)) or "unknown programs"
    comment = [
        f"Size classes for {programs}, by `rtmalloc profile optimise --classes {arguments.classes}`"
        f" `--max-waste {arguments.max_waste}`",
        f"from {profile.processes} processes; waste counts the ends of spans too.",
        *lines,
    ]
    text = optimise.as_toml(sizes, arguments.max_waste, comment, arguments.min_objects)
    # The very checks that the build and the loader make.
    table_parse(text, name=arguments.output)
    Path(arguments.output).write_text(text, encoding="utf-8")
    print("\n".join(lines))
    print(f"{arguments.output}: try it with `rtmalloc run --config {arguments.output} -- program`")
    return 0


def _bytes(count: float) -> str:
    """A number of bytes for reading."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.1f} {unit}" if unit != "B" else f"{count:.0f} B"
        count /= 1024
    raise AssertionError("unreachable")


def _sizes(text: str) -> tuple[int, ...]:
    """A list of sizes on the command line."""
    sizes = tuple(int(part) for part in text.split(",") if part)
    if any(size <= 0 or size % 16 for size in sizes):
        raise argparse.ArgumentTypeError("sizes are positive multiples of 16, separated by commas")
    return sizes


def _whole(least: int, most: int) -> Any:
    """A parser of whole numbers in a range."""

    def parse(text: str) -> int:
        if not text.isdigit() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"a whole number from {least} to {most}")
        return int(text)

    return parse


def add(program: argparse.ArgumentParser) -> None:
    """Add the commands to the parser of ``rtmalloc profile``."""
    commands = program.add_subparsers(required=True, metavar="command", dest="profile_command")
    files = {"nargs": "+", "metavar": "FILE", "help": "profiles, or directories that hold them"}

    one = commands.add_parser("merge", help="make one profile of many")
    one.add_argument("files", **files)  # type: ignore[arg-type]  # argparse's own types
    one.add_argument("-o", "--output", required=True, metavar="OUT", help="file to write")
    one.set_defaults(run=_merge)

    shown = commands.add_parser("report", help="what was asked for, and what a table wastes on it")
    shown.add_argument("files", **files)  # type: ignore[arg-type]
    shown.add_argument("--table", metavar="FILE", help="a table file; without it the one it was recorded with")
    shown.add_argument("--rows", type=_whole(1, 125), default=20, help="classes to show, those that waste most (20)")
    shown.add_argument("--json", action="store_true", help="as JSON")
    shown.add_argument("--picture", metavar="FILE", help="draw waste by size (.png, .svg or .pdf); needs matplotlib")
    shown.set_defaults(run=_report)

    best = commands.add_parser("optimise", help="write the table of size classes that wastes least")
    best.add_argument("files", **files)  # type: ignore[arg-type]
    best.add_argument("--classes", type=_whole(1, MAX_CLASSES), default=64, help="at most so many classes (64)")
    best.add_argument("--max-waste", type=float, default=0.125, help="of a block above 256 bytes, at worst (0.125)")
    best.add_argument("--min-objects", type=_whole(1, 16), default=16, help="blocks in every span, at least (16)")
    best.add_argument("--largest", type=_whole(16, 32768), metavar="BYTES", help="largest class (that of the build)")
    best.add_argument(
        "--keep",
        type=_sizes,
        default=optimise.KEEP,
        metavar="SIZES",
        help="sizes it has in any case, for aligned requests (64,128,...,4096)",
    )
    best.add_argument("--against", metavar="FILE", help="a table file to compare with; else the one recorded with")
    best.add_argument("-o", "--output", default="rtmalloc.toml", metavar="OUT", help="file to write (rtmalloc.toml)")
    best.set_defaults(run=_optimise_command)
