"""leaks: three functions keep what they make, among many objects that pass: a heap profile should find just that."""

from __future__ import annotations

import time

from bench_harness.workloads.python._cell import PAGE, Cell, main

OPERATION = "make one object"
PARAMETERS = [
    ("mib", 2, 1, 100_000, "MiB", "bytes that are kept, with headers: 60, 30 and 10 % by function"),
    ("size", 31, 0, 1_000_000, "bytes", "of an object, without its header"),
    ("passing", 31, 0, 1000, "objects", "that pass for each that is kept, and go in the end"),
    ("idle", 0.5, 0.0, 3600.0, "s", "time in the end, in which pages may go back"),
]
KEPT: list[bytes] = []


def keeps_most(size: int) -> bytes:
    """Six of ten."""
    return bytes(size)


def keeps_some(size: int) -> bytes:
    """Three of ten."""
    return bytes(size)


def keeps_few(size: int) -> bytes:
    """One of ten."""
    return bytes(size)


def passes(size: int, count: int) -> list[bytes]:
    """What goes in the end."""
    return [bytes(size) for _ in range(count)]


def body(cell: Cell) -> None:
    """Keep some, let others pass, and count what stays."""
    size, passing = cell.integer("size"), cell.integer("passing")
    each = bytes(size).__sizeof__()
    places = [keeps_most] * 6 + [keeps_some] * 3 + [keeps_few]
    count = (cell.integer("mib") << 20) // each
    passed: list[bytes] = []
    counts = dict.fromkeys(places, 0)
    cell.window_begin()
    for _ in range(count):
        place = cell.random.choice(places)
        KEPT.append(place(size))
        counts[place] += 1
        passed += passes(size, passing)
    cell.mark("filled")
    del passed
    cell.window_end(count * (1 + passing))
    time.sleep(cell.real("idle"))
    for place, n in counts.items():
        cell.metrics[f"{place.__name__}_bytes"] = n * each
    pages = {page for one in KEPT for page in range(id(one) // PAGE, (id(one) + each - 1) // PAGE + 1)}
    cell.metrics["page_bound_bytes"] = len(pages) * PAGE


if __name__ == "__main__":
    main(PARAMETERS, body)
