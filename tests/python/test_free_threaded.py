"""A free-threaded interpreter (`python ci/systems.py test freethreaded`): RAW and malloc are ours, objects are not."""

from __future__ import annotations

import json

import pytest

from rtmalloc import _core
from tests.python.programs import answer, run_code, run_rtmalloc, succeed

pytestmark = pytest.mark.skipif(not _core.is_free_threaded(), reason="a build with the GIL")
ROUTES = ["launcher", "install"]

# 16 threads share lists, dictionaries and buffers; the module is called from all of them.
SHARED = """
import json, random, sys, threading
import rtmalloc
shared, table, failures = [], {}, []
lock = threading.Lock()
def work(seed):
    dice = random.Random(seed)
    try:
        for n in range(3000):
            block = bytearray(dice.choice([10, 300, 5000, 100_000]))
            block[0] = block[-1] = seed
            with lock:
                shared.append((seed, block))
                other = shared.pop(dice.randrange(len(shared))) if len(shared) > 64 else None
            if other and (other[1][0], other[1][-1]) != (other[0], other[0]):
                failures.append('a buffer is damaged')
            table[n % 97] = [block, str(n) * 50]
            if n % 200 == 0:
                rtmalloc.stats(); rtmalloc.status(); rtmalloc.trim()
    except BaseException as error:
        failures.append(repr(error))
threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps([failures, sys._is_gil_enabled(), sorted(rtmalloc.status().domains)]))
"""


@pytest.mark.parametrize("route", ROUTES)
def test_threads_share_objects(route: str) -> None:
    assert answer(run_code(SHARED, route)) == [[], False, ["raw"]]


def test_the_extension_leaves_the_gil_off() -> None:
    code = "import sys, json, rtmalloc, rtmalloc._core; print(json.dumps(sys._is_gil_enabled()))"
    assert answer(run_code(code, flags=["-W", "error"])) is False


def test_doctor_is_content() -> None:
    found = json.loads(succeed(run_rtmalloc("doctor", "--json")))
    assert [row["name"] for row in found if row["level"] == "problem"] == []
    assert {row["name"]: row["level"] for row in found}["free threading"] == "note"


def test_objects_cannot_be_taken() -> None:
    code = (
        "import json, rtmalloc\n"
        "try: rtmalloc.install({'raw', 'mem', 'obj'}, force=True)\n"
        "except rtmalloc.InstallError as error: print(json.dumps(str(error)))"
    )
    assert "finds its objects by walking its own allocator" in answer(run_code(code))
