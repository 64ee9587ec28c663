"""Stress: blocks full of patterns, threads, forks and exits; plain (preloaded), under ASan and UBSan, under TSan.

The modes are described in tests/driver/modes.h. Each run is named by its seed and bounded by counts.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from .building import ASAN, CHECK, CHECK_STORM, LINKED, PLAIN, STORM, TSAN, Flavour, driver, environment_of, run

# mode, threads, operations: together about ten seconds for each flavour on two idle cores.
PLAIN_RUNS = [
    ("churn", 1, 200_000),
    ("churn", 4, 150_000),
    ("churn", 16, 20_000),
    ("grow", 1, 20),
    ("grow", 4, 10),
    ("classes", 1, 100_000),
    ("freeonly", 2, 50_000),
    ("freeonly", 8, 20_000),
    ("orphans", 8, 20),
    ("first", 1, 2_000),
    ("keys", 8, 10),
    ("short", 4, 100_000),
    ("idle", 1_000, 1),
    ("fork", 4, 80),
    ("cancel", 8, 50),
    ("exit", 4, 60),
    ("relay", 3, 6_000),
]
SANITIZED_RUNS = [
    ("churn", 1, 30_000),
    ("churn", 4, 20_000),
    ("churn", 16, 4_000),
    ("grow", 4, 3),
    ("classes", 1, 100_000),
    ("freeonly", 4, 8_000),
    ("orphans", 4, 5),
    ("first", 1, 400),
    ("keys", 4, 4),
    ("short", 8, 2_000),
    ("relay", 2, 300),
    ("fork", 4, 10),
    ("cancel", 4, 10),
    ("exit", 4, 20),
]
# The edges of what the options allow: no bins, tiny bins, everything purged at once, two-phase purge, no caches.
OPTION_SETS = [
    "bin_max=0,remote_kib=0,transfer_kib=0,dirty_decay_ms=0",
    "bin_max=2,bin_kib=1,epoch_ms=1,idle_epochs=1,dirty_decay_ms=1",
    "muzzy_decay_ms=10,dirty_decay_ms=2,epoch_ms=1,slots=64,thread_kib=1048576",
    "remap_kib=64,dirty_decay_ms=-1,thread_kib=0,total_kib=0",
    "background_thread=1,dirty_decay_ms=1,page_return_ms=0,purge_adaptive=0",
]


def stress(
    flavour: Flavour, mode: str, threads: int, operations: int, seed: int = 1, options: str = "", seconds: int = 240
) -> None:
    """Run one mode; whatever it or a sanitizer has to say is in the failure.

    The time limit is for deadlocks, the allocator's or TSan's own: it can stop when it has a race to report in a thread
    that is being cancelled. Without races it does not.
    """
    command: list[str | Path] = [driver("stress", flavour), mode, str(threads), str(operations), str(seed)]
    done = run(command, environment=environment_of(flavour, options), seconds=seconds)
    assert done.returncode == 0, f"{command} {options}: {done.returncode}\n{done.stdout[-2000:]}{done.stderr[:12000]}"
    assert "fine" in done.stdout, done.stdout
    assert "rtmalloc:" not in done.stderr, done.stderr


def run_name(value: object) -> str:
    return str(value)


@pytest.mark.parametrize(("mode", "threads", "operations"), PLAIN_RUNS, ids=run_name)
def test_plain(mode: str, threads: int, operations: int) -> None:
    stress(PLAIN, mode, threads, operations)


@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_asan(mode: str, threads: int, operations: int) -> None:
    stress(ASAN, mode, threads, operations)


@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_tsan(mode: str, threads: int, operations: int) -> None:
    stress(TSAN, mode, threads, operations)


@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_storm(mode: str, threads: int, operations: int) -> None:
    # Plain code, but threads yield between the protocol's steps.
    stress(STORM, mode, threads, operations)


@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_checked(mode: str, threads: int, operations: int) -> None:
    stress(CHECK, mode, threads, operations, seed=5, options="epoch_ms=1")
    stress(CHECK_STORM, mode, threads, operations // 2 or 1, seed=6, options="slots=3,epoch_ms=2")


@pytest.mark.parametrize(("mode", "threads", "operations"), [("churn", 4, 40_000), ("short", 4, 2_000)], ids=run_name)
def test_fences_stay_with_their_objects(mode: str, threads: int, operations: int) -> None:
    # The profile's fences in bins that shrink, flush and close all the time.
    options = "profile=1,profile_every=3,epoch_ms=1,idle_epochs=2,thread_kib=64,slow_start_bytes=256"
    stress(CHECK, mode, threads, operations, seed=7, options=options)


@pytest.mark.parametrize("options", OPTION_SETS)
@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [("churn", 4, 20_000), ("orphans", 4, 4), ("freeonly", 4, 5_000)], ids=run_name
)
def test_options(mode: str, threads: int, operations: int, options: str) -> None:
    stress(PLAIN, mode, threads, operations, seed=3, options=options)
    stress(TSAN, mode, threads, operations // 4, seed=4, options=options)


def test_options_reach_the_allocator() -> None:
    # A library that ignored its options would pass all of the above.
    command: list[str | Path] = [driver("stress", PLAIN), "first", "1", "20", "1"]
    done = run(command, environment=environment_of(PLAIN, "no_such_option=1,bin_max=many,epoch_ms=0"))
    assert done.returncode == 0
    for name in ("no_such_option", "bin_max", "epoch_ms"):
        assert f"rtmalloc: RTMALLOC_OPTIONS {name}: " in done.stderr, done.stderr


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_relay_with_quick_epochs(seed: int) -> None:
    # Every few milliseconds somebody looks after all heaps, while these change hands: here two threads once had one.
    stress(LINKED if seed % 2 else PLAIN, "relay", 6, 6_000, seed, options="epoch_ms=1,dirty_decay_ms=1")


def test_linked_without_sanitizer() -> None:
    # The flavour that debuggers are used on: it must behave like the preload.
    stress(LINKED, "churn", 4, 20_000)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 20))
@pytest.mark.parametrize(("mode", "threads", "operations"), PLAIN_RUNS, ids=run_name)
def test_plain_soak(mode: str, threads: int, operations: int, seed: int) -> None:
    stress(PLAIN, mode, threads, operations * (1 if mode == "idle" else 10), seed, seconds=1800)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(10, 15))
@pytest.mark.parametrize(("mode", "threads", "operations"), SANITIZED_RUNS, ids=run_name)
def test_sanitized_soak(mode: str, threads: int, operations: int, seed: int) -> None:
    stress(ASAN, mode, threads, operations * 10, seed, seconds=1800)
    stress(TSAN, mode, threads, operations * 10, seed, seconds=1800)


@pytest.mark.soak
def test_idle_soak() -> None:
    stress(PLAIN, "idle", 8_000, 1)
