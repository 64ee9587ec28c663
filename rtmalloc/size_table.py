"""The size-class table: read rtmalloc.toml, check it, and write it as a C header or as a file for the core.

A table file describes the small size classes either by a formula (``[generate]``) or by an explicit
ascending list (``[classes] sizes = [...]``). The same reader serves the build (``setup.py`` writes
``rtmalloc/core/_size_table.h``) and tools that work on tables. An invalid table raises
:class:`TableError`, whose message names the file, the line and the rule that is broken.

A process that starts with ``RTMALLOC_OPTIONS=config=FILE`` takes another table than the built one. It reads what
:func:`table_compile` has written, plain numbers, and checks only what memory safety hangs on
(``rtmalloc/core/base/table_file.pxd``).

This module imports nothing but the standard library, because the build runs it before anything is installed.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
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

SLICE_LEAST = 16384
"""Bytes of the slices that a table must suit: the default build's (RTMALLOC_SLICE_SHIFT may make them longer)."""

LARGEST_SPAN_SLICES = 32
"""Slices: the longest span; the offset inside a span must stay below 2**19 for the exact reciprocal."""

TINY_MAX = 128
"""Bytes: blocks up to this size get spans of TINY_SPAN bytes at least. Short spans save memory where several threads
have half-used ones of many classes; of tiny blocks a long span's unused part is not even touched."""

TINY_SPAN = 32768
"""Bytes: see TINY_MAX."""

COMPILED_MAGIC = int.from_bytes(b"RTCS", "little")
COMPILED_VERSION = 1
"""The first two words of a compiled table."""

RULES = {
    "toml": "not TOML",
    "section": "unknown section",
    "table": "a section is written [name], with its keys below",
    "one": "exactly one of [generate] and [classes] describes the table",
    "key": "unknown key",
    "linear_step": f"linear_step is a whole number, a positive multiple of {GRANULE}",
    "linear_max": "linear_max is a whole number, a power of two and a multiple of linear_step",
    "per_doubling": "per_doubling is a whole number, 1, 2, 4, 8 or 16, "
    f"with linear_max / per_doubling a multiple of {GRANULE}",
    "max_small": f"max_small is a whole number, a power of two from linear_max to {MAX_SMALL_LIMIT}",
    "classes": f"more than the {MAX_CLASSES} classes that a tag can name",
    "sizes": "sizes is a list of block sizes in bytes",
    "multiple": f"a block size is a whole number, a positive multiple of {GRANULE}",
    "ascending": "a block size does not ascend from the one before",
    "largest": f"a block size is above the largest small size, {MAX_SMALL_LIMIT}",
    "first": f"the first block size is {GRANULE}",
    "linear_bytes": f"linear_max of [classes] is a whole number of bytes, at least {GRANULE}",
    "min_objects": "min_objects is a whole number from 1 to what the longest span holds of the largest block",
    "max_waste": "max_waste is a fraction above 0, at most 1",
    "waste": "a class above linear_max may waste more of a block than max_waste",
}
"""Every rule that a table file must keep, by the name under which errors know it."""


class TableError(ValueError):
    """A size-class table breaks a rule; the message reads ``file:line: rule``, perhaps with a detail behind it."""

    def __init__(self, message: str, line: int, rule: str) -> None:
        """An error with its ``message``, for the broken ``rule`` at ``line``."""
        super().__init__(message)
        self.line = line
        self.rule = rule
        """The key of the broken rule in :data:`RULES`."""


