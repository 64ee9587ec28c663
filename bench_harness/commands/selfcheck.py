"""The harness measured against itself: A/A, and allocators whose cost is known.

A/A: one library under two names must show no difference. Known answer: an allocator that spins for a known
time, or touches a known number of extra bytes, must be measured within KNOWN_LIMIT of the truth.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from rich.console import Console

from bench_harness import statistics
from bench_harness.errors import HarnessError
from bench_harness.measuring.catalogue import find_workloads, parse_workload
from bench_harness.measuring.plan import NATIVE, Contender, Group, Plan
from bench_harness.measuring.run import run_plan
from bench_harness.native.build import BIN
from bench_harness.peers.allocators import Allocator, find_allocators
from bench_harness.peers.declaration import declared
from bench_harness.peers.selection import select_allocators
from bench_harness.reporting.progress import show_progress
from bench_harness.reporting.table import print_groups
from bench_harness.verdicts.analysis import GroupRows, analyse, disturbed_share, geometric_means

__all__ = ["Known", "aa_plan", "aa_verdict", "known_answers", "run"]

GMEAN_LIMIT = 0.01  # the A/A geometric mean's greatest distance from 1
KNOWN_LIMIT = 0.05  # the greatest relative error of a known answer
AA_MATRIX = (("larson", (1, 2, 4)), ("churn", (1, 2)), ("xmalloc", (2,)), ("mixed", (2,)))
AA_PRECISION = 0.01  # rounds are added while a median's interval is wider, up to ...
AA_PATIENCE = 4  # ... so many times the rounds asked for: 14 cells' noise of 3 % would hide a mean within 1 %
AA_ATTEMPTS = 2  # each reports a false difference in 5 % of all runs, by its own statement; both: in 0.25 %

SPIN_NS = 10_000  # much longer than two looks at the clock (some 50 ns each), by which a spin overshoots
FAT_BYTES = 8192
FAT_LIVE = 5000  # blocks: 39 MiB more than the plain one


@dataclass(frozen=True)
class Known:
    """One known answer: what was added to the allocator, and what the harness saw."""

    name: str
    truth: float
    measured: float

    @property
    def error(self) -> float:
        """Relative distance from the truth."""
        return abs(self.measured - self.truth) / self.truth


def _plan(
    groups: Sequence[Group],
    allocators: Sequence[Allocator],
    repeat: int,
    seconds: float,
    seed: int,
    precision: float = 0.0,
) -> Plan:
    return Plan(
        groups=tuple(groups),
        contenders=tuple(Contender(a.name, a, NATIVE) for a in allocators),
        repeat=repeat,
        max_repeat=AA_PATIENCE * repeat if precision else repeat,
        precision=precision,
        seconds=seconds,
        warmup=min(0.2, seconds),
        seed=seed,
        timeout=60.0,
        memory_cap=psutil.virtual_memory().total // 2,
        retries=1,
        interpreter=Path(sys.executable),
    )


def _groups(matrix: Sequence[tuple[str, Sequence[int]]]) -> list[Group]:
    found = find_workloads()
    groups = []
    for text, threads in matrix:
        workload, values = parse_workload(text, found)
        groups += [Group(workload, tuple(values.items()), n) for n in threads]
    return groups


def aa_plan(allocator: Allocator, repeat: int, seconds: float, seed: int) -> Plan:
    """The default matrix for one allocator under the names A and B."""
    pair = [replace(allocator, name=name) for name in ("A", "B")]
    return _plan(_groups(AA_MATRIX), pair, repeat, seconds, seed, AA_PRECISION)


def aa_verdict(groups: Sequence[GroupRows]) -> tuple[list[str], list[str]]:
    """What an A/A run shows: (facts, complaints); no complaint means that it passed."""
    facts, complaints = [], []
    rows = [(g, row) for g in groups for row in g.competitors if row.contender != g.base]
    for group, row in rows:
        if row.failures:
            complaints.append(f"{group.title}: a cell failed: {row.failures[0]}")
        for what, c in (("throughput", row.throughput_ratio), ("peak RSS", row.rss_ratio)):
            if c is not None and c.significant:
                complaints.append(
                    f"{group.title}: a significant difference in {what}: {c.ratio:.4f} (p {c.p_value:.4f})"
                )
    for mean in geometric_means(groups):
        facts.append(
            f"geometric means over {mean.groups} groups: throughput {mean.throughput:.4f}, peak RSS {mean.peak_rss:.4f}"
        )
        for what, value in (("throughput", mean.throughput), ("peak RSS", mean.peak_rss)):
            if abs(value - 1) > GMEAN_LIMIT:
                complaints.append(f"the geometric mean of {what} is {value:.4f}, not within {GMEAN_LIMIT:.0%} of 1")
    if not facts:
        complaints.append("no geometric mean could be formed")
    return facts, complaints


def _known_library() -> Path:
    path = BIN / "libknown.so"
    if not path.exists():
        raise HarnessError("libknown.so is not built; run python -m bench_harness.native.build")
    return path


def known_answers(repeat: int, seconds: float, folder: Path, console: Console) -> list[Known]:
    """Measure a slowed and a fattened allocator against the same one without the addition.

    Args:
        repeat: rounds.
        seconds: window of the slowed cells.
        folder: for the result files.
        console: for the progress.
    Raises:
        HarnessError: a cell failed.
    """
    plain = select_allocators({}, [f"plain={_known_library()}"], (), probe=False)[0]
    slowed = replace(plain, name="slowed", environment={"KNOWN_SPIN_NS": str(SPIN_NS)})
    fat = replace(plain, name="fat", environment={"KNOWN_FAT_BYTES": str(FAT_BYTES)})
    groups = _groups([(f"churn:live={FAT_LIVE}", (1,))])
    with show_progress(console) as progress:
        results = run_plan(
            _plan(groups, [plain, slowed, fat], repeat, seconds, 7), folder / "known.json", ["selfcheck"], progress
        )
    group = analyse(results, "plain")[0]

    def median(name: str, field: str) -> float:
        row = group.row(name)
        if row is None or row.failures or not row.series(field):
            raise HarnessError(f"the known-answer cell {name} failed: {row.failures[:1] if row else 'missing'}")
        return statistics.summarise(list(row.series(field).values())).median

    per_operation = [1e9 / median(name, "throughput") for name in ("slowed", "plain")]
    sizes = [median(name, "peak_rss_bytes") for name in ("fat", "plain")]
    return [
        Known("ns per operation added by spinning", 2.0 * SPIN_NS, per_operation[0] - per_operation[1]),
        Known("bytes of peak RSS added by fat blocks", float(FAT_LIVE * FAT_BYTES), sizes[0] - sizes[1]),
    ]


def run(wanted: Sequence[str], repeat: int, seconds: float, console: Console) -> bool:
    """The whole check; prints what it found.

    Args:
        wanted: allocators for the A/A test (default the C library's), as the command line writes them.
        repeat: rounds of the A/A test.
        seconds: window of its cells.
        console: where to print.
    Returns:
        True when everything passed.
    """
    passed = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for known in known_answers(5, seconds, folder, console):
            good = known.error <= KNOWN_LIMIT
            passed &= good
            console.print(
                f"known answer, {known.name}: truth {known.truth:.0f}, measured {known.measured:.0f}, "
                f"error {known.error:.2%}: {'passed' if good else 'FAILED'}",
                soft_wrap=True,
            )
        for allocator in select_allocators(find_allocators(), wanted or [declared().system], (), probe=False):
            passed &= _aa(allocator, repeat, seconds, folder, console)
    return passed


def _aa(allocator: Allocator, repeat: int, seconds: float, folder: Path, console: Console) -> bool:
    for attempt in range(AA_ATTEMPTS):
        with show_progress(console) as progress:
            plan = aa_plan(allocator, repeat, seconds, attempt + 1)
            results = run_plan(plan, folder / f"aa-{attempt}.json", ["selfcheck"], progress)
        groups = analyse(results, "A")
        print_groups(console, groups)
        facts, complaints = aa_verdict(groups)
        for line in (*facts, *complaints):
            console.print(f"A/A {allocator.name}: {line}", markup=False, soft_wrap=True)
        share = disturbed_share(results)
        if complaints and share > 0.5:
            console.print(f"A/A: {share:.0%} of the cells were disturbed by other load; this needs a quiet machine")
        if not complaints:
            console.print(f"A/A {allocator.name}: passed", markup=False)
            return True
    console.print(f"A/A {allocator.name}: FAILED {AA_ATTEMPTS} times", markup=False)
    return False
