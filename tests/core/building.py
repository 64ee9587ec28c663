"""Compile what the core's tests run: C drivers, plain or with the core linked in under a sanitizer.

Results are kept in ``build/tests`` under a hash of everything that went in, so a second run compiles nothing.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ci.variants import TARGET, Variant, size_header
from ci.variants import build as variant_build

ROOT = Path(__file__).resolve().parents[2]
DRIVER = ROOT / "tests" / "driver"
CORE = ROOT / "rtmalloc" / "core"
CORE_C = ROOT / "rtmalloc" / "_core.c"
PRELOAD = ROOT / "rtmalloc" / "lib" / "librtmalloc.so"
CACHE = ROOT / "build" / "tests"

SOURCES: dict[str, tuple[str, ...]] = {
    "stress": ("stress.c", "support.c", "storm.c", "lifetimes.c", "process.c"),
    "semantics": ("semantics.c", "support.c"),
    "profile": ("profile.c",),
    "limits": ("limits.c", "support.c"),
    "budget": ("budget.c", "support.c"),
    "checked": ("checked.c", "support.c"),
    "dense": ("dense.c", "support.c"),
    "purged": ("purged.c", "support.c"),
    "vector": ("vector.c", "support.c"),
    "percpu": ("percpu.c", "support.c", "storm.c"),
    "stopped": ("stopped.c", "support.c"),
    "kernel": ("kernel.c", "support.c"),
    "idle": ("idle.c",),
    "inherited": ("inherited.c",),
    "companion": ("companion.c",),
    "limit": ("limit.c",),
    "strict": ("strict.c", "support.c"),
    "raw_fork": ("raw_fork.c",),
    "early": ("early.c",),
}

# Not -Werror: the next compiler's new warning is no failure of the allocator.
WARNINGS = ("-Wall", "-Wextra", "-Wno-alloc-size-larger-than", "-Wno-infinite-recursion")
DRIVER_FLAGS = ("-std=gnu11", "-O1", "-g", "-fno-builtin", *WARNINGS)
# The core must not get flags that its own build would refuse, nor lose those that it relies on (setup.py).
CORE_FLAGS = (
    "-O1",
    "-g",
    "-w",
    "-DRT_EXPORT_PREFIXED",
    "-ffunction-sections",
    "-fdata-sections",
    "-fno-strict-aliasing",
    "-fno-builtin-malloc",
    f"-I{CORE}",
    f"-I{sysconfig.get_paths()['include']}",
)


@dataclass(frozen=True)
class Flavour:
    """How a driver gets its allocator: by preloading (no ``core``), or linked in under other names."""

    name: str
    core: bool
    sanitize: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    variant: Variant | None = None
    """A section of variants.toml; None for the default library."""

    def of(self, variant: Variant) -> Flavour:
        """The same way to get ``variant`` instead of the default library."""
        return replace(self, name=f"{self.name}-{variant.name}", variant=variant)

    @property
    def macros(self) -> list[str]:
        """The -D arguments with which the core is compiled."""
        if self.variant is None:
            return ["-DRT_SLICE_SHIFT=14"]
        # Beside the cached objects, so that the path stays: it is part of what they are known by.
        header = TARGET / f"{self.variant.name}.size_table.h"
        header.parent.mkdir(parents=True, exist_ok=True)
        text = size_header(self.variant)
        if not header.exists() or header.read_text() != text:
            header.write_text(text)
        return [*self.variant.macros, f'-DRT_SIZE_TABLE="{header}"']


PLAIN = Flavour("plain", core=False)
LINKED = Flavour("linked", core=True)
ASAN = Flavour(
    "asan",
    core=True,
    # Without the parameter, ASan's table of globals would keep the Python half of _core.c alive.
    sanitize=("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "--param", "asan-globals=0"),
    environment=(("ASAN_OPTIONS", "detect_leaks=0:abort_on_error=1"), ("UBSAN_OPTIONS", "print_stacktrace=1")),
)
# Threads lose their CPU between the steps of the protocol (RT_STORM in rtmalloc/core/base/atomics.h).
STORM = Flavour("storm", core=True, sanitize=("-DRT_STORM",))
# The equations of types.pxd are looked at while the program runs (rtmalloc/core/calls/check.pxd).
CHECK = Flavour("check", core=True, sanitize=("-DRT_CHECK=1",))
CHECK_STORM = Flavour("check-storm", core=True, sanitize=("-DRT_CHECK=1", "-DRT_STORM"))
# What was given back to the kernel is inaccessible until it is handed out again (RT_GUARD in rtmalloc/core/platform.h).
GUARD = Flavour("guard", core=True, sanitize=("-DRT_GUARD",))
GUARD_STORM = Flavour("guard-storm", core=True, sanitize=("-DRT_GUARD", "-DRT_STORM"))
# As on a kernel with longer pages (tests/driver/pretend.h).
PRETEND = (f'-DRT_PRETEND="{DRIVER / "pretend.h"}"',)
PAGE16 = Flavour("page16", core=True, sanitize=(*PRETEND, "-DRT_PRETEND_PAGE=16384"))
PAGE64 = Flavour("page64", core=True, sanitize=(*PRETEND, "-DRT_PRETEND_PAGE=65536"))
PAGE64_GUARD = Flavour("page64-guard", core=True, sanitize=(*PRETEND, "-DRT_PRETEND_PAGE=65536", "-DRT_GUARD"))
TSAN = Flavour(
    "tsan",
    core=True,
    sanitize=("-fsanitize=thread",),
    environment=(("TSAN_OPTIONS", "halt_on_error=0:exitcode=66:die_after_fork=0:history_size=4"),),
)


def run(
    command: Sequence[str | Path],
    *,
    environment: Mapping[str, str] | None = None,
    seconds: float = 300,
    cwd: Path | None = None,
    text_in: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` to its end, with its output captured; a time-out is an error (a deadlock)."""
    return subprocess.run(
        [str(word) for word in command],
        env={**os.environ, **(environment or {})},
        timeout=seconds,
        cwd=cwd,
        input=text_in,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def counters_of(done: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """What `stats_at_exit` printed."""
    return {name: int(value) for name, value in re.findall(r"^rtmalloc: (\w+) (\d+)$", done.stderr, re.MULTILINE)}


def preloaded(options: str = "", library: Path = PRELOAD) -> dict[str, str]:
    """The environment variables that put the allocator under a program."""
    assert library.exists(), f"{library} is missing: run `make build` first"
    return {"LD_PRELOAD": str(library), **({"RTMALLOC_OPTIONS": options} if options else {})}


def compile_cached(name: str, inputs: Sequence[Path], commands: Sequence[Sequence[str | Path]]) -> Path:
    """The file that ``commands`` produce, in which "{out}" stands for its path; run only if an input has changed."""
    digest = hashlib.sha256(repr([[str(word) for word in command] for command in commands]).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    target = CACHE / digest.hexdigest()[:20] / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    # Two test runs may share the directory: write aside, then move.
    fresh = target.with_name(f"{name}.{os.getpid()}")
    for command in commands:
        done = run([str(word).replace("{out}", str(fresh)) for word in command])
        assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stderr}"
    fresh.replace(target)
    return target


def core_object(flavour: Flavour) -> Path:
    """The core as one object with prefixed exports, compiled for ``flavour``."""
    assert CORE_C.exists(), f"{CORE_C} is missing: run `make build` first"
    command: list[str | Path] = ["gcc", *CORE_FLAGS, *flavour.macros, *flavour.sanitize, "-c", CORE_C, "-o", "{out}"]
    headers = [
        *sorted(CORE.rglob("*.h")),
        DRIVER / "pretend.h",
        *sorted(TARGET.glob(f"{flavour.variant.name}.*.h") if flavour.variant else []),
    ]
    return compile_cached(f"core-{flavour.name}.o", [CORE_C, *headers], [command])


def driver(name: str, flavour: Flavour) -> Path:
    """The driver program ``name`` (a key of SOURCES) for ``flavour``."""
    sources = [DRIVER / source for source in SOURCES[name]]
    inputs = [*sources, *sorted(DRIVER.glob("*.h"))]
    command: list[str | Path] = ["gcc", *DRIVER_FLAGS, *flavour.sanitize, *sources, "-o", "{out}"]
    if flavour.core:
        object_ = core_object(flavour)
        inputs.append(object_)
        # Garbage collection drops the Python half of the core.
        command += ["-DRT_DRIVER_PREFIXED", object_, "-Wl,--gc-sections"]
    command += ["-ldl", "-lpthread"]
    return compile_cached(f"{name}-{flavour.name}" if flavour.core else name, inputs, [command])


def environment_of(flavour: Flavour, options: str = "") -> dict[str, str]:
    """The environment to run a driver of ``flavour`` in, with RTMALLOC_OPTIONS ``options``."""
    if not flavour.core:
        return preloaded(options, variant_build(flavour.variant) if flavour.variant else PRELOAD)
    return {**dict(flavour.environment), **({"RTMALLOC_OPTIONS": options} if options else {})}
