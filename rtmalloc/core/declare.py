"""Make everything that lists options or numbers from their declarations, options.toml and numbers.toml.

``setup.py`` calls :func:`sources_write` before Cython runs; ``python rtmalloc/core/declare.py`` writes the tables of
the documentation anew. A file whose text stays the same is left alone, so that nothing is built again for it.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

CORE = Path(__file__).resolve().parent
DOCS = CORE.parents[1] / "docs"
GENERATED = ("_options.h", "_options.pxd", "_numbers.h", "_numbers.pxd")
"""Names of the files in ``core/base`` that :func:`sources_write` makes; git ignores them."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_HEAD = "Made by rtmalloc/core/declare.py from {}: change that file, not this one."


class DeclarationError(Exception):
    """A declaration breaks a rule; the message names the file, the entry and the rule."""


@dataclass(frozen=True)
class Option:
    """A run-time option. Default, least and most are in ``unit``, which is empty for switches and choices."""

    name: str
    default: int
    least: int
    most: int
    text: str
    unit: str = ""

    @property
    def range(self) -> str:
        """The values it takes, as the documentation shows them."""
        return f"{self.least} to {self.most}"


def _checked_name(file: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise DeclarationError(f"{file}: {name!r} is no name: small letters, digits and _ only")
    return name


def options_read(path: Path = CORE / "options.toml") -> tuple[list[Option], dict[str, str]]:
    """The options in their order, and the presets by name.

    Raises:
        DeclarationError: an entry lacks a key or has an unknown one, or its default is out of range.
    """
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    options = []
    for name, entry in data["options"].items():
        try:
            option = Option(_checked_name(path.name, name), **entry)
        except TypeError as error:
            raise DeclarationError(f"{path.name}: {name}: {error}") from None
        if not option.least <= option.default <= option.most:
            raise DeclarationError(f"{path.name}: {name}: the default is not from {option.range}")
        options.append(option)
    return options, {_checked_name(path.name, name): text for name, text in data["presets"].items()}


def numbers_read(path: Path = CORE / "numbers.toml") -> dict[str, dict[str, str]]:
    """The structs of numbers: for each its fields in their order, with what they say."""
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    for fields in data.values():
        for name in fields:
            _checked_name(path.name, name)
    return {struct: dict(fields) for struct, fields in data.items()}


def _text(value: str) -> str:
    # JSON's escapes are C's, as far as one line of plain text needs them.
    return json.dumps(value)


def _options_header(options: list[Option], presets: Mapping[str, str]) -> str:
    names = ",\n".join(f"    RT_OPTION_{o.name}" for o in options)
    rows = ",\n".join(
        f"    {{{_text(o.name)}, {o.default}, {o.least}, {o.most}, {_text(o.unit)}, {_text(o.text)}}}" for o in options
    )
    sets = ",\n".join(f"    {{{_text(name)}, {_text(text)}}}" for name, text in presets.items())
    return f"""/* {_HEAD.format("options.toml")} */
#ifndef RT_OPTIONS_MADE_H
#define RT_OPTIONS_MADE_H
enum {{
{names},
    RT_OPTION_COUNT
}};
static const rt_option_spec rt_option_specs[RT_OPTION_COUNT] = {{
{rows}
}};
enum {{ RT_PRESET_COUNT = {len(presets)} }};
static const rt_option_preset rt_option_presets[RT_PRESET_COUNT] = {{
{sets}
}};
#endif
"""


def _options_module(options: list[Option]) -> str:
    names = "\n".join(f"        RT_OPTION_{o.name}" for o in options)
    return f"""# {_HEAD.format("options.toml")}
cdef extern from "base/options.h" nogil:
    enum:
{names}
        RT_OPTION_COUNT
        RT_PRESET_COUNT
"""


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def _numbers_header(structs: Mapping[str, Mapping[str, str]]) -> str:
    parts = [
        f"/* {_HEAD.format('numbers.toml')} */",
        "#ifndef RT_NUMBERS_MADE_H\n#define RT_NUMBERS_MADE_H\n#include <stdint.h>",
    ]
    for struct, fields in structs.items():
        rows = "\n".join(f"    uint64_t {name};" for name in fields)
        names = ", ".join(_text(name) for name in fields)
        parts.append(
            f"typedef struct {{\n{rows}\n}} rt_{struct};\n"
            f"static const char *const rt_{struct}_names[] = {{{names}}};\n"
            f"enum {{ RT_{struct.upper()}_COUNT = {len(fields)} }};"
        )
    return "\n".join([*parts, "#endif\n"])


def _numbers_module(structs: Mapping[str, Mapping[str, str]]) -> str:
    parts = [f"# {_HEAD.format('numbers.toml')}\nfrom libc.stdint cimport uint64_t\n"]
    parts.append('cdef extern from "base/_numbers.h" nogil:')
    for struct, fields in structs.items():
        rows = "\n".join(f"        uint64_t {name}" for name in fields)
        parts.append(
            f'    ctypedef struct {_camel(struct)} "rt_{struct}":\n{rows}\n'
            f"    const char* rt_{struct}_names[]\n    enum:\n        RT_{struct.upper()}_COUNT"
        )
    return "\n".join(parts) + "\n"


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def sources_write() -> None:
    """Write the generated sources of the core (:data:`GENERATED`).

    Raises:
        DeclarationError: a declaration breaks a rule.
    """
    options, presets = options_read()
    structs = numbers_read()
    texts = (
        _options_header(options, presets),
        _options_module(options),
        _numbers_header(structs),
        _numbers_module(structs),
    )
    for name, text in zip(GENERATED, texts, strict=True):
        _write(CORE / "base" / name, text)


def option_table() -> str:
    """The table of all options for the documentation, in Markdown."""
    rows = ["| option | default | range | what it does |", "|---|---|---|---|"]
    rows += [f"| `{o.name}` | {f'{o.default} {o.unit}'.strip()} | {o.range} | {o.text} |" for o in options_read()[0]]
    return "\n".join(rows)


def number_table() -> str:
    """The table of all numbers for the documentation, in Markdown."""
    rows = ["| number | what it counts |", "|---|---|"]
    rows += [f"| `{name}` | {text} |" for fields in numbers_read().values() for name, text in fields.items()]
    return "\n".join(rows)


TABLES = {"options": option_table, "numbers": number_table}
"""The tables that a page may hold between ``<!-- made: NAME -->`` and ``<!-- end -->``."""


def page_made(text: str) -> str:
    """A page of documentation with its generated tables made anew."""
    for name, make in TABLES.items():
        pattern = re.compile(rf"(<!-- made: {name} -->\n).*?(\n<!-- end -->)", re.DOTALL)
        text = pattern.sub(lambda match, table=make: f"{match[1]}{table()}{match[2]}", text)  # type: ignore[misc]
    return text


def main() -> None:
    """Write the sources and the tables of every page."""
    sources_write()
    for page in sorted(DOCS.rglob("*.md")):
        _write(page, page_made(page.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
