"""The budget of the bins: bounds, and what sleeping threads have of it."""

from __future__ import annotations

import pytest

from .building import PLAIN, STORM, TSAN, Flavour, driver, environment_of, run
from .test_purged import counters_of

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
    # Two sleepers could have used the total up; the third thread, which works, gets what it would get alone.
    for threads in (2, 8):
        counters = budget(PLAIN, threads, in_the_middle=True)
        assert counters["budget_taken"] > 0, counters
        on_account = counters["cached"] - counters["budget_taken"]
        assert on_account <= TOTAL_KIB * KIB + (threads + 1) * LEAST_KIB * KIB
        assert counters["budget_taken"] <= (TOTAL_KIB + THREAD_KIB) * KIB, "bounded by the total, but for the last one"


@pytest.mark.parametrize("flavour", [PLAIN, STORM, TSAN], ids=lambda flavour: flavour.name)
@pytest.mark.parametrize("threads", [1, 3, 12])
def test_the_account_is_even_when_all_have_ended(threads: int, flavour: Flavour) -> None:
    # All threads have given their grants back, and the main thread by its trim: nothing is left on either side.
    counters = budget(flavour, threads, in_the_middle=False)
    assert counters["budget_taken"] == 0, counters
    assert counters["cached"] <= LEAST_KIB * KIB, counters