@dataclass(frozen=True)
class SizeTable:
    """A checked table of small size classes.

    ``sizes[i]`` is the block size in bytes of class ``i + 1`` (class 0 means "no class"), ascending,
    and ``min_objects`` the number of blocks that every span holds at least.
    """

    sizes: tuple[int, ...]
    min_objects: int

    def slices(self, size: int, slice_bytes: int) -> int:
        """Slices in a span of ``size``-byte blocks: the least power of two that holds ``min_objects`` (and TINY_SPAN).

        Powers of two keep span lengths few, so that an empty span fits the next class that wants one.
        """
        count = max(1, TINY_SPAN // slice_bytes) if size <= TINY_MAX else 1
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

    def line_of(self, key: str, section: str = "") -> int:
        """The line of ``key = ...`` in ``section``, or of the header ``[key]``; 1 where there is none."""
        header = re.compile(r"^\s*\[\s*([\w-]+)\s*\]")
        pattern = re.compile(rf"^\s*{re.escape(key)}\s*=")
        now = ""
        for number, line in enumerate(self.text.splitlines(), start=1):
            begins = header.match(line)
            now = begins.group(1) if begins else now
            if (begins and not section and now == key) or (now == section and pattern.match(line)):
                return number
        return 1

    def line_of_item(self, key: str, index: int, section: str) -> int:
        """The line of item ``index`` of the array ``key = [...]`` in ``section``."""
        before = "".join(self.text.splitlines(keepends=True)[: self.line_of(key, section) - 1])
        start = re.compile(rf"\s*{re.escape(key)}\s*=\s*\[").match(self.text, len(before))
        if start is None:
            return 1
        # Comments are blanked, not cut, so that offsets stay those of the file.
        blanked = re.sub(r"#[^\n]*", lambda m: " " * len(m.group()), self.text)
        items = list(re.finditer(r"[^\s,\]]+", blanked[start.end() :]))
        if index >= len(items):
            return self.line_of(key, section)
        return self.text.count("\n", 0, start.end() + items[index].start()) + 1

    def error(self, line: int, rule: str, detail: str = "") -> TableError:
        """The error to raise for a broken rule of :data:`RULES` at ``line``."""
        return TableError(f"{self.name}:{line}: {RULES[rule]}{detail}", line, rule)


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
        raise source.error(int(line.group(1)) if line else 1, "toml", f": {error}") from error
    for key in document:
        if key not in ("generate", "classes", "spans", "limits"):
            raise source.error(source.line_of(key), "section", f" [{key}]")
        if not isinstance(document[key], dict):
            raise source.error(source.line_of(key), "table", f", and {key} is not")
    if ("generate" in document) == ("classes" in document):
        raise source.error(1, "one")
    if "generate" in document:
        sizes, linear_max = _generate(source, document["generate"])
    else:
        sizes, linear_max = _explicit(source, document["classes"])
    spans = _section(source, document, "spans", {"min_objects": 16})
    limits = _section(source, document, "limits", {"max_waste": 1.0})
    most = LARGEST_SPAN_SLICES * SLICE_LEAST // sizes[-1]
    if type(spans["min_objects"]) is not int or not 1 <= spans["min_objects"] <= most:
        raise source.error(source.line_of("min_objects", "spans"), "min_objects", f": {most}")
    _check_waste(source, sizes, linear_max, limits["max_waste"], explicit="classes" in document)
    return SizeTable(tuple(sizes), spans["min_objects"])


def _unknown_key(source: _Source, section: dict[str, Any], name: str, known: tuple[str, ...]) -> None:
    """Refuse the first key of section ``name`` that is not among ``known``."""
    for key in section:
        if key not in known:
            raise source.error(source.line_of(key, name), "key", f" {key!r} in [{name}]")


def _section(source: _Source, document: dict[str, Any], name: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The keys of section ``name`` over ``defaults``; an unknown key is an error."""
    section = document.get(name, {})
    _unknown_key(source, section, name, tuple(defaults))
    return {**defaults, **section}


def _generate(source: _Source, section: dict[str, Any]) -> tuple[list[int], int]:
    """Sizes by the formula: linear steps, then ``per_doubling`` equal steps from each power of two to the next."""
    keys = ("linear_step", "linear_max", "per_doubling", "max_small")
    _unknown_key(source, section, "generate", keys)

    def refuse(key: str) -> TableError:
        return source.error(source.line_of(key, "generate") if key in section else source.line_of("generate"), key)

    for key in keys:
        if type(section.get(key)) is not int:
            raise refuse(key)
    step, linear_max, per_doubling, max_small = (section[key] for key in keys)
    if step <= 0 or step % GRANULE:
        raise refuse("linear_step")
    if linear_max < step or linear_max & (linear_max - 1) or linear_max % step:
        raise refuse("linear_max")
    if per_doubling not in (1, 2, 4, 8, 16) or linear_max // per_doubling % GRANULE:
        raise refuse("per_doubling")
    if max_small & (max_small - 1) or not linear_max <= max_small <= MAX_SMALL_LIMIT:
        raise refuse("max_small")
    if step != GRANULE:
        raise source.error(source.line_of("linear_step", "generate"), "first", f", not {step}")
    sizes = list(range(step, linear_max + 1, step))
    base = linear_max
    while base < max_small:
        sizes.extend(base + base // per_doubling * k for k in range(1, per_doubling + 1))
        base *= 2
    if len(sizes) > MAX_CLASSES:
        raise source.error(source.line_of("generate"), "classes", f": {len(sizes)}")
    return sizes, linear_max


def _explicit(source: _Source, section: dict[str, Any]) -> tuple[list[int], int]:
    """Sizes from the list ``[classes] sizes``, checked one by one so that the first bad line is named."""
    _unknown_key(source, section, "classes", ("sizes", "linear_max"))
    sizes = section.get("sizes")
    if not isinstance(sizes, list) or not sizes:
        raise source.error(
            source.line_of("sizes", "classes") if sizes is not None else source.line_of("classes"), "sizes"
        )
    previous = 0
    for index, size in enumerate(sizes):
        line = source.line_of_item("sizes", index, "classes")
        if type(size) is not int or size <= 0 or size % GRANULE:
            raise source.error(line, "multiple", f": {size!r}")
        if size <= previous:
            raise source.error(line, "ascending", f": {previous}, {size}")
        if size > MAX_SMALL_LIMIT:
            raise source.error(line, "largest", f": {size}")
        if index >= MAX_CLASSES:
            raise source.error(line, "classes")
        previous = size
    # Python's and malloc's callers meet the smallest sizes most; a table without them would waste silently.
    if sizes[0] != GRANULE:
        raise source.error(source.line_of_item("sizes", 0, "classes"), "first", f", not {sizes[0]}")
    linear_max = section.get("linear_max", 256)
    if type(linear_max) is not int or linear_max < GRANULE:
        raise source.error(source.line_of("linear_max", "classes"), "linear_bytes")
    return sizes, linear_max


def _check_waste(source: _Source, sizes: list[int], linear_max: int, max_waste: object, explicit: bool) -> None:
    """Refuse a class above ``linear_max`` that can waste more than ``max_waste`` of its block."""
    if not isinstance(max_waste, (int, float)) or isinstance(max_waste, bool) or not 0 < max_waste <= 1:
        raise source.error(source.line_of("max_waste", "limits"), "max_waste")
    for index, (smaller, size) in enumerate(pairwise(sizes), start=1):
        # The unluckiest request above linear_max that this class serves.
        least = max(smaller, linear_max) + 1
        waste = (size - least) / size
        if waste > max_waste:
            raise source.error(
                source.line_of_item("sizes", index, "classes") if explicit else source.line_of("max_waste", "limits"),
                "waste",
                f": a request of {least} bytes wastes {waste:.1%} of a {size}-byte block, "
                f"and max_waste is {max_waste:.1%}",
            )


def _array(values: list[int]) -> str:
    """Numbers as the body of a C initialiser in a macro."""
    lines = [", ".join(str(v) for v in values[i : i + 24]) for i in range(0, len(values), 24)]
    return ", \\\n    ".join(lines)


def table_header(table: SizeTable, slice_bytes: int) -> str:
    """The table as the text of a C header for spans cut from slices of ``slice_bytes`` bytes.

    The look-up array maps (n + 15) / 16 to the *byte offset of the bin* in a heap (class * 16), which
    saves the shift on the fast path; docs/design/base.md shows where it is used.
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

    return f"""/* Generated by rtmalloc/size_table.py from rtmalloc.toml; do not edit. */
#ifndef RT_SIZE_TABLE_H
#define RT_SIZE_TABLE_H
enum {{
    RT_MAX_SMALL = {largest},      /* bytes: the largest class that this build has room for */
    RT_CLASSES_BUILT = {len(sizes)}, /* with class 0, "no class" */
    RT_CLASSES_MOST = {MAX_CLASSES + 1},
    RT_LARGEST_SPAN_SLICES = {LARGEST_SPAN_SLICES},
    RT_LARGEST_SPAN_BYTES = {LARGEST_SPAN_SLICES * SLICE_LEAST},
    RT_TABLE_MAGIC = {COMPILED_MAGIC},
    RT_TABLE_VERSION = {COMPILED_VERSION},
}};
#define RT_BUILT_CLASS_SIZE {{ \\
    {_array(sizes)}}}
#define RT_BUILT_CLASS_SLICES {{ \\
    {_array(slices)}}}
/* [(n + 15) / 16]: offset of the bin that serves n bytes, from a heap's bin 0. */
#define RT_BUILT_BIN_OFFSET {{ \\
    {_array(offsets)}}}
#endif
"""


def table_compile(table: SizeTable, slice_bytes: int) -> bytes:
    """The table as a file for ``RTMALLOC_OPTIONS=config=``, for a build with slices of ``slice_bytes`` bytes.

    32-bit little-endian words: magic, version, ``slice_bytes``, the number of classes; of each class the bytes of a
    block and the slices of a span; a checksum of all words before it (FNV-1a over words).
    """
    words = [COMPILED_MAGIC, COMPILED_VERSION, slice_bytes, len(table.sizes)]
    for size in table.sizes:
        words += [size, table.slices(size, slice_bytes)]
    words.append(words_checksum(words))
    return b"".join(word.to_bytes(4, "little") for word in words)


def words_checksum(words: Iterable[int]) -> int:
    """FNV-1a over 32-bit words, as ``rt_table_checksum`` of ``rtmalloc/core/base/size_table.h``."""
    value = 2166136261
    for word in words:
        value = (value ^ word) * 16777619 & 0xFFFFFFFF
    return value
