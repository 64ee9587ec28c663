"""The reference pages of the site, made from the sources: Python's names, the commands, the C names.

python ci/reference.py DIRECTORY   writes them there, as Markdown
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CALLS = ROOT / "rtmalloc/core/calls"
MODULES = ("numpy", "profile", "prometheus")

_SHOWN = r"__attribute__\(\(visibility\(\"default\"\), used"
_DECLARATION = r"(?P<type>[\w ]+?[ *]+)(?P<name>\w+) ?(?P<arguments>\([^()]*(?:\([^()]*\)[^()]*)*\))"
_FUNCTION = re.compile(
    rf"^extern {_DECLARATION} {_SHOWN}, alias|^{_SHOWN}\)\) {_DECLARATION.replace('?P<', '?P<own_')} ?[{{;]"
)
"""What the preprocessor leaves of an exported function: a second name of one of ours, or one that is written there."""
_MARKER = re.compile(r'^# \d+ "(?P<file>[^"]+)"')
_ENTRY = re.compile(r"^    (?P<what>.*?\(\*(?P<name>\w+)\).*?;) *(?:/\* (?P<tells>.*?) \*/)?$", re.MULTILINE)


def python_page() -> str:
    """Directives for mkdocstrings, which reads the docstrings: all that programs may import."""
    parts = ["# Python", "What programs import; all else is private. Sizes are bytes unless a name says more.", ""]
    for module in ("rtmalloc", *(f"rtmalloc.{name}" for name in MODULES)):
        parts += [f"::: {module}", "    options:", "      heading_level: 2", ""]
    return "\n".join(parts)


def parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """A parser, and below it those of its sub-commands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def commands_page() -> str:
    """What ``--help`` of each command prints, eighty columns wide."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS="80", NO_COLOR="1")
    try:
        from rtmalloc.commands.parser import parser

        parts = ["# Commands", "`rtmalloc` and `python -m rtmalloc` are one program. This is its `--help`.", ""]
        for one in parsers(parser()):
            parts += [f"## {one.prog}", "", "```text", one.format_help().rstrip(), "```", ""]
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})
    return "\n".join(parts)


def functions() -> dict[str, dict[str, str]]:
    """The functions that the library exports: for each header of calls/ the names and declarations."""
    command = [os.environ.get("CC", "gcc"), "-E", "-I", str(CALLS.parent), str(CALLS / "exports.h")]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found: dict[str, dict[str, str]] = {}
    header = ""
    for line in text.split("\n"):
        if marker := _MARKER.match(line):
            header = Path(marker["file"]).name
        elif match := _FUNCTION.match(line):
            kind = "" if match["name"] else "own_"
            name = match[f"{kind}name"]
            declaration = f"{match[f'{kind}type']}{name}{match[f'{kind}arguments']}"
            found.setdefault(header, {})[name] = declaration
    return found


def table(headings: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> list[str]:
    """A Markdown table."""
    cells = [headings, ("---",) * len(headings), *rows]
    return ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in cells]


def c_page() -> str:
    """The exported names with their declarations, header by header, and the table of calls behind Python."""
    parts = [
        "# C names",
        "What `librtmalloc.so` exports. [Names](../names.md) says what each family is for, and what is left out.",
        "",
    ]
    for header, found in functions().items():
        text = (CALLS / header).read_text(encoding="utf-8")
        parts += [f"## {header}", "", text[2:].partition("\n")[0].strip(" */"), ""]
        parts += [*table(("name", "declaration"), [(f"`{name}`", f"`{told}`") for name, told in found.items()]), ""]
    api = (CALLS / "api.h").read_text(encoding="utf-8")
    rows = [(f"`{m['name']}`", f"`{m['what'].rstrip(';')}`", m["tells"] or "") for m in _ENTRY.finditer(api)]
    parts += ["## The table behind rtmalloc_api", "", *table(("entry", "declaration", "what it tells"), rows), ""]
    return "\n".join(parts)


def pages() -> dict[str, str]:
    """The reference pages by their places in the site."""
    return {
        "reference/python.md": python_page(),
        "reference/commands.md": commands_page(),
        "reference/c.md": c_page(),
    }


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python ci/reference.py DIRECTORY")
    sys.path.insert(0, str(ROOT))
    for uri, text in pages().items():
        file = Path(sys.argv[1]) / uri
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
