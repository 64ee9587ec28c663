"""Cells on a real local Dask cluster of two workers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench_harness.errors import HarnessError
from bench_harness.measuring import cluster
from bench_harness.measuring.plan import NATIVE, Contender, Plan
from bench_harness.measuring.store import load
from bench_harness.peers.allocators import Allocator
from bench_harness.verdicts import analysis
from tests.bench_harness.conftest import Quiet

distributed = pytest.importorskip("distributed", reason="the extra `dask` is not installed")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as local:
        local.wait_for_workers(2)
        yield local.scheduler_address


def test_two_workers_share_a_plan(
    make_plan: Callable[..., Plan],
    allocators: dict[str, Allocator],
    known: Allocator,
    quiet: Quiet,
    tmp_path: Path,
    address: str,
) -> None:
    contenders = [Contender("glibc", allocators["glibc"], NATIVE), Contender("known", known, NATIVE)]
    plan = make_plan(contenders=contenders, threads=(1, 2), repeat=2, max_repeat=2)
    target = tmp_path / "r.json"
    results = cluster.run_on_cluster(plan, target, ["x"], quiet, False, address)
    assert len(results.cells) == 2 * 2 * 2 and {c["status"] for c in results.cells} == {"ok"}
    assert load(target).cells == results.cells
    assert len({c["worker"] for c in results.cells}) == 2
    for group in (1, 2):  # pairs stay on one worker
        assert len({c["worker"] for c in results.cells if c["threads"] == group}) == 1
    assert {c["machine"] for c in results.cells} == set(results.machines)
    assert any("share the host" in line for line in quiet.lines)
    assert len(analysis.analyse(analysis.one_machine(results))) == 2


def test_what_a_worker_lacks_is_a_failed_cell(
    make_plan: Callable[..., Plan], known: Allocator, quiet: Quiet, tmp_path: Path, address: str
) -> None:
    gone = replace(known, name="gone", family="gone", path=Path("/nowhere/lib.so"))
    plan = make_plan(contenders=[Contender("gone", gone, NATIVE)])
    results = cluster.run_on_cluster(plan, tmp_path / "r.json", ["x"], quiet, False, address)
    assert [c["reason"] for c in results.cells] == ["gone is not installed on this worker"]


def test_machine_types_stay_apart(
    make_plan: Callable[..., Plan],
    quiet: Quiet,
    tmp_path: Path,
    address: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each worker claims a kernel of its own: each type runs the whole plan, and nothing pools them."""
    plan = make_plan(repeat=2, max_repeat=2)
    monkeypatch.setattr(cluster, "worker_machine", _two_types)
    results = cluster.run_on_cluster(plan, tmp_path / "r.json", ["x"], quiet, False, address)
    assert len(results.machines) == 2 and len(results.cells) == 2 * 2
    for machine in results.machines:
        assert len(analysis.one_machine(results, machine).cells) == 2
    with pytest.raises(Exception, match="several machine types"):
        analysis.one_machine(results)


def _two_types(dask_worker: Any) -> dict[str, object]:
    from bench_harness.measuring.machine import describe_machine, machine_id

    fields = {**describe_machine(), "kernel": f"kernel of {dask_worker.name}"}
    return {**fields, "id": machine_id(fields)}


def test_no_scheduler_is_one_sentence(
    make_plan: Callable[..., Plan], quiet: Quiet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "CONNECT_SECONDS", 1)
    with pytest.raises(HarnessError, match="no scheduler answers"):
        cluster.run_on_cluster(make_plan(), tmp_path / "r.json", ["x"], quiet, False, "tcp://127.0.0.1:9")
