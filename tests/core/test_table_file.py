"""A table of size classes that a process reads when it starts: the loader agrees with size_table.py."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmalloc.size_table import RULES, TableError, table_parse

from .building import ASAN, PLAIN, PRELOAD, ROOT, driver, environment_of, run
from .probing import probe_load

DEFAULT = (ROOT / "rtmalloc.toml").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return probe_load()


def check_agreement(probe: ModuleType, text: str) -> None:
    """The loader takes what size_table.py takes, and refuses the rest at the same line with the same rule."""
    found = probe.table_of(text.encode())
    try:
        table = table_parse(text)
    except TableError as error:
        if error.rule in ("toml", "table"):
            # A text that is no plain TOML is refused; which of its faults is named may differ.
            assert isinstance(found[1], str), text
        else:
            assert found == (error.line, RULES[error.rule]), text
    else:
        assert found == (list(table.sizes), table.min_objects), text


# ---- agreement

NUMBERS = st.one_of(
    st.sampled_from(
        ["16", "32", "48", "256", "512", "4096", "32768", "65536", "0", "-16", "8", "1.5", "0.1112", "1", "0.5"]
    ),
    st.sampled_from(
        ["true", "nan", '"16"', "'x'", "016", "1.", "", "+16", "0.0", "1.0", "-0.5", "999999999999999999999"]
    ),
    st.integers(-5, 70000).map(str),
)
KEYS = st.sampled_from(["linear_step", "linear_max", "per_doubling", "max_small", "min_objects", "max_waste", "other"])
SIZES = st.one_of(
    st.lists(NUMBERS, max_size=6),
    st.sets(st.integers(2, 2048), max_size=130).map(lambda found: ["16", *(str(16 * n) for n in sorted(found))]),
)
LISTS = st.tuples(SIZES, st.sampled_from([", ", ",\n", ", # why\n  "]), st.sampled_from(["", ","])).map(
    lambda parts: f"[{parts[1].join(parts[0])}{parts[2] if parts[0] else ''}]"
)
LINES = st.one_of(
    st.tuples(KEYS, NUMBERS).map(" = ".join),
    LISTS.map("sizes = ".__add__),
    st.sampled_from(["", "# sizes = [1]", "  # linear_max = 3", "[spans]", "[limits]", "[ classes ] # c", "[other]"]),
)
SECTIONS = st.sampled_from(["[generate]", "[classes]", "[spans]", "[limits]", "[other]"])


@settings(max_examples=1500, deadline=None)
@given(lines=st.lists(LINES, max_size=8), head=SECTIONS)
def test_agrees_on_any_lines(probe: ModuleType, lines: list[str], head: str) -> None:
    text = "\n".join([head, *lines])
    check_agreement(probe, text)


@settings(max_examples=1500, deadline=None)
@given(data=st.data())
def test_agrees_on_nearly_valid_tables(probe: ModuleType, data: st.DataObject) -> None:
    explicit = data.draw(st.booleans())
    lines = ["[classes]", "sizes = " + data.draw(LISTS)] if explicit else DEFAULT.splitlines()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        change = data.draw(st.sampled_from(["replace", "drop", "insert", "value"]))
        if change == "drop" and len(lines) > 1:
            del lines[at]
        elif change == "value" and "=" in lines[at] and "[" not in lines[at]:
            lines[at] = f"{lines[at].partition('=')[0]}= {data.draw(NUMBERS)}"
        else:
            lines[at : at + (change == "replace")] = [data.draw(LINES)]
    text = "\n".join(lines) + "\n"
    check_agreement(probe, text)


@settings(max_examples=500, deadline=None)
@given(
    step=st.sampled_from([16, 32, 48]),
    linear=st.integers(4, 15),
    per=st.sampled_from([1, 2, 4, 8, 16]),
    top=st.integers(4, 16),
    objects=st.integers(1, 70),
    waste=st.floats(0.01, 1).map(lambda f: f"{f:.6f}"),
)
def test_agrees_on_formulas(
    probe: ModuleType, step: int, linear: int, per: int, top: int, objects: int, waste: str
) -> None:
    text = (
        f"[generate]\nlinear_step = {step}\nlinear_max = {1 << linear}\nper_doubling = {per}\nmax_small = {1 << top}\n"
        f"[spans]\nmin_objects = {objects}\n[limits]\nmax_waste = {waste}\n"
    )
    check_agreement(probe, text)


@settings(max_examples=500, deadline=None)
@given(text=st.text(max_size=300))
def test_any_text_is_refused(probe: ModuleType, text: str) -> None:
    assert isinstance(probe.table_of(text.encode())[1], str)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_damage_is_survived(probe: ModuleType, data: st.DataObject) -> None:
    damaged = bytearray(DEFAULT.encode())
    for _ in range(data.draw(st.integers(1, 6))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    probe.table_of(bytes(damaged[: data.draw(st.integers(0, len(damaged)))]))


# ---- processes

SIZES_SMALL = [16, 32, 64, 128, 256, 512, 1008, 2048, 5008, 10000]


def table_file(directory: Path, sizes: list[int]) -> Path:
    path = directory / "table.toml"
    path.write_text(f"[classes]\nsizes = [\n{''.join(f'    {n},{chr(10)}' for n in sizes)}]\n")
    return path


PROGRAM = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
print([libc.malloc_usable_size(libc.malloc(n)) for n in (1, 33, 513, 1009, 9999, 10001, 20000, 32768, 40000)])
"""


def usable(options: str) -> tuple[list[int], str]:
    done = run([sys.executable, "-c", PROGRAM], environment={"LD_PRELOAD": str(PRELOAD), "RTMALLOC_OPTIONS": options})
    assert done.returncode == 0, done.stderr
    return [int(n) for n in re.findall(r"\d+", done.stdout)], done.stderr


def test_a_process_uses_the_table(tmp_path: Path) -> None:
    # Above its largest class everything is a run of 16 KiB slices.
    sizes, said = usable(f"config={table_file(tmp_path, SIZES_SMALL)}")
    assert sizes == [16, 64, 1008, 2048, 10000, 16384, 32768, 32768, 49152] and said == ""
    assert usable("")[0][:5] == [16, 48, 576, 1024, 10240]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[classes]\nsizes = [\n 16,\n 32,\n 40]\n", f":5: {RULES['multiple']}"),
        ("[classes]\nsizes = [16,\n 32,\n 32]\n", f":4: {RULES['ascending']}"),
        (
            "[classes]\nsizes = [16, 512]\n[limits]\nmax_waste = 0.1\n[spans]\nmin_objects = 5000\n",
            f":6: {RULES['min_objects']}",
        ),
        ("classes = 3", f":1: {RULES['section']}"),
        ("#" * 40000, "longer than 32 KiB"),
    ],
    ids=["multiple", "ascending", "objects", "toml", "long"],
)
def test_an_invalid_table_is_refused(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    sizes, stderr = usable(f"config={path}")
    lines = stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("rtmalloc: config ") and said in lines[0], stderr
    assert "wrong.toml" in lines[0] and lines[0].endswith("the built-in table stays")
    assert sizes[:5] == [16, 48, 576, 1024, 10240]


def test_no_file(tmp_path: Path) -> None:
    assert "cannot be read" in usable(f"config={tmp_path / 'none.toml'}")[1]
    assert "cannot be read" in usable(f"config={tmp_path}")[1]
    assert "the path is too long" in usable("config=" + "x" * 2000)[1]


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
