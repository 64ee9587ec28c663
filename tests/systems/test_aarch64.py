"""aarch64: compiled by the cross compiler, run by qemu's user mode, fast paths counted in its own instructions.

Emulation on x86 cannot show a missing barrier, since the machine below orders more than aarch64 does: tests/model is
there for that.
"""

from __future__ import annotations

import re
import subprocess
from functools import cache

import pytest

from tests.core.test_semantics import CLAUSES
from tests.core.test_stress import SANITIZED_RUNS, run_name

from .cross import Cross

ROOT = "/usr/aarch64-linux-gnu"
QEMU = ("qemu-aarch64-static", "-L", ROOT)
AARCH64 = Cross("aarch64", "aarch64-linux-gnu-gcc", QEMU)
BUDGET = {"malloc": 19, "free": 34, "_Znwm": 19}
"""Instructions from the entry to the return where the bin has a block, and where it has room."""

NO_MOVE = "remap_kib=1073741824"
"""qemu 7.2 forgets the old range of mremap(MREMAP_DONTUNMAP), which the kernel keeps: no block may grow by it."""
NOT_HERE = {"no_memory"}
"""Clauses that limit the address space: the emulator needs more of it than the program may have."""
NOT_MEASURED = {"short"}
"""Modes that measure resident memory over thousands of threads: the emulator keeps some for each."""


def fine(cross: Cross, name: str, *words: str, options: str = NO_MOVE) -> str:
    done = cross.run(name, *words, options=options, seconds=400)
    assert done.returncode == 0, f"{name} {words} {options}: {done.returncode}\n{done.stdout}{done.stderr[-4000:]}"
    assert "fine" in done.stdout
    assert "rtmalloc:" not in done.stderr, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("mode", "threads", "operations"), [row for row in SANITIZED_RUNS if row[0] not in NOT_MEASURED], ids=run_name
)
def test_stress(mode: str, threads: int, operations: int) -> None:
    fine(AARCH64, "stress", mode, str(threads), str(operations), "1")


@pytest.mark.parametrize("clause", [clause for clause in CLAUSES if clause not in NOT_HERE])
def test_clause(clause: str) -> None:
    assert fine(AARCH64, "semantics", clause) == f"{clause}: fine\n"


@pytest.mark.parametrize("order", ["constructors"])
def test_before_constructors(order: str) -> None:
    fine(AARCH64, "early", order)


@pytest.mark.parametrize("kib", [16, 64])
@pytest.mark.parametrize(("mode", "threads", "operations"), [("churn", 4, 20_000), ("orphans", 4, 4)], ids=run_name)
def test_larger_pages(kib: int, mode: str, threads: int, operations: int) -> None:
    # The emulator tells the program so; the kernel below keeps its 4 KiB.
    pages = Cross("aarch64", AARCH64.compiler, (*QEMU, "-p", str(kib << 10)))
    fine(pages, "stress", mode, str(threads), str(operations), "2")


@cache
def instructions(name: str) -> list[tuple[int, str, str]]:
    """Address, operation and operands of the function `name`, without padding."""
    tool = "aarch64-linux-gnu-"
    names = subprocess.run([f"{tool}nm", "-S", AARCH64.library], capture_output=True, text=True, check=True).stdout
    symbol = re.search(rf"^([0-9a-f]+) ([0-9a-f]+) [Tt] {name}$", names, re.MULTILINE)
    assert symbol is not None, f"there is no {name}"
    start, size = (int(text, 16) for text in symbol.groups())
    span = [f"--start-address={start:#x}", f"--stop-address={start + size:#x}"]
    command = [f"{tool}objdump", "-d", "--no-show-raw-insn", *span, str(AARCH64.library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^ *([0-9a-f]+):\t([\w.]+) *([^/<\n]*)", text, re.MULTILINE)
    return [(int(at, 16), operation, operands.strip()) for at, operation, operands in found if operation != "nop"]


def straight_path(name: str) -> list[tuple[int, str, str]]:
    """From the entry to the return, no conditional branch taken."""
    path = []
    for instruction in instructions(name):
        path.append(instruction)
        if instruction[1] == "ret":
            return path
        assert instruction[1] != "b", f"the straight path of {name} leaves it at {instruction}"
    raise AssertionError(f"no return on the straight path of {name}")


@pytest.mark.parametrize("name", BUDGET)
def test_instruction_budget(name: str) -> None:
    path = straight_path(name)
    print(f"{name}: {len(path)} instructions")
    assert 8 <= len(path) <= BUDGET[name], path


@pytest.mark.parametrize("name", BUDGET)
def test_no_frame_no_call_no_atomic(name: str) -> None:
    for at, operation, operands in instructions(name):
        text = f"{at:x} {operation} {operands}"
        assert operation not in ("bl", "blr", "stp", "ldp"), text
        assert not re.search(r"\bsp\b", operands), text
        assert not re.match(r"(ld|st)(a|l)?x|dmb|dsb|swp|cas|ldadd|ldset|ldclr", operation), text


@pytest.mark.parametrize("name", BUDGET)
def test_thread_pointer_costs_no_call(name: str) -> None:
    assert any("tpidr_el0" in operands for _, _, operands in straight_path(name))


def test_system_calls_are_its_own() -> None:
    # A call by the C library's `syscall` would pass by whoever stands under that name.
    command = ["aarch64-linux-gnu-nm", "-D", "--undefined-only", str(AARCH64.library)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert " syscall" not in text and "__aarch64_" not in text
