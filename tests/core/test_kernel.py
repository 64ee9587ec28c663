"""What the kernel counts, forbids and remembers: limits set late, filters of system calls, flags of freed blocks."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from .building import PLAIN, driver, preloaded, run

MIB = 1 << 20
EMPTY_MOST = 24  # MiB of address space that an empty program has more with us than without


def kernel(*words: str, options: str = "") -> None:
    """Run the driver in one mode, to its end."""
    done = run([driver("kernel", PLAIN), *words], environment=preloaded(options), seconds=60)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == "fine\n"


# ---- what counts


def fields(pid: int) -> dict[str, int]:
    """The numbers of /proc/PID/status, memory in KiB."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return {words[0][:-1]: int(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}


def test_nothing_is_reserved() -> None:
    sizes = []
    for environment in ({}, preloaded()):
        with subprocess.Popen(["sleep", "60"], env={**os.environ, **environment}) as sleeper:
            time.sleep(0.3)
            sizes.append(fields(sleeper.pid))
            sleeper.kill()
    for name in ("VmSize", "VmData"):
        assert sizes[1][name] <= sizes[0][name] + EMPTY_MOST * 1024, (name, sizes[0][name], sizes[1][name])


@pytest.mark.neighbour("resource limits", "a process limits its own address space or data")
@pytest.mark.parametrize("resource", ["RLIMIT_AS", "RLIMIT_DATA"])
def test_a_limit_that_comes_late_limits(resource: str) -> None:
    kernel("late", resource)


@pytest.mark.parametrize("mib", [6, 8, 12, 16])
def test_small_limit_on_data(mib: int) -> None:
    command: list[str | Path] = ["/bin/sh", "-c", "x=1; for i in 1 2 3; do x=$x$x; done; echo $x"]
    settings = [f"{name}={value}" for name, value in preloaded().items()]
    done = run(["prlimit", f"--data={mib * MIB}", "env", *settings, *command])
    assert (done.returncode, done.stdout, done.stderr) == (0, "11111111\n", "")


@pytest.mark.parametrize(("how", "options"), [("trim", ""), ("wait", "background_thread=1,purge_adaptive=0")])
def test_writable_address_space_comes_back(how: str, options: str) -> None:
    kernel("burst", how, options=options)


@pytest.mark.neighbour("mlockall", "all memory locked under a finite limit")
def test_mlockall_under_a_limit() -> None:
    kernel("lock")


@pytest.mark.neighbour("gcore", "a core of a running process")
@pytest.mark.skipif(shutil.which("gcore") is None, reason="gdb is not installed")
def test_gcore_writes_what_is_in_use(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "60"], env={**os.environ, **preloaded()}) as sleeper:
        time.sleep(0.3)
        done = run(["gcore", "-o", tmp_path / "core", str(sleeper.pid)], seconds=60)
        sleeper.kill()
    assert done.returncode == 0, done.stdout + done.stderr
    (core,) = tmp_path.glob("core.*")
    assert core.stat().st_size < 32 * MIB


@pytest.mark.neighbour("qemu-user", "an empty program under the emulator")
@pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="qemu-user is not installed")
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the emulator is for x86-64 programs")
def test_small_under_an_emulator() -> None:
    script = (
        "import resource, subprocess, sys; subprocess.check_call(sys.argv[1:])\n"
        "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    )
    words = [f"{name}={value}" for name, value in preloaded().items()]
    done = run(["python3", "-c", script, "qemu-x86_64", "-E", ",".join(words), "/bin/true"])
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 64 * 1024


# ---- what is forbidden


@pytest.mark.neighbour("seccomp", "mprotect, madvise and mincore refused")
@pytest.mark.parametrize("calls", [(), ("madvise",), ("madvise", "mincore"), ("madvise", "mprotect")], ids="-".join)
def test_system_calls_are_refused(calls: tuple[str, ...]) -> None:
    kernel("filter", "refuse", *calls)


@pytest.mark.neighbour("seccomp", "killed at every call that other allocators do not make")
def test_no_other_call_than_other_allocators_make() -> None:
    # Whoever opens memory by mprotect is killed.
    kernel("filter", "kill", "madvise", "mincore")


@pytest.mark.neighbour("seccomp", "a list that kills at all but what the C library's malloc calls, or strict mode")
@pytest.mark.parametrize("options", ["", "background_thread=1"], ids=["plain", "background"])
@pytest.mark.parametrize("mode", ["lean prctl", "lean syscall", "full prctl", "full syscall", "least"])
def test_a_filter_of_the_programs_own(mode: str, options: str) -> None:
    program = driver("strict", PLAIN)
    for environment in ({}, preloaded(options)):
        done = run([program, *mode.split()], environment=environment, seconds=60)
        assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", ""), done.returncode


@pytest.mark.neighbour("seccomp", "the same list before the program begins; a few calls more are allowed")
def test_a_filter_that_is_there_before() -> None:
    done = run([driver("strict", PLAIN), "exec", "syscall"], environment=preloaded(), seconds=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")


# ---- what outlives a block


@pytest.mark.neighbour("madvise, mprotect, mlock, mbind", "what the kernel was told of a block that was freed")
@pytest.mark.parametrize("when", ["at once", "trim"])
@pytest.mark.parametrize("kib", [16, 200, 3000, 40_000])
@pytest.mark.parametrize("what", ["fork", "dump", "huge", "wipe", "lock", "lock2", "protect", "node"])
def test_marks_end_with_their_block(what: str, kib: int, when: str) -> None:
    kernel("mark", what, str(kib), when, options="bin_max=0,transfer_kib=0,remote_kib=0" if kib < 32 else "")


# ---- zeros


@pytest.mark.parametrize("mib", [1, 3, 100, 1024])
def test_calloc_leaves_what_is_not_resident(mib: int) -> None:
    kernel("zero", str(mib))


@pytest.mark.parametrize("mib", [40, 100, 1024])
def test_realloc_leaves_what_is_not_resident(mib: int) -> None:
    kernel("grown", str(mib))
