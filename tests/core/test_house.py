"""The core's house: folders are layers that look downward only, and a name tells the file that it lives in."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from ci.file_map import CORE, FOLDERS, cimported, core_files

from .building import ROOT

LAYERS = ["types", *(folder for folder in FOLDERS if folder != "alternatives")]
"""From the ground up. `types` names the structs of all, and cimports only numbers that are made from tables."""
FILE_LINES, FUNCTION_LINES = 400, 40
OTHER_NAMES = {
    "base/bitmap": ("mask", "run", "level"),
    "base/complain": ("text",),
    "base/options": ("path",),
    "base/size_class": ("class",),
    "calls/malloc_slow": ("front",),
    "calls/hooks": ("raw", "mem", "obj", "pass"),
    "giveback/batch": ("object", "objects"),
    "giveback/page_return": ("geometry", "objects", "span", "unit"),
    "heaps/instance": ("allocator",),
    "heaps/thread": ("heap",),
    "profile/profile_file": ("path",),
}
"""What the functions of a file are about, where its name does not tell. Calls of the program begin with rt_."""


def module_of(file: Path) -> str:
    return file.relative_to(CORE).with_suffix("").as_posix()


@cache
def files() -> dict[str, str]:
    """The text of each module of the core by its place, but for those that are made from tables."""
    found = [file for file in core_files() if file.suffix == ".pxd"]
    return {module_of(file): file.read_text(encoding="utf-8") for file in found}


@cache
def imports() -> dict[str, set[str]]:
    """Which modules of the core each one cimports."""
    made = {"base/_options", "base/_numbers"}
    return {module: {module_of(other) for other in cimported(CORE / f"{module}.pxd")} - made for module in files()}


@cache
def layer(module: str) -> int:
    """The layer of a module: its folder's. An alternative belongs to the highest one that it cimports."""
    folder = module.split("/")[0]
    if folder != "alternatives":
        return LAYERS.index(folder)
    return max(layer(other) for other in imports()[module])


def test_every_cimport_names_a_file() -> None:
    assert len(files()) > 50
    for module, others in imports().items():
        assert others <= files().keys(), (module, others - files().keys())


def test_no_module_needs_itself() -> None:
    done: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join((*path, module))
        if module not in done:
            for other in imports()[module]:
                visit(other, (*path, module))
            done.add(module)

    for module in files():
        visit(module, ())


def test_layers_look_down() -> None:
    wrong = [f"{m} cimports {o}" for m in files() for o in imports()[m] if o != "types" and layer(o) > layer(m)]
    assert not wrong, wrong


def test_cimports_are_those_in_use() -> None:
    done = subprocess.run([sys.executable, ROOT / "ci/cimports.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def functions(text: str) -> dict[str, int]:
    """The lines of each function of a module."""
    found: dict[str, int] = {}
    name = None
    for line in text.splitlines():
        match = re.match(r"cdef [^=]*?\b(\w+)(?: \"\w+\")?\([^=]*noexcept nogil:$", line)
        if match:
            name = match[1]
            found[name] = 0
        elif line and not line[0].isspace():
            name = None
        if name and line.strip():
            found[name] += 1
    return found


@pytest.mark.parametrize("module", sorted(files()))
def test_a_file_is_short_and_its_names_tell_where_they_live(module: str) -> None:
    text = files()[module]
    assert text.count("\n") <= FILE_LINES
    stem = module.rsplit("/", 1)[-1]
    roots = {word + ending for word in (stem, stem.split("_")[0]) for ending in ("", "s")} | {stem.rstrip("s")}
    roots |= {*OTHER_NAMES.get(module, ()), *(("rt",) if module.startswith("calls/") else ())}
    for name, lines in functions(text).items():
        assert lines <= FUNCTION_LINES, name
        assert any(name == root or name.startswith(root + "_") for root in roots), (name, sorted(roots))


def test_headers_are_short() -> None:
    for file in core_files():
        assert file.read_text(encoding="utf-8").count("\n") <= FILE_LINES, file
