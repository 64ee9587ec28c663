"""fork, spawn, threads, sub-interpreters, exit and embedding: nothing that works without rtmalloc breaks with it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.python.programs import ALL, LIBRARY, answer, clean_environment, run, run_code, succeed
from tests.python.test_install import WORK

ROUTES = ["install", "launcher"]


@pytest.mark.parametrize("route", ROUTES)
def test_fork_while_threads_allocate(route: str) -> None:
    code = """
import os, threading, json, rtmalloc
stop = False
def churn():
    while not stop:
        x = [bytes(n) for n in range(0, 5000, 7)]
threads = [threading.Thread(target=churn) for _ in range(3)]
for t in threads: t.start()
codes = []
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        y = [bytes(n) for n in range(3000)]
        ok = rtmalloc.status().domains == {'raw', 'mem', 'obj'}
        os._exit(0 if ok else 1)
    codes.append(os.waitpid(pid, 0)[1])
stop = True
for t in threads: t.join()
print(json.dumps(codes))
"""
    assert answer(run_code(code, route)) == [0] * 30


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(route: str, method: str, tmp_path: Path) -> None:
    script = tmp_path / "pool.py"
    first = "import rtmalloc; rtmalloc.install()\n" if route == "install" else ""
    script.write_text(
        first
        + f"""
import json, multiprocessing

def work(n):
    import rtmalloc
    x = [bytes(i) for i in range(n)]
    return len(x), sorted(rtmalloc.status().domains)

if __name__ == "__main__":
    with multiprocessing.get_context({method!r}).Pool(3, maxtasksperchild=4) as pool:
        print(json.dumps(pool.map(work, [2000] * 30, chunksize=1)))
"""
    )
    launcher = ["-m", "rtmalloc"] if route == "launcher" else []
    assert answer(run([sys.executable, *launcher, script])) == [[2000, ALL]] * 30


@pytest.mark.parametrize("route", ROUTES)
def test_objects_cross_threads(route: str) -> None:
    code = """
import queue, threading
q = queue.Queue(1000)
def make():
    for i in range(20000): q.put({'n': i, 's': str(i) * 20, 'b': bytes(i % 2000)})
    q.put(None)
def take():
    while q.get() is not None: pass
threads = [threading.Thread(target=f) for f in (make, take, make, take)]
for t in threads: t.start()
for t in threads: t.join()
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
def test_threads_come_and_go(route: str) -> None:
    code = """
import threading
for _ in range(60):
    threads = [threading.Thread(target=lambda: [bytes(n) for n in range(500)]) for _ in range(10)]
    for t in threads: t.start()
    for t in threads: t.join()
import rtmalloc
assert rtmalloc.stats().threads < 40, rtmalloc.stats().threads
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
def test_daemon_threads_at_exit(route: str) -> None:
    code = """
import threading, time, zlib
def churn():
    while True:
        x = [bytes(n) for n in range(3000)]
        zlib.compress(b'a' * 100000)
for _ in range(4): threading.Thread(target=churn, daemon=True).start()
time.sleep(0.2)
"""
    for _ in range(4):
        assert not run_code(code, route).stderr


@pytest.mark.parametrize("route", ROUTES)
def test_asyncio_with_worker_threads(route: str) -> None:
    code = """
import asyncio
def work(n): return sum(len(bytes(i)) for i in range(n))
async def main():
    results = await asyncio.gather(*(asyncio.to_thread(work, 1500) for _ in range(50)))
    assert len(set(results)) == 1
    reader = await asyncio.create_subprocess_exec('true'); await reader.wait()
asyncio.run(main())
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.skipif(sys.version_info < (3, 12), reason="interpreters with a lock of their own came with 3.12")
def test_interpreters_with_their_own_lock(route: str) -> None:
    module = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    make = "create(isolated=True)" if sys.version_info < (3, 13) else "create('isolated')"
    code = f"""
import threading, {module} as interpreters
PROGRAM = '''
import sys; sys.path.insert(0, {str(LIBRARY.parents[2])!r})
import rtmalloc
assert rtmalloc.status().domains == {{'raw', 'mem', 'obj'}}, rtmalloc.status()
for _ in range(20):
    kept = [(str(i), [i], {{'a': i}}, bytes(i % 3000)) for i in range(3000)]
assert rtmalloc.stats().allocated > 0
'''
failures = []
def one():
    i = interpreters.{make}
    try:
        # 3.13 returns what went wrong, 3.12 raises it
        result = interpreters.run_string(i, PROGRAM)
    except BaseException as error:
        result = error
    if result is not None: failures.append(result)
    interpreters.destroy(i)
threads = [threading.Thread(target=one) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
assert not failures, failures
"""
    succeed(run_code(code, route))


