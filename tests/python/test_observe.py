"""stats(), options and trim."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import rtmalloc
from rtmalloc.settings import options_parse
from tests.python.programs import answer, needs_objects, run_code, run_rtmalloc, succeed

# ---- stats


@needs_objects
@pytest.mark.parametrize("route", ["install", "launcher"])
def test_numbers_follow_what_the_program_holds(route: str) -> None:
    code = """
import json, rtmalloc
def megabytes(): s = rtmalloc.stats(); return [n / 2**20 for n in (s.allocated, s.active, s.resident)]
before = megabytes()
small = [bytes(1000) for _ in range(20000)]
large = [bytes(3_000_000) for _ in range(10)]
for block in large: assert block[2_999_999] == 0
held = megabytes()
del small, large
rtmalloc.trim()
print(json.dumps([before, held, megabytes()]))
"""
    before, held, after = answer(run_code(code, route))
    program = (20000 * 1033 + 10 * 3_000_000) / 2**20
    assert program * 0.99 <= held[0] - before[0] <= program * 1.15
    assert held[1] >= held[0]
    # calloc of fresh pages touches nothing, so only the small blocks need be resident.
    assert held[2] - before[2] >= 19
    assert after[2] <= before[2] + 4
    # What threads' caches keep counts as allocated.
    assert after[0] <= before[0] + 4


@needs_objects
@pytest.mark.parametrize("route", ["install", "launcher"])
def test_memory_comes_back_to_a_silent_process(route: str) -> None:
    # Nothing calls the allocator: only the background thread can do it, and both routes ask for it.
    code = """
import time
def resident():
    return int(open('/proc/self/statm').read().split()[1]) * 4096 / 2**20
kept = [{'number': n, 'text': str(n) * 20} for n in range(200_000)]
full = resident()
del kept
time.sleep(3)
print([full, resident()])
"""
    full, later = answer(run_code(code, route))
    assert full > 60
    assert later < 30


@needs_objects
def test_every_number_has_a_sensible_value() -> None:
    code = """
import dataclasses, json, rtmalloc
x = [bytes(n) for n in range(5000)]
s = rtmalloc.stats()
for field in dataclasses.fields(s):
    value = getattr(s, field.name)
    if isinstance(value, int): assert 0 <= value < 2**60, (field.name, value)
assert 0 < s.allocated <= s.active <= s.reserved, s
assert s.committed + s.counters['giants'] == s.active + s.dirty + s.clean, s
assert s.muzzy <= s.dirty and s.metadata > 0 and s.threads == 1 and s.cached <= s.allocated, s
sizes = [c.size for c in s.classes]
assert sizes == sorted(set(sizes)) and all(size % 16 == 0 for size in sizes)
for c in s.classes:
    assert 0 <= c.free_blocks <= c.blocks and 0 <= c.current_spans <= c.spans and c.spans > 0
    assert c.allocated == (c.blocks - c.free_blocks) * c.size
assert sum(c.allocated for c in s.classes) <= s.allocated
assert rtmalloc.bytes_allocated() > 0
"""
    succeed(run_code(code, "install"))


def test_json_there_and_back() -> None:
    snapshot = rtmalloc.stats()
    text = snapshot.to_json(indent=1)
    assert json.loads(text)["pid"] == os.getpid()
    assert rtmalloc.Stats.from_json(text) == snapshot


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"classes": [1]}', '{"classes": [], "else": 1}'])
def test_other_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        rtmalloc.Stats.from_json(text)


def test_threads_are_counted() -> None:
    code = """
import threading, time, rtmalloc
ready, go = threading.Barrier(4), threading.Event()
def work(): x = [bytes(n) for n in range(999)]; ready.wait(); go.wait()
threads = [threading.Thread(target=work) for _ in range(3)]
for t in threads: t.start()
ready.wait()
many = rtmalloc.stats().threads
go.set()
for t in threads: t.join()
# join() returns a little before the kernel's thread is gone.
deadline = time.monotonic() + 20
while rtmalloc.stats().threads != many - 3: assert time.monotonic() < deadline, (many, rtmalloc.stats().threads)
"""
    succeed(run_code(code, "install"))


@needs_objects
def test_each_threads_own_numbers() -> None:
    code = """
import json, threading, time, rtmalloc
ready, go = threading.Barrier(3), threading.Event()
def work(size): x = [bytes(size) for n in range(20000)]; del x[::2]; ready.wait(); go.wait()
threads = [threading.Thread(target=work, args=(size,)) for size in (1000, 100)]
for t in threads: t.start()
ready.wait()
during = rtmalloc.stats()
go.set()
for t in threads: t.join()
# join() returns a little before the kernel's thread is gone.
deadline = time.monotonic() + 20
while (after := rtmalloc.stats()).threads > during.threads - 2: assert time.monotonic() < deadline, after
assert rtmalloc.Stats.from_json(during.to_json()) == during
of = {t.native_id: t for t in during.per_thread if t.live}
assert set(of) == {t.native_id for t in threading.enumerate()} | {t.native_id for t in threads}, of
large, small = (of[t.native_id] for t in threads)
main = of[threading.main_thread().native_id]
for one in during.per_thread:
    assert 0 <= one.cached <= 2 * one.capacity + 2**17, one
    assert one.lives >= 1 and 0 <= one.slot < during.counters['slots'], one
