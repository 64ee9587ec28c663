"""``rtmalloc classes compile`` and ``run --config``: tables of size classes, compiled outside of the allocator."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from rtmalloc import _core
from rtmalloc.launcher import table_cache
from rtmalloc.size_table import table_compile, table_parse
from tests.python.programs import answer, run_rtmalloc, succeed

TABLE = "[classes]\nsizes = [16, 32, 64, 1008, 4096]\n"
COMPILED = table_compile(table_parse(TABLE), _core.slice_bytes())
SHOW = "import json, rtmalloc, rtmalloc._core as c; print(json.dumps([rtmalloc.status().table, c.size_classes()[0]]))"


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "table.toml"
    path.write_text(TABLE)
    return path


# ---- rtmalloc classes compile


def test_compile(table: Path) -> None:
    told = succeed(run_rtmalloc("classes", "compile", "table.toml", cwd=table.parent))
    compiled = table.with_suffix(".classes")
    assert told == f"table.classes: use it with RTMALLOC_OPTIONS=config={compiled}\n"
    assert compiled.read_bytes() == COMPILED
    assert answer(run_rtmalloc("-c", SHOW, env={"RTMALLOC_OPTIONS": f"config={compiled}"})) == [
        str(compiled),
        [16, 32, 64, 1008, 4096],
    ]


def test_compile_to_another_file(table: Path, tmp_path: Path) -> None:
    succeed(run_rtmalloc("classes", "compile", table, "--out", tmp_path / "x"))
    assert (tmp_path / "x").read_bytes() == COMPILED
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("x.")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            b"[classes]\nsizes = [16, 40]\n",
            "table.toml:2: a block size is a whole number, a positive multiple of 16: 40",
        ),
        (b"[classes\n", "table.toml:1: not TOML"),
        (b"\xff\xfe", "table.toml:1: not TOML: it is no text"),
    ],
)
def test_compile_refuses_with_the_line(table: Path, text: bytes, said: str) -> None:
    table.write_bytes(text)
    finished = run_rtmalloc("classes", "compile", "table.toml", cwd=table.parent)
    assert finished.returncode == 1 and finished.stderr.startswith(f"rtmalloc: {said}"), finished.stderr
    assert len(finished.stderr.splitlines()) == 1 and not table.with_suffix(".classes").exists()


def test_compile_what_is_not_there(tmp_path: Path) -> None:
    finished = run_rtmalloc("classes", "compile", tmp_path / "none.toml")
    assert finished.returncode == 1 and "none.toml" in finished.stderr and len(finished.stderr.splitlines()) == 1


# ---- rtmalloc run --config


def run_config(table: str | Path, *command: str, cwd: Path | None = None) -> Any:
    return answer(run_rtmalloc("run", "--config", table, "--", *(command or (sys.executable, "-c", SHOW)), cwd=cwd))


def test_run_compiles_and_keeps_the_table(table: Path, tmp_path: Path) -> None:
    # A program that changes its directory, and a child that starts later, read it too.
    shell = ("sh", "-c", f"cd /; {sys.executable} -c '{SHOW}'")
    name, sizes = run_config("table.toml", *shell, cwd=tmp_path)
    assert sizes == [16, 32, 64, 1008, 4096]
    kept = Path(name)
    assert kept.parent == tmp_path / "cache" / "rtmalloc" and kept.name.startswith("table-")
    assert kept.read_bytes() == COMPILED and stat.S_IMODE(kept.stat().st_mode) == 0o644
    # The same table has the same file, another one another.
    before = kept.stat().st_mtime_ns
    assert run_config(table) == [name, sizes] and kept.stat().st_mtime_ns == before
    table.write_text(TABLE.replace("1008", "1024"))
    assert run_config(table) == [str(next(p for p in kept.parent.iterdir() if p != kept)), [16, 32, 64, 1024, 4096]]


def test_run_takes_a_compiled_table_as_it_is(table: Path, tmp_path: Path) -> None:
    compiled = tmp_path / "t.classes"
    compiled.write_bytes(COMPILED)
    assert run_config(compiled) == [str(compiled), [16, 32, 64, 1008, 4096]]
    assert not (tmp_path / "cache").exists()
    compiled.write_bytes(COMPILED[:-1])
    finished = run_rtmalloc("run", "--config", compiled, "--", "true")
    assert finished.returncode == 1 and "damaged or cut off" in finished.stderr
    assert len(finished.stderr.splitlines()) == 1


def test_run_refuses_with_the_line(table: Path) -> None:
    table.write_text("[classes]\nsizes = [16, 40]\n")
    finished = run_rtmalloc("run", "--config", table, "--", "true")
    assert finished.returncode == 1 and "table.toml:2: " in finished.stderr and len(finished.stderr.splitlines()) == 1


def test_a_table_in_the_variable_is_compiled_by_hand(table: Path) -> None:
    finished = run_rtmalloc("-c", "1", env={"RTMALLOC_OPTIONS": f"config={table}"})
    assert finished.returncode == 1
    said = f"rtmalloc: RTMALLOC_OPTIONS: config: {table}: no compiled table: run `rtmalloc classes compile` on it"
    assert said in finished.stderr.splitlines()


# ---- where it is kept


def test_the_next_directory_when_one_cannot_be_written(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cache").write_text("a file where the directory would be")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    kept = Path(table_cache.compiled_path(str(table)))
    assert kept.parent == tmp_path / f"rtmalloc-tables-{os.getuid()}" and kept.read_bytes() == COMPILED
    assert stat.S_IMODE(kept.parent.stat().st_mode) & 0o022 == 0


def test_a_directory_that_others_can_write_is_not_used(table: Path, tmp_path: Path) -> None:
    open_to_all = tmp_path / "cache" / "rtmalloc"
    open_to_all.mkdir(parents=True)
    open_to_all.chmod(0o777)
    assert not table_cache.compiled_path(str(table)).startswith(str(open_to_all))
    open_to_all.rmdir()
    open_to_all.symlink_to("/tmp")
    assert not table_cache.compiled_path(str(table)).startswith((str(open_to_all), "/tmp/table"))


def test_nowhere(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_cache, "_directories", lambda: iter(["/proc/none", "/sys/none"]))
    with pytest.raises(OSError, match=r"kept nowhere: /proc/none \(.*\), /sys/none \(.*classes compile"):
        table_cache.compiled_path(str(table))


def test_a_damaged_file_in_the_cache_is_replaced(table: Path) -> None:
    kept = Path(table_cache.compiled_path(str(table)))
    kept.write_bytes(b"damaged")
    assert table_cache.compiled_path(str(table)) == str(kept) and kept.read_bytes() == COMPILED


def test_a_name_that_the_variable_cannot_hold(table: Path, tmp_path: Path) -> None:
    odd = tmp_path / "a, b.toml"
    odd.write_text(TABLE)
    assert "," not in table_cache.compiled_path(str(odd)).rpartition("/")[2]
    assert run_config(odd)[1] == [16, 32, 64, 1008, 4096]


def test_another_user_reads_it(table: Path, tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can become somebody else")
    # A service is started as root and gives up its rights; the programs that it starts then must find the table.
    for folder in (tmp_path, *tmp_path.parents[:-2]):
        folder.chmod(folder.stat().st_mode | 0o055)
    code = "import os, rtmalloc; name = rtmalloc.status().table; os.setuid(65534); print(len(open(name, 'rb').read()))"
    finished = run_rtmalloc("run", "--config", table, "--", sys.executable, "-c", code)
    assert succeed(finished) == f"{len(COMPILED)}\n"
