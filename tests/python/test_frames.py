"""Python frames of a heap profile, on the interpreter that runs the tests: with its JIT, and with structs of others."""

from __future__ import annotations

import sys

import pytest

from tests.python.programs import answer, run_code

OPTIONS = "heap_profile=1,heap_profile_interval=4096"

# (A compressor's memory is the C library's or the RAW domain's: on a free-threaded build objects are not ours.)
PROGRAM = """
import asyncio, json, sys, threading, zlib
import rtmalloc
from rtmalloc import profile
kept = []
def leaf():
    kept.append(zlib.compressobj(9, zlib.DEFLATED, 9, 1))
class Maker:
    def __init__(self): leaf()
def plain(n):
    for _ in range(300): leaf()
def made():
    for _ in range(300): Maker()
def produce():
    for _ in range(300): yield leaf()
async def wait():
    for n in range(300):
        leaf()
        if n % 50 == 0: await asyncio.sleep(0)
def deep(n):
    return deep(n - 1) if n else plain(0)
def warm():
    return sum(n * n for n in range(20000))
plain(0), made(), list(produce()), asyncio.run(wait()), list(map(plain, [0])), deep(100), warm()
thread = threading.Thread(target=plain, args=[0]); thread.start(); thread.join()
found = profile.heap()
stacks = [[[f.function, bool(f.line)] for f in site.frames] for site in found.sites if site.live_bytes]
print(json.dumps([found.python, [s for s in stacks if ["leaf", True] in s]]))
"""


@pytest.mark.parametrize("jit", ["0", "1"])
@pytest.mark.parametrize("route", ["launcher", "install"])
def test_stacks(route: str, jit: str) -> None:
    # PYTHON_JIT means nothing before 3.13, and to interpreters that were built without.
    env = {"RTMALLOC_OPTIONS": OPTIONS, "PYTHON_JIT": jit}
    python, stacks = answer(run_code(PROGRAM, route, env=env))
    assert python == "Python frames" and stacks
    callers = set()
    for stack in stacks:
        first = stack.index(["leaf", True])
        names = [name for name, _ in stack[first:]]
        # Below the innermost Python frame all is Python, above it nothing is the interpreter's loop or made by it.
        assert all(line or name.startswith("(outer") for name, line in stack[first:]), stack
        assert not any(name.startswith(("_PyEval_Eval", "?")) for name, _ in stack[:first]), stack
        callers.add(names[1])
    assert callers == {"plain", "Maker.__init__", "produce", "wait"} or sys.version_info < (3, 11)
    assert sum("deep" in [name for name, _ in stack] for stack in stacks) >= 1


@pytest.mark.skipif(sys.version_info < (3, 14), reason="up to 3.13 the structs are those of the headers alone")
@pytest.mark.parametrize(("name", "offset"), [("cookie", 0), ("version", 8 + 2), ("free-threaded", 16)])
def test_another_interpreter_is_refused(name: str, offset: int) -> None:
    code = f"""
import ctypes, json
first = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
byte = ctypes.c_ubyte.from_address(first + {offset})
byte.value ^= 1
from rtmalloc import profile
byte.value ^= 1
kept = [bytes(5000) for _ in range(1000)]
print(json.dumps(profile.heap().python))
"""
    env = {"RTMALLOC_OPTIONS": OPTIONS}
    # (-S: where rtmalloc is installed, its .pth file imports it first.)
    assert "does not lay them out" in answer(run_code(code, "launcher", flags=["-S"], env=env))
