"""comprehensions: short-lived lists, dicts and sets from comprehensions, dropped at once."""

from __future__ import annotations

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "one comprehension"
PARAMETERS = [
    ("largest", 2000, 1, 10_000_000, "items", "items of the largest result"),
]


def body(cell: Cell) -> None:
    """Nothing lives longer than one step."""
    largest = cell.integer("largest")
    draw = cell.random.random

    def step() -> int:
        for _ in range(10):
            size = int(largest * draw())
            rows = [(i, str(i)) for i in range(size)]
            table = {key: [value] for key, value in rows}
            [float(key) for key in table if key % 3]
            {value[0] for value in table.values()}
        return 40

    cell.repeat(step)


if __name__ == "__main__":
    main(PARAMETERS, body)
