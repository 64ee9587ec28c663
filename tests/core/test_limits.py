"""Address-space limits, out of memory, valgrind, and pointers that are no blocks."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from .building import DRIVER, PLAIN, PRELOAD, SOURCES, Flavour, compile_cached, driver, environment_of, preloaded, run

MIB = 1 << 20
LIMITS = [256 * MIB, 1024 * MIB, 4096 * MIB]
# Not a power of two: an arena that rounds down to one would leave almost half of the limit unused.
ODD_LIMITS = [255 * MIB, 1900 * MIB]
LEAST_PERCENT = 60


def run_limited(command: list[str | Path], limit: int, options: str = "") -> subprocess.CompletedProcess[str]:
    """Run ``command`` under the preload with ``limit`` bytes of address space from its start on."""
    prlimit = shutil.which("prlimit")
    assert prlimit is not None, "util-linux is missing"
    # env between the two: prlimit itself runs without the allocator, the command begins under the limit.
    settings = [f"{name}={value}" for name, value in preloaded(options).items()]
    return run([prlimit, f"--as={limit}", "env", *settings, *command])


@pytest.mark.parametrize("kind", ["small", "medium", "large"])
@pytest.mark.parametrize("limit", LIMITS + ODD_LIMITS, ids=lambda limit: f"{limit // MIB}MiB")
def test_fill_up_to_limit(limit: int, kind: str) -> None:
    done = run_limited([driver("limits", PLAIN), "fill", kind, str(LEAST_PERCENT)], limit)
    print(done.stdout)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout.endswith("fine\n")
    assert done.stderr == ""


@pytest.mark.parametrize("limit", LIMITS, ids=lambda limit: f"{limit // MIB}MiB")
@pytest.mark.parametrize(
    "mode", [("churn", "2", "20000"), ("grow", "1", "5"), ("short", "4", "3000"), ("fork", "2", "5")], ids="-".join
)
def test_stress_under_limit(limit: int, mode: tuple[str, str, str]) -> None:
    done = run_limited([driver("stress", PLAIN), *mode, "1"], limit)
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert "fine" in done.stdout


@pytest.mark.parametrize("mib", [16, 24, 32, 48, 64])
def test_tiny_limit_either_works_or_says_no(mib: int) -> None:
    # Below a few dozen MiB there may be no room for an arena; then malloc says NULL and the program decides.
    command: list[str | Path] = ["/bin/sh", "-c", "x=1; for i in 1 2 3; do x=$x$x; done; echo $x"]
    done = run_limited(command, mib * MIB)
    without = run(["prlimit", f"--as={mib * MIB}", *command])
    assert without.returncode == 0, "the shell itself does not fit: choose a larger limit"
    assert done.returncode >= 0, f"killed by signal {-done.returncode}: {done.stderr}"
    assert done.returncode != 0 or done.stdout == "11111111\n"


def test_limit_set_after_start() -> None:
    # RLIMIT_AS lowered while running (a batch system, a test): growth fails with NULL, and nothing breaks.
    source = DRIVER / "late_limit.c"
    program = compile_cached("late_limit", [source], [["gcc", "-O1", "-fno-builtin", "-w", source, "-o", "{out}"]])
    done = run([program], environment=preloaded())
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr}"
    assert done.stdout == "fine\n"


def callgrind_costs(profile: str) -> dict[str, int]:
    """Instructions of each function itself, from the text of a callgrind profile."""
    names: dict[str, str] = {}
    costs: dict[str, int] = {}
    current = ""
    inclusive = False  # the line behind "calls=" counts what was called
    for line in profile.splitlines():
        if match := re.match(r"c?fn=(\(\d+\))(?: (.+))?$", line):
            # A name is given where its number first appears.
            if match.group(2):
                names[match.group(1)] = match.group(2)
            if line.startswith("fn="):
                current = names[match.group(1)]
        elif line.startswith("calls="):
            inclusive = True
        elif match := re.match(r"[+*\d-]\S* (\d+)$", line):
            if not inclusive:
                costs[current] = costs.get(current, 0) + int(match.group(1))
            inclusive = False
    return costs


@pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")
@pytest.mark.parametrize(
    "command", [("churn", "1", "3000", "1"), ("churn", "2", "1000", "1"), ("grow", "1", "10", "1")], ids="-".join
)
def test_callgrind_counts_us(command: tuple[str, ...], tmp_path: Path) -> None:
    profile = tmp_path / "profile"
    valgrind = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={profile}"]
    done = run([*valgrind, driver("stress", PLAIN), *command], environment=environment_of(PLAIN))
    assert done.returncode == 0, f"{done.returncode}: {done.stdout}{done.stderr[-3000:]}"
    assert "fine" in done.stdout
    text = profile.read_text()
    assert PRELOAD.name in text
    costs = callgrind_costs(text)
    assert costs.get("malloc", 0) + costs.get("rt_malloc", 0) > 100, sorted(costs, key=costs.__getitem__)[-20:]


# What stderr must say beside the pointer. "freed before" is said where the place is known to hold nothing.
WILD = {
    "stack": "not a block of this allocator",
    "static": "not a block of this allocator",
    "low": "not a block of this allocator",
    "noncanonical": "not a block of this allocator",
    "mapping": "not a block of this allocator",
    "large_first_slice": "inside a large block",
    "large_middle": "no block is allocated there|inside a large block",
    "large_twice": "freed before|double free",
    "giant_twice": "not a block of this allocator|freed before",
    "giant_middle": "not a block of this allocator|no block is allocated there|inside a large block",
    "unused": "no block is allocated there|not a block of this allocator",
    "small_twice": "double free",
    "small_twice_remote": "double free",
    "small_gone": "freed before|double free",
    "small_misaligned_remote": "not the start of a block",
    "small_interior_remote": "not the start of a block",
    "small_misaligned_full": "not the start of a block",
    "realloc_stack": "not a block of this allocator",
    "realloc_unused": "no block is allocated there|not a block of this allocator",
    "realloc_large_middle": "inside a large block",
    "realloc_large_freed": "freed before",
    "cfree": "not a block of this allocator",
    "free_sized": "not a block of this allocator",
}


def wild(case: str, reason: str, flavour: Flavour, options: str = "", trim: bool = False) -> None:
    """Free or realloc a wild pointer: the process must end with one line that names it; with `trim` in the
    malloc_trim that follows, at the latest."""
    command: list[str | Path] = [driver("limits", flavour), "wild", case, *(["trim"] if trim else [])]
    done = run(command, environment=environment_of(flavour, options))
    assert done.returncode == -signal.SIGABRT, f"{done.returncode}: {done.stdout}{done.stderr}"
    pointer = int(done.stdout.strip(), 16)
    line = re.fullmatch(r"rtmalloc: (\w+)\((0x[0-9a-f]+)\): (.+)\n", done.stderr)
    assert line is not None, f"not one line: {done.stderr!r}"
    assert line.group(1) == ("realloc" if case.startswith("realloc") else "free")
    assert int(line.group(2), 16) == pointer
    assert re.search(reason, line.group(3)), line.group(3)


@pytest.mark.parametrize(("case", "reason"), WILD.items(), ids=list(WILD))
def test_wild_pointer(case: str, reason: str) -> None:
    wild(case, reason, PLAIN)


def test_every_wild_case_is_run() -> None:
    table = (DRIVER / SOURCES["limits"][0]).read_text().partition("cases[] = {")[2].partition("};")[0]
    assert sorted(re.findall(r"CASE\((\w+)\)", table)) == sorted(WILD)
