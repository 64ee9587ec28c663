"""Routes: the ways in which a program comes to use an allocator, and how each one is started."""

from __future__ import annotations

from bench_harness.measure import Launch
from bench_harness.plan import Cell, Plan

__all__ = ["cell_arguments", "launch_of"]


def cell_arguments(cell: Cell, plan: Plan) -> list[str]:
    """The `name=value` arguments of a cell's process."""
    given = {
        "threads": str(cell.group.threads),
        "seconds": f"{plan.seconds:g}",
        "warmup": f"{plan.warmup:g}",
        **dict(cell.group.parameters),
        "gate": "1",
    }
    return [f"{name}={value}" for name, value in given.items()]


def launch_of(cell: Cell, plan: Plan) -> Launch:
    """How to start a cell under its contender's route."""
    workload, contender = cell.group.workload, cell.contender
    return Launch([str(workload.path), *cell_arguments(cell, plan)], contender.allocator)
