"""The tables of metrics and moments."""

from __future__ import annotations

from bench_harness.measuring.store import Results
from bench_harness.reporting.details import details_of
from bench_harness.verdicts import analysis
from tests.bench_harness.conftest import MIB, make_cell, make_results


def test_groups_with_moments_get_a_table_and_others_none(sample: Results) -> None:
    (found,) = details_of(analysis.analyse(sample))
    assert found.title == "burst, 1 thread: what the workload tells"
    assert found.headings == (
        "allocator", "RSS filled, MiB", "RSS idle 0 s, MiB", "RSS idle 1 s, MiB", "page bound, MiB",
    )  # fmt: skip
    assert [line[0] for line in found.lines] == ["rtmalloc", "jemalloc", "glibc", "(loop overhead)"]
    assert found.lines[0][1:] == ("1.0", "1.0", "1.0", "2.0")


def test_what_was_seen_from_outside_counts_and_the_unknown_is_left_out() -> None:
    mark = {"name": "idle 1 s", "at": 1.0, "rss_bytes": 9 * MIB, "live_bytes": 1, "outside_rss_bytes": 3 * MIB}
    metrics = {"refill_per_second": 2e6, "page_bound_bytes": -1}
    (found,) = details_of(analysis.analyse(make_results([make_cell("a", 0, 1.0, marks=[mark], metrics=metrics)])))
    assert found.lines == (("a", "3.0", "2M"),)
