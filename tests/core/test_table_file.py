"""A table of size classes that a process reads when it starts: what it takes, what it refuses, what it makes of it."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmalloc import _core
from rtmalloc.size_table import (
    COMPILED_MAGIC,
    COMPILED_VERSION,
    LARGEST_SPAN_SLICES,
    MAX_CLASSES,
    MAX_SMALL_LIMIT,
    SLICE_LEAST,
    table_compile,
    table_parse,
    table_read,
    words_checksum,
)

from .building import ASAN, PLAIN, PRELOAD, ROOT, driver, environment_of, run

SLICE = _core.slice_bytes()
DEFAULT = table_compile(table_read(ROOT / "rtmalloc.toml"), SLICE)
STAYS = "rtmalloc: the built-in table stays; config "


def words_of(data: bytes) -> list[int]:
    return [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data), 4)]


def file_of(words: list[int]) -> bytes:
    return b"".join((word & 0xFFFFFFFF).to_bytes(4, "little") for word in words)


def sealed(words: list[int]) -> bytes:
    """A file of these words and their checksum."""
    return file_of([*words, words_checksum(word & 0xFFFFFFFF for word in words)])


def is_safe(data: bytes) -> bool:
    """What memory safety hangs on, said once more in other words than the core's."""
    words = words_of(data)
    if len(data) % 4 or len(words) < 5 or words[:3] != [COMPILED_MAGIC, COMPILED_VERSION, SLICE]:
        return False
    classes = list(zip(words[4:-1:2], words[5:-1:2], strict=False))
    sizes = [size for size, _ in classes]
    return (
        1 <= words[3] == len(classes) <= MAX_CLASSES
        and len(words) == 5 + 2 * len(classes)
        and words[-1] == words_checksum(words[:-1])
        and sizes == sorted(set(sizes))
        and all(0 < size <= MAX_SMALL_LIMIT and size % 16 == 0 for size in sizes)
        and all(slices in (1, 2, 4, 8, 16, 32) for _, slices in classes)
        and all(size <= slices * SLICE <= LARGEST_SPAN_SLICES * SLICE_LEAST for size, slices in classes)
    )


# ---- what a file must be


def test_the_format() -> None:
    words = words_of(DEFAULT)
    assert DEFAULT[:4] == b"RTCS" and words[1:4] == [1, SLICE, 72]
    assert words[4:8] == [16, 2, 32, 2] and words[-3:-1] == [32768, 32] and len(words) == 4 + 2 * 72 + 1
    assert _core.size_table_problem(DEFAULT) is None


