"""The source distribution has everything that a build needs, and its wheel works in a clean environment."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.python.programs import clean_environment

pytest.importorskip("Cython", reason="building needs Cython in this environment (no network in tests)")
pytest.importorskip("setuptools", reason="building needs setuptools in this environment")

CHECKOUT = Path(__file__).resolve().parents[2]
NOT_OURS = shutil.ignore_patterns(
    *(".*", "build", "dist", "results", "__pycache__", "*.so", "*.egg-info", "_core.c", "numpy_handler.c"),
    *("_size_table.h", "model", "plots", "bin"),
)


def run(*command: str | Path, cwd: Path) -> str:
    env = clean_environment()
    del env["PYTHONPATH"]  # the checkout must not help
    finished = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A source distribution, made of a copy of the checkout, and a wheel, made of the source distribution alone."""
    folder = tmp_path_factory.mktemp("packaging")
    shutil.copytree(CHECKOUT, folder / "checkout", ignore=NOT_OURS)
    (folder / "dist").mkdir()
    make = "from setuptools import build_meta; build_meta.build_{}({!r})"
    run(sys.executable, "-c", make.format("sdist", str(folder / "dist")), cwd=folder / "checkout")
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "unpacked")
    (source,) = (folder / "unpacked").iterdir()
    run(sys.executable, "-c", make.format("wheel", str(folder / "dist")), cwd=source)
    (wheel,) = (folder / "dist").glob("*.whl")
    return sdist, wheel


@pytest.mark.slow
def test_source_distribution_holds_no_build_product(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as archive:
        names = archive.getnames()
    assert not [name for name in names if name.endswith((".so", "_core.c", "_size_table.h", ".pyc"))]
    assert any(name.endswith("rtmalloc/_core.pyx") for name in names)


@pytest.mark.slow
def test_wheel_contains_the_preload_library_and_the_types(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    for name in (
        "rtmalloc/lib/librtmalloc.so",
        "rtmalloc/py.typed",
        "rtmalloc/_core.pyi",
        "rtmalloc/numpy_handler.pyi",
    ):
        assert name in names
    assert any(name.startswith("rtmalloc/_core.cpython-") for name in names)
    assert not [name for name in names if name.startswith("tests/")]


@pytest.mark.slow
def test_wheel_holds_rtmalloc_alone(built: tuple[Path, Path]) -> None:
    names = zipfile.ZipFile(built[1]).namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.startswith("rtmalloc-")} == {"rtmalloc", "rtmalloc.pth"}
    metadata = zipfile.ZipFile(built[1]).read(next(name for name in names if name.endswith("/METADATA"))).decode()
    required = [line for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert not [line for line in required if "extra ==" not in line], "it depends on nothing"


@pytest.mark.slow
def test_the_laboratory_is_a_distribution_of_its_own(built: tuple[Path, Path], tmp_path: Path) -> None:
    source = built[0].parents[1] / "checkout" / "bench_harness"
    wanted = {path.relative_to(source.parent).as_posix() for path in source.rglob("*") if path.suffix in DATA}
    make = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    run(sys.executable, "-c", make, cwd=source)
    (wheel,) = tmp_path.glob("bench_harness-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        archive.extractall(tmp_path / "unpacked")
    assert {name.partition("/")[0] for name in names if "dist-info" not in name} == {"bench_harness"}
    assert wanted - names == {"bench_harness/pyproject.toml", "bench_harness/setup.py"}
    assert "usage: " in run(sys.executable, "-m", "bench_harness", "--help", cwd=tmp_path / "unpacked")


DATA = (".py", ".pyx", ".pxd", ".h", ".c", ".json", ".toml")
"""Suffixes of what the laboratory is made of."""


@pytest.mark.slow
def test_wheel_in_a_clean_environment(built: tuple[Path, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "clean", cwd=tmp_path)
    program = tmp_path / "clean" / "bin"
    run(program / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", built[1], cwd=tmp_path)
    library = Path(run(program / "rtmalloc", "libpath", cwd=tmp_path).strip())
    assert library.is_relative_to(tmp_path / "clean")
    code = "import rtmalloc; print(rtmalloc.verify().complete)"
    assert run(program / "rtmalloc", "-c", code, cwd=tmp_path) == "True\n"
    assert run(program / "python", "-m", "rtmalloc", "-c", code, cwd=tmp_path) == "True\n"
    isolated = code.replace("complete", "complete, __import__('sys').flags.isolated")
    assert run(program / "python", "-I", "-m", "rtmalloc", "-c", isolated, cwd=tmp_path) == "True 1\n"
    assert run(program / "python", "-Im", "rtmalloc", "-c", isolated, cwd=tmp_path) == "True 1\n"
    assert "every allocation arrives" in run(program / "rtmalloc", "doctor", cwd=tmp_path)


@pytest.mark.slow
def test_console_script_from_everywhere(built: tuple[Path, Path], tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", tmp_path / "clean", cwd=tmp_path)
    program = tmp_path / "clean" / "bin"
    run(program / "python", "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", built[1], cwd=tmp_path)
    script = tmp_path / "show.py"
    script.write_text(
        "import rtmalloc, sys; print(rtmalloc.status().route, sys.prefix, sys.flags.isolated, sys.argv[1:])"
    )
    # What stands beside a program must not get in the launcher's way.
    for name in ("os.py", "rtmalloc.py", "_launch.py", "warnings.py"):
        (tmp_path / "clean" / name).write_text("raise SystemExit('the wrong ' + __file__)")
    (tmp_path / "link").symlink_to(program / "rtmalloc")
    shown = f"preload {tmp_path / 'clean'} 0 ['-c', 'a b']\n"
    for way in (program / "rtmalloc", "bin/rtmalloc", tmp_path / "link"):
        for how in ([], ["run", "--", program / "python"], ["run", "--no-children", program / "python"], ["-Xutf8"]):
            assert run(way, *how, script, "-c", "a b", cwd=tmp_path / "clean") == shown, (way, how)
    assert run(program / "rtmalloc", "-m", "rtmalloc", script, "-c", "a b", cwd=tmp_path) == shown
    assert "--no-children" in run(program / "rtmalloc", "run", "--help", cwd=tmp_path)
    # The interpreter is where pip put it, the package is not.
    shutil.copy(program / "rtmalloc", tmp_path / "elsewhere")
    elsewhere = subprocess.run(
        [tmp_path / "elsewhere", script, "-c", "a b"],
        env={**clean_environment(), "PATH": f"{program}:/usr/bin:/bin", "PYTHONPATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert elsewhere.stdout == shown, elsewhere.stderr
    refused = [(["run"], 2), (["run", "no-such-program"], 127), (["no_such.py"], 2), (["-c", "raise SystemExit(7)"], 7)]
    for arguments, status in refused:
        finished = subprocess.run([program / "rtmalloc", *arguments], capture_output=True, text=True, timeout=60)
        assert finished.returncode == status and len(finished.stderr.splitlines()) == (status != 7), finished.stderr
