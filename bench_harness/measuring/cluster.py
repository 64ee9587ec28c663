"""Cells on an existing Dask cluster, for people who compare machine types.

Each worker gets one cell at a time. A worker measures with its own copy of the harness and its own
allocators, found by name there; it builds the native cells itself when they are missing. Its cells carry its
machine's id, and the statistics never mix two ids. The order within a worker is the plan's, so that rounds
stay paired on each machine: every machine type among the workers runs the whole plan once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_harness.errors import HarnessError
from bench_harness.measuring.catalogue import find_workloads
from bench_harness.measuring.machine import describe_machine
from bench_harness.measuring.plan import Cell, Contender, Group, Plan
from bench_harness.measuring.record import identity, run_cell
from bench_harness.measuring.run import Progress, expected_seconds, make_header
from bench_harness.measuring.store import Journal, Results, resumable, save
from bench_harness.native.build import build_cells
from bench_harness.peers.allocators import Allocator, find_allocators
from bench_harness.peers.options import presets_of, variant, with_preset

__all__ = ["run_on_cluster", "worker_cell", "worker_machine"]

CONNECT_SECONDS = 20


def worker_machine() -> dict[str, Any]:
    """On a worker: build what is missing and describe the machine."""
    build_cells(log=lambda _: None)
    return describe_machine()


def _local(allocator: Allocator, found: dict[str, Allocator]) -> Allocator | None:
    """The worker's own allocator of that name; one given by path must exist there under the same path."""
    base = found.get(allocator.family)
    if base is None:
        return allocator if allocator.path is not None and allocator.path.exists() else None
    if allocator.preset in presets_of(base.family):
        base = with_preset(base, allocator.preset)
    made = variant(base, allocator.options) if allocator.options else base
    # What the preset of a route sets is no property of the allocator.
    environment = made.environment or allocator.environment
    return replace(made, name=allocator.name, preset=allocator.preset, environment=environment)


def worker_cell(
    plan: Plan,
    workload: str,
    parameters: Sequence[tuple[str, str]],
    threads: int,
    contender: Contender,
    number: int,
    machine: str,
) -> dict[str, Any]:
    """On a worker: run one cell with what this machine has.

    Args:
        plan: settings; its groups and contenders are not used.
        workload, parameters, threads: the group, by name, because paths differ between machines.
        contender: by name as well.
        number: the round.
        machine: this worker's machine id.
    """
    group = Group(find_workloads()[workload], tuple(parameters), threads)
    allocator = _local(contender.allocator, find_allocators())
    cell = Cell(group, contender, number)
    if allocator is None:
        reason = f"{contender.allocator.name} is not installed on this worker"
        return {**identity(cell, machine), "status": "failed", "reason": reason, "attempts": 1}
    return run_cell(replace(cell, contender=replace(contender, allocator=allocator)), plan, machine)


def _shares(plan: Plan, workers: Sequence[str]) -> dict[str, list[Cell]]:
    """The plan's cells dealt to workers of one machine type, whole groups at a time.

    All contenders of a group must run on one worker: only then are the rounds of a comparison pairs.
    """
    owner = {group: workers[i % len(workers)] for i, group in enumerate(plan.groups)}
    shares: dict[str, list[Cell]] = {worker: [] for worker in workers}
    for number in range(plan.repeat):
        for cell in plan.cells(number, plan.groups):
            shares[owner[cell.group]].append(cell)
    return shares


def _key(entry: dict[str, Any]) -> tuple[str, str, int, str, int]:
    return (entry["machine"], entry["label"], entry["threads"], entry["contender"], entry["round"])


def _warn_of_shared_hosts(described: dict[str, dict[str, Any]], progress: Progress) -> None:
    hosts = [machine["hostname"] for machine in described.values()]
    for host in dict.fromkeys(hosts):
        if hosts.count(host) > 1:
            progress.say(
                f"{hosts.count(host)} workers share the host {host}: their cells disturb each other; "
                "start one worker per host"
            )


