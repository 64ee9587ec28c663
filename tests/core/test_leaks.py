"""After all threads have ended and all blocks are freed, every bit of every span is set again.

Asked through RTMALLOC_OPTIONS=stats_at_exit=1. With bins and sender's caches switched off nothing may be held back, so
the numbers are exact but for what libc itself keeps: stdio, and the thread vectors of stacks that it caches.
"""

from __future__ import annotations

import re

import pytest

from .building import PLAIN, counters_of, driver, environment_of, run

LIBC_OBJECTS = 40  # one or two for each of the at most 16 cached stacks, and a few at start-up
LIBC_BYTES = 32768
CACHE_BYTES = 1 << 20  # with the default options: bins of the main thread and of threads that have passed their exit

RUNS = [
    ("churn", 1, 50_000),
    ("churn", 4, 50_000),
    ("churn", 16, 10_000),
    ("freeonly", 8, 10_000),
    ("orphans", 8, 8),
    ("first", 1, 1_000),
    ("keys", 8, 8),
    ("short", 8, 5_000),
    ("cancel", 8, 20),
    ("grow", 4, 5),
]


def totals(mode: str, threads: int, operations: int, options: str) -> dict[str, int]:
    """The statistics at exit of one run, and the sums over the classes."""
    done = run(
        [driver("stress", PLAIN), mode, str(threads), str(operations), "7"],
        environment=environment_of(PLAIN, options),
    )
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    values = counters_of(done)
    classes = re.findall(
        r"^rtmalloc: class size \d+ spans \d+ current \d+ objects (\d+) free (\d+)$", done.stderr, re.MULTILINE
    )
    assert "allocated" in values and classes, done.stderr
    values["not free"] = sum(int(objects) - int(free) for objects, free in classes)
    return values


@pytest.mark.parametrize(("mode", "threads", "operations"), RUNS, ids=str)
def test_every_object_comes_home(mode: str, threads: int, operations: int) -> None:
    values = totals(mode, threads, operations, "stats_at_exit=1,bin_max=0,remote_kib=0")
    assert values["spans_formed"] > 20, "the run has used the allocator"
    assert values["large_blocks"] == values["giants"] == 0
    assert values["not free"] <= LIBC_OBJECTS, values
    assert values["allocated"] <= LIBC_BYTES, values


@pytest.mark.parametrize(("mode", "threads", "operations"), RUNS, ids=str)
def test_caches_stay_bounded(mode: str, threads: int, operations: int) -> None:
    values = totals(mode, threads, operations, "stats_at_exit=1")
    assert values["large_blocks"] == values["giants"] == 0
    assert values["allocated"] <= CACHE_BYTES, values
    assert values["threads"] <= 2, "the heaps of ended threads are given back"
    # Heaps are used again: as many as threads were ever alive at once, one for late calls, one to spare.
    assert values["heaps"] <= threads + 3, values
