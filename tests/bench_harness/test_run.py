"""The run: every finished cell is kept, a failure is one cell, more rounds only where they are needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_harness.errors import HarnessError
from bench_harness.measuring.plan import NATIVE, Cell, Contender, Plan
from bench_harness.measuring.run import expected_seconds, run_plan
from bench_harness.measuring.store import Journal, load
from bench_harness.peers.allocators import Allocator
from tests.bench_harness.conftest import Quiet, failed_cell, make_cell


class Fake:
    """Runs no process: throughput by contender and round, failures and an interruption where they are wanted."""

    def __init__(self, speed: Callable[[str, int], float] = lambda name, number: 100.0) -> None:
        self.speed = speed
        self.ran: list[tuple[str, int, str, int]] = []
        self.plans: list[Plan] = []
        self.interrupt_after = 10**9
        self.attempts = 1

    def __call__(self, cell: Cell, plan: Plan, machine: str) -> dict[str, Any]:
        if len(self.ran) >= self.interrupt_after:
            raise KeyboardInterrupt
        self.ran.append(cell.key)
        self.plans.append(plan)
        label, threads, name, number = cell.key
        speed = self.speed(name, number)
        common = {"label": label, "threads": threads, "machine": machine, "attempts": self.attempts}
        if speed <= 0:
            return failed_cell(name, number, "killed by SIGSEGV", **common)
        return make_cell(name, number, speed, **common)


@pytest.fixture
def pair(allocators: dict[str, Allocator]) -> list[Contender]:
    return [Contender(n, replace(allocators["glibc"], name=n), NATIVE) for n in ("a", "b")]


def test_an_interrupted_run_is_resumed_where_it_stopped(
    make_plan: Callable[..., Plan], pair: list[Contender], quiet: Quiet, tmp_path: Path
) -> None:
    plan = make_plan(contenders=pair, repeat=3, max_repeat=3, threads=(1, 2))
    target = tmp_path / "r.json"
    first = Fake()
    first.interrupt_after = 5
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, target, ["x"], quiet, execute=first)
    kept = Journal(target).read()
    assert kept is not None and len(kept.cells) == 5 and not target.exists()
    second = Fake()
    results = run_plan(plan, target, ["x"], quiet, resume=True, execute=second)
    assert len(second.ran) == 12 - 5 and not set(first.ran) & set(second.ran)
    assert len(results.cells) == 12 and load(target).cells == results.cells
    assert Journal(target).read() is None


def test_another_plan_is_not_resumed(
    make_plan: Callable[..., Plan], pair: list[Contender], quiet: Quiet, tmp_path: Path
) -> None:
    plan = make_plan(contenders=pair)
    fake = Fake()
    fake.interrupt_after = 1
    with pytest.raises(KeyboardInterrupt):
        run_plan(plan, tmp_path / "r.json", ["x"], quiet, execute=fake)
    with pytest.raises(HarnessError, match="begun with other settings"):
        run_plan(replace(plan, seconds=9.0), tmp_path / "r.json", ["x"], quiet, resume=True, execute=Fake())


def test_a_failed_cell_does_not_end_the_run(
    make_plan: Callable[..., Plan], pair: list[Contender], quiet: Quiet, tmp_path: Path
) -> None:
    plan = make_plan(contenders=pair, repeat=4, max_repeat=4)
    fake = Fake(lambda name, number: 0.0 if name == "a" else 50.0)
    results = run_plan(plan, tmp_path / "r.json", ["x"], quiet, execute=fake)
    assert [c["status"] for c in results.cells if c["contender"] == "a"] == ["failed"] * 4
    assert [c["status"] for c in results.cells if c["contender"] == "b"] == ["ok"] * 4


def test_only_noisy_groups_get_more_rounds_and_never_beyond_the_most(
    make_plan: Callable[..., Plan], pair: list[Contender], quiet: Quiet, tmp_path: Path
) -> None:
    plan = make_plan(contenders=pair, repeat=4, max_repeat=7, precision=0.05)
    steady, noisy = Fake(), Fake(lambda name, number: 100.0 * (1 + number % 2))
    assert len(run_plan(plan, tmp_path / "s.json", ["x"], quiet, execute=steady).cells) == 2 * 4
    assert len(run_plan(plan, tmp_path / "n.json", ["x"], quiet, execute=noisy).cells) == 2 * 7
    lazy = replace(plan, precision=0.0)
    assert len(run_plan(lazy, tmp_path / "l.json", ["x"], quiet, execute=noisy).cells) == 2 * 4


def test_repeats_of_disturbed_cells_stay_within_their_share(
    make_plan: Callable[..., Plan], pair: list[Contender], quiet: Quiet, tmp_path: Path
) -> None:
    plan = make_plan(contenders=pair, repeat=10, max_repeat=10, retries=1)
    fake = Fake()
    fake.attempts = 2  # every cell is disturbed, and repeated once
    run_plan(plan, tmp_path / "r.json", ["x"], quiet, execute=fake)
    allowed = sum(p.retries > 0 for p in fake.plans)
    assert allowed == 5  # a fifth of 20 cells, and the one that crosses it


def test_the_expected_duration_is_said_first_and_knows_fixed_work(make_plan: Callable[..., Plan]) -> None:
    clocked = make_plan(seconds=2.0, warmup=1.0)
    fixed = make_plan("burst", seconds=2.0)
    assert expected_seconds(clocked, clocked.cells(0, clocked.groups)) == pytest.approx(3.0, abs=0.3)
    assert expected_seconds(fixed, fixed.cells(0, fixed.groups)) > 5.0
