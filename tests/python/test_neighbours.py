"""Profilers, checkers and sanitizers at work on a process of ours: each sees what it sees elsewhere, or is left out."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.python.programs import LIBRARY, answer, needs_objects, run, run_code, run_rtmalloc

KEPT = "kept = [bytes(1000) for _ in range(20_000)]; big = [bytearray(3 << 20) for _ in range(4)]\n"
KEPT_MIB = 30
PRELOADED = {"LD_PRELOAD": str(LIBRARY)}


def needs(tool: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed (ci/packages)")


def module(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(name) is None, reason=f"{name} is not installed (extra test)")


def program(folder: Path, text: str, *flags: str) -> Path:
    """A C program."""
    (folder / "program.c").write_text(text)
    path = folder / "program"
    subprocess.run(["gcc", "-g", "-O0", "-w", *flags, folder / "program.c", "-o", path, "-lpthread"], check=True)
    return path


# ---- memray


@needs_objects
@module("memray")
@pytest.mark.neighbour("memray", "`rtmalloc -m memray run`, with and without its option for Python's allocators")
@pytest.mark.parametrize("option", [[], ["--trace-python-allocators"]], ids=["plain", "python"])
def test_memray_run(option: list[str], tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KEPT)
    made = run_rtmalloc("-m", "memray", "run", "-q", *option, "-o", "out.bin", "script.py", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    done = run([sys.executable, "-m", "memray", "stats", "--json", "-o", "out.json", "out.bin"], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    peak = json.loads((tmp_path / "out.json").read_text())["metadata"]["peak_memory"]
    assert KEPT_MIB << 20 < peak < 2 * KEPT_MIB << 20


@needs_objects
@module("memray")
@pytest.mark.neighbour(
    "memray", "a `memray.Tracker` that begins late, ends, and begins again; blocks from before and after are freed"
)
def test_memray_tracker_that_comes_late(tmp_path: Path) -> None:
    code = (
        "import json, memray, rtmalloc\n"
        "before = [bytes(n % 3000) for n in range(20_000)]\n"
        "seen = []\n"
        "for turn in range(2):\n"
        f"    path = {str(tmp_path)!r} + f'/{{turn}}.bin'\n"
        "    with memray.Tracker(path):\n"
        "        " + KEPT + "        del before[::3]; del kept, big\n"
        "    seen.append(memray.FileReader(path).metadata.peak_memory)\n"
        "after = [bytes(n % 3000) for n in range(20_000)]\n"
        "print(json.dumps([seen, sorted(rtmalloc.status().domains)]))"
    )
    peaks, domains = answer(run_code(code, "launcher"))
    assert domains == ["mem", "obj", "raw"]
    assert all(KEPT_MIB << 20 < peak < 2 * KEPT_MIB << 20 for peak in peaks), peaks


@needs_objects
@module("memray")
def test_install_warns_of_memray() -> None:
    done = run_code("import memray, rtmalloc; rtmalloc.install(); rtmalloc.install()")
    assert done.returncode == 0 and done.stderr.count("RuntimeWarning: memray does not see") == 1, done.stderr


@needs_objects
@module("memray")
@pytest.mark.neighbour("memray", "`install()`: it warns; with `rtmalloc.disable()` while memray traces")
def test_memray_after_disable(tmp_path: Path) -> None:
    path = str(tmp_path / "out.bin")
    code = (
        "import json, rtmalloc\nrtmalloc.install()\nbefore = [bytes(n % 3000) for n in range(20_000)]\n"
        "import memray\nrtmalloc.disable()\n"
        f"with memray.Tracker({path!r}):\n    " + KEPT + "    del before[::3], kept, big\n"
        f"rtmalloc.enable(); print(json.dumps(memray.FileReader({path!r}).metadata.peak_memory))"
    )
    assert KEPT_MIB << 20 < answer(run_code(code)) < 2 * KEPT_MIB << 20


# ---- other profilers


@needs_objects
@needs("heaptrack")
@pytest.mark.neighbour("heaptrack", "`rtmalloc run -- heaptrack program`: a Python program")
def test_heaptrack(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(KEPT)
    made = run_rtmalloc("run", "--", "heaptrack", "-o", "out", sys.executable, "script.py", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (data,) = tmp_path.glob("out.*")
    told = run(["heaptrack_print", "-f", data]).stdout
    (peak,) = re.findall(r"^peak heap memory consumption: ([0-9.]+)M", told, re.MULTILINE)
    assert KEPT_MIB < float(peak) < 2 * KEPT_MIB


@needs_objects
@module("scalene")
@pytest.mark.neighbour("scalene", "`rtmalloc -m scalene run`: a Python program")
def test_scalene(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text("kept = []\nfor _ in range(200_000): kept.append(bytes(400))\n")
    made = run_rtmalloc("-m", "scalene", "run", "--outfile", "out.json", "script.py", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    assert 60 < json.loads((tmp_path / "out.json").read_text())["max_footprint_mb"] < 160


@needs_objects
@pytest.mark.neighbour("tracemalloc", "traced from the start under the launcher, then stopped")
def test_tracemalloc_from_the_start(tmp_path: Path) -> None:
    code = (
        "import json, tracemalloc\n" + KEPT + "seen = tracemalloc.get_traced_memory()[0]\n"
        "tracemalloc.stop(); del kept, big\n"
        "import rtmalloc; print(json.dumps([seen, sorted(rtmalloc.status().domains)]))"
    )
    seen, domains = answer(run_code(code, "launcher", env={"PYTHONTRACEMALLOC": "1"}))
    assert KEPT_MIB << 20 < seen < 2 * KEPT_MIB << 20 and domains == ["mem", "obj", "raw"]


@pytest.mark.neighbour("mallinfo2, malloc_info", "what programs ask the C library for")
def test_mallinfo_tells_of_our_blocks() -> None:
    fields = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    code = (
        "import ctypes, json\n"
        f"fields = [(name, ctypes.c_size_t) for name in {fields!r}.split()]\n"
        "class Info(ctypes.Structure): _fields_ = fields\n"
        "ask = ctypes.CDLL(None).mallinfo2; ask.restype = Info\n"
        "before = ask()\n"
        "large = ctypes.create_string_buffer(500 << 20)\n"
        "small = [ctypes.create_string_buffer(5000) for _ in range(2000)]\n"
        "after = ask()\n"
        "print(json.dumps([after.hblkhd + after.uordblks - before.hblkhd - before.uordblks]))"
    )
    (grown,) = answer(run_code(code, "launcher"))
    assert 500 << 20 < grown < 600 << 20


# ---- checkers


LEAK = """
#include <stdlib.h>
int main(void) { volatile char *p = malloc(100); p[100] = 1; p = malloc(500); p = 0; return 0; }
"""


@needs("valgrind")
@pytest.mark.neighbour("Valgrind", "memcheck of a C program that leaks and writes behind a block")
def test_valgrind_sees_blocks(tmp_path: Path) -> None:
    leaking = program(tmp_path, LEAK)
    done = run(["valgrind", "--leak-check=full", leaking], env=PRELOADED)
    assert "Invalid write of size 1" in done.stderr
    assert re.search(r"definitely lost: 600 bytes in 2 blocks", done.stderr), done.stderr


THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static void *work(void *x) { for (int i = 0; i < 10000; i++) free(malloc(i)); return x; }
int main(int count, char **words) {
    pthread_t t[4];
    char *p = getenv("LD_PRELOAD");
    for (int i = 0; i < 4; i++) pthread_create(&t[i], 0, work, 0);
    for (int i = 0; i < 4; i++) pthread_join(t[i], 0);
    printf("%d %d\\n", count, p ? (int)strlen(p) : 0);
    if (count > 2) { char *volatile q = malloc(10); free(q); return q[3]; }
    return 0;
}
"""
NAMES = {"address": "AddressSanitizer", "thread": "ThreadSanitizer", "leak": "LeakSanitizer"}


