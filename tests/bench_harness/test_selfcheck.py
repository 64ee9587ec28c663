"""The self-check: known memory is measured right, and the A/A verdict complains when it should."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from bench_harness.commands import selfcheck
from bench_harness.verdicts.analysis import analyse
from tests.bench_harness.conftest import MIB, failed_cell, make_cell, make_results


def test_known_memory_is_measured_within_the_limit(cells: dict[str, Path], tmp_path: Path) -> None:
    """Memory does not depend on the clock, so this half of the known answers is a test; time is `selfcheck`'s."""
    spin, fat = selfcheck.known_answers(1, 0.1, tmp_path, Console(quiet=True))
    assert fat.truth == selfcheck.FAT_LIVE * selfcheck.FAT_BYTES
    assert fat.error <= selfcheck.KNOWN_LIMIT
    assert spin.measured > spin.truth * 0.9  # a spin never ends early; how late it ends is the machine's affair


def _aa(second: float, size: int = 10 * MIB, rounds: int = 9) -> tuple[list[str], list[str]]:
    cells = [
        make_cell(name, r, speed * (1 + 0.001 * (-1) ** (r // 2)), peak)
        for name, speed, peak in (("A", 100.0, 10 * MIB), ("B", second, size))
        for r in range(rounds)
    ]
    return selfcheck.aa_verdict(analyse(make_results(cells), "A"))


def test_a_fair_aa_run_has_no_complaint() -> None:
    facts, complaints = _aa(100.0)
    assert len(facts) == 1 and complaints == []


def test_an_unfair_one_is_told_in_every_respect() -> None:
    text = "\n".join(_aa(103.0, 11 * MIB)[1])
    assert "a significant difference in throughput: 1.0300" in text
    assert "a significant difference in peak RSS: 1.1000" in text
    assert "the geometric mean of throughput is 1.0300, not within 1% of 1" in text


def test_a_failed_cell_fails_the_check() -> None:
    results = make_results([make_cell("A", 0, 1.0), failed_cell("B", 0, "killed by SIGSEGV")])
    complaints = selfcheck.aa_verdict(analyse(results, "A"))[1]
    assert any("killed by SIGSEGV" in c for c in complaints)
    assert "no geometric mean could be formed" in complaints


def test_the_aa_matrix_names_real_workloads(cells: dict[str, Path]) -> None:
    from bench_harness.peers.allocators import find_allocators

    plan = selfcheck.aa_plan(find_allocators()["glibc"], 9, 0.1, 1)
    assert len(plan.groups) == sum(len(threads) for _, threads in selfcheck.AA_MATRIX)
    assert [c.name for c in plan.contenders] == ["A", "B"]