for name, total in during.counters.items():
    parts = [t.counters[name] for t in during.per_thread if name in t.counters]
    assert not parts or abs(total - sum(parts)) <= total // 50 + 50, (name, total, parts)
assert small.counters["refill_objects"] > 10000 < large.counters["refill_objects"]
# A thread that has ended leaves its heap empty.
ended = {t.heap: t for t in after.per_thread}
for one in (large, small):
    assert not ended[one.heap].live and ended[one.heap].cached == 0, ended[one.heap]
assert ended[main.heap].live and after.threads == sum(t.live for t in after.per_thread)
"""
    succeed(run_code(code, "install"))
    succeed(run_code(code, "launcher", env={"RTMALLOC_OPTIONS": "background_thread=0"}))


# ---- options


def test_options_describe_themselves() -> None:
    for name, option in rtmalloc.options().items():
        assert option.name == name
        assert option.least <= option.default <= option.most
        assert option.least <= option.value <= option.most
        assert option.description


def test_configure() -> None:
    code = """
import rtmalloc, json
rtmalloc.configure(dirty_decay_ms=77, epoch_ms=33)
print(json.dumps([rtmalloc.options()[n].value for n in ('dirty_decay_ms', 'epoch_ms')]))
"""
    assert answer(run_code(code, "install")) == [77, 33]
    assert answer(run_code(code, "launcher")) == [77, 33]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"no_such": 1}, "there is no option 'no_such'; rtmalloc.options() lists them"),
        ({"dirty_decay": 0}, "there is no option 'dirty_decay' (did you mean 'dirty_decay_ms'?); "),
        ({"epoch_ms": 0}, "epoch_ms is a whole number from 1 to 60000 ms, not 0"),
        ({"epoch_ms": 1.5}, "epoch_ms is a whole number from 1 to 60000 ms, not 1.5"),
    ],
)
def test_configure_refuses_and_changes_nothing(values: dict[str, int], sentence: str) -> None:
    before = rtmalloc.options()
    with pytest.raises(ValueError) as caught:
        rtmalloc.configure(dirty_decay_ms=1, **values)
    assert str(caught.value).startswith(sentence)
    assert rtmalloc.options() == before


def test_the_variable_is_read_at_the_start() -> None:
    code = "import rtmalloc; print(rtmalloc.options()['epoch_ms'].value)"
    for route in ("install", "launcher"):
        assert succeed(run_code(code, route, env={"RTMALLOC_OPTIONS": "epoch_ms=61"})) == "61\n"


@pytest.mark.parametrize("route", ["install", "launcher"])
def test_the_background_thread_is_asked_for_unless_told_otherwise(route: str) -> None:
    code = "import rtmalloc; print(rtmalloc.options()['background_thread'].value)"
    assert succeed(run_code(code, route)) == "1\n"
    assert succeed(run_code(code, route, env={"RTMALLOC_OPTIONS": "epoch_ms=61"})) == "1\n"
    assert succeed(run_code(code, route, env={"RTMALLOC_OPTIONS": "background_thread=0"})) == "0\n"
    # Where neither asks, it comes and goes by itself.
    assert succeed(run_code(code)) == "-1\n"


def test_installing_again_does_not_ask_again() -> None:
    code = "rtmalloc.configure(background_thread=0); rtmalloc.install(); "
    code += "print(rtmalloc.options()['background_thread'].value)"
    assert succeed(run_code(code, "install")) == "0\n"


def test_parse_agrees_with_the_allocator() -> None:
    assert options_parse("") == {}
    assert options_parse("epoch_ms=5,,dirty_decay_ms=-1,") == {"epoch_ms": 5, "dirty_decay_ms": -1}
    assert options_parse("preset=classic,epoch_ms=5")["keep_empty"] == 1
    assert options_parse("preset=classic,keep_empty=0")["keep_empty"] == 0
    for text in (
        "preset=none",
        "preset",
        "epoch_ms",
        "epoch_ms=",
        "epoch_ms= 5",
        "epoch_ms=5ms",
        "epoch_ms=0",
        "=5",
        "epoch_ms=5;x=1",
    ):
        with pytest.raises(ValueError):
            options_parse(text)
        assert "RTMALLOC_OPTIONS" in run_code("import rtmalloc", env={"RTMALLOC_OPTIONS": text}).stderr


def test_options_command_lists_them_all() -> None:
    out = succeed(run_rtmalloc("options"))
    assert [line.split(" = ")[0] for line in out.splitlines()[::2]] == [*rtmalloc.options(), "config"]


def test_the_tuning_guide_has_todays_options() -> None:
    guide = Path(__file__).resolve().parents[2] / "docs" / "tuning.md"
    table = succeed(run_rtmalloc("options", "--markdown"))
    assert table in guide.read_text(), "paste the output of `python -m rtmalloc options --markdown` into docs/tuning.md"
