"""`bench-harness list`: workloads, allocators with their presets, and the routes of Python workloads."""

from __future__ import annotations

import argparse

from rich.console import Console

from bench_harness.commands.measure import build
from bench_harness.measuring.catalogue import COMMON, Parameter, find_workloads
from bench_harness.measuring.routes import ROUTES
from bench_harness.peers.allocators import find_allocators
from bench_harness.peers.declaration import declared

__all__ = ["list_all"]


def _values(p: Parameter) -> str:
    if p.kind == "file":
        return "a file"
    return "|".join(p.choices) or f"{p.smallest:.10g}..{p.largest:.10g} {p.unit}".rstrip()


def _workloads(console: Console) -> None:
    for w in find_workloads().values():
        missing = f" (not here: {w.missing})" if w.missing else ""
        console.print(f"  {w.name} ({w.kind}): {w.description}{missing}", markup=False, soft_wrap=True)
        for p in w.parameters:
            if p.name not in COMMON:
                shown = p.default if isinstance(p.default, str) else f"{p.default:.10g}"
                console.print(f"      {p.name}={shown}  ({_values(p)}) {p.help}", markup=False, soft_wrap=True)


def _allocators(console: Console) -> None:
    found = find_allocators()
    for allocator in found.values():
        where = allocator.path or "no preload"
        console.print(f"  {allocator.name}: {allocator.version}  {where}", markup=False, soft_wrap=True)
        for name, preset in declared().row(allocator.family).presets.items():
            options = " ".join((*preset.options, *preset.companions))
            console.print(f"      :{name}  {options}  ({preset.source})", markup=False, soft_wrap=True)
    missing = [name for name, row in declared().allocators.items() if name not in found and row.get]
    if missing:
        console.print(f"  not here: {', '.join(missing)}; get them with bench-harness peers", markup=False)


def list_all(_: argparse.Namespace, console: Console) -> int:
    """Print all that the other commands can be given."""
    build(console)
    console.print("workloads", style="bold")
    _workloads(console)
    console.print("allocators", style="bold")
    _allocators(console)
    console.print("routes of Python workloads", style="bold")
    for route in ROUTES.values():
        console.print(f"  {route.route}: {route.description}", markup=False, soft_wrap=True)
    return 0
