"""service: a burst of JSON documents of which few survive, then idling: does the memory come back?"""

from __future__ import annotations

import gc
import json
import time

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "one document of the burst"
PARAMETERS = [
    ("documents", 20000, 1, 10_000_000, "documents", "documents of the burst"),
    ("kept", 2, 0, 100, "%", "share of the documents that survive"),
    ("idle", 3.0, 0.0, 3600.0, "s", "time with few requests"),
    ("requests", 100, 0, 100_000, "1/s", "documents parsed and dropped while idle"),
]
TAKES_SECONDS = 4.5


def body(cell: Cell) -> None:
    """Burst, drop, idle with a trickle, and mark 0, 0.25, 0.5, 1, 2 and 5 s."""
    count, kept = cell.integer("documents"), cell.real("kept")
    idle, requests = cell.real("idle"), cell.integer("requests")
    draw = cell.random.random
    texts = [
        json.dumps(
            {
                "id": i,
                "user": f"user {i}",
                "scores": [round(draw(), 6) for _ in range(30)],
                "profile": {"mail": f"{i}@example.org", "tags": [str(i)] * 5},
            }
        )
        for i in range(200)
    ]
    cell.window_begin()
    documents = [json.loads(texts[i % 200]) for i in range(count)]
    cell.window_end(count)
    cell.mark("filled")
    documents = [document for document in documents if draw() * 100 < kept]
    gc.collect()
    began = time.monotonic()
    due: list[float] = [0, 0.25, 0.5, 1, 2, 5]
    served = 0
    while (passed := time.monotonic() - began) <= idle:
        while due and passed >= due[0]:
            cell.mark(f"idle {due.pop(0)} s")
        while served < passed * requests:
            json.loads(texts[served % 200])
            served += 1
        time.sleep(0.01)


if __name__ == "__main__":
    main(PARAMETERS, body)
