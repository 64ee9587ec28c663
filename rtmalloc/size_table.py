"""The size-class table: read rtmalloc.toml, check it, and write it as a C header.

A table file describes the small size classes either by a formula (``[generate]``) or by an explicit
ascending list (``[classes] sizes = [...]``). The same reader serves the build (``setup.py`` writes
``rtmalloc/core/_size_table.h``) and tools that work on tables. An invalid table raises
:class:`TableError`, whose message names the file, the line and the rule that is broken.

This module imports nothing but the standard library, because the build runs it before anything is installed.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:  # pragma: no cover - exercised on Python 3.10 only
    import tomli as tomllib

GRANULE = 16
"""Bytes: every class is a multiple, so every block is 16-aligned (the x86-64 and AArch64 ABI's max_align_t)."""

MAX_CLASSES = 125
"""Most small classes: a class code is class * 16 and must stay below the code of a large block, 126 * 16."""

MAX_SMALL_LIMIT = 32768
"""Bytes: the largest small class that the look-up table covers."""

SLICE_LEAST = 32768
"""Bytes of the slices that a table must suit: the default build's (RTMALLOC_SLICE_SHIFT may make them longer)."""

LARGEST_SPAN_SLICES = 16
"""Slices: the longest span; the offset inside a span must stay below 2**19 for the exact reciprocal."""


class TableError(ValueError):
    """A size-class table breaks a rule; the message reads ``file:line: rule``."""


@dataclass(frozen=True)
class SizeTable:
    """A checked table of small size classes.

    ``sizes[i]`` is the block size in bytes of class ``i + 1`` (class 0 means "no class"), ascending,
    and ``min_objects`` the number of blocks that every span holds at least.
    """

    sizes: tuple[int, ...]
    min_objects: int

    def slices(self, size: int, slice_bytes: int) -> int:
        """Slices in a span of ``size``-byte blocks: the least power of two that holds ``min_objects``.

        Powers of two keep span lengths few, so that an empty span fits the next class that wants one.
        """
        count = 1
        while count < LARGEST_SPAN_SLICES and count * slice_bytes // size < self.min_objects:
            count *= 2
        return count

    def class_of(self, size: int) -> int:
        """The class (1-based) that serves a request of ``size`` bytes, ``0 <= size <= sizes[-1]``."""
        for number, block in enumerate(self.sizes, start=1):
            if block >= size:
                return number
        raise ValueError(f"{size} bytes is above the largest class, {self.sizes[-1]}")


@dataclass(frozen=True)
class _Source:
    """The text of a table file, to find the line of what is wrong."""

    name: str
    text: str

    def line_of(self, key: str) -> int:
        """The line of ``key = ...`` or of a table header ``[key]``; 1 where it does not stand in the file."""
        pattern = re.compile(rf"^\s*(\[\s*{re.escape(key)}\s*\]|{re.escape(key)}\s*=)")
        for number, line in enumerate(self.text.splitlines(), start=1):
            if pattern.match(line):
                return number
        return 1

    def line_of_item(self, key: str, index: int) -> int:
        """The line of item ``index`` of the array ``key = [...]``."""
        start = re.search(rf"^\s*{re.escape(key)}\s*=\s*\[", self.text, re.MULTILINE)
        if start is None:
            return 1
        # Comments are blanked, not cut, so that offsets stay those of the file.
        blanked = re.sub(r"#[^\n]*", lambda m: " " * len(m.group()), self.text)
        items = list(re.finditer(r"[^\s,\]]+", blanked[start.end() :]))
        if index >= len(items):
            return self.line_of(key)
        return self.text.count("\n", 0, start.end() + items[index].start()) + 1

    def error(self, line: int, rule: str) -> TableError:
        """The error to raise for a broken ``rule`` at ``line``."""
        return TableError(f"{self.name}:{line}: {rule}")


def table_read(path: Path) -> SizeTable:
    """Read and check the table in the file ``path``.

    Raises :class:`TableError` for a table that breaks a rule and :class:`OSError` for an unreadable file.
    """
    return table_parse(path.read_text(encoding="utf-8"), name=str(path))


def table_parse(text: str, name: str = "rtmalloc.toml") -> SizeTable:
    """Read and check a table from ``text``; ``name`` stands for the file in messages.

    Raises :class:`TableError` with the line and the broken rule.
    """
    source = _Source(name, text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        line = re.search(r"line (\d+)", str(error))
        raise source.error(int(line.group(1)) if line else 1, f"not TOML: {error}") from error
    for key in document:
        if key not in ("generate", "classes", "spans", "limits"):
            raise source.error(source.line_of(key), f"unknown section [{key}]")
        if not isinstance(document[key], dict):
            raise source.error(source.line_of(key), f"[{key}] is a section")
    if ("generate" in document) == ("classes" in document):
        raise source.error(1, "exactly one of [generate] and [classes] describes the table")
    if "generate" in document:
        sizes, linear_max = _generate(source, document["generate"])
    else:
        sizes, linear_max = _explicit(source, document["classes"])
    spans = _section(source, document, "spans", {"min_objects": 16})
    limits = _section(source, document, "limits", {"max_waste": 1.0})
    most = LARGEST_SPAN_SLICES * SLICE_LEAST // sizes[-1]
    if type(spans["min_objects"]) is not int or not 1 <= spans["min_objects"] <= most:
        raise source.error(
            source.line_of("min_objects"),
            f"min_objects is a whole number from 1 to {most}: a span has at most {LARGEST_SPAN_SLICES} slices",
        )
    _check_waste(source, sizes, linear_max, limits["max_waste"], explicit="classes" in document)
    return SizeTable(tuple(sizes), spans["min_objects"])


def _section(source: _Source, document: dict[str, Any], name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The keys of section ``name`` over ``defaults``; an unknown key is an error."""
    section = document.get(name, {})
    for key in section:
        if key not in defaults:
            raise source.error(source.line_of(key), f"unknown key {key!r} in [{name}]")
    return {**defaults, **section}


def _generate(source: _Source, section: dict[str, Any]) -> tuple[list[int], int]:
    """Sizes by the formula: linear steps, then ``per_doubling`` equal steps from each power of two to the next."""
    keys = ("linear_step", "linear_max", "per_doubling", "max_small")
    for key in section:
        if key not in keys:
            raise source.error(source.line_of(key), f"unknown key {key!r} in [generate]")
    for key in keys:
        if not isinstance(section.get(key), int) or isinstance(section[key], bool):
            raise source.error(source.line_of(key if key in section else "generate"), f"{key} is a whole number")
    step, linear_max, per_doubling, max_small = (section[key] for key in keys)
    if step <= 0 or step % GRANULE:
        raise source.error(source.line_of("linear_step"), f"linear_step is a multiple of {GRANULE}")
    if linear_max < step or linear_max & (linear_max - 1) or linear_max % step:
        raise source.error(
            source.line_of("linear_max"), "linear_max is a power of two and a multiple of linear_step"
        )
    if per_doubling not in (1, 2, 4, 8, 16) or linear_max // per_doubling % GRANULE:
        raise source.error(
            source.line_of("per_doubling"),
            f"per_doubling is 1, 2, 4, 8 or 16, with linear_max / per_doubling a multiple of {GRANULE}",
        )
    if max_small & (max_small - 1) or not linear_max <= max_small <= MAX_SMALL_LIMIT:
        raise source.error(
            source.line_of("max_small"), f"max_small is a power of two from linear_max to {MAX_SMALL_LIMIT}"
        )
    sizes = list(range(step, linear_max + 1, step))
    base = linear_max
    while base < max_small:
        sizes.extend(base + base // per_doubling * k for k in range(1, per_doubling + 1))
        base *= 2
    if len(sizes) > MAX_CLASSES:
        raise source.error(
            source.line_of("generate"), f"{len(sizes)} classes, more than the {MAX_CLASSES} that a tag can name"
        )
    return sizes, linear_max


def _explicit(source: _Source, section: dict[str, Any]) -> tuple[list[int], int]:
    """Sizes from the list ``[classes] sizes``, checked one by one so that the first bad line is named."""
    for key in section:
        if key not in ("sizes", "linear_max"):
            raise source.error(source.line_of(key), f"unknown key {key!r} in [classes]")
    sizes = section.get("sizes")
    if not isinstance(sizes, list) or not sizes:
        raise source.error(source.line_of("sizes"), "sizes is a list of block sizes in bytes")
    previous = 0
    for index, size in enumerate(sizes):
        line = source.line_of_item("sizes", index)
        if not isinstance(size, int) or isinstance(size, bool) or size <= 0 or size % GRANULE:
            raise source.error(line, f"block size {size!r} is not a positive multiple of {GRANULE}")
        if size <= previous:
            raise source.error(line, f"block size {size} does not ascend from {previous}")
        if size > MAX_SMALL_LIMIT:
            raise source.error(line, f"block size {size} is above the largest small size, {MAX_SMALL_LIMIT}")
        if index >= MAX_CLASSES:
            raise source.error(line, f"more than the {MAX_CLASSES} classes that a tag can name")
        previous = size
    # Python's and malloc's callers meet the smallest sizes most; a table without them would waste silently.
    if sizes[0] != GRANULE:
        raise source.error(source.line_of_item("sizes", 0), f"the first block size is {GRANULE}")
    linear_max = section.get("linear_max", 256)
    if not isinstance(linear_max, int) or linear_max < GRANULE:
        raise source.error(source.line_of("linear_max"), "linear_max is a number of bytes")
    return sizes, linear_max


def _check_waste(source: _Source, sizes: list[int], linear_max: int, max_waste: object, explicit: bool) -> None:
    """Refuse a class above ``linear_max`` that can waste more than ``max_waste`` of its block."""
    if not isinstance(max_waste, (int, float)) or isinstance(max_waste, bool) or not 0 < max_waste <= 1:
        raise source.error(source.line_of("max_waste"), "max_waste is a fraction above 0, at most 1")
    for index, (smaller, size) in enumerate(pairwise(sizes), start=1):
        waste = (size - smaller - 1) / size
        if smaller >= linear_max and waste > max_waste:
            line = source.line_of_item("sizes", index) if explicit else source.line_of("max_waste")
            raise source.error(
                line,
                f"a request of {smaller + 1} bytes wastes {waste:.1%} of a {size}-byte block "
                f"(max_waste {max_waste:.1%})",
            )


def table_header(table: SizeTable, slice_bytes: int) -> str:
    """The table as the text of a C header for spans cut from slices of ``slice_bytes`` bytes.

    The look-up array maps (n + 15) / 16 to the *byte offset of the bin* in a heap (class * 16), which
    saves the shift on the fast path; docs/architecture.md shows where it is used.
    """
    sizes = [0, *table.sizes]
    slices = [0, *(table.slices(size, slice_bytes) for size in table.sizes)]
    largest = table.sizes[-1]
    offsets = []
    number = 1
    for granule in range(largest // GRANULE + 1):
        while table.sizes[number - 1] < granule * GRANULE:
            number += 1
        offsets.append(number * GRANULE)

    def array(values: list[int]) -> str:
        lines = [", ".join(str(v) for v in values[i : i + 24]) for i in range(0, len(values), 24)]
        return ",\n    ".join(lines)

    return f"""/* Generated by rtmalloc/size_table.py from rtmalloc.toml; do not edit. */
#ifndef RT_SIZE_TABLE_H
#define RT_SIZE_TABLE_H
#include <stdint.h>
enum {{
    RT_CLASS_COUNT = {len(sizes)}, /* with class 0, "no class" */
    RT_MAX_SMALL = {largest},      /* bytes */
}};
static const uint32_t rt_class_size[RT_CLASS_COUNT] = {{
    {array(sizes)}}};
static const uint8_t rt_class_slices[RT_CLASS_COUNT] = {{
    {array(slices)}}};
/* rt_bin_offset[(n + 15) / 16]: offset of the bin that serves n bytes, from a heap's bin 0. */
static const uint16_t rt_bin_offset[RT_MAX_SMALL / 16 + 1] = {{
    {array(offsets)}}};
#endif
"""
