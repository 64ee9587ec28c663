"""The order of a run: interleaved, shuffled by a seed, pairs next to each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bench_harness.measuring.plan import NATIVE, PROBE_ROUNDS, Contender, Plan
from bench_harness.peers.allocators import Allocator


def _contenders(base: Allocator, count: int) -> list[Contender]:
    return [Contender(f"c{i}", replace(base, name=f"c{i}"), NATIVE) for i in range(count)]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(1, 6), st.integers(1, 5), st.integers(0, 1000), st.integers(0, 50))
def test_a_round_holds_every_pair_once_and_a_group_stays_together(
    make_plan: Callable[..., Plan],
    allocators: dict[str, Allocator],
    count: int,
    groups: int,
    seed: int,
    number: int,
) -> None:
    contenders = _contenders(allocators["glibc"], count)
    plan = make_plan(contenders=contenders, threads=tuple(range(1, groups + 1)), seed=seed)
    cells = plan.cells(number, plan.groups)
    keys = [cell.key for cell in cells]
    assert len(keys) == len(set(keys)) == count * groups
    blocks = [cells[i : i + count] for i in range(0, len(cells), count)]
    assert all(len({cell.group.threads for cell in block}) == 1 for block in blocks)
    assert keys == [cell.key for cell in plan.cells(number, plan.groups)]


def test_positions_are_balanced_over_the_rounds(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    """Nobody is first more often than chance allows: 400 rounds of 4, expected 100 each."""
    plan = make_plan(contenders=_contenders(allocators["glibc"], 4))
    firsts = [plan.cells(number, plan.groups)[0].contender.name for number in range(400)]
    assert all(60 <= firsts.count(f"c{i}") <= 140 for i in range(4))


def test_the_probe_runs_in_the_first_rounds_only(
    make_plan: Callable[..., Plan], allocators: dict[str, Allocator]
) -> None:
    contenders = [
        Contender("glibc", allocators["glibc"], NATIVE),
        Contender("noop", allocators["noop"], NATIVE),
    ]
    plan = make_plan(contenders=contenders)
    counts = [len(plan.cells(number, plan.groups)) for number in range(PROBE_ROUNDS + 2)]
    assert counts == [2] * PROBE_ROUNDS + [1, 1]


@pytest.mark.parametrize(("values", "label"), [({}, "churn"), ({"live": "5", "max": "64"}, "churn:live=5,max=64")])
def test_a_label_is_what_the_command_line_takes(
    make_plan: Callable[..., Plan], values: dict[str, str], label: str
) -> None:
    assert make_plan(values=values).groups[0].label == label