@pytest.mark.parametrize("route", ROUTES)
def test_frees_until_the_very_end(route: str) -> None:
    code = """
import atexit, threading, weakref
class Late:
    def __del__(self): self.x = [bytes(n) for n in range(300)]
keep = [Late() for _ in range(50)]
local = threading.local(); local.keep = [Late()]
atexit.register(lambda: [bytes(n) for n in range(1000)])
import sys; sys.modules['late'] = Late()
"""
    finished = run_code(code, route)
    assert (finished.returncode, finished.stderr) == (0, "")


EMBEDDER = r"""
#include <Python.h>
#include <stdio.h>
int main(int argc, char **argv) {
    for (int i = 0; i < atoi(argv[2]); i++) {
        Py_Initialize();
        int failed = PyRun_SimpleString(argv[1]);
        if (Py_FinalizeEx() < 0 || failed) return 1;
    }
    puts("done");
    return 0;
}
"""


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A C program that initialises Python argv[2] times and runs argv[1] in each."""
    folder = tmp_path_factory.mktemp("embedder")
    source, program = folder / "embed.c", folder / "embed"
    source.write_text(EMBEDDER)
    where = sysconfig.get_config_var("LIBDIR")
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    compiler = shutil.which("gcc") or shutil.which("cc")
    assert compiler is not None
    subprocess.run(
        [
            compiler,
            source,
            "-o",
            program,
            f"-I{sysconfig.get_path('include')}",
            f"-L{where}",
            f"-Wl,-rpath,{where}",
            f"-lpython{version}",
        ],
        check=True,
    )
    return program


@pytest.mark.skipif(not sysconfig.get_config_var("Py_ENABLE_SHARED"), reason="this interpreter has no shared library")
@pytest.mark.parametrize("times", [1, 2])
def test_embedded_under_the_preload_library(embedder: Path, times: int) -> None:
    env = {"LD_PRELOAD": str(LIBRARY), "PYTHONHOME": sys.base_prefix}
    assert succeed(run([embedder, WORK, str(times)], env)) == "done\n"


@pytest.mark.skipif(not sysconfig.get_config_var("Py_ENABLE_SHARED"), reason="this interpreter has no shared library")
def test_second_import_says_why(embedder: Path) -> None:
    code = (
        "try: import rtmalloc\n"
        "except ImportError as error: assert 'before the first Py_Finalize' in str(error), error; print('told')"
    )
    env = {"LD_PRELOAD": str(LIBRARY), "PYTHONHOME": sys.base_prefix}
    assert succeed(run([embedder, code, "2"], env)) == "told\ndone\n"


@pytest.mark.skipif(not sysconfig.get_config_var("Py_ENABLE_SHARED"), reason="this interpreter has no shared library")
def test_embedded_with_install(embedder: Path) -> None:
    env = {"PYTHONHOME": sys.base_prefix}
    assert succeed(run([embedder, "import rtmalloc; rtmalloc.install()\n" + WORK, "1"], env)) == "done\n"


def test_children_are_left_alone_when_asked() -> None:
    child = "import rtmalloc, json, os; print(json.dumps([rtmalloc.status().route, 'LD_PRELOAD' in os.environ]))"
    code = f"""
import rtmalloc, os, subprocess, sys
assert rtmalloc.status().route == 'preload'
assert 'LD_PRELOAD' not in os.environ and 'RTMALLOC_NO_CHILDREN' not in os.environ
subprocess.run([sys.executable, '-c', {child!r}], check=True)
"""
    rtmalloc = [sys.executable, "-m", "rtmalloc", "run"]
    assert answer(run([*rtmalloc, "--no-children", "--", sys.executable, "-c", code])) == ["none", False]
    both = subprocess.run(
        [*rtmalloc, "--", sys.executable, "-c", child], env=clean_environment(), capture_output=True, text=True
    )
    assert answer(both) == ["preload", True]
