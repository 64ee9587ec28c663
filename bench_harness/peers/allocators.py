"""Allocators: which ones this machine has, where they are, which version they are, and variants of them."""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from bench_harness.errors import CellFailure, UsageError
from bench_harness.native.build import BIN

__all__ = ["GLIBC", "NOOP", "Allocator", "describe", "find_allocators", "select_allocators", "variant"]

GLIBC = "glibc"
NOOP = "noop"

# Debian's package and the file that it installs; the directories are those of the dynamic linker's usual
# search.
_LIBRARIES = {
    "jemalloc": "libjemalloc.so.2",
    "mimalloc": "libmimalloc.so.2",
    "tcmalloc": "libtcmalloc_minimal.so.4",
}
_DIRECTORIES = (
    "/usr/lib/x86_64-linux-gnu",
    "/usr/lib/aarch64-linux-gnu",
    "/usr/lib64",
    "/usr/lib",
    "/usr/local/lib",
)
_SHA_SHOWN = 12  # hex digits of a file's hash that stand in for a version

# Asked in a process that has it preloaded: most of these libraries need static TLS and refuse a late dlopen.
_ASK_VERSION = """
import ctypes
lib = ctypes.CDLL(None)
if hasattr(lib, "mi_version"):
    n = lib.mi_version()
    parts = (n // 100, n // 10 % 10, n % 10) if n < 10000 else (n // 10000, n // 100 % 100, n % 100)
    print("mimalloc %d.%d.%d" % parts)
elif hasattr(lib, "mallctl"):
    text, size = ctypes.c_char_p(), ctypes.c_size_t(ctypes.sizeof(ctypes.c_char_p))
    if lib.mallctl(b"version", ctypes.byref(text), ctypes.byref(size), None, ctypes.c_size_t(0)) == 0:
        print("jemalloc " + text.value.decode().split("-g")[0])
elif hasattr(lib, "tc_version"):
    lib.tc_version.restype = ctypes.c_char_p
    print(lib.tc_version(None, None, None).decode())
"""


@dataclass(frozen=True)
class Allocator:
    """One allocator as a cell meets it.

    Attributes:
        name: the name in tables; a variant carries its options: `rtmalloc[dirty_decay_ms=0]`.
        path: the library to preload, absolute and without symbolic links; None for the C library's own.
        version: what the library says of itself, or the start of its file's SHA-256.
        sha256: of the library's file, so that two results can be known to be of one binary; empty for glibc.
        environment: variables set for its cells.
        family: the name without a variant's options.
    """

    name: str
    path: Path | None
    version: str
    sha256: str
    environment: Mapping[str, str] = field(default_factory=dict)
    family: str = ""

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
        return self.family == NOOP


def _glibc_version() -> str:
    # confstr via getconf would start a process; the loaded C library knows.
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "gnu_get_libc_version"):
        return "unknown libc"
    libc.gnu_get_libc_version.restype = ctypes.c_char_p
    return f"glibc {libc.gnu_get_libc_version().decode()}"


def describe(name: str, path: Path) -> Allocator:
    """The allocator in the library `path`, with the version that it tells, under this name."""
    path = path.resolve()
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    version = ""
    try:
        asked = subprocess.run(
            [sys.executable, "-S", "-c", _ASK_VERSION],
            capture_output=True,
            text=True,
            timeout=20,
            env={"LD_PRELOAD": str(path)},
        )
        version = asked.stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        pass  # a library that does not load here still gets its hash, and its cells will say why they fail
    return Allocator(name, path, version or f"sha256 {sha256[:_SHA_SHOWN]}", sha256, family=name)


def _rtmalloc_library() -> Path | None:
    """The library that `python -m rtmalloc libpath` prints, found without running any of its code."""
    spec = importlib.util.find_spec("rtmalloc")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        library = Path(folder) / "lib" / "librtmalloc.so"
        if library.exists():
            return library
    return None


def find_allocators() -> dict[str, Allocator]:
    """All allocators found: glibc, rtmalloc if built, Debian's peers if installed, and the no-op probe."""
    found = {GLIBC: Allocator(GLIBC, None, _glibc_version(), "", family=GLIBC)}
    ours = _rtmalloc_library()
    if ours is not None:
        found["rtmalloc"] = describe("rtmalloc", ours)
    for name, file_name in _LIBRARIES.items():
        for directory in _DIRECTORIES:
            candidate = Path(directory) / file_name
            if candidate.exists():
                found[name] = describe(name, candidate)
                break
    noop = BIN / "libnoop.so"
    if noop.exists():
        found[NOOP] = replace(describe(NOOP, noop), version="loop overhead")
    return found


def variant(base: Allocator, options: Sequence[str]) -> Allocator:
    """`base` with rtmalloc-style options, as an allocator of its own.

    Args:
        base: any allocator; options reach it in the environment as `<NAME>_OPTIONS`.
        options: `name=value` texts.
    """
    text = ",".join(options)
    environment = {**base.environment, f"{base.family.upper()}_OPTIONS": text}
    return replace(base, name=f"{base.name}[{text}]", environment=environment)


def select_allocators(
    found: Mapping[str, Allocator], wanted: Sequence[str], settings: Sequence[str], probe: bool = True
) -> list[Allocator]:
    """The allocators of a run.

    Args:
        found: what `find_allocators` returned.
        wanted: `NAME` or `NAME=/path/lib.so` texts; empty means all that were found.
        settings: `NAME.OPTION=VALUE` texts, each of which adds a variant (comma: several options in one
        variant). probe: add the no-op probe when it is there.
    Raises:
        UsageError: a name is unknown, a file does not exist, or a setting is malformed.
    """
    known = dict(found)
    names: list[str] = []
    for text in wanted:
        name, equals, path = text.partition("=")
        if equals:
            if not re.fullmatch(r"[\w.+-]+", name):
                raise UsageError(f"--allocator {text}: a name is made of letters, digits and . _ + -")
            if not Path(path).is_file():
                raise UsageError(f"--allocator {text}: no such file: {path}")
            known[name] = describe(name, Path(path))
        elif name not in known:
            raise UsageError(f"--allocator {name}: unknown; found are {', '.join(known)} (or NAME=/path/lib.so)")
        if name not in names:
            names.append(name)
    names = names or [name for name in known if name != NOOP]
    if probe and NOOP in known and NOOP not in names:
        names.append(NOOP)
    chosen = [known[name] for name in names]
    for text in settings:
        match = re.fullmatch(r"([\w+-]+)\.(\w+=[^,\s]+(?:,\w+=[^,\s]+)*)", text)
        if not match or match[1] not in known:
            raise UsageError(
                f"--set {text}: must be NAME.OPTION=VALUE[,OPTION=VALUE] with NAME one of {', '.join(known)}"
            )
        chosen.append(variant(known[match[1]], match[2].split(",")))
    return chosen
