"""instances: objects of classes, with a dict or with slots, that refer to each other."""

from __future__ import annotations

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "make one object and drop another"
PARAMETERS = [
    ("live", 20000, 1, 10_000_000, "objects", "objects alive at any time"),
]


class Account:
    """An object with a dict."""

    def __init__(self, number: int, owner: object) -> None:
        """Refer to another object."""
        self.number = number
        self.owner = owner
        self.history = [number]


class Point:
    """An object with slots."""

    __slots__ = ("parent", "x", "y")

    def __init__(self, x: float, parent: object) -> None:
        """Refer to another object."""
        self.x = x
        self.y = x * 0.5
        self.parent = parent


def body(cell: Cell) -> None:
    """Replace random objects; references go one level deep, so nothing piles up."""
    count = cell.integer("live")
    choose = cell.random.randrange
    live: list[object] = [None] * count

    def step() -> int:
        for n in range(0, 400, 2):
            live[choose(count)] = Account(n, None)
            live[choose(count)] = Point(n, Point(n + 1, None))
        return 400

    cell.repeat(step)


if __name__ == "__main__":
    main(PARAMETERS, body)
