"""Build the native cells: every `workloads/NAME.pyx` becomes one Python-free executable `native/bin/NAME`.

So does every tool in `native/tools`; probes and libraries to preload, which are C, become `native/bin/libNAME.so`.

Cython translates the file; gcc compiles it with one section per function, and the linker drops every section
that `main` does not reach: the module's Python half goes, and with it every reference to libpython. No Python
library is on the link line, so a workload that still needs Python fails to link.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

NATIVE = Path(__file__).resolve().parent
PACKAGE = NATIVE.parent
ROOT = PACKAGE.parent
BIN = NATIVE / "bin"
WORKLOADS = PACKAGE / "workloads"

JOBS = 2
SHOWN_LINES = 40  # of a failed command's output: the first error is the one that matters
DIRECTIVES = (
    "cdivision=True",
    "boundscheck=False",
    "wraparound=False",
    "initializedcheck=False",
    "nonecheck=False",
    "emit_code_comments=False",
)
# -fno-builtin-*: gcc may otherwise drop a malloc whose block is not used. -fno-plt with -z now: one indirect
# call, as a program linked with today's hardening flags makes it.
CFLAGS = (
    "-O2",
    "-g0",
    "-std=gnu11",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-plt",
    "-fno-builtin-malloc",
    "-fno-builtin-free",
    "-fno-builtin-calloc",
    "-fno-builtin-realloc",
    "-fno-builtin-aligned_alloc",
    "-Wall",
    "-Wextra",
    "-Wno-unused-parameter",
    "-Wno-unused-function",
    "-Wno-unused-variable",
    "-Wno-missing-field-initializers",
    "-Wno-cast-function-type",
)
LIBRARY_FLAGS = (
    "-O2",
    "-std=gnu11",
    "-fPIC",
    "-shared",
    "-fno-builtin",
    "-fno-plt",
    "-ftls-model=initial-exec",
    "-Wall",
    "-Wextra",
)
LINK = ("-Wl,--gc-sections", "-Wl,-z,now", "-Wl,-O1", "-lpthread", "-ldl", "-lm")


class BuildError(Exception):
    """A cell did not build; the message names it and holds what Cython, gcc or the linker said."""


def compiler() -> list[str]:
    """The C compiler as a command: `$CC`, or gcc, or cc.

    Raises:
        BuildError: none of them is installed.
    """
    named = shlex.split(os.environ.get("CC", ""))
    for command in (named, ["gcc"], ["cc"]):
        if command and shutil.which(command[0]):
            return command
    raise BuildError("no C compiler found: install gcc or set CC")


def workload_sources() -> list[Path]:
    """The native workloads' source files, by name."""
    return sorted(WORKLOADS.glob("*.pyx"))


def _newest(paths: Sequence[Path]) -> float:
    return max(path.stat().st_mtime for path in paths)


def _sources(source: Path) -> list[Path]:
    """What a cell or tool is made of: itself, the pieces that all share, and those of traces if it uses them."""
    shared = [*NATIVE.glob("*.pxd"), *NATIVE.glob("*.h"), Path(__file__).resolve()]
    if "bench_harness.native.trace." in source.read_text():
        shared += (NATIVE / "trace").iterdir()
    return [source, *shared]


def _stale(target: Path, sources: Sequence[Path], recipe: str) -> bool:
    """True when target is older than a source, or was built by another recipe."""
    record = _record(target)
    return (
        not target.exists()
        or not record.exists()
        or record.read_text() != recipe
        or target.stat().st_mtime < _newest(sources)
    )


def _record(target: Path) -> Path:
    return target.with_name(target.name + ".recipe")


def _run(command: Sequence[str], what: str) -> None:
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        said = done.stdout.splitlines()
        shown = said[:SHOWN_LINES] + [f"... {len(said) - SHOWN_LINES} more lines"] * (len(said) > SHOWN_LINES)
        raise BuildError("\n".join([f"{what}: {shlex.join(command)}", *shown]))


def _build(
    target: Path,
    sources: Sequence[Path],
    steps: Callable[[Path], Sequence[list[str]]],
    recipe: str,
    force: bool,
    log: Callable[[str], object],
) -> Path:
    """Run the commands that `steps` gives for a scratch folder; the last one writes `target.name` there."""
    if not force and not _stale(target, sources, recipe):
        return target
    log(f"building {target.relative_to(ROOT)}")
    with tempfile.TemporaryDirectory(dir=BIN, prefix=".") as folder:
        for command in steps(Path(folder)):
            _run(command, f"building {target.name}")
        # Renamed into place: another process may be running the old file, or build at the same time.
        os.replace(Path(folder) / target.name, target)
    _record(target).write_text(recipe)
    return target


def _cell(source: Path, force: bool, log: Callable[[str], object]) -> Path:
    def steps(folder: Path) -> Sequence[list[str]]:
        c_file = folder / f"{source.stem}.c"
        translate = [
            sys.executable,
            "-m",
            "cython",
            "-3",
            *(f"-X{d}" for d in DIRECTIVES),
            "-I",
            str(ROOT),
            "-o",
            str(c_file),
            str(source),
        ]
        link = [
            *compiler(),
            *CFLAGS,
            "-I",
            str(ROOT),
            "-I",
            sysconfig.get_path("include"),
            "-o",
            str(folder / source.stem),
            str(c_file),
            *LINK,
        ]
        return translate, link

    # Without the interpreter's path: the same cell built from two virtual environments is the same cell.
    recipe = "\n".join([version("cython"), *DIRECTIVES, *compiler(), *CFLAGS, *LINK])
    return _build(BIN / source.stem, _sources(source), steps, recipe, force, log)


def _library(source: Path, force: bool, log: Callable[[str], object]) -> Path:
    target = BIN / f"lib{source.stem}.so"

    def steps(folder: Path) -> Sequence[list[str]]:
        return [[*compiler(), *LIBRARY_FLAGS, "-o", str(folder / target.name), str(source), "-ldl", "-lpthread"]]

    recipe = "\n".join([*compiler(), *LIBRARY_FLAGS])
    headers = [*source.parent.glob("*.h"), NATIVE / "raw.h"]
    return _build(target, [source, *headers, Path(__file__).resolve()], steps, recipe, force, log)


def build_cells(force: bool = False, log: Callable[[str], object] = print) -> list[Path]:
    """Build what is out of date: workloads, tools, probes (`native/probes/*.c`) and preloads (`native/preload/*.c`).

    Args:
        force: build everything, fresh or not.
        log: called with one line for each file that is built.
    Returns:
        The executables and the libraries, by name.
    Raises:
        BuildError: a file did not build.
    """
    BIN.mkdir(exist_ok=True)
    tools = sorted((NATIVE / "tools").glob("*.pyx"))
    libraries = [path for folder in ("probes", "preload") for path in sorted((NATIVE / folder).glob("*.c"))]
    with ThreadPoolExecutor(JOBS) as pool:
        jobs = [pool.submit(_cell, source, force, log) for source in (*workload_sources(), *tools)]
        jobs += [pool.submit(_library, source, force, log) for source in libraries]
        return [job.result() for job in jobs]


if __name__ == "__main__":
    try:
        build_cells(force="--force" in sys.argv[1:])
    except BuildError as error:
        sys.exit(str(error))