class _Lane:
    """One worker and what it still has to do; a lane never has two cells under way."""

    def __init__(self, client: Any, worker: str, machine: dict[str, Any], cells: Sequence[Cell], plan: Plan) -> None:
        self.machine = machine["id"]
        self._name = f"{worker} on {machine['hostname']}"
        self._client, self._worker, self._plan = client, worker, plan
        self._waiting = list(cells)
        self._running: tuple[Cell, Any] | None = None

    def poll(self, progress: Progress) -> tuple[Cell, dict[str, Any]] | None:
        """Start the next cell when idle; return a finished one."""
        if self._running is None and self._waiting:
            cell = self._waiting.pop(0)
            progress.begin(cell)
            g = cell.group
            future = self._client.submit(
                worker_cell,
                replace(self._plan, groups=(), contenders=()),
                g.workload.name,
                g.parameters,
                g.threads,
                cell.contender,
                cell.round,
                self.machine,
                workers=[self._worker],
                pure=False,
                retries=0,
                allow_other_workers=False,
            )
            self._running = (cell, future)
        if self._running is None or not self._running[1].done():
            return None
        cell, future = self._running
        self._running = None
        if future.status == "finished":
            return cell, {**future.result(), "worker": self._name}
        reason = f"the worker failed: {future.exception() if future.status == 'error' else future.status}"
        entry = {**identity(cell, self.machine), "status": "failed", "reason": reason, "attempts": 1}
        return cell, {**entry, "worker": self._name}

    @property
    def busy(self) -> bool:
        """True while anything is running or waiting."""
        return self.left > 0

    @property
    def left(self) -> int:
        """Cells running or waiting."""
        return len(self._waiting) + (self._running is not None)

    @property
    def expected_seconds(self) -> float:
        """What the waiting cells will take."""
        return expected_seconds(self._plan, self._waiting)


def run_on_cluster(
    plan: Plan, target: Path, command: Sequence[str], progress: Progress, resume: bool, scheduler: str
) -> Results:
    """Run a plan on every machine type of a Dask cluster.

    Args:
        plan, target, command, progress, resume: as for `run_plan`; `plan.max_repeat` has no effect here.
        scheduler: the cluster's address, `tcp://host:8786`.
    Raises:
        HarnessError: the extra is not installed, or no worker can be reached.
        KeyboardInterrupt: interrupted; the journal holds every finished cell.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise HarnessError("--scheduler needs distributed: install this package with its extra `dask`") from error
    try:
        client: Any = Client(scheduler, timeout=CONNECT_SECONDS)  # type: ignore
    except (OSError, ValueError) as error:
        raise HarnessError(f"--scheduler {scheduler}: no scheduler answers ({error})") from error
    with client:
        described: dict[str, dict[str, Any]] = dict(sorted(client.run(worker_machine).items()))
        if not described:
            raise HarnessError(f"--scheduler {scheduler}: the cluster has no worker")
        machines = {machine["id"]: machine for machine in described.values()}
        header = {**make_header(plan, command), "machines": machines}
        journal = Journal(target)
        old = journal.read() if resume else None
        results = Results(header, list(resumable(old, header, journal.path)) if old else [])
        if old is None:
            journal.start(header)
        finished = {_key(entry) for entry in results.cells}
        lanes = []
        for machine in machines:
            workers = [worker for worker, its in described.items() if its["id"] == machine]
            for worker, cells in _shares(plan, workers).items():
                waiting = [cell for cell in cells if (machine, *cell.key) not in finished]
                lanes.append(_Lane(client, worker, described[worker], waiting, plan))
        _warn_of_shared_hosts(described, progress)
        progress.plan(sum(lane.left for lane in lanes), max(lane.expected_seconds for lane in lanes))
        while any(lane.busy for lane in lanes):
            for lane in lanes:
                done = lane.poll(progress)
                if done is not None:
                    cell, entry = done
                    journal.add(entry)
                    results.cells.append(entry)
                    progress.end(cell, entry)
            time.sleep(0.01)
    save(results, target)
    journal.remove()
    return results
