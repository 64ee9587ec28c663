"""Memory pressure: the emergency flush, the sources that announce it, and callbacks around fork, exit and errors."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import rtmalloc
from tests.python.programs import answer, run, run_code, run_rtmalloc, succeed

MIB = 1 << 20
ROUTES = ["install", "launcher"]

# Every program begins with this. `wait_for` has a limit against hanging only; nothing here measures time.
START = """
import json, os, sys, threading, time, rtmalloc
def wait_for(condition, seconds=30):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, 'it never came'
        time.sleep(0.01)
def resident(): return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20
def count(name): return rtmalloc.stats().counters[name]
"""


@pytest.mark.parametrize("route", ROUTES)
def test_emergency_flush_gives_back(route: str) -> None:
    code = START + (
        "kept = [bytes(1000) for _ in range(40_000)]\n"
        "full = resident(); del kept\n"
        "before = resident()\n"
        "assert rtmalloc.trim(emergency=True)\n"
        "print(json.dumps([full, before, resident(), count('emergency_flushes'), count('refusals'), count('alarms')]))"
    )
    never = {"RTMALLOC_OPTIONS": "dirty_decay_ms=-1,page_return_ms=-1,background_thread=0"}
    full, before, after, flushes, refusals, alarms = answer(run_code(code, route, env=never))
    assert before > full - 10, "nothing was to go back by itself"
    assert after < full - 30
    assert (flushes, refusals, alarms) == (1, 0, 0)


@pytest.mark.parametrize("route", ROUTES)
def test_other_threads_follow_without_delay(route: str) -> None:
    # Their bins come home at their next tick, and then go to the kernel although nothing is purged by time.
    code = START + (
        "go, ready = threading.Event(), threading.Event()\n"
        "def work():\n"
        "    kept = [bytes(1000) for _ in range(20_000)]; del kept\n"
        "    ready.set(); go.wait()\n"
        "    for _ in range(200): kept = [bytes(20) for _ in range(100)]; time.sleep(0.001)\n"
        "t = threading.Thread(target=work); t.start(); ready.wait()\n"
        "rtmalloc.trim(emergency=True); at_once = rtmalloc.stats().purged\n"
        "flushed = count('flushed_objects'); go.set(); t.join()\n"
        "print(json.dumps([at_once, flushed, count('flushed_objects')]))"
    )
    never = {"RTMALLOC_OPTIONS": "dirty_decay_ms=-1,page_return_ms=-1,epoch_ms=60000,background_thread=0"}
    at_once, flushed, later = answer(run_code(code, route, env=never))
    assert at_once > 10 * MIB
    assert later > flushed


# ---- callbacks


@pytest.mark.parametrize("route", ["plain", *ROUTES])
def test_callbacks_come_after_the_flush_in_a_thread_of_their_own(route: str) -> None:
    code = START + (
        "seen = []\n"
        "def callback(): seen.append((threading.current_thread().name, count('emergency_flushes')))\n"
        "registration = rtmalloc.on_memory_pressure(callback)\n"
        "rtmalloc.announce_memory_pressure()\n"
        "wait_for(lambda: seen)\n"
        "registration.remove(); registration.remove()\n"
        "wait_for(lambda: threading.active_count() == 1)\n"
        "rtmalloc.announce_memory_pressure()\n"
        "again = rtmalloc.on_memory_pressure(callback)\n"
        "print(json.dumps([seen, registration.function is callback]))"
    )
    seen, same = answer(run_code(code, route))
    assert seen == [["rtmalloc-pressure", 1]]
    assert same


def test_two_callbacks_and_the_removal_of_one() -> None:
    code = START + (
        "a, b = [], []\n"
        "first = rtmalloc.on_memory_pressure(lambda: a.append(1))\n"
        "rtmalloc.on_memory_pressure(lambda: b.append(1))\n"
        "rtmalloc.announce_memory_pressure(); wait_for(lambda: a and b)\n"
        "first.remove(); done = len(b)\n"
        "rtmalloc.announce_memory_pressure(); wait_for(lambda: len(b) > done)\n"
        "print(json.dumps([len(a), len(b)]))"
    )
    assert answer(run_code(code, "install")) == [1, 2]


def test_callback_may_remove_itself_and_allocate() -> None:
    code = START + (
        "done = threading.Event()\n"
        "def callback(): kept = [bytes(n) for n in range(5000)]; registration.remove(); done.set()\n"
        "registration = rtmalloc.on_memory_pressure(callback)\n"
        "rtmalloc.announce_memory_pressure(); assert done.wait(30)\n"
        "wait_for(lambda: threading.active_count() == 1)\n"
    )
    succeed(run_code(code, "launcher"))


def test_what_a_callback_raises_is_reported_and_the_next_one_is_called() -> None:
    code = START + (
        "reports, after = [], threading.Event()\n"
        "sys.unraisablehook = lambda report: reports.append((report.exc_type.__name__, report.object is bad))\n"
        "def bad(): raise KeyError('lost')\n"
        "rtmalloc.on_memory_pressure(bad); rtmalloc.on_memory_pressure(after.set)\n"
        "for _ in range(2): after.clear(); rtmalloc.announce_memory_pressure(); assert after.wait(30)\n"
        "print(json.dumps(reports))"
    )
    assert answer(run_code(code, "install")) == [["KeyError", True]] * 2


@pytest.mark.parametrize("wrong", [None, 3, "callback"])
def test_what_cannot_be_called_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="cannot be called"):
        rtmalloc.on_memory_pressure(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("route", ROUTES)
def test_refused_memory_calls_back(route: str) -> None:
    # RLIMIT_AS from the start: the allocator asks the kernel, which refuses, flushes everything, and tells.
    code = START + (
        "called = threading.Event(); rtmalloc.on_memory_pressure(called.set)\n"
        "kept, refused = [], False\n"
        "try:\n"
        "    while True: kept.append(bytearray(2**26))\n"
        "except MemoryError: refused = True\n"
        "kept.clear()\n"
        "assert refused and called.wait(30)\n"
        "print(json.dumps([count('refusals') > 0, [len(bytes(n)) for n in (1, 5000, 100_000)]]))"
    )
    if route == "install":
        code = "import rtmalloc; rtmalloc.install()\n" + code
    launcher = ["-m", "rtmalloc"] if route == "launcher" else []
    limited = ["prlimit", f"--as={1500 * MIB}", sys.executable, *launcher, "-c", code]
    assert answer(run(limited, env={"RTMALLOC_OPTIONS": "pressure=0"})) == [True, [1, 5000, 100_000]]


# ---- fork, exec, exit


@pytest.mark.parametrize("route", ROUTES)
def test_callbacks_from_before_a_fork_are_called_in_workers(route: str) -> None:
    code = START + (
        "mine, ours = [], threading.Event()\n"
        "rtmalloc.on_memory_pressure(lambda: mine.append(os.getpid()))\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    rtmalloc.announce_memory_pressure(); wait_for(lambda: mine == [os.getpid()])\n"
        "    registration = rtmalloc.on_memory_pressure(ours.set)\n"
        "    rtmalloc.announce_memory_pressure(); assert ours.wait(30)\n"
        "    wait_for(lambda: len(mine) == 2); registration.remove()\n"
        "    grandchild = os.fork()\n"
        "    rtmalloc.announce_memory_pressure(); wait_for(lambda: mine[2:] == [os.getpid()])\n"
        "    os._exit(0 if grandchild == 0 else os.waitpid(grandchild, 0)[1])\n"
        "status = os.waitpid(pid, 0)[1]\n"
        "assert not mine, 'the pipe is not shared with the child'\n"
        "rtmalloc.announce_memory_pressure(); wait_for(lambda: mine == [os.getpid()])\n"
        "print(status)"
    )
    assert answer(run_code(code, route, env={"RTMALLOC_OPTIONS": "background_thread=0"})) == 0


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("ending", ["pass", "sys.exit(0)", "os.execv('/bin/true', ['true'])", "raise SystemExit"])
def test_the_end_is_clean(route: str, ending: str) -> None:
    code = START + (
        "busy = threading.Event()\n"
        "def callback(): busy.set(); [bytes(n) for n in range(3000)]\n"
        "rtmalloc.on_memory_pressure(callback); rtmalloc.announce_memory_pressure(); busy.wait()\n"
        "rtmalloc.announce_memory_pressure()\n" + ending
    )
    for _ in range(3):
        finished = run_code(code, route)
        assert (finished.returncode, finished.stderr) == (0, "")


def test_a_program_that_closes_our_descriptors() -> None:
    # Daemons close everything; the numbers are then files of the program's, which nobody of us may read or write.
    code = START + (
        "called = []\n"
        "rtmalloc.on_memory_pressure(lambda: called.append(1))\n"
        "os.closerange(3, 256)\n"
        "path = sys.argv[0] if os.path.exists(sys.argv[0]) else '/dev/null'\n"
        "pipes = [os.pipe() for _ in range(80)]\n"
        "rtmalloc.announce_memory_pressure(); time.sleep(0.2)\n"
        "for r, w in pipes:\n"
        "    os.set_blocking(r, False)\n"
        "    try: assert not os.read(r, 1), 'we wrote into a pipe of the program'\n"
        "    except BlockingIOError: pass\n"
    )
    succeed(run_code(code, "install"))


# ---- sources


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    path = tmp_path / "pressure"
    os.mkfifo(path)
    return path


ALARM = "alarm = os.open(os.environ['RTMALLOC_PRESSURE_FILE'], os.O_RDWR)\n"


def test_a_source_calls_back_after_a_flush(fifo: Path) -> None:
    code = START + (
        "called = threading.Event(); rtmalloc.on_memory_pressure(called.set)\n"
        "kept = [bytes(1000) for _ in range(40_000)]; del kept; full = resident()\n" + ALARM + "os.write(alarm, b'!')\n"
        "assert called.wait(30)\n"
        "print(json.dumps([sorted(rtmalloc.status().pressure), full, resident(), count('alarms')]))"
    )
    env = {"RTMALLOC_PRESSURE_FILE": str(fifo), "RTMALLOC_OPTIONS": "dirty_decay_ms=-1,background_thread=0"}
    watched, full, after, alarms = answer(run_code(code, "launcher", env=env))
    assert watched == ["RTMALLOC_PRESSURE_FILE"]
    assert after < full - 30
    assert alarms == 1


@pytest.mark.parametrize("decay", [-1, 250])
def test_the_background_thread_follows_a_source(fifo: Path, decay: int) -> None:
    # Nobody else calls the allocator, and no time passes after which memory would go back by itself.
    code = START + (
        "kept = [bytes(1000) for _ in range(40_000)]; del kept\n"
        "for _ in range(300): kept = [bytes(n) for n in range(30)]; time.sleep(0.0005)\n"
        "wait_for(lambda: rtmalloc.status().pressure)\n"
        "before = resident(), count('alarms')\n" + ALARM + "os.write(alarm, b'!')\n"
        "wait_for(lambda: count('alarms'))\n"
        "wait_for(lambda: resident() < 40)\n"
        "print(json.dumps([*before, sorted(rtmalloc.status().pressure)]))"
    )
    options = f"dirty_decay_ms={decay},page_return_ms={decay},purge_adaptive=0,background_thread=1"
    if decay > 0:
        options = options.replace("250", "60000")
    full, alarms, watched = answer(
        run_code(code, "launcher", env={"RTMALLOC_PRESSURE_FILE": str(fifo), "RTMALLOC_OPTIONS": options})
    )
    assert full > 45
    assert alarms == 0
    assert watched in (["RTMALLOC_PRESSURE_FILE"], [])


def test_the_option_turns_the_watch_off(fifo: Path) -> None:
    code = START + (
        "kept = [bytes(1000) for _ in range(40_000)]; del kept\n"
        "for _ in range(200): kept = [bytes(n) for n in range(30)]; time.sleep(0.002)\n"
        "assert len(os.listdir('/proc/self/task')) == 2\n"
        "print(json.dumps(sorted(rtmalloc.status().pressure)))"
    )
    options = "pressure=0,background_thread=1,dirty_decay_ms=60000"
    env = {"RTMALLOC_PRESSURE_FILE": str(fifo), "RTMALLOC_OPTIONS": options}
    assert answer(run_code(code, "launcher", env=env)) == []


@pytest.mark.parametrize("path", ["/nonexistent/memory.pressure", "/dev/null", "/proc/self/status", "/"])
def test_a_source_that_is_none_is_left_out(path: str) -> None:
    code = START + (
        "called = threading.Event(); rtmalloc.on_memory_pressure(called.set)\n"
        "watched = sorted(rtmalloc.status().pressure)\n"
        "rtmalloc.announce_memory_pressure(); assert called.wait(30)\n"
        "print(json.dumps(watched))"
    )
    finished = run_code(code, "launcher", env={"RTMALLOC_PRESSURE_FILE": path})
    # /dev/null takes everything that is written to it.
    assert answer(finished) == (["RTMALLOC_PRESSURE_FILE"] if path == "/dev/null" else [])
    assert finished.stderr == ""


def test_without_a_descriptor_there_is_an_error() -> None:
    code = START + (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        "try: rtmalloc.on_memory_pressure(print)\n"
        "except OSError as error: print(json.dumps(str(error)))\n"
    )
    # Imported before: an import needs descriptors too.
    code = code.replace("import resource;", "import resource, rtmalloc.interpreter.pressure;")
    assert answer(run_code(code, "install")) == "no pipe can be opened to wait for memory pressure"


@pytest.fixture
def cgroup() -> Iterator[list[Path]]:
    """Directories whose cgroup.procs a process joins: one that reports pressure, one with a limit of 128 MiB."""
    name = f"rtmalloc-test-{os.getpid()}"
    made: list[Path] = []
    try:
        unified = next((p for p in map(Path, ("/sys/fs/cgroup", "/sys/fs/cgroup/unified")) if _is_v2(p)), None)
        if unified is None:
            pytest.skip("no cgroup v2 is mounted")
        try:
            made.append(unified / name)
            made[-1].mkdir()
            if "memory" in (unified / "cgroup.subtree_control").read_text().split():
                (made[-1] / "memory.max").write_text(str(128 * MIB))
                (made[-1] / "memory.high").write_text(str(112 * MIB))
            else:
                made.append(Path("/sys/fs/cgroup/memory") / name)
                made[-1].mkdir()
                (made[-1] / "memory.limit_in_bytes").write_text(str(128 * MIB))
        except OSError as error:
            pytest.skip(f"no cgroup with a memory limit can be made here: {error}")
        if not (made[0] / "memory.pressure").exists():
            pytest.skip("this kernel has no PSI for cgroups")
        yield made
    finally:
        for directory in made:
            with suppress(OSError):
                directory.rmdir()


def _is_v2(directory: Path) -> bool:
    return (directory / "cgroup.controllers").exists()


def test_real_pressure_of_a_cgroup(cgroup: list[Path], tmp_path: Path) -> None:
    # The program frees 60 MiB, which by its options stay; then the page cache presses against the limit.
    code = START + (
        "called = threading.Event(); rtmalloc.on_memory_pressure(called.set)\n"
        "watched = sorted(rtmalloc.status().pressure)\n"
        "kept = [bytes(1000) for _ in range(60_000)]; del kept; full = resident()\n"
        "path, end = sys.argv[1], time.monotonic() + 60\n"
        "with open(path, 'wb') as file:\n"
        "    for _ in range(250): file.write(bytes(2**20))\n"
        "while not (called.is_set() and count('alarms')):\n"
        "    assert time.monotonic() < end, 'no alarm'\n"
        "    with open(path, 'rb', buffering=0) as file:\n"
        "        while file.read(2**20): pass\n"
        "os.unlink(path)\n"
        "wait_for(lambda: resident() < full - 40)\n"
        "print(json.dumps([watched, full]))"
    )
    join = "; ".join(f"echo $$ > {directory}/cgroup.procs" for directory in cgroup)
    shell = shutil.which("sh")
    assert shell is not None
    finished = run(
        [shell, "-c", f'{join}; exec "$@"', "sh", sys.executable, "-m", "rtmalloc", "-c", code, tmp_path / "pages"],
        env={"RTMALLOC_OPTIONS": "dirty_decay_ms=-1,pressure_stall_ms=1"},
    )
    watched, full = answer(finished)
    assert "cgroup memory.pressure" in watched
    assert full > 60


# ---- the warning of CPython 3.12 and later


@pytest.mark.parametrize("version", ["3.12", "3.13", "3.14"])
def test_no_warning_at_fork(version: str) -> None:
    versions = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    found = sorted(str(path) for path in versions.glob(f"{version}.*/bin/python3"))
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        found.append(sys.executable)
    if not found:
        pytest.skip(f"CPython {version} is not installed")
    python = found[-1]
    code = """
import os, time
kept = [str(i) * 20 for i in range(200_000)]
time.sleep(0.05)
threads = []
for _ in range(10):
    threads.append(len(os.listdir('/proc/self/task')))
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
    more = [str(i) for i in range(3000)]
    time.sleep(0.005)
print(max(threads))
"""
    env = {"LD_PRELOAD": str(rtmalloc.library_path()), "RTMALLOC_OPTIONS": "background_thread=1"}
    finished = run([python, "-W", "error", "-c", code], env)
    assert (succeed(finished).strip(), finished.stderr) == ("2", ""), "the background thread runs, but not at a fork"


def test_the_launcher_says_what_is_watched() -> None:
    assert "pressure={" in succeed(run_rtmalloc("-c", "import rtmalloc; print(rtmalloc.status())"))
