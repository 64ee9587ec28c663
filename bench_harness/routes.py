"""Routes: the ways in which a program comes to use an allocator, and how each one is started and proven.

Native programs have one route, the preload. Python has several, because its small objects come from pymalloc
and never reach malloc: replacing malloc alone, replacing pymalloc too, and rtmalloc's own two ways.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_harness.errors import CellFailure, HarnessError, UsageError
from bench_harness.measure import Launch, Observation, is_served_by, prove_allocator, same_file
from bench_harness.native.build import BIN
from bench_harness.peers import GLIBC, Allocator
from bench_harness.plan import NATIVE, Cell, Contender, Plan

__all__ = ["ROUTES", "Route", "cell_arguments", "launch_of", "prove", "python_contenders"]


@dataclass(frozen=True)
class Route:
    """A way for a Python program to use an allocator.

    Attributes:
        name: on the command line and in results.
        description: for `list`.
        fits: whether the route makes sense for an allocator under an interpreter.
        preload: the allocator is preloaded.
        environment: variables that make the route.
        module: run the script as `python -m MODULE script`.
        install: the script calls `rtmalloc.install()` before anything else.
        objects: who must serve small Python objects: "python" (pymalloc or the built-in mimalloc), "malloc",
            "allocator", or "" when the route leaves it open.
    """

    name: str
    description: str
    fits: Callable[[Allocator, Path], bool]
    preload: bool = False
    environment: tuple[tuple[str, str], ...] = ()
    module: str | None = None
    install: bool = False
    objects: str = "python"


def _is_glibc(allocator: Allocator, _: Path) -> bool:
    return allocator.name == GLIBC


def _competes(allocator: Allocator, _: Path) -> bool:
    return not allocator.is_probe


def _preloads(allocator: Allocator, _: Path) -> bool:
    return allocator.path is not None and not allocator.is_probe


def _is_ours(allocator: Allocator, _: Path) -> bool:
    return allocator.family == "rtmalloc"


def _has_mimalloc(allocator: Allocator, interpreter: Path) -> bool:
    if allocator.name != GLIBC:
        return False
    env = {"PYTHONMALLOC": "mimalloc", "PATH": os.environ.get("PATH", "")}
    tried = subprocess.run([str(interpreter), "-c", ""], env=env, capture_output=True, timeout=60)
    return tried.returncode == 0


ROUTES: Mapping[str, Route] = {
    route.name: route
    for route in (
        Route("pymalloc", "Python as it is: small objects from pymalloc, the rest from glibc", _is_glibc),
        Route(
            "mimalloc",
            "PYTHONMALLOC=mimalloc, where the interpreter has it (3.13 and later)",
            _has_mimalloc,
            environment=(("PYTHONMALLOC", "mimalloc"),),
        ),
        Route(
            "malloc",
            "PYTHONMALLOC=malloc with the allocator preloaded: it serves every object",
            _competes,
            preload=True,
            environment=(("PYTHONMALLOC", "malloc"),),
            objects="malloc",
        ),
        Route("preload", "the allocator preloaded, nothing else changed", _preloads, preload=True, objects=""),
        Route("launcher", "python -m rtmalloc script.py", _is_ours, module="rtmalloc", objects="allocator"),
        Route(
            "install",
            "import rtmalloc; rtmalloc.install() at the top of the script",
            _is_ours,
            install=True,
            objects="allocator",
        ),
    )
}


def python_contenders(allocators: Sequence[Allocator], interpreter: Path, wanted: Sequence[str]) -> list[Contender]:
    """Every allocator by every route that fits it.

    Args:
        allocators: of the run.
        interpreter: that runs the Python cells.
        wanted: names of routes; empty means all.
    Raises:
        UsageError: there is no such route.
    """
    for name in wanted:
        if name not in ROUTES:
            raise UsageError(f"--route {name}: unknown; valid are {', '.join(ROUTES)}")
    contenders = []
    for route in ROUTES.values():
        if wanted and route.name not in wanted:
            continue
        for allocator in allocators:
            if route.fits(allocator, interpreter):
                alone = route.name in ("pymalloc", "mimalloc")
                name = (
                    "pymalloc"
                    if route.name == "pymalloc"
                    else ("PYTHONMALLOC=mimalloc" if alone else f"{route.name}/{allocator.name}")
                )
                contenders.append(Contender(name, allocator, route.name))
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
    route = ROUTES[contender.route]
    homes = [_home_of("bench_harness")]
    if route.module or route.install:
        homes.append(_home_of("rtmalloc"))
    environment = {**dict(route.environment), "PYTHONPATH": os.pathsep.join(dict.fromkeys(homes))}
    start = ["-m", route.module] if route.module else []
    if route.install:
        arguments.append("install=1")
    command = [str(plan.interpreter), *start, str(workload.path), *arguments]
    return Launch(command, contender.allocator, route.preload, environment)


def _launch_of_program(allocator: Allocator, script: Path, arguments: Sequence[str], plan: Plan) -> Launch:
    """The driver of a real program: the allocator serves the program that it starts, not the driver."""
    environment = {
        "PYTHONPATH": _home_of("bench_harness"),
        "BENCH_HARNESS_PRELOAD": str(allocator.path or ""),
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
    """Every process of the program tells who served it, and the first one's maps were read from outside."""
    processes = report.get("processes", [])
    for process in processes:
        for symbol in ("malloc", "free"):
            served = str(process[f"{symbol}_object"])
            if not is_served_by(allocator, served):
                where = f"{symbol} of {Path(process['program']).name}"
                raise CellFailure(f"{where} was served by {served or 'an unknown object'}, not by {allocator.name}")
    if not processes:
        raise CellFailure("no process of the program told who served it: it is linked statically, or drops LD_PRELOAD")
    if report["maps"]:  # a program of a few milliseconds was not met by any look
        prove_allocator(allocator, report, frozenset(report["maps"]))


def _prove_objects(route: Route, allocator: Allocator, report: Mapping[str, Any]) -> None:
    """The domain of small objects: whose code its malloc function is, and whether it is plain malloc's."""
    served = str(report.get("objects_object", ""))
    plain = bool(report.get("objects_are_malloc"))
    ours = allocator.path is not None and (same_file(served, allocator.path) or Path(served).name.startswith("_core."))
    right = {
        "python": not plain and not ours,
        "malloc": plain or ours,
        "allocator": ours,
        "": True,
    }[route.objects]
    if not right:
        raise CellFailure(
            f"route {route.name}: Python's objects were served by {served or 'an unknown object'}"
            f"{' through plain malloc' if plain else ''}"
        )
