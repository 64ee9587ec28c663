"""containers: dicts, lists, tuples and sets of random size replace each other in a live set."""

from __future__ import annotations

from collections.abc import Callable

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "build one container and drop another"
PARAMETERS = [
    ("live", 5000, 1, 10_000_000, "containers", "containers alive at any time"),
    ("largest", 60, 1, 1_000_000, "items", "items of the largest container"),
]


def body(cell: Cell) -> None:
    """Replace random containers."""
    count, largest = cell.integer("live"), cell.integer("largest")
    draw, choose = cell.random.random, cell.random.randrange
    kinds: tuple[Callable[[range], object], ...] = (
        list,
        tuple,
        set,
        lambda items: dict.fromkeys(items, None),
    )
    live: list[object] = [None] * count

    def step() -> int:
        for _ in range(200):
            size = int(largest * draw() ** 2)  # mostly small, as they are in programs
            live[choose(count)] = kinds[choose(4)](range(1000, 1000 + size))
        return 200

    cell.repeat(step)


if __name__ == "__main__":
    main(PARAMETERS, body)
