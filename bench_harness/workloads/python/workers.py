"""workers: a prefork server in Python: what do requests, reference counts and the collector un-share?"""

from __future__ import annotations

import collections
import gc
import json
import os
import random
import time

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "one request"
PARAMETERS = [
    ("mib", 100, 1, 100_000, "MiB", "the application's objects, about, built before the fork"),
    ("workers", 8, 1, 256, "processes", "workers that are forked"),
    ("requests", 1_000, 1, 1_000_000_000, "requests", "requests of each worker"),
    ("hour", 10.0, 0.1, 3600.0, "s", "time over which they are spread: an hour, compressed"),
    ("freeze", 0, 0, 1, "", "1: gc.freeze() before the fork, as the documentation of gc advises"),
]
TAKES_SECONDS = 15.0
ENTRY_BYTES = 2600  # of one catalogue entry in CPython 3.11
STEPS = 100  # pauses between a worker's requests
SKEW = 8  # a few entries are asked for again and again: half of all requests are for 0.4 % of them
LOOKS = 40  # at the memory of all processes


def make_application(mib: int) -> list[dict[str, object]]:
    """A catalogue of small objects, as parsed configuration, templates and cached rows are."""
    return [
        {"id": n, "name": f"entry {n}", "rows": [{"sku": f"{n}-{i}", "price": n + i / 100} for i in range(6)]}
        for n in range((mib << 20) // ENTRY_BYTES)
    ]


def serve(cell: Cell, application: list[dict[str, object]], number: int) -> int:
    """A worker's requests in steps with pauses; returns the ns in which it was busy."""
    draw = random.Random(cell.integer("seed") + number)
    sessions: collections.deque[object] = collections.deque(maxlen=200)
    requests, step, busy = cell.integer("requests"), cell.real("hour") / STEPS, 0
    began = time.monotonic() + step * number / cell.integer("workers")
    for i in range(STEPS):
        time.sleep(max(0.0, began + i * step - time.monotonic()))
        at = time.monotonic_ns()
        if i == STEPS // 2:
            gc.collect()  # an hour brings at least one full collection
        for _ in range(requests * i // STEPS, requests * (i + 1) // STEPS):
            found = [application[int(len(application) * draw.random() ** SKEW)] for _ in range(20)]
            answer = json.loads(json.dumps(found))
            if answer != found:
                raise RuntimeError("an answer differs from what the application holds")
            sessions.append(answer[0])
        busy += time.monotonic_ns() - at
    return busy


def look(pids: list[int]) -> tuple[int, int]:
    """PSS and private dirty bytes of all processes together."""
    sums = {"Pss": 0, "Private_Dirty": 0}
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            for line in file:
                name, _, rest = line.partition(":")
                if name in sums:
                    sums[name] += int(rest.split()[0]) * 1024
    return sums["Pss"], sums["Private_Dirty"]


def fork_workers(cell: Cell, application: list[dict[str, object]]) -> tuple[list[int], list[tuple[int, int]]]:
    """Fork the workers, which wait; returns their ids and, for each, where to write a byte and read its answers."""
    pids, pipes = [], []
    for number in range(cell.integer("workers")):
        (told, tell), (said, say) = os.pipe(), os.pipe()
        pid = os.fork()
        if pid == 0:
            gc.enable()
            os.write(say, b"ready\n")
            os.read(told, 1)
            os.write(say, b"%d\n" % serve(cell, application, number))
            os.read(told, 1)  # whole until the last look
            os._exit(0)
        os.close(told)
        os.close(say)
        pids.append(pid)
        pipes.append((tell, said))
    return pids, pipes


def heard(said: int) -> bytes:
    """A worker's next line; RuntimeError when it ended instead."""
    line = os.read(said, 64)
    if not line:
        raise RuntimeError("a worker failed")
    return line


def body(cell: Cell) -> None:
    """Build, fork, look on, and mark the beginning and each quarter."""
    frozen = cell.integer("freeze")
    if frozen:
        gc.disable()
    application = make_application(cell.integer("mib"))
    if frozen:
        gc.freeze()
    pids, pipes = fork_workers(cell, application)
    for _, said in pipes:
        heard(said)
    family, hour = [os.getpid(), *pids], cell.real("hour")
    cell.window_begin()
    busy = 0.0
    for i in range(LOOKS + 1):
        time.sleep(max(0.0, cell.began[0] * 1e-9 + hour * i / LOOKS - time.monotonic()))
        if i == LOOKS:
            busy = sum(int(heard(said)) for _, said in pipes) / len(pipes)
        pss, dirty = look(family)
        if i * 4 % LOOKS == 0:
            quarter = f"{100 * i // LOOKS} %"
            cell.mark(quarter, pss)
            cell.metrics[f"private_dirty_{quarter.replace(' ', '_')}_bytes"] = dirty
        cell.samples.append((time.monotonic_ns(), pss))
        if i in (0, LOOKS):
            for tell, _ in pipes:
                os.write(tell, b"g")
    if any(os.waitpid(pid, 0)[1] != 0 for pid in pids):
        raise RuntimeError("a worker failed")
    cell.window_end(len(pids) * cell.integer("requests"))
    cell.paused_ns = cell.ended[0] - cell.began[0] - int(busy)


if __name__ == "__main__":
    main(PARAMETERS, body)
