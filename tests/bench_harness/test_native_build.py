"""The native cells are Python-free executables, built incrementally, small on disk and in memory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from bench_harness.native import build

MIB = 1 << 20
WORKLOAD_LINES = 60


def _names() -> list[str]:
    return [path.stem for path in build.workload_sources()]


@pytest.mark.parametrize("name", _names())
def test_a_cell_refers_to_no_python(cells: dict[str, Path], name: str) -> None:
    undefined = subprocess.run(["nm", "-u", str(cells[name])], capture_output=True, text=True, check=True).stdout
    assert "alloc@" in undefined, "nm showed nothing of use"
    assert "Py" not in undefined
    needed = subprocess.run(["readelf", "-d", str(cells[name])], capture_output=True, text=True, check=True).stdout
    libraries = {line.partition("[")[2].rstrip("]") for line in needed.splitlines() if "NEEDED" in line}
    assert libraries <= {"libc.so.6", "libm.so.6", "libpthread.so.0", "libdl.so.2"}


@pytest.mark.parametrize("source", build.workload_sources(), ids=lambda p: p.stem)
def test_a_workload_is_one_small_file(source: Path) -> None:
    assert len(source.read_text().splitlines()) <= WORKLOAD_LINES


def test_a_cell_is_a_process_of_a_few_mebibytes(cells: dict[str, Path]) -> None:
    said = subprocess.run([str(cells["churn"]), "live=10", "ops=100"], capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["peak_rss_bytes"] < 3 * MIB


def test_a_second_build_does_nothing(cells: dict[str, Path]) -> None:
    lines: list[str] = []
    build.build_cells(log=lines.append)
    assert lines == []


def test_only_what_is_out_of_date_is_built(cells: dict[str, Path]) -> None:
    recipe = cells["churn"].with_name("churn.recipe")
    recipe.write_text("another compiler")
    lines: list[str] = []
    build.build_cells(log=lines.append)
    assert [Path(line.split()[-1]).name for line in lines] == ["churn"]


def test_an_older_executable_than_its_source_is_stale(cells: dict[str, Path]) -> None:
    target = cells["larson"]
    recipe = target.with_name("larson.recipe").read_text()
    sources = [build.WORKLOADS / "larson.pyx"]
    assert not build._stale(target, sources, recipe)
    newer = sources[0].stat().st_mtime + 1
    try:
        os.utime(target, (newer - 2, newer - 2))
        assert build._stale(target, sources, recipe)
    finally:
        os.utime(target)


def test_a_compiler_error_names_the_file_and_is_not_endless(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "broken.pyx").write_text("cdef int main() noexcept nogil:\n" + "    return undefined_name\n" * 200)
    monkeypatch.setattr(build, "WORKLOADS", tmp_path)
    with pytest.raises(build.BuildError, match=r"broken") as caught:
        build.build_cells(log=lambda _: None)
    assert len(str(caught.value).splitlines()) <= build.SHOWN_LINES + 2


def test_a_workload_that_needs_python_does_not_link(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (build.WORKLOADS / "churn.pyx").read_text()
    leak = text.replace(
        "    return cell_main(argc, argv, &w)\n",
        "    with gil:\n        print(argc)\n    return cell_main(argc, argv, &w)\n",
    )
    assert leak != text
    (tmp_path / "leak.pyx").write_text(leak)
    monkeypatch.setattr(build, "WORKLOADS", tmp_path)
    with pytest.raises(build.BuildError, match=r"undefined reference to .Py"):
        build.build_cells(log=lambda _: None)
