"""The size-class table: the default one exhaustively, every rule's error with its line, and random tables."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtmalloc.size_table import (
    GRANULE,
    LARGEST_SPAN_SLICES,
    MAX_CLASSES,
    MAX_SMALL_LIMIT,
    TINY_MAX,
    TINY_SPAN,
    SizeTable,
    TableError,
    table_header,
    table_parse,
    table_read,
)

from .building import ROOT

SLICE = 16384
DEFAULT = (ROOT / "rtmalloc.toml").read_text(encoding="utf-8")


def header_arrays(table: SizeTable, slice_bytes: int) -> dict[str, list[int]]:
    """The arrays of the generated C header, by name."""
    text = table_header(table, slice_bytes)
    found = re.findall(r"#define RT_BUILT_(\w+) \{([^}]*)\}", text)
    return {f"rt_{name.lower()}": [int(number) for number in re.findall(r"\d+", body)] for name, body in found}


def check_table(table: SizeTable, slice_bytes: int = SLICE) -> None:
    """What must hold of any table, and of the header made of it."""
    sizes = table.sizes
    assert sizes[0] == GRANULE and list(sizes) == sorted(set(sizes)) and len(sizes) <= MAX_CLASSES
    assert all(size % GRANULE == 0 and size <= MAX_SMALL_LIMIT for size in sizes)
    arrays = header_arrays(table, slice_bytes)
    assert arrays["rt_class_size"] == [0, *sizes]
    assert len(arrays["rt_bin_offset"]) == sizes[-1] // GRANULE + 1
    for size in range(0, sizes[-1] + 1):
        # As the C code does it: one look-up by the size in granules, rounded up.
        number = arrays["rt_bin_offset"][(size + 15) // 16] // 16
        assert sizes[number - 1] >= size, f"{size} bytes do not fit class {number}"
        assert number == 1 or sizes[number - 2] < size, f"{size} bytes would fit a smaller class than {number}"
    for size, slices in zip(sizes, arrays["rt_class_slices"][1:], strict=True):
        assert slices in (1, 2, 4, 8, 16, 32) and slices <= LARGEST_SPAN_SLICES
        enough = slices * slice_bytes // size >= table.min_objects
        assert enough or slices == LARGEST_SPAN_SLICES
        tiny = size <= TINY_MAX and slices * slice_bytes == TINY_SPAN
        shorter = slices // 2 * slice_bytes // size
        assert slices == 1 or tiny or shorter < table.min_objects, "no longer than it must be"
        assert size > TINY_MAX or slices * slice_bytes >= TINY_SPAN


# ---- the default table


def test_default_table() -> None:
    table = table_read(ROOT / "rtmalloc.toml")
    check_table(table)
    check_table(table, 65536)
    assert table.sizes[-1] == 32768
    assert len(table.sizes) == 72
    for size in range(table.sizes[-1] + 1):
        assert table.class_of(size) == next(n for n, block in enumerate(table.sizes, start=1) if block >= size)
    with pytest.raises(ValueError, match="above the largest class"):
        table.class_of(table.sizes[-1] + 1)


def test_default_waste() -> None:
    # design.md, item 12: above 256 B at most 1/9 of a block is waste, for the least lucky size.
    table = table_read(ROOT / "rtmalloc.toml")
    worst = 0.0
    for size in range(257, table.sizes[-1] + 1):
        block = table.sizes[table.class_of(size) - 1]
        worst = max(worst, (block - size) / block)
    assert 0.10 < worst <= 1 / 9


def test_default_spans_hold_enough() -> None:
    table = table_read(ROOT / "rtmalloc.toml")
    for size in table.sizes:
        assert table.slices(size, SLICE) * SLICE // size >= table.min_objects
        # Nor does the cut leave more than a few percent of the span unused.
        span = table.slices(size, SLICE) * SLICE
        assert span % size / span <= 0.0625, size


def test_built_header_is_of_this_table() -> None:
    header = ROOT / "rtmalloc" / "core" / "base" / "_size_table.h"
    assert header.read_text() == table_header(table_read(ROOT / "rtmalloc.toml"), SLICE), "stale: run `make build`"


# ---- errors name the line


def edited(old: str, new: str) -> str:
    assert old in DEFAULT, f"{old!r} is not in rtmalloc.toml any more"
    return DEFAULT.replace(old, new)


def line_of(text: str, part: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), start=1) if line.startswith(part))


GENERATE_ERRORS = [
    ("linear_step = 16", "linear_step = 8", "multiple of 16"),
    ("linear_step = 16", "linear_step = 0", "multiple of 16"),
    ("linear_step = 16", "linear_step = -16", "multiple of 16"),
    ("linear_step = 16", "linear_step = 16.0", "whole number"),
    ("linear_step = 16", 'linear_step = "16"', "whole number"),
    ("linear_step = 16", "linear_step = true", "whole number"),
    ("linear_max = 256", "linear_max = 250", "power of two"),
    ("linear_max = 256", "linear_max = 8", "power of two"),
    ("per_doubling = 8", "per_doubling = 3", "1, 2, 4, 8 or 16"),
    ("per_doubling = 8", "per_doubling = 32", "1, 2, 4, 8 or 16"),
    ("per_doubling = 8", "per_doubling = 0", "1, 2, 4, 8 or 16"),
    ("max_small = 32768", "max_small = 30000", "power of two"),
    ("max_small = 32768", "max_small = 65536", "power of two"),
    ("max_small = 32768", "max_small = 128", "power of two"),
    ("min_objects = 16", "min_objects = 0", "whole number from 1"),
    ("min_objects = 16", "min_objects = 65", "whole number from 1"),
    ("min_objects = 16", "min_objects = 1.5", "whole number from 1"),
    ("max_waste = 0.1112", "max_waste = 0", "fraction"),
    ("max_waste = 0.1112", "max_waste = 1.5", "fraction"),
    ("max_waste = 0.1112", "max_waste = nan", "fraction"),
    ("max_waste = 0.1112", "max_waste = true", "fraction"),
    ("max_waste = 0.1112", 'max_waste = "much"', "fraction"),
    ("max_waste = 0.1112", "max_waste = 0.05", "wastes"),
    ("per_doubling = 8", "per_doubling = 8\nper_tripling = 1", "unknown key 'per_tripling'"),
    ("min_objects = 16", "min_objects = 16\nmost_objects = 1", "unknown key 'most_objects'"),
    ("max_waste = 0.1112", "max_waste = 0.1112\nmax_taste = 1", "unknown key 'max_taste'"),
    ("[limits]", "[unlimited]\n[limits]", r"unknown section \[unlimited\]"),
    ("[limits]", "[limits", "not TOML"),
]


@pytest.mark.parametrize(("old", "new", "rule"), GENERATE_ERRORS, ids=lambda value: str(value)[:30])
def test_error_names_its_line(old: str, new: str, rule: str) -> None:
    text = edited(old, new)
    with pytest.raises(TableError, match=rule) as caught:
        table_parse(text, name="some.toml")
    place = re.match(r"some\.toml:(\d+): ", str(caught.value))
    assert place is not None, caught.value
    # The last line of the replacement, but for an unknown section before an old one.
    wrong = new.splitlines()[0] if new.startswith("[") else new.splitlines()[-1]
    assert int(place.group(1)) == line_of(text, wrong), caught.value


@pytest.mark.parametrize("key", ["linear_step", "linear_max", "per_doubling", "max_small"])
def test_missing_key(key: str) -> None:
    text = re.sub(rf"^{key} = .*$", "", DEFAULT, flags=re.MULTILINE)
    with pytest.raises(TableError, match=f"{key} is a whole number") as caught:
        table_parse(text, name="t")
    assert str(caught.value).startswith(f"t:{line_of(text, '[generate]')}: ")


def test_line_of_waste_does_not_hang_on_a_comment() -> None:
    text = "# about block sizes\n" + edited("max_waste = 0.1112", "max_waste = 0.05")
    with pytest.raises(TableError, match="wastes") as caught:
        table_parse(text, name="t")
    assert str(caught.value).startswith(f"t:{line_of(text, 'max_waste = 0.05')}: ")


@pytest.mark.parametrize(
    "text",
    ["", "[spans]\nmin_objects = 16\n", DEFAULT + "\n[classes]\nsizes = [16, 32]\n"],
    ids=["empty", "neither", "both"],
)
def test_exactly_one_description(text: str) -> None:
    with pytest.raises(TableError, match="exactly one of"):
        table_parse(text)


@pytest.mark.parametrize("text", ["generate = 3", "classes = [16, 32]", "[[generate]]\nlinear_step = 16"])
def test_a_section_must_be_a_section(text: str) -> None:
    with pytest.raises(TableError):
        table_parse(text)


@pytest.mark.parametrize("section", ["spans", "limits"])
def test_an_optional_section_must_be_a_section(section: str) -> None:
    with pytest.raises(TableError):
        table_parse(f"{section} = 5\n[classes]\nsizes = [16, 32]\n")


def test_too_many_classes() -> None:
    text = edited("linear_max = 256", "linear_max = 4096")
    with pytest.raises(TableError, match="more than the 125") as caught:
        table_parse(text, name="t")
    assert str(caught.value).startswith(f"t:{line_of(text, '[generate]')}: ")


def test_boolean_is_no_number_of_objects() -> None:
    with pytest.raises(TableError, match="whole number"):
        table_parse(edited("min_objects = 16", "min_objects = true"))


def test_min_objects_is_kept_or_refused() -> None:
    # "At least min_objects fit into each span" says rtmalloc.toml; the longest span must hold so many of the largest.
    try:
        table = table_parse(edited("min_objects = 16", "min_objects = 64"))
    except TableError as error:
        assert "min_objects" in str(error)
        return
    assert all(table.slices(size, SLICE) * SLICE // size >= 64 for size in table.sizes)


# ---- the explicit form


def explicit(sizes: list[int | str], extra: str = "") -> str:
    """A table with each size on its own line, comments between, from line 4 on."""
    lines = "".join(f"    {size}, # class\n" for size in sizes)
    return f"# sizes = [1, 2]\n[classes]\nsizes = [\n{lines}]\n{extra}"


def test_explicit_form() -> None:
    table = table_parse(explicit([16, 32, 64, 4096]))
    assert table.sizes == (16, 32, 64, 4096)
    assert table.min_objects == 16
    check_table(table)


@pytest.mark.parametrize(
    ("sizes", "wrong", "rule"),
    [
        ([16, 32, 40, 64], 2, "multiple of 16"),
        ([16, 32, 0], 2, "multiple of 16"),
        ([16, -32], 1, "multiple of 16"),
        ([16, 32, "64.0"], 2, "multiple of 16"),
        ([16, "true"], 1, "multiple of 16"),
        ([16, "'32'"], 1, "multiple of 16"),
        ([16, 64, 32], 2, "does not ascend"),
        ([16, 64, 64], 2, "does not ascend"),
        ([16, 32, 32784], 2, "above the largest"),
        ([32, 64], 0, "first block size is 16"),
        (list(range(16, 16 * 127, 16)), 125, "more than the 125"),
    ],
    ids=str,
)
def test_explicit_error_names_its_line(sizes: list[int | str], wrong: int, rule: str) -> None:
    with pytest.raises(TableError, match=rule) as caught:
        table_parse(explicit(sizes), name="t")
    assert str(caught.value).startswith(f"t:{4 + wrong}: "), caught.value


@pytest.mark.parametrize("value", ["[]", "16", '"16"', "{}"])
def test_explicit_sizes_must_be_a_list(value: str) -> None:
    with pytest.raises(TableError, match="list of block sizes") as caught:
        table_parse(f"[classes]\nsizes = {value}\n", name="t")
    assert str(caught.value).startswith("t:2: ")


def test_explicit_waste_names_the_class() -> None:
    with pytest.raises(TableError, match="513 bytes wastes") as caught:
        table_parse(explicit([16, 256, 288, 512, 1024], "[limits]\nmax_waste = 0.45\n"), name="t")
    assert str(caught.value).startswith("t:8: ")


def test_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        table_read(tmp_path / "none.toml")


# ---- random tables

EXPLICIT_SIZES = st.sets(st.integers(2, MAX_SMALL_LIMIT // GRANULE), max_size=MAX_CLASSES - 1).map(
    lambda granules: [GRANULE, *(GRANULE * n for n in sorted(granules))]
)


@given(sizes=EXPLICIT_SIZES, min_objects=st.integers(1, 16))
def test_any_explicit_table(sizes: list[int | str], min_objects: int) -> None:
    table = table_parse(explicit(sizes, f"[spans]\nmin_objects = {min_objects}\n"))
    assert list(table.sizes) == sizes
    check_table(table)


@given(
    step=st.integers(-1, 40),
    linear_max=st.one_of(st.sampled_from([16 << n for n in range(12)]), st.integers(0, 5000)),
    per_doubling=st.integers(0, 20),
    max_small=st.one_of(st.sampled_from([256 << n for n in range(9)]), st.integers(0, 70000)),
)
def test_any_formula_is_valid_or_refused(step: int, linear_max: int, per_doubling: int, max_small: int) -> None:
    step *= 16
    text = (
        f"[generate]\nlinear_step = {step}\nlinear_max = {linear_max}\n"
        f"per_doubling = {per_doubling}\nmax_small = {max_small}\n"
    )
    try:
        table = table_parse(text, name="t")
    except TableError as error:
        assert re.match(r"t:[1-5]: ", str(error))
        return
    assert table.sizes[-1] == max_small
    check_table(table)


@given(text=st.text(max_size=200))
def test_any_text_is_a_table_or_a_table_error(text: str) -> None:
    with pytest.raises(TableError):
        table_parse(text)
