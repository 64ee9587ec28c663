"""pool: a pool's threads take turns at a burst of JSON documents of which few survive: does the peak rise?"""

from __future__ import annotations

import collections
import json
import threading
import time

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "one document of a burst"
PARAMETERS = [
    ("workers", 4, 1, 1000, "threads", "threads of the pool, which take turns"),
    ("rounds", 16, 1, 100_000, "bursts", "bursts in all"),
    ("gap", 400, 0, 100_000, "ms", "time without requests after each burst"),
    ("documents", 15_000, 1, 10_000_000, "documents", "documents of a burst"),
    ("kept", 2, 0, 100, "%", "share of the documents that survive, for eight rounds"),
]
TAKES_SECONDS = 20.0
HELD = 8  # rounds that a survivor outlives, as in the native workload `turns`
SHOWN = 16  # rounds with a mark of their own


def body(cell: Cell) -> None:
    """Each round wakes one thread, waits for its burst to be over, and then for the gap."""
    workers, rounds, count = cell.integer("workers"), cell.integer("rounds"), cell.integer("documents")
    texts = [
        json.dumps(
            {
                "id": n,
                "items": [{"sku": f"item {n} {i}", "price": n + i / 100, "tags": [f"{n}-{i}"]} for i in range(12)],
            }
        )
        for n in range(100)
    ]
    share, draw = cell.real("kept") / 100, cell.random.random
    kept: collections.deque[object] = collections.deque(maxlen=int(HELD * count * share) + 1)
    go, done = [threading.Semaphore(0) for _ in range(workers)], threading.Semaphore(0)
    every = -(-rounds // SHOWN)

    def work(number: int) -> None:
        for turn in range(number, rounds, workers):
            go[number].acquire()
            documents = [json.loads(texts[i % len(texts)]) for i in range(count)]
            if (rounds - 1 - turn) % every == 0:
                cell.mark(f"round {turn + 1}")
            kept.extend(document for document in documents if draw() < share)
            del documents
            done.release()
        go[number].acquire()  # for ever: the threads of a pool stay

    for number in range(workers):
        threading.Thread(target=work, args=(number,), daemon=True).start()
    cell.window_begin()
    for turn in range(rounds):
        go[turn % workers].release()
        done.acquire()
        time.sleep(cell.real("gap") / 1000)
    cell.window_end(rounds * count)
    peaks = [rss for _, _, rss in cell.marks]
    cell.metrics["first_half_peak_bytes"] = max(peaks[: len(peaks) // 2], default=-1)
    cell.metrics["second_half_peak_bytes"] = max(peaks[len(peaks) // 2 :])
    cell.mark("end")


if __name__ == "__main__":
    main(PARAMETERS, body)
