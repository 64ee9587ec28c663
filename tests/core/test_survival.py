"""The default library in bad weather: threads that are stopped, moved, interrupted, and very many.

tests/driver/stopped.c and percpu.c describe the modes. (test_percpu has the same weather for the per-CPU variant.)
"""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
from pathlib import Path

import pytest

from .building import ASAN, CHECK_STORM, PLAIN, STORM, Flavour, counters_of, driver, environment_of, run
from .test_stress import stress


@pytest.mark.parametrize("threads", [2, 3, 6])
@pytest.mark.parametrize(
    "options",
    ["slots=2,bin_max=0,remote_kib=0", "slots=3,bin_max=2,remote_kib=0,epoch_ms=1", "epoch_ms=1,bin_max=8,slots=2"],
)
def test_a_stopped_thread_holds_nobody_up(threads: int, options: str) -> None:
    # Each stop lasts until all other threads have done 2 000 operations: if one of them waited, it would never end.
    command: list[str | Path] = [driver("stopped", STORM), str(threads), "100", "1"]
    done = run(command, environment=environment_of(STORM, f"stats_at_exit=1,{options}"), seconds=120)
    assert done.returncode == 0, f"{done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
    assert "stops 100 " in done.stdout, done.stdout
    if threads > 2 and "bin_max=0" in options:
        assert counters_of(done)["lock_misses"] > 100, done.stderr


@pytest.mark.parametrize("flavour", [PLAIN, STORM, ASAN, CHECK_STORM], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [("migrate", 6, 400), ("signals", 4, 1_000), ("forks", 4, 3)]
)
def test_weather(flavour: Flavour, mode: str, threads: int, operations: int) -> None:
    # Threads that somebody moves from CPU to CPU all the time, handlers between any two instructions, forks in both.
    options = "epoch_ms=1,idle_epochs=1,slots=3"
    command: list[str | Path] = [driver("percpu", flavour), mode, str(threads), str(operations), "1"]
    done = run(command, environment=environment_of(flavour, options), seconds=240)
    assert done.returncode == 0, f"{mode}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-8000:]}"


@pytest.mark.parametrize("options", ["", "slots=1", "slots=64"])
def test_more_threads_than_slots_and_fewer(options: str) -> None:
    for threads in (1, 3, 24):
        stress(STORM, "churn", threads, 3_000, seed=11, options=options)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one CPU alone cannot be left")
def test_cpus_that_go_away() -> None:
    # The slots are made for the CPUs of the beginning; then the process may use only one, another one, all again.
    cpus = sorted(os.sched_getaffinity(0))
    command: list[str | Path] = [driver("stress", PLAIN), "churn", "6", "150000", "1"]
    with subprocess.Popen(
        command, env={**os.environ, **environment_of(PLAIN)}, stdout=subprocess.PIPE, text=True
    ) as process:
        for change in itertools.cycle([cpus[:1], cpus[1:2], cpus]):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.01)
                break
            with contextlib.suppress(OSError):
                for task in os.listdir(f"/proc/{process.pid}/task"):
                    with contextlib.suppress(ProcessLookupError):
                        os.sched_setaffinity(int(task), change)
        assert process.stdout is not None
        assert "fine" in process.stdout.read()
    assert process.returncode == 0


def test_thousands_of_threads() -> None:
    # (`make soak`: ten thousand.)
    stress(PLAIN, "idle", 3_000, 1)


@pytest.mark.soak
def test_ten_thousand_threads() -> None:
    stress(PLAIN, "idle", 10_000, 1)
