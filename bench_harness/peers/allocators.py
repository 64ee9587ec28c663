"""Allocators: which ones this machine has, where they are, and which version they are."""

from __future__ import annotations

import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from bench_harness.documents import PACKAGE
from bench_harness.errors import CellFailure
from bench_harness.native.build import BIN
from bench_harness.peers.declaration import DEFAULT, AllocatorRow, Library, Version, declared

__all__ = ["FETCHED", "Allocator", "describe", "find_allocators"]

# Where `bench-harness peers` puts what it downloads: beside the package, which is the checkout.
FETCHED = PACKAGE.parent / ".peers"
# Those of the dynamic linker's usual search.
_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_SHA_SHOWN = 12  # hex digits of a file's hash that stand in for a version
_ASK_SECONDS = 20.0

# Called in a process that has the library preloaded: most of them need static TLS and refuse a late dlopen.
_CALL = """
import ctypes, sys
function = getattr(ctypes.CDLL(None), sys.argv[1], None)
if function is not None:
    if sys.argv[2]:
        function.restype = ctypes.c_char_p
    said = function()
    print(said.decode() if sys.argv[2] else said)
"""


@dataclass(frozen=True)
class Allocator:
    """One allocator as a cell meets it.

    Attributes:
        name: the name in tables, `NAME:PRESET[OPTION=VALUE]` with what it has of these.
        path: the library to preload, absolute and without symbolic links; None for the C library's own.
        version: what the library says of itself, or the start of its file's SHA-256.
        sha256: of the library's file, so that two results can be known to be of one binary; empty without a library.
        environment: variables set for its cells.
        family: the name without preset and options.
        preset: the set of options that it runs with, "default" for none.
        options: `name=value` texts that were set beside the preset.
        companions: further libraries to preload.
    """

    name: str
    path: Path | None
    version: str
    sha256: str
    environment: Mapping[str, str] = field(default_factory=dict)
    family: str = ""
    preset: str = DEFAULT
    options: tuple[str, ...] = ()
    companions: tuple[Path, ...] = ()

    def check_unchanged(self) -> None:
        """Raise CellFailure when the library's file is not the one that the run began with.

        A library that is rebuilt in the middle of a run would mix two binaries under one name.
        """
        if self.path is None:
            return
        try:
            now = hashlib.sha256(self.path.read_bytes()).hexdigest()
        except OSError as error:
            raise CellFailure(f"{self.path}: {error.strerror}") from error
        if now != self.sha256:
            raise CellFailure(f"{self.path} was rebuilt since the run began")

    @property
    def is_probe(self) -> bool:
        """True for the no-op allocator, which measures the harness and is left out of comparisons."""
        return self.family == declared().probe

    @property
    def is_system(self) -> bool:
        """True for the C library's own allocator, as it comes."""
        return self.name == declared().system

    @property
    def preloaded(self) -> str:
        """The value of LD_PRELOAD for its cells; empty when nothing is preloaded."""
        return ":".join(str(path) for path in (*self.companions, self.path) if path is not None)


def _version_number(number: int) -> str:
    """A version as libraries pack it into a number: 209 is 2.0.9, 30403 is 3.4.3."""
    one_digit_each = number < 10000
    parts = (number // 100, number // 10 % 10, number % 10)
    return "{}.{}.{}".format(*(parts if one_digit_each else (number // 10000, number // 100 % 100, number % 100)))


def _called(ask: Version, preload: str) -> str:
    try:
        said = subprocess.run(
            [sys.executable, "-S", "-c", _CALL, ask.call, "1" if ask.text else ""],
            capture_output=True,
            text=True,
            timeout=_ASK_SECONDS,
            env={"LD_PRELOAD": preload},
        ).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""  # a library that does not load here still gets its hash, and its cells will say why they fail
    return said if ask.text or not said.isdigit() else _version_number(int(said))


def _version(row: AllocatorRow, path: Path | None, companions: tuple[Path, ...]) -> str:
    """`TITLE 1.2.3` as the library tells it; empty when it does not."""
    if row.version is None:
        return ""
    if row.version.call:
        told = _called(row.version, ":".join(map(str, (*companions, path or ""))).strip(":"))
    else:
        file = companions[0] if row.version.companion and companions else path
        found = re.search(row.version.find.encode(), file.read_bytes()) if file is not None else None
        told = found[1].decode() if found else ""
    return f"{row.title} {told}" if told else ""


def describe(name: str, path: Path, family: str = "") -> Allocator:
    """The allocator in the library `path`, with the version that it tells, under this name.

    Args:
        name: in tables.
        path: its library.
        family: the allocator that it is a build of; its name when not given. One that is not declared is asked
            for its version in the way of each that is.
    """
    path = path.resolve()
    family = family or name
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    rows = declared().allocators
    asked = [rows[family]] if family in rows else [row for row in rows.values() if row.role != "system"]
    companions = _companions(rows[family].library, path) if family in rows else ()
    version = next(filter(None, (_version(row, path, companions) for row in asked)), "")
    return Allocator(
        name, path, version or f"sha256 {sha256[:_SHA_SHOWN]}", sha256, family=family, companions=companions
    )


def _companions(library: Library | None, path: Path) -> tuple[Path, ...]:
    beside = [path.with_name(name) for name in library.companions] if library is not None else []
    return tuple(other.resolve() for other in beside if other.exists())


def _in_package(library: Library) -> Path | None:
    """A library inside a Python package, found without running any of the package's code."""
    spec = importlib.util.find_spec(library.package)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / library.file
        if path.exists():
            return path
    return None


def _library_of(row: AllocatorRow) -> Path | None:
    library = row.library
    if library is None:
        return None
    if library.package:
        return _in_package(library)
    if library.probe:
        return BIN / library.probe if (BIN / library.probe).exists() else None
    folders = [FETCHED / row.name, *map(Path, _DIRECTORIES)]
    return next((f / name for f in folders for name in library.files if (f / name).exists()), None)


def find_allocators() -> dict[str, Allocator]:
    """All declared allocators that are here, as they come, in the order of the declaration."""
    found = {}
    for row in declared().allocators.values():
        if row.role == "system":
            version = _version(row, None, ()) or "unknown C library"
            found[row.name] = Allocator(row.name, None, version, "", family=row.name)
        elif (path := _library_of(row)) is not None:
            found[row.name] = describe(row.name, path)
    return found
