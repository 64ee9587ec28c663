"""The budget of the bins: bounds, and what sleeping threads have of it."""

from __future__ import annotations

import pytest

from .building import PLAIN, STORM, TSAN, Flavour, counters_of, driver, environment_of, run

KIB = 1024
THREAD_KIB = 256
TOTAL_KIB = 512
LEAST_KIB = 16
# Epochs of 1 ms, of which 5 without a tick are sleep.
OPTIONS = (
    f"thread_kib={THREAD_KIB},total_kib={TOTAL_KIB},thread_least_kib={LEAST_KIB},epoch_ms=1,idle_epochs=5,"
    "bin_kib=64,dirty_decay_ms=-1,stats_at_exit=1"
)


def budget(flavour: Flavour, threads: int, in_the_middle: bool) -> dict[str, int]:
    """Run the driver; the counters at its end, or while the sleepers sleep."""
    environment = environment_of(flavour, OPTIONS) | ({"BUDGET_EXIT": "1"} if in_the_middle else {})
    done = run([driver("budget", flavour), str(threads)], environment=environment)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[-3000:]}"
    return counters_of(done)


def test_sleepers_lend_their_part() -> None:
    # Sleepers do not count: each thread fills its bins as if it were alone, however many have done so before it.
    for threads in (1, 2, 8):
        counters = budget(PLAIN, threads, in_the_middle=True)
        assert counters["cached"] >= threads * THREAD_KIB * KIB * 9 // 10, (threads, counters)
        assert counters["cached"] <= (threads + 1) * THREAD_KIB * KIB, (threads, counters)


@pytest.mark.parametrize("flavour", [PLAIN, STORM, TSAN], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("threads", [1, 3, 12])
def test_nothing_is_left_when_all_have_ended(threads: int, flavour: Flavour) -> None:
    # Threads flush at their end, and the main thread by its trim.
    counters = budget(flavour, threads, in_the_middle=False)
    assert counters["threads"] <= 1, counters
    assert counters["cached"] <= LEAST_KIB * KIB, counters
