"""The most important programs on every other CPython of this machine, with an extension compiled for it here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.profile import heap_programs
from tests.python.interpreters import interpreters
from tests.python.programs import ALL, SOURCE, answer, run
from tests.python.test_install import WORK

VERSIONS = [f"3.{n}" for n in range(10, 16)]
OWN = f"3.{sys.version_info.minor}"
ROUTES = ["install", "launcher"]

DOMAINS = "print(json.dumps(sorted(rtmalloc.status().domains)))"

PROGRAMS = {
    "objects": f"{WORK}\n{DOMAINS}",
    "tracemalloc afterwards": f"""
import tracemalloc
for _ in range(3):
    tracemalloc.start(); kept = [bytes(n) for n in range(3000)]; tracemalloc.stop(); del kept
{DOMAINS}""",
    "threads come and go": f"""
import threading
for _ in range(20):
    threads = [threading.Thread(target=lambda: [bytes(n) for n in range(500)]) for _ in range(10)]
    for t in threads: t.start()
    for t in threads: t.join()
assert len(rtmalloc.stats().per_thread) < 60
{DOMAINS}""",
    "fork while threads allocate": f"""
import os, threading
stop = False
def churn():
    while not stop: x = [bytes(n) for n in range(0, 5000, 7)]
threads = [threading.Thread(target=churn) for _ in range(3)]
for t in threads: t.start()
for _ in range(10):
    if (pid := os.fork()) == 0:
        y = [bytes(n) for n in range(3000)]
        os._exit(rtmalloc.status().domains != {{'raw', 'mem', 'obj'}})
    assert os.waitpid(pid, 0)[1] == 0
stop = True
for t in threads: t.join()
{DOMAINS}""",
    "pause": f"""
rtmalloc.disable(); theirs = [bytes(n) for n in range(3000)]; rtmalloc.enable()
ours = [bytes(n) for n in range(3000)]; del theirs, ours
{DOMAINS}""",
    "memory comes back": f"""
kept = [{{'number': n, 'text': str(n) * 20}} for n in range(100_000)]
before = rtmalloc.stats().resident
del kept; gc.collect(); rtmalloc.trim()
assert rtmalloc.stats().resident < before / 3
{DOMAINS}""",
}

POOL = """
import json, multiprocessing
{first}
def work(n):
    import rtmalloc
    x = [bytes(i) for i in range(n)]
    return sorted(rtmalloc.status().domains)

if __name__ == "__main__":
    seen = []
    for method in ("fork", "spawn", "forkserver"):
        with multiprocessing.get_context(method).Pool(2, maxtasksperchild=3) as pool:
            seen += pool.map(work, [2000] * 8, chunksize=1)
    print(json.dumps(seen))
"""


@pytest.fixture(scope="module", params=VERSIONS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """An interpreter, and the environment in which it finds this rtmalloc, compiled for it without optimising much."""
    version: str = request.param
    if version == OWN:
        pytest.skip(f"CPython {version} runs all the other tests")
    if version not in interpreters():
        pytest.skip(f"there is no CPython {version} in PATH or under ~/.pyenv/versions")
    generated = SOURCE / "rtmalloc" / "_core.c"
    compiler = shutil.which("gcc") or shutil.which("cc")
    if not generated.exists() or compiler is None:
        pytest.skip("needs the checkout, built, and a C compiler")
    python = interpreters()[version]
    ask = "import sysconfig; print(sysconfig.get_path('include'), sysconfig.get_config_var('EXT_SUFFIX'))"
    headers, suffix = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout.split()
    if not (Path(headers) / "Python.h").exists():
        pytest.skip(f"CPython {version} has no headers here")
    package = tmp_path_factory.mktemp(f"python{version}") / "rtmalloc"
    shutil.copytree(SOURCE / "rtmalloc", package, ignore=shutil.ignore_patterns("core", "__pycache__", "_core*"))
    core = SOURCE / "rtmalloc" / "core"
    # As setup.py has it.
    found = re.search(r'RTMALLOC_SLICE_SHIFT", "(\d+)"', (SOURCE / "setup.py").read_text())
    assert found is not None
    shift = os.environ.get("RTMALLOC_SLICE_SHIFT", found[1])
    flags = [
        "-O1",
        "-fPIC",
        "-fvisibility=hidden",
        "-fno-strict-aliasing",
        "-ftls-model=initial-exec",
        "-fno-builtin",
        "-w",
    ]
    defines = ["-DCYTHON_USE_MODULE_STATE=1", f"-DRT_SLICE_SHIFT={shift}", f"-I{core}", f"-I{headers}"]
    link: list[str | Path] = [
        "-shared",
        f"-Wl,--version-script={core / 'calls' / 'extension.map'}",
        "-o",
        package / f"_core{suffix}",
    ]
    subprocess.run([compiler, *flags, *defines, generated, *link], check=True, timeout=300)
    return python, {"PYTHONPATH": str(package.parent)}


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(other: tuple[Path, dict[str, str]], name: str, route: str, tmp_path: Path) -> None:
    python, env = other
    code = f"import gc, json, rtmalloc\n{'rtmalloc.install()' if route == 'install' else ''}\n{PROGRAMS[name]}"
    launcher = ["-m", "rtmalloc"] if route == "launcher" else []
    assert answer(run([python, *launcher, "-c", code], env, tmp_path)) == ALL


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", heap_programs.PROGRAMS)
def test_heap_profiles(other: tuple[Path, dict[str, str]], name: str, route: str, tmp_path: Path) -> None:
    python, env = other
    if name == "sub-interpreters" and run([python, "-c", "import _testcapi"]).returncode:
        pytest.skip("this CPython has no _testcapi")
    code = heap_programs.program(heap_programs.PROGRAMS[name], route == "install")
    launcher = ["-m", "rtmalloc"] if route == "launcher" else []
    assert answer(run([python, *launcher, "-c", code + "\nprint(json.dumps(True), flush=True)"], env, tmp_path)) is True


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
def test_pools(other: tuple[Path, dict[str, str]], route: str, tmp_path: Path) -> None:
    python, env = other
    script = tmp_path / "pool.py"
    script.write_text(POOL.format(first="import rtmalloc; rtmalloc.install()" if route == "install" else ""))
    launcher = ["-m", "rtmalloc"] if route == "launcher" else []
    assert answer(run([python, *launcher, script], env, tmp_path)) == [ALL] * 24
