"""Routes: the ways in which a program comes to use an allocator, and how each one is started and proven.

Native programs have one route, the preload. Python has several, because its small objects never reach malloc as it
comes: replacing malloc alone, replacing Python's own allocator too, and what single allocators offer. `peers.toml`
declares them.
"""

from __future__ import annotations

import fnmatch
import importlib.util
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench_harness.errors import CellFailure, HarnessError, UsageError
from bench_harness.measuring.observation import Launch, Observation, is_served_by, prove_allocator, same_file
from bench_harness.measuring.plan import NATIVE, Cell, Contender, Plan
from bench_harness.native.build import BIN
from bench_harness.peers.allocators import Allocator
from bench_harness.peers.declaration import DEFAULT, RouteRow, declared

__all__ = ["ROUTES", "cell_arguments", "launch_of", "prove", "python_contenders"]

ROUTES: dict[str, RouteRow] = dict(declared().routes)

_SYSTEM_LIBRARY = "libc.so.6"
_START_SECONDS = 60.0  # an interpreter that has not started by then never will


def _starts(interpreter: Path, environment: Mapping[str, str]) -> bool:
    env = {**environment, "PATH": os.environ.get("PATH", "")}
    tried = subprocess.run([str(interpreter), "-c", ""], env=env, capture_output=True, timeout=_START_SECONDS)
    return tried.returncode == 0


def _fits(route: RouteRow, allocator: Allocator) -> bool:
    """Whether a route makes sense for an allocator."""
    if allocator.is_probe or (route.needs_library and allocator.path is None):
        return False
    if not route.of:
        return True
    # A route that bears a name of its own stands for the C library's allocator as it comes, and not for its variants.
    return (allocator.name if route.name else allocator.family) in route.of


def _presets(route: RouteRow, allocator: Allocator, presets: Sequence[str]) -> list[Allocator]:
    """The allocator, and as often again as the route has presets of its own that are wanted."""
    own = {name: environment for name, environment in route.presets.items() if name in presets}
    return [
        allocator,
        *(
            replace(allocator, name=f"{route.name}:{name}", preset=name, environment=environment)
            for name, environment in own.items()
        ),
    ]


def _contender(route: RouteRow, allocator: Allocator) -> Contender:
    if not route.name:
        return Contender(f"{route.route}/{allocator.name}", allocator, route.route)
    name = route.name if allocator.preset == DEFAULT else allocator.name
    return Contender(name, allocator, route.route)


def python_contenders(
    allocators: Sequence[Allocator], interpreter: Path, wanted: Sequence[str], presets: Sequence[str] = ()
) -> list[Contender]:
    """Every allocator by every route that fits it.

    Args:
        allocators: of the run.
        interpreter: that runs the Python cells.
        wanted: names of routes; empty means all.
        presets: of routes that have some of their own.
    Raises:
        UsageError: there is no such route.
    """
    for name in wanted:
        if name not in ROUTES:
            raise UsageError(f"--route {name}: unknown; valid are {', '.join(ROUTES)}")
    contenders = []
    for route in ROUTES.values():
        fitting = [allocator for allocator in allocators if _fits(route, allocator)]
        if (wanted and route.route not in wanted) or not fitting:
            continue
        if route.tried and not _starts(interpreter, route.environment):
            continue
        contenders += [_contender(route, made) for a in fitting for made in _presets(route, a, presets)]
    return contenders


def cell_arguments(cell: Cell, plan: Plan) -> list[str]:
    """The `name=value` arguments of a cell's process."""
    given = {
        "threads": str(cell.group.threads),
        "seconds": f"{plan.seconds:g}",
        "warmup": f"{plan.warmup:g}",
        **cell.group.workload.arguments(dict(cell.group.parameters)),
        "gate": "1",
    }
    return [f"{name}={value}" for name, value in given.items()]


def _home_of(package: str) -> str:
    """The folder from which a package can be imported by another process."""
    spec = importlib.util.find_spec(package)
    folders = list(spec.submodule_search_locations or []) if spec else []
    if not folders:
        raise CellFailure(f"the package {package} is not importable")
    return str(Path(folders[0]).parent)


