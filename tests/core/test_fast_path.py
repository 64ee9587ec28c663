"""The built preload library as an artefact: the machine code of the fast paths, and what the linker made of it.

Instruction budgets: malloc at most 15, free at most 20, along the path that hits the bin. They are what it takes today.
"""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass

import pytest

from .building import PRELOAD, run

# CPython's hooks are the same paths with one argument more, which comes first.
BUDGET = {"malloc": 14, "free": 20, "hooks_obj_malloc": 15, "hooks_obj_free": 21}

# Documented in rtmalloc/core/preload.map: the malloc family, what is told of blocks, and the Python face's way in.
EXPORTS = {
    "malloc",
    "free",
    "calloc",
    "realloc",
    "reallocarray",
    "aligned_alloc",
    "memalign",
    "posix_memalign",
    "valloc",
    "pvalloc",
    "malloc_usable_size",
    "malloc_trim",
    "cfree",
    "free_sized",
    "free_aligned_sized",
    "madvise",
    "mprotect",
    "mlock",
    "mlock2",
    "rtmalloc_api",
    "rtmalloc_emergency_flush",
}
STATIC_TLS_BYTES = 16


@dataclass(frozen=True)
class Instruction:
    address: int
    operation: str
    operands: str

    @property
    def target(self) -> int | None:
        """Where a direct jump or call leads."""
        match = re.match(r"([0-9a-f]+)\b", self.operands)
        return int(match.group(1), 16) if match and self.operation[0] in "jc" else None


def tool(*command: str) -> str:
    done = run([*command, PRELOAD])
    assert done.returncode == 0, done.stderr
    return done.stdout


def function(name: str) -> dict[int, Instruction]:
    """The instructions of the function ``name``, by address; padding is left out."""
    symbol = re.search(rf"^([0-9a-f]+) ([0-9a-f]+) [Tt] (?:__pyx_f_\w+_\d)?{name}$", tool("nm", "-S"), re.MULTILINE)
    assert symbol is not None, f"there is no {name}, or it has no size"
    start = int(symbol.group(1), 16)
    stop = start + int(symbol.group(2), 16)
    text = tool("objdump", "-d", "--no-show-raw-insn", f"--start-address={start:#x}", f"--stop-address={stop:#x}")
    lines = re.findall(r"^ *([0-9a-f]+):\t(?:(?:notrack|bnd|lock|rep) )*(\w+) *([^#<\n]*)", text, re.MULTILINE)
    code = [Instruction(int(address, 16), operation, operands.strip()) for address, operation, operands in lines]
    assert code and code[0].address == start, text
    # endbr64 stands at the entry where the distribution asks for it, and does nothing else.
    nothing = ("nop", "nopw", "nopl", "data16", "cs", "endbr64")
    return {i.address: i for i in code if i.operation not in nothing and i.operands != "%ax,%ax"}


def straight_path(code: dict[int, Instruction]) -> list[Instruction]:
    """From the entry to the return, with no conditional jump taken: `unlikely` makes gcc lay out the hit so."""
    addresses = sorted(code)
    path: list[Instruction] = []
    at = 0
    while len(path) <= len(addresses):
        instruction = code[addresses[at]]
        path.append(instruction)
        if instruction.operation in ("ret", "retq"):
            return path
        if instruction.operation == "jmp":
            assert instruction.target in code, f"the straight path leaves the function at {instruction}"
            at = addresses.index(instruction.target)
        else:
            at += 1
    raise AssertionError(f"no return on the straight path: {path}")


x86_only = pytest.mark.skipif(platform.machine() != "x86_64", reason="the budgets are in x86-64 instructions")


@x86_only
@pytest.mark.parametrize("name", BUDGET)
def test_instruction_budget(name: str) -> None:
    path = straight_path(function(name))
    print(f"{name}: {len(path)} instructions")
    assert len(path) <= BUDGET[name], "\n".join(f"{i.operation} {i.operands}" for i in path)
    # A path of a handful of instructions would be a stub, not the fast path.
    assert len(path) >= 8


@x86_only
@pytest.mark.parametrize("name", BUDGET)
def test_no_frame_and_no_call(name: str) -> None:
    # Of the whole function, misses included: a slow path is entered by a tail jump, so nothing needs a frame.
    code = function(name)
    for instruction in code.values():
        assert not instruction.operation.startswith(("call", "push", "pop", "enter", "leave")), instruction
        text = f"{instruction.operation} {instruction.operands}"
        assert not re.match(r"(sub|add|lea|and|mov).*%rsp$", text), instruction
    leaves = [i for i in code.values() if i.operation == "jmp" and i.target not in code]
    assert leaves, "the slow paths are out of line"


@x86_only
@pytest.mark.parametrize("name", BUDGET)
def test_thread_pointer_costs_no_call(name: str) -> None:
    # The initial-exec model: one load of an offset, one access relative to %fs.
    assert any("%fs:" in i.operands for i in straight_path(function(name)))
    assert "__tls_get_addr" not in tool("nm", "-D")


@x86_only
@pytest.mark.parametrize("name", BUDGET)
def test_no_atomic_on_the_fast_path(name: str) -> None:
    for instruction in straight_path(function(name)):
        assert instruction.operation not in ("xchg", "mfence", "cmpxchg", "xadd"), instruction
    address = min(function(name))
    last = straight_path(function(name))[-1].address
    text = tool("objdump", "-d", "--no-show-raw-insn", f"--start-address={address:#x}", f"--stop-address={last:#x}")
    assert "lock " not in text


def test_no_python_symbol() -> None:
    symbols = tool("nm", "-D")
    assert not re.search(r" _?Py\w+", symbols), re.findall(r".* _?Py\w+", symbols)


def test_needs_only_libc() -> None:
    needed = re.findall(r"\(NEEDED\).*\[(.+)\]", tool("readelf", "-dW"))
    assert needed, "a library without libc?"
    # Before glibc 2.34 threads were a library of their own.
    assert all(re.match(r"(libc|libpthread|ld-linux[\w-]*)\.so", name) for name in needed), needed


def test_exports_are_the_documented_ones() -> None:
    symbols = tool("nm", "-D", "--defined-only")
    defined = re.findall(r"^[0-9a-f]+ (?:[0-9a-f]+ )?([A-Za-z]) (\S+)$", symbols, re.MULTILINE)
    assert {name for _, name in defined} == EXPORTS
    assert {kind for kind, _ in defined} <= {"T", "D", "R", "B"}


def test_thread_local_storage_is_small() -> None:
    # It comes out of the small reserve that libraries loaded late share.
    sizes = re.findall(r"^ +TLS +(?:0x[0-9a-f]+ +){4}(0x[0-9a-f]+)", tool("readelf", "-lW"), re.MULTILINE)
    assert len(sizes) == 1
    assert 0 < int(sizes[0], 16) <= STATIC_TLS_BYTES


def test_memory_protection() -> None:
    segments = tool("readelf", "-lW")
    assert not re.search(r"LOAD .* RWE ", segments), segments
    dynamic = tool("readelf", "-dW")
    assert "TEXTREL" not in dynamic
    # Bound at load time: a lazy binding inside malloc could allocate.
    assert re.search(r"BIND_NOW|\bNOW\b", dynamic), dynamic
