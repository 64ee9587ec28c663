"""The peak of a service whose threads take turns at a burst: what one thread has freed serves the next one."""

from __future__ import annotations

import pytest

from tests.python.programs import answer, needs_objects, run_code

TURNS = """
import json, threading, time

def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) / 1024

text = json.dumps([{"id": n, "items": [{"sku": f"item {n} {i}", "price": n + i / 100} for i in range(12)]}
                   for n in range(400)])
kept, done = [], threading.Semaphore(0)
go = [threading.Semaphore(0) for _ in range(THREADS)]

def work(number):
    while True:
        go[number].acquire()
        documents = [json.loads(text) for _ in range(6)]
        kept.append([d[::50] for d in documents])
        del kept[:-4], documents
        done.release()

for number in range(THREADS):
    threading.Thread(target=work, args=(number,), daemon=True).start()
peaks = []
for turn in range(10):
    go[turn % THREADS].release()
    done.acquire()
    peaks.append(status("VmHWM:"))
    time.sleep(GAP)
print(json.dumps(peaks))
"""


def peaks(route: str, threads: int, gap: float) -> list[float]:
    """The highest RSS until each turn, in MiB."""
    found: list[float] = answer(run_code(TURNS.replace("THREADS", str(threads)).replace("GAP", str(gap)), route))
    return found


@needs_objects
@pytest.mark.parametrize("route", ["launcher", "install"])
@pytest.mark.parametrize("gap", [0.0, 0.2])
def test_threads_in_turns_need_the_memory_of_one(route: str, gap: float) -> None:
    of_four, of_one = peaks(route, 4, gap), peaks(route, 1, gap)
    assert of_four[-1] <= of_one[-1] * 1.25, (of_four, of_one)
    # It does not climb from round to round.
    assert of_four[-1] <= of_four[3] * 1.15, of_four
