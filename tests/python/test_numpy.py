"""numpy on rtmalloc: by the launcher, by install() where numpy asks the RAW domain, by the handler everywhere."""

from __future__ import annotations

import pytest

from tests.python.programs import answer, run_code, succeed

numpy = pytest.importorskip("numpy", reason="numpy is not installed in this environment")

ASKS_RAW = tuple(int(part) for part in numpy.__version__.split(".")[:2]) >= (2, 5)
OURS = "import json, numpy, rtmalloc; from rtmalloc import _core\ndef ours(a): return _core.owns(a.ctypes.data)\n"


def test_arrays_under_the_launcher() -> None:
    code = (
        OURS + "print(json.dumps([ours(numpy.empty(n)) for n in (1, 10, 1000, 10**6)] + [rtmalloc.verify().complete]))"
    )
    assert answer(run_code(code, "launcher")) == [True] * 5


def test_arrays_after_install() -> None:
    code = OURS + "print(json.dumps([ours(numpy.empty(1000)), rtmalloc.verify().entries['numpy']]))"
    assert answer(run_code(code, "install")) == [ASKS_RAW] * 2


@pytest.mark.parametrize("route", ["plain", "install", "launcher"])
def test_handler(route: str) -> None:
    code = (
        OURS
        + """
import rtmalloc.numpy as handling
seen = [handling.handler_name()]
with handling.handler():
    a = numpy.arange(5000.0)
    b = numpy.zeros((300, 300))
    seen += [handling.handler_name(), handling.handler_name(a), handling.handler_name(a[1:]), ours(a), ours(b)]
    with handling.handler():
        c = numpy.ones(10)
    seen.append(handling.handler_name())
after = numpy.ones(10)
seen += [handling.handler_name(after), handling.handler_name(c)]
a.resize(100000, refcheck=False)     # outside, by the handler that it was made with
seen += [ours(a), float(a[4999]), float(a[99999]), float(b.sum())]
del a, b, c, after
print(json.dumps(seen))
"""
    )
    plain, ours = "default_allocator", "rtmalloc"
    expected = [plain, ours, ours, None, True, True, ours, plain, ours, True, 4999.0, 0.0, 0.0]
    assert answer(run_code(code, route)) == expected


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_zeros_leave_what_is_not_touched(route: str) -> None:
    code = (
        OURS
        + """
import resource, rtmalloc.numpy as handling
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
before, seen = peak(), []
with handling.handler():
    for turn in range(4):
        a = numpy.zeros(256 << 20, dtype=numpy.uint8)
        seen += [ours(a), int(a[100 << 20]), int(a[-1])]
        a[100 << 20] = 1
        del a
print(json.dumps([*seen, peak() - before < 32]))
"""
    )
    assert answer(run_code(code, route)) == [True, 0, 0] * 4 + [True]


def test_handler_is_put_back_after_an_error() -> None:
    code = (
        OURS
        + """
import rtmalloc.numpy as handling
try:
    with handling.handler(): 1 / 0
except ZeroDivisionError: pass
assert handling.handler_name() == 'default_allocator'
"""
    )
    succeed(run_code(code))


def test_contexts() -> None:
    code = (
        OURS
        + """
import asyncio, threading, contextvars, rtmalloc.numpy as handling
seen = []
def look(): seen.append(handling.handler_name())
with handling.handler():
    thread = threading.Thread(target=look); thread.start(); thread.join()
    contextvars.copy_context().run(look)
    asyncio.run(asyncio.to_thread(look))
print(json.dumps(seen))
"""
    )
    assert answer(run_code(code)) == ["default_allocator", "rtmalloc", "rtmalloc"]


def test_many_arrays_in_threads() -> None:
    code = (
        OURS
        + """
import threading, rtmalloc.numpy as handling
def work(seed):
    random = numpy.random.default_rng(seed)
    with handling.handler():
        kept = [random.random(int(n)) for n in random.integers(1, 20000, 300)]
    for one in kept[::2]: one.sort()
    results.append(sum(float(one.sum()) for one in kept))
results = []
threads = [threading.Thread(target=work, args=(7,)) for _ in range(6)]
for t in threads: t.start()
for t in threads: t.join()
assert len(set(results)) == 1
"""
    )
    succeed(run_code(code, "install"))


def test_capsules_are_counted_right() -> None:
    code = (
        OURS
        + """
import sys, rtmalloc.numpy as handling
before = handling.handler_set(handling._multiarray()._ARRAY_API, handling.handler_capsule())
handling.handler_set(handling._multiarray()._ARRAY_API, before)
count = sys.getrefcount(before)
for _ in range(1000):
    with handling.handler(): pass
assert abs(sys.getrefcount(before) - count) <= 1, (sys.getrefcount(before), count)
"""
    )
    succeed(run_code(code))
