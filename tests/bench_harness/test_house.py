"""The harness's house: imports point one way, every folder says what lives there, no file is too long."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from bench_harness.peers.declaration import declared

PACKAGE = Path(__file__).resolve().parents[2] / "bench_harness"
# From the ground up: a folder may import itself and those before it.
FLOORS = ("native", "peers", "tracing", "measuring", "verdicts", "reporting", "ablation", "commands")
# Used by every floor; `__main__` alone stands above the topmost.
GROUND = ("__init__", "documents", "errors", "statistics")
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "setup.py")
README_LINES = 12
FILE_LINES = 400


def _names() -> set[str]:
    """The allocators that `peers.toml` declares, and the routes that are allocators' own names."""
    declaration = declared()
    return {*declaration.allocators, *(route.name for route in declaration.routes.values() if route.name.isalpha())}


# The C library's name and version are fields of a machine's description in every result file; and the source of the
# fleet's figures, which is cited, has names of its own.
MENTIONED = {("measuring/machine.py", "glibc"), ("native/fleet_figures.h", "tcmalloc")}


@pytest.mark.parametrize(
    "path",
    sorted([*MODULES, *PACKAGE.rglob("*.pyx"), *PACKAGE.rglob("*.pxd"), *PACKAGE.rglob("*.h")]),
    ids=lambda p: str(p.relative_to(PACKAGE)),
)
def test_no_code_names_an_allocator(path: Path) -> None:
    """What is special about one allocator is data: `peers.toml`, `ablation.toml`."""
    words = set(re.findall(r"[a-z]+[0-9]?", path.read_text().lower()))
    where = str(path.relative_to(PACKAGE))
    assert {name for name in _names() & words if (where, name) not in MENTIONED} == set()


def _floor(path: Path) -> str:
    inside = path.relative_to(PACKAGE)
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def _imported(path: Path) -> set[str]:
    """The harness's own modules that a file imports, wherever in it: `bench_harness.peers.allocators`."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] == "bench_harness"}


def _target(name: str) -> str:
    """The floor or the ground file that an import leads to."""
    parts = name.split(".")
    first = parts[1] if len(parts) > 1 else "__init__"
    return first if first in (*FLOORS, *GROUND, "workloads") else "__init__"


def test_every_file_stands_on_a_floor() -> None:
    strange = {_floor(path) for path in MODULES} - {*FLOORS, *GROUND, "workloads", "__main__"}
    assert not strange, f"neither a floor nor the ground: {strange}"


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_point_downwards(path: Path) -> None:
    floor, targets = _floor(path), {_target(name) for name in _imported(path)}
    if floor == "__main__":
        return
    if floor == "workloads":
        assert targets <= {"workloads"}
        return
    allowed = {*GROUND} if floor in GROUND else {*GROUND, *FLOORS[: FLOORS.index(floor) + 1]}
    assert targets <= allowed, f"{floor} may not import {targets - allowed}"


@pytest.mark.parametrize("floor", [*FLOORS, "workloads"])
def test_every_folder_says_what_lives_there(floor: str) -> None:
    text = (PACKAGE / floor / "README.md").read_text()
    assert len(text.splitlines()) <= README_LINES
    assert "May import: " in text


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_no_file_is_too_long(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= FILE_LINES