def launch_of(cell: Cell, plan: Plan) -> Launch:
    """How to start a cell under its contender's route.

    Raises:
        CellFailure: the route or the program needs what is not there, or a file of the workload is not.
    """
    workload, contender = cell.group.workload, cell.contender
    if workload.missing:
        raise CellFailure(workload.missing)
    try:
        arguments = cell_arguments(cell, plan)
    except HarnessError as error:
        raise CellFailure(str(error)) from error
    if workload.kind == "program":
        return _launch_of_program(contender.allocator, workload.path, arguments, plan)
    if contender.route == NATIVE:
        front = BIN / "liblatency.so" if plan.latency else None
        return Launch([str(workload.path), *arguments], contender.allocator, front=front)
    return _launch_by_route(contender, workload.path, arguments, plan)


def _launch_by_route(contender: Contender, script: Path, arguments: Sequence[str], plan: Plan) -> Launch:
    """A Python workload, under one of the ways in which Python comes to use an allocator."""
    route = ROUTES[contender.route]
    homes = [_home_of("bench_harness")]
    needed = route.module or route.call.partition(":")[0]
    if needed:
        homes.append(_home_of(needed.partition(".")[0]))
    environment = {**route.environment, "PYTHONPATH": os.pathsep.join(dict.fromkeys(homes))}
    start = ["-m", route.module] if route.module else []
    call = [f"call={route.call}"] if route.call else []
    command = [str(plan.interpreter), *start, str(script), *arguments, *call]
    return Launch(command, contender.allocator, route.preload, environment)


def _launch_of_program(allocator: Allocator, script: Path, arguments: Sequence[str], plan: Plan) -> Launch:
    """The driver of a real program: the allocator serves the program that it starts, not the driver."""
    # The C library is named too, so that it comes before an allocator that the program is linked with.
    system = "" if allocator.path is not None else _SYSTEM_LIBRARY
    environment = {
        "PYTHONPATH": _home_of("bench_harness"),
        "BENCH_HARNESS_PRELOAD": ":".join(filter(None, (allocator.preloaded, system))),
        "BENCH_HARNESS_WITNESS_LIBRARY": str(BIN / "libwitness.so"),
        "BENCH_HARNESS_MEMORY_CAP": str(plan.memory_cap),
    }
    return Launch([str(plan.interpreter), str(script), *arguments], allocator, preload=False, environment=environment)


def prove(cell: Cell, seen: Observation) -> None:
    """Check that the cell was served as its route promises.

    Raises:
        CellFailure: malloc, free or Python's small objects came from somewhere else.
    """
    contender = cell.contender
    report = seen.report
    if cell.group.workload.kind == "program":
        _prove_program(contender.allocator, report)
        return
    if contender.route == NATIVE:
        prove_allocator(contender.allocator, report, seen.maps)
        return
    route = ROUTES[contender.route]
    if route.preload:
        prove_allocator(contender.allocator, report, seen.maps)
    _prove_objects(route, contender.allocator, report)


def _prove_program(allocator: Allocator, report: Mapping[str, Any]) -> None:
    """Every process of the program tells what served it, and the first one's maps were read from outside."""
    processes = report.get("processes", [])
    for process in processes:
        for symbol in ("malloc", "free"):
            served = str(process[f"{symbol}_object"])
            if not is_served_by(allocator, served):
                where = f"{symbol} of {Path(process['program']).name}"
                raise CellFailure(f"{where} was served by {served or 'an unknown object'}, not by {allocator.name}")
    if not processes:
        raise CellFailure("no process of the program told what served it: it is linked statically, or drops LD_PRELOAD")
    if report["maps"]:  # a program of a few milliseconds was not met by any look
        prove_allocator(allocator, report, frozenset(report["maps"]))


def _prove_objects(route: RouteRow, allocator: Allocator, report: Mapping[str, Any]) -> None:
    """The domain of small objects: whose code its malloc function is, and whether it is plain malloc's."""
    served = str(report.get("objects_object", ""))
    plain = bool(report.get("objects_are_malloc"))
    named = bool(route.served_by) and fnmatch.fnmatch(Path(served).name, route.served_by)
    ours = allocator.path is not None and (same_file(served, allocator.path) or named)
    right = {
        "python": not plain and not ours,
        "malloc": plain or ours,
        "allocator": ours,
        "": True,
    }[route.objects]
    if not right:
        raise CellFailure(
            f"route {route.route}: Python's objects were served by {served or 'an unknown object'}"
            f"{' through plain malloc' if plain else ''}"
        )
