"""The per-CPU variant: restartable sequences under signals, migration, forks and single steps, and without rseq.

tests/driver/percpu.c describes the modes. Whether sequences were really aborted, the allocator counts.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import pytest

from ci.variants import build, variants

from .building import ASAN, PLAIN, ROOT, STORM, Flavour, counters_of, driver, environment_of, preloaded, run
from .test_stress import SANITIZED_RUNS, stress

PERCPU = variants()["percpu"]
WITHOUT_RSEQ = {"GLIBC_TUNABLES": "glibc.pthread.rseq=0"}


def glibc() -> tuple[int, ...]:
    name, version = platform.libc_ver()
    return tuple(int(part) for part in version.split(".")) if name == "glibc" else (0,)


needs_rseq = pytest.mark.skipif(
    platform.machine() != "x86_64" or glibc() < (2, 35) or not sys.platform.startswith("linux"),
    reason="restartable sequences want x86-64 and glibc 2.35",
)


def weather(
    mode: str,
    threads: int,
    operations: int,
    *,
    flavour: Flavour = PLAIN,
    options: str = "",
    variables: Mapping[str, str] = MappingProxyType({}),
) -> tuple[dict[str, int], str]:
    """Run one mode of the driver over the variant; the counters at exit, and everything on stderr."""
    flavour = flavour.of(PERCPU)
    environment = {**environment_of(flavour, f"stats_at_exit=1{options}"), **variables}
    command: list[str | Path] = [driver("percpu", flavour), mode, str(threads), str(operations), "1"]
    done = run(command, environment=environment, seconds=240)
    assert done.returncode == 0, f"{mode}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-8000:]}"
    assert f"{mode}: " in done.stdout, done.stdout
    return counters_of(done), done.stderr


FLAVOURS = pytest.mark.parametrize("flavour", [PLAIN, STORM, ASAN], ids=lambda flavour: flavour.name)


@needs_rseq
@FLAVOURS
@pytest.mark.parametrize(("threads", "operations"), [(2, 12_000), (8, 4_000)])
def test_signals(flavour: Flavour, threads: int, operations: int) -> None:
    scale = 1 if flavour == PLAIN else 4
    found, _ = weather("signals", threads, operations // scale, flavour=flavour)
    assert found["caches"] == 1
    assert found["cpu_aborts"] > 10, found


@needs_rseq
@FLAVOURS
def test_migration_and_stopping(flavour: Flavour) -> None:
    scale = 1 if flavour == PLAIN else 4
    for threads, operations in ((3, 8_000 // scale), (12, 2_000 // scale)):
        found, _ = weather("migrate", threads, operations, flavour=flavour, options=",epoch_ms=1,idle_epochs=1")
        assert found["caches"] == 1
        assert found["cpus"] == len(os.sched_getaffinity(0)), found


@needs_rseq
@pytest.mark.parametrize("options", ["", ",epoch_ms=1,idle_epochs=1", ",bin_max=2,bin_kib=1,remote_kib=0"])
def test_forks_in_bad_weather(options: str) -> None:
    found, _ = weather("forks", 4, 15, options=options)
    assert found["caches"] == 1
    assert found["cpu_aborts"] > 10, found


@needs_rseq
def test_every_step_aborts() -> None:
    # A stepped thread gets stuck in its first sequence, which begins anew at every step; nothing may be lost by that.
    _, text = weather("steps", 1, 25)
    aborts = [int(value) for value in re.findall(r"cpu_aborts (\d+)", text)]
    assert max(aborts) > 500, aborts


@needs_rseq
def test_threads_without_registration() -> None:
    found, _ = weather("unregistered", 6, 6)
    # They had heaps of their own, all given back.
    assert found["heaps"] > found["cpus"] > 0
    assert found["threads"] == 0


@needs_rseq
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU alone cannot be left")
@pytest.mark.parametrize("work", [0, 1])
def test_a_cpu_that_was_left_keeps_nothing(work: int) -> None:
    _, text = weather("left", 1, work, options=",epoch_ms=1,idle_epochs=2")
    assert "class size 64 " in text or work == 0
    assert "class size 24576 " not in text


@needs_rseq
@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=str)
def test_stress(mode: str, threads: int, operations: int) -> None:
    # (Plain: test_variants.) TSan does not see what sequences do, and would take every hand-over in a bin for a race.
    stress(STORM.of(PERCPU), mode, threads, operations, seed=2)
    stress(ASAN.of(PERCPU), mode, threads, operations // 2 if mode != "classes" else operations, seed=3)


@pytest.mark.parametrize("mode", ["signals", "migrate", "forks"])
def test_fallback(mode: str) -> None:
    found, _ = weather(mode, 4, 20 if mode == "forks" else 2_000, variables=WITHOUT_RSEQ)
    assert (found["caches"], found["cpus"], found["cpu_aborts"]) == (2, 0, 0)
    assert found["heaps"] >= 4


def test_default_library_says_so() -> None:
    command: list[str | Path] = [driver("percpu", PLAIN), "signals", "2", "500", "1"]
    done = run(command, environment=environment_of(PLAIN, "stats_at_exit=1"))
    assert done.returncode == 0, done.stderr
    found = counters_of(done)
    assert (found["caches"], found["cpus"]) == (0, 0)
    assert found["heaps"] >= 2


@pytest.mark.parametrize(
    ("variables", "caches"),
    [pytest.param({}, "cpu", marks=needs_rseq), (WITHOUT_RSEQ, "thread (no rseq)")],
    ids=["rseq", "none"],
)
def test_python_says_whose_the_caches_are(variables: dict[str, str], caches: str) -> None:
    program = "import rtmalloc; s = rtmalloc.status(); print(s.route, s.caches, rtmalloc.stats().caches, sep='|')"
    done = run([sys.executable, "-c", program], environment={**preloaded("", build(PERCPU)), **variables}, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"preload|{caches}|{caches}\n"


def test_default_library_has_no_sequences() -> None:
    # The mode costs the default library nothing, not even a look for the symbols.
    for name, library in (("default", PLAIN), ("percpu", PLAIN.of(PERCPU))):
        done = run(["nm", "-D", environment_of(library)["LD_PRELOAD"]])
        assert ("__rseq_offset" in done.stdout) == (name == "percpu" and platform.machine() == "x86_64")


@pytest.mark.soak
@needs_rseq
@pytest.mark.parametrize("seed", range(5))
def test_weather_soak(seed: int) -> None:
    for mode, threads, operations in (("signals", 8, 60_000), ("migrate", 12, 40_000), ("forks", 4, 150)):
        weather(mode, threads, operations, options=f",epoch_ms={1 + seed}")
