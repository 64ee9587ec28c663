"""What a heap profile must survive: tracing, signals, sub-interpreters, the end, greenlets; and long runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.profile.heap_programs import GREENLETS, PROGRAMS, program
from tests.python.programs import SECONDS, answer, run_code

END = "\nprint(json.dumps(True), flush=True)\n"


@pytest.mark.parametrize("route", ["install", "launcher"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, route: str) -> None:
    if name == "sub-interpreters":
        pytest.importorskip("_testcapi", reason="this CPython has no _testcapi")
    assert answer(run_code(program(PROGRAMS[name], route == "install") + END, route)) is True


def test_greenlets() -> None:
    pytest.importorskip("greenlet", reason="greenlet is not installed")
    assert answer(run_code(program(GREENLETS, False) + END, "launcher")) is True


SOAK = """
import gc, json, os, sys, threading
import rtmalloc
from rtmalloc import profile
rounds, sites = {rounds}, {sites}
failed = []
def work(n):
    space = {{}}
    name = f"f{{n % sites}}"
    exec(compile(f"def {{name}}(): return [bytes(i) for i in range(0, 3000, 13)]", f"{{name}}.py", "exec"), space)
    space[name]()
def child():
    raw = profile.heap().raw
    made = [bytes(n) for n in range(2000)]
    after = profile.heap().raw
    return raw["pid"] == after["pid"] == os.getpid() and after["sampled"] > raw["sampled"]
for n in range(rounds):
    threads = [threading.Thread(target=work, args=(n * 20 + k,), name=f"worker {{n * 20 + k}}") for k in range(20)]
    for t in threads: t.start()
    for t in threads: t.join()
    if n % 100 == 0:
        if (pid := os.fork()) == 0: os._exit(not child())
        if os.waitpid(pid, 0)[1]: failed.append(n)
        raw = profile.heap().raw
        if abs(raw["sampled"] - raw["freed"] - len(raw["live"]) - len(raw["large"]) + 2) > 4: failed.append(-n)
gc.collect()
found = profile.heap()
raw = found.raw
print(json.dumps([raw["sampled"], raw["freed"], len(raw["live"]) + len(raw["large"]) - 2, raw["left_out"],
                  len(raw["strings"]), len(raw["stacks"]), found.account().parts["metadata"], failed]))
"""


@pytest.mark.parametrize(
    ("rounds", "sites"),
    [(100, 100), pytest.param(5_000, 60_000, marks=pytest.mark.soak)],
    ids=["2000 threads", "100000 threads"],
)
def test_threads_and_modules_without_end(rounds: int, sites: int, tmp_path: Path) -> None:
    code = SOAK.format(rounds=rounds, sites=sites)
    env = {"RTMALLOC_OPTIONS": "heap_profile=1,heap_profile_interval=16384"}
    done = run_code(code, "launcher", env=env, seconds=7200 if rounds > 1000 else SECONDS)
    sampled, freed, live, left_out, strings, stacks, metadata, failed = answer(done)
    assert not failed and abs(sampled - freed - live) <= 4, (sampled, freed, live, failed)
    assert strings <= 1 << 15 and stacks <= 1 << 16 and metadata < 60 << 20
    # 60 000 modules have more names than there is room for: what was left out is told.
    assert (left_out > 0) == (sites > 30_000), (left_out, strings, stacks)