EXPLICIT = st.sets(st.integers(2, MAX_SMALL_LIMIT // 16), max_size=MAX_CLASSES - 1).map(
    lambda found: [16, *(16 * n for n in sorted(found))]
)


@settings(max_examples=300, deadline=None)
@given(sizes=EXPLICIT, objects=st.integers(1, 16))
def test_every_table_that_keeps_the_rules_is_taken(sizes: list[int], objects: int) -> None:
    table = table_parse(f"[classes]\nsizes = {sizes}\n[spans]\nmin_objects = {objects}\n")
    data = table_compile(table, SLICE)
    assert _core.size_table_problem(data) is None and is_safe(data)
    assert "slices of another size" in str(_core.size_table_problem(table_compile(table, 2 * SLICE)))


WORDS = st.one_of(
    st.integers(0, 40).map(lambda n: 16 * n), st.integers(0, 2**32 - 1), st.sampled_from([1, 2, 4, 32, 64])
)


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_wrong_numbers_under_a_right_checksum(data: st.DataObject) -> None:
    words = words_of(DEFAULT)[:-1]
    for _ in range(data.draw(st.integers(0, 3))):
        words[data.draw(st.integers(0, len(words) - 1))] = data.draw(WORDS)
    file = sealed(words[: data.draw(st.integers(4, len(words)))] if data.draw(st.booleans()) else words)
    assert (_core.size_table_problem(file) is None) == is_safe(file)


@settings(max_examples=500, deadline=None)
@given(classes=st.lists(st.tuples(WORDS, WORDS), max_size=130), count=st.none() | WORDS)
def test_any_numbers_under_a_right_checksum(classes: list[tuple[int, int]], count: int | None) -> None:
    pairs = sorted(classes)
    number = len(pairs) if count is None else count
    file = sealed([COMPILED_MAGIC, COMPILED_VERSION, SLICE, number, *(word for pair in pairs for word in pair)])
    assert (_core.size_table_problem(file) is None) == is_safe(file)


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_any_damage_is_seen(data: st.DataObject) -> None:
    damaged = bytearray(DEFAULT)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    file = bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    if data.draw(st.booleans()):
        file = bytes(damaged) + data.draw(st.binary(max_size=3000))
    assert (_core.size_table_problem(file) is None) == (file == DEFAULT)


@settings(max_examples=300, deadline=None)
@given(file=st.binary(max_size=2000))
def test_any_bytes_are_refused(file: bytes) -> None:
    assert _core.size_table_problem(file) is not None
    assert _core.size_table_problem(DEFAULT[:4] + file) is not None


# ---- processes

SIZES_SMALL = [16, 32, 64, 128, 256, 512, 1008, 2048, 5008, 10000]


def table_file(directory: Path, sizes: list[int]) -> Path:
    path = directory / "table.classes"
    path.write_bytes(table_compile(table_parse(f"[classes]\nsizes = {sizes}\n"), SLICE))
    return path


PROGRAM = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
print([libc.malloc_usable_size(libc.malloc(n)) for n in (1, 33, 513, 1009, 9999, 10001, 20000, 32768, 40000)])
"""


def usable(options: str, program: str = PROGRAM) -> tuple[list[int], str]:
    done = run([sys.executable, "-c", program], environment={"LD_PRELOAD": str(PRELOAD), "RTMALLOC_OPTIONS": options})
    assert done.returncode == 0, done.stderr
    return [int(n) for n in re.findall(r"\d+", done.stdout)], done.stderr


def test_a_process_uses_the_table(tmp_path: Path) -> None:
    # Above its largest class everything is a run of 16 KiB slices.
    sizes, said = usable(f"config={table_file(tmp_path, SIZES_SMALL)}")
    assert sizes == [16, 64, 1008, 2048, 10000, 16384, 32768, 32768, 49152] and said == ""
    assert usable("")[0][:5] == [16, 48, 576, 1024, 10240]


def refused(options: str) -> str:
    """The one line with which a process refuses its table; it goes on with the built-in one."""
    sizes, stderr = usable(options)
    assert sizes[:5] == [16, 48, 576, 1024, 10240] and len(stderr.splitlines()) == 1, stderr
    return stderr.rstrip("\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[classes]\nsizes = [16, 32]\n", "no compiled table: run `rtmalloc classes compile` on it"),
        (b"#" * 40000, "no compiled table: run `rtmalloc classes compile` on it"),
        (b"", "no compiled table: run `rtmalloc classes compile` on it"),
        (DEFAULT[:-4], "damaged or cut off: run `rtmalloc classes compile` again"),
        (DEFAULT[:40] + b"\0" + DEFAULT[41:], "damaged or cut off: run `rtmalloc classes compile` again"),
        (DEFAULT + b"\0", "damaged or cut off: run `rtmalloc classes compile` again"),
        (sealed([COMPILED_MAGIC, 2, SLICE, 1, 16, 2]), "compiled by another version or for slices of another size"),
        (sealed([COMPILED_MAGIC, 1, 4096, 1, 16, 2]), "compiled by another version or for slices of another size"),
        (sealed([COMPILED_MAGIC, 1, SLICE, 2, 16, 2, 16, 2]), "a block's size or a span's length is none that"),
        (sealed([COMPILED_MAGIC, 1, SLICE, 1, 16, 3]), "a block's size or a span's length is none that"),
    ],
    ids=["toml", "long", "empty", "cut", "damaged", "longer", "version", "slices", "ascending", "span"],
)
def test_an_invalid_file_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_bytes(content)
    line = refused(f"config={path}")
    assert line.startswith(STAYS) and f"wrong.toml: {said}" in line
    # Python, which checks before a start, says the same.
    assert said in str(_core.size_table_problem(content))


def test_no_file(tmp_path: Path) -> None:
    assert refused(f"config={tmp_path / 'none'}") == f"{STAYS}{tmp_path}/none: cannot be read"
    assert "cannot be read" in refused(f"config={tmp_path}")
    assert "the path is too long" in usable("config=" + "x" * 2000)[1]
    assert refused(f"config={'x' * 90}") == f"{STAYS}{'x' * 80}: cannot be read"


EVERY_SIZE = PROGRAM.replace("(1, 33, 513, 1009, 9999, 10001, 20000, 32768, 40000)", "range(32769)")


@settings(max_examples=12, deadline=None)
@given(sizes=EXPLICIT)
def test_every_size_gets_its_class(tmp_path_factory: pytest.TempPathFactory, sizes: list[int]) -> None:
    path = table_file(tmp_path_factory.mktemp("table"), sizes)
    found, said = usable(f"config={path}", EVERY_SIZE)
    assert said == ""
    classes = iter(sizes)
    size = next(classes)
    for asked, got in enumerate(found):
        while asked > size:
            size = next(classes, 1 << 30)
        assert got == size or (size == 1 << 30 and got >= asked and got % SLICE == 0), (asked, got)


def test_children_inherit_it(tmp_path: Path) -> None:
    options = f"config={table_file(tmp_path, SIZES_SMALL)}"
    fork = f"""{PROGRAM}
import os
pid = os.fork()
if pid == 0:
    print(libc.malloc_usable_size(libc.malloc(1009)), flush=True)
    os._exit(0)
os.waitpid(pid, 0)"""
    done = run([sys.executable, "-c", fork], environment={"LD_PRELOAD": str(PRELOAD), "RTMALLOC_OPTIONS": options})
    assert "2048" in done.stdout.splitlines()
    shell = run(
        ["sh", "-c", f"{sys.executable} -c '{PROGRAM}'"],
        environment={"LD_PRELOAD": str(PRELOAD), "RTMALLOC_OPTIONS": options},
    )
    assert "[16, 64, 1008, 2048" in shell.stdout


ODD = [16, 48, *range(112, 1200, 80), *range(1344, 16000, 1040), 32768]
TABLES = pytest.mark.parametrize(
    "sizes", [SIZES_SMALL, [16, 48, 32768], [16 * n for n in range(1, 126)], ODD], ids=["ten", "three", "most", "odd"]
)


@pytest.mark.parametrize("clause", ["calloc_zeroes", "alignments", "resizing", "family", "errno_kept"])
def test_semantics_with_another_table(tmp_path: Path, clause: str) -> None:
    done = run(
        [driver("semantics", PLAIN), clause], environment=environment_of(PLAIN, f"config={table_file(tmp_path, ODD)}")
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{clause}: fine\n", "")


@TABLES
@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [("churn", 4, 50_000), ("classes", 1, 50_000), ("fork", 4, 10)]
)
def test_stress_with_another_table(tmp_path: Path, sizes: list[int], mode: str, threads: int, operations: int) -> None:
    options = f"config={table_file(tmp_path, sizes)}"
    for flavour in (PLAIN, ASAN):
        done = run(
            [driver("stress", flavour), mode, str(threads), str(operations), "1"],
            environment=environment_of(flavour, options),
        )
        assert done.returncode == 0 and "fine" in done.stdout, done.stdout + done.stderr
        assert "rtmalloc:" not in done.stderr, done.stderr
