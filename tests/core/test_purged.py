"""Memory on its way to the kernel and back: zero when calloc says so, whole when it is in use, and nobody's in between.

The guarded flavour makes what was given back inaccessible until it is handed out again, so a purge that races with an
allocation, a realloc in place or an mremap ends in SIGSEGV.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from .building import (
    GUARD,
    GUARD_STORM,
    LINKED,
    PAGE16,
    PAGE64,
    PAGE64_GUARD,
    PLAIN,
    Flavour,
    counters_of,
    driver,
    environment_of,
    run,
)
from .test_stress import run_name, stress

# By name: the options, (rounds, ms of trickle between them, whether to trim), and the counters that show that the path
# was taken.
ALL_AT_ONCE = "dirty_decay_ms=1,page_return_ms=0,purge_adaptive=0,epoch_ms=1"
MUZZY = "dirty_decay_ms=2,page_return_ms=-1,purge_adaptive=0"
PATHS = {
    "nothing": ("dirty_decay_ms=-1,page_return_ms=-1", (3, 0, 0), ()),
    "trim": ("dirty_decay_ms=-1,page_return_ms=-1", (3, 0, 1), ("purged",)),
    "slices": ("dirty_decay_ms=2,page_return_ms=-1,purge_adaptive=0", (3, 30, 0), ("purged", "wanted_back")),
    "slices at once": ("dirty_decay_ms=0,page_return_ms=-1,purge_adaptive=0", (3, 20, 0), ("purged",)),
    "pages in spans": ("dirty_decay_ms=8,page_return_ms=0,purge_adaptive=0,transfer_kib=0", (3, 60, 0), ("returned",)),
    "muzzy": (f"{MUZZY},muzzy_decay_ms=600000", (3, 30, 0), ("purged", "muzzy")),
    "muzzy, then clean": (f"{MUZZY},muzzy_decay_ms=1", (3, 60, 0), ("purged",)),
    "no caches": (f"{ALL_AT_ONCE},bin_max=0,transfer_kib=0,remote_kib=0", (2, 30, 0), ("purged", "returned")),
    "background": (f"{ALL_AT_ONCE},background_thread=1", (3, 30, 0), ("purged", "returned")),
    "moved by page tables": (f"{ALL_AT_ONCE},remap_kib=64", (2, 30, 1), ("purged",)),
}


def zero(flavour: Flavour, options: str, how: tuple[int, int, int], prefix: tuple[str, ...] = ()) -> dict[str, int]:
    """Run the driver on one path; its counters at exit."""
    command: list[str | Path] = [driver("purged", flavour), "zero", *map(str, how)]
    settings = environment_of(flavour, f"stats_at_exit=1,{options}")
    if prefix:
        command = [*prefix, "env", *(f"{name}={value}" for name, value in settings.items()), *command]
        settings = {}
    done = run(command, environment=settings)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}"
    assert done.stdout.endswith("fine\n")
    return counters_of(done)


@pytest.mark.parametrize("flavour", [PLAIN, GUARD], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("path", PATHS)
def test_calloc_is_zero_after(path: str, flavour: Flavour) -> None:
    options, how, shown = PATHS[path]
    counters = zero(flavour, options, how)
    for name in shown:
        assert counters[name] > 0, (name, counters)
    if path == "nothing":
        assert counters["purged"] == counters["returned"] == 0, counters


def test_calloc_is_zero_after_segments_were_unmapped() -> None:
    # Trim gives the addresses of idle segments up as well.
    counters = zero(PLAIN, "dirty_decay_ms=-1", (3, 0, 1))
    assert counters["unmapped"] > 0, counters


# ---- the guarded build

GUARDED_RUNS = [
    ("churn", 1, 10_000),
    ("churn", 4, 6_000),
    ("grow", 4, 3),
    ("classes", 1, 30_000),
    ("freeonly", 4, 3_000),
    ("orphans", 4, 4),
    ("short", 4, 2_000),
    ("relay", 2, 300),
    ("fork", 3, 6),
    ("cancel", 4, 8),
]
GUARDED_OPTIONS = [
    f"{ALL_AT_ONCE},background_thread=1,transfer_kib=0",
    f"{ALL_AT_ONCE},remap_kib=64,bin_max=2",
    "dirty_decay_ms=0,page_return_ms=0,purge_adaptive=0,muzzy_decay_ms=1,epoch_ms=1",
]


@pytest.mark.parametrize("options", GUARDED_OPTIONS, ids=["background", "remap", "muzzy"])
@pytest.mark.parametrize("flavour", [GUARD, GUARD_STORM], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize(("mode", "threads", "operations"), GUARDED_RUNS, ids=run_name)
def test_guarded(mode: str, threads: int, operations: int, flavour: Flavour, options: str) -> None:
    stress(flavour, mode, threads, operations, seed=7, options=options)


# ---- pages of 16 and 64 KiB: as long as a slice, and as four


@pytest.mark.parametrize(
    "flavour", [pytest.param(PAGE16, marks=pytest.mark.soak), PAGE64, PAGE64_GUARD], ids=lambda flavour: flavour.name
)
@pytest.mark.parametrize("path", PATHS)
def test_long_pages_go_back(path: str, flavour: Flavour) -> None:
    options, how, shown = PATHS[path]
    counters = zero(flavour, options, how)
    for name in shown:
        assert counters[name] > 0, (name, counters)


LONG_PAGE_RUNS = [("churn", 4, 6_000), ("grow", 4, 3), ("classes", 1, 30_000), ("orphans", 4, 4), ("fork", 3, 6)]


@pytest.mark.parametrize("options", GUARDED_OPTIONS, ids=["background", "remap", "muzzy"])
@pytest.mark.parametrize(
    "flavour", [pytest.param(PAGE16, marks=pytest.mark.soak), PAGE64_GUARD], ids=lambda flavour: flavour.name
)
@pytest.mark.parametrize(("mode", "threads", "operations"), LONG_PAGE_RUNS, ids=run_name)
def test_long_pages_under_threads(mode: str, threads: int, operations: int, flavour: Flavour, options: str) -> None:
    stress(flavour, mode, threads, operations, seed=9, options=options)


@pytest.mark.parametrize("case", ["small", "large"])
def test_guard_catches_use_after_free(case: str) -> None:
    # Without the guard the same program gets away with it: it is the guard that notices.
    command: list[str | Path] = [driver("purged", GUARD), "touch", case]
    done = run(command, environment=environment_of(GUARD))
    assert done.returncode == -signal.SIGSEGV, f"{done.returncode}: {done.stdout}{done.stderr}"
    done = run([driver("purged", LINKED), "touch", case], environment=environment_of(LINKED))
    assert (done.returncode, done.stdout) == (0, "nobody noticed\nfine\n")


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(20, 26))
@pytest.mark.parametrize("options", GUARDED_OPTIONS, ids=["background", "remap", "muzzy"])
@pytest.mark.parametrize(("mode", "threads", "operations"), GUARDED_RUNS, ids=run_name)
def test_guarded_soak(mode: str, threads: int, operations: int, options: str, seed: int) -> None:
    stress(GUARD_STORM, mode, threads, operations * 5, seed, options=options, seconds=1800)
