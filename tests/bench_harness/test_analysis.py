"""From cells to rows: pairs, bases, geometric means, verdicts in words; machines are never mixed."""

from __future__ import annotations

import pytest

from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.store import Results
from bench_harness.reporting.numbers import describe_verdict
from bench_harness.verdicts import analysis
from bench_harness.verdicts.changes import changes
from bench_harness.verdicts.sentences import sentences, winner
from tests.bench_harness.conftest import MIB, failed_cell, make_cell, make_results


def test_rows_compare_with_glibc_and_leave_the_probe_out(sample: Results) -> None:
    groups = analysis.analyse(sample)
    assert [g.title for g in groups] == ["burst, 1 thread", "larson, 1 thread", "larson, 2 threads"]
    for g in groups:
        assert g.base == "glibc"
        assert [r.contender for r in g.rows] == ["rtmalloc", "jemalloc", "glibc", "noop"]
        ours, probe, base = g.row("rtmalloc"), g.row("noop"), g.row("glibc")
        assert ours is not None and ours.throughput_ratio is not None and ours.throughput_ratio.significant
        assert ours.throughput_ratio.ratio == pytest.approx(3.0, rel=0.03)
        assert ours.rss_ratio is not None and ours.rss_ratio.ratio == pytest.approx(0.9, rel=0.03)
        assert probe is not None and probe.is_probe and probe.throughput_ratio is None
        assert base is not None and base.throughput_ratio is None


def test_geometric_means_cover_only_groups_in_which_all_ran(sample: Results) -> None:
    means = {m.contender: m for m in analysis.geometric_means(analysis.analyse(sample))}
    assert means["rtmalloc"].groups == 3 and means["rtmalloc"].throughput == pytest.approx(3.0, rel=0.02)
    crashed = make_results([*sample.cells, failed_cell("jemalloc", 8, "killed by SIGSEGV", label="burst")])
    means = {m.contender: m for m in analysis.geometric_means(analysis.analyse(crashed))}
    assert means["rtmalloc"].groups == 2  # burst is out for everybody


def test_a_base_can_be_chosen_and_must_exist(sample: Results) -> None:
    assert analysis.choose_base(sample) is None
    assert {g.base for g in analysis.analyse(sample, "jemalloc")} == {"jemalloc"}
    with pytest.raises(UsageError, match="not in the results; there are glibc, jemalloc, rtmalloc, noop"):
        analysis.choose_base(sample, "nedmalloc")
    with pytest.raises(HarnessError, match="no cell"):
        analysis.choose_base(make_results([]))


def test_two_machine_types_are_never_pooled() -> None:
    cells = [make_cell("glibc", r, 1e6 * (1 + i), machine=m) for i, m in enumerate(("m1", "m2")) for r in range(3)]
    both = make_results(cells, ("m1", "m2"))
    with pytest.raises(UsageError, match="several machine types"):
        analysis.one_machine(both)
    with pytest.raises(UsageError, match="not in the file"):
        analysis.one_machine(both, "m3")
    one = analysis.one_machine(both, "m2")
    assert {c["machine"] for c in one.cells} == {"m2"} and list(one.machines) == ["m2"]
    with pytest.raises(HarnessError, match="different machine types"):
        changes(analysis.one_machine(both, "m1"), one)


def test_the_winner_needs_to_beat_every_other_one() -> None:
    cells = [
        make_cell(name, r, speed + r * 0.01)
        for name, speed in (("a", 10.0), ("b", 20.0), ("c", 20.001))
        for r in range(0, 8)
    ]
    jitter = [make_cell("c", r, 20.0 + (-1) ** r * 0.5) for r in range(8)]
    group = analysis.analyse(make_results([*(c for c in cells if c["contender"] != "c"), *jitter]))[0]
    name, ahead = winner(group, "throughput", True)
    assert name in ("b", "c") and not ahead
    two = analysis.analyse(make_results([c for c in cells if c["contender"] != "c"]))[0]
    assert winner(two, "throughput", True) == ("b", True)


def test_the_verdict_says_what_is_known_and_what_failed(sample: Results) -> None:
    said = sentences(analysis.analyse(sample))
    assert said[0] == "rtmalloc is fastest in 3 of 3 cells, significantly ahead of all others in 3"
    assert any(s.startswith("rtmalloc has the smallest peak RSS in 3 of 3") for s in said)
    few = make_results([make_cell("glibc", 0, 1e6), failed_cell("jemalloc", 0, "hung")])
    text = "\n".join(sentences(analysis.analyse(few)))
    assert "jemalloc failed in larson, 1 thread: hung" in text
    assert "no significance can be claimed" in text


def test_few_rounds_claim_nothing() -> None:
    cells = [make_cell(name, r, speed) for name, speed in (("glibc", 1e6), ("jemalloc", 2e6)) for r in range(5)]
    assert sentences(analysis.analyse(make_results(cells))) == [
        "with 5 rounds no significance can be claimed; 6 are the fewest"
    ]
    assert describe_verdict(analysis.analyse(make_results(cells[::5]))[0].rows[0].throughput_ratio) == "2.000 ?"


def test_a_file_of_before_there_were_presets_is_all_of_the_default() -> None:
    row = analysis.analyse(make_results([make_cell("glibc", 0, 1e6)]))[0].row("glibc")
    assert row is not None and row.preset == "default" and row.version == "1"


def test_a_contender_of_which_no_cell_ran_is_a_row_with_its_reason() -> None:
    cells = [make_cell("glibc", 0, 1e6, 3 * MIB), failed_cell("jemalloc", 0, "hung")]
    row = analysis.analyse(make_results(cells))[0].row("jemalloc")
    assert row is not None and row.throughput is None and row.failures == ["hung"]


def test_changes_between_two_files() -> None:
    before = make_results([make_cell("a", r, 100.0 + r, 10 * MIB + r) for r in range(6)])
    after = make_results([make_cell("a", r, 150.0 + r, 10 * MIB + r) for r in range(6)])
    (change,) = changes(before, after)
    assert change.speed is not None and change.speed.significant and change.speed.ratio == pytest.approx(1.49, rel=0.02)
    assert change.size is not None and change.size.significant is False
    with pytest.raises(HarnessError, match="no successful cell in common"):
        changes(before, make_results([make_cell("b", 0, 1.0)]))


def test_cpu_time_per_operation_and_the_share_of_disturbed_cells() -> None:
    busy = {"other": 1.0, "steal": 0.0, "disturbed": True}
    cells = [make_cell("glibc", r, 1e6, disturbance=busy if r == 0 else {**busy, "disturbed": False}) for r in range(4)]
    results = make_results([*cells, failed_cell("glibc", 4, "hung")])
    row = analysis.analyse(results)[0].row("glibc")
    assert row is not None and row.cpu_ns == pytest.approx(1000.0) and row.disturbed == 1
    assert analysis.disturbed_share(results) == 0.25
    assert analysis.disturbed_share(make_results([])) == 0.0