@pytest.mark.neighbour(
    "ASan, TSan, LSan", "programs built with a sanitizer: the library steps aside with a sentence on stderr"
)
@pytest.mark.parametrize("sanitizer", NAMES)
def test_sanitizers_run_without_us(sanitizer: str, tmp_path: Path) -> None:
    try:
        built = program(tmp_path, THREADS, f"-fsanitize={sanitizer}")
    except subprocess.CalledProcessError:
        pytest.skip(f"gcc has no -fsanitize={sanitizer} here")
    why = "which has an allocator of its own: it runs without rtmalloc"
    said = f"rtmalloc: {NAMES[sanitizer]} is in this program, {why}\n"
    done = run([built, "one"], env=PRELOADED)
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 0\n", said)
    done = run_rtmalloc("run", "--", built, "one")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 0\n", said)
    if sanitizer == "address":
        done = run([built, "one", "two"], env=PRELOADED)
        assert done.returncode != 0 and "heap-use-after-free" in done.stderr


@needs("gdb")
@pytest.mark.neighbour("gdb", "attached to a running process, which calls malloc on its behalf")
def test_gdb_calls_malloc(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **PRELOADED}) as sleeper:
        call = "print ((void *(*)(unsigned long))malloc)(100)"
        done = run(["gdb", "-p", str(sleeper.pid), "-batch", "-ex", call])
        sleeper.kill()
    assert re.search(r"^\$1 = \(void \*\) 0x[0-9a-f]+", done.stdout, re.MULTILINE), done.stdout + done.stderr
