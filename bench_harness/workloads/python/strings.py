"""strings: text is cut, joined, formatted and encoded; results live for a while."""

from __future__ import annotations

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "derive one string and drop another"
PARAMETERS = [
    ("live", 5000, 1, 10_000_000, "strings", "strings alive at any time"),
    ("longest", 2000, 1, 100_000_000, "characters", "length of the longest string"),
]


def body(cell: Cell) -> None:
    """Replace random strings by ones made of them."""
    count, longest = cell.integer("live"), cell.integer("longest")
    draw, choose = cell.random.random, cell.random.randrange
    live = ["abc def "] * count

    def step() -> int:
        for n in range(200):
            text = live[choose(count)]
            kind = n % 4
            if kind == 0:
                text = "".join([text, live[choose(count)]])
            elif kind == 1:
                text = ",".join(text.split())
            elif kind == 2:
                text = f"{n}:{text:>{1 + int(longest * draw() ** 3)}}"
            else:
                text = text.encode().replace(b",", b" ").decode()
            live[choose(count)] = text if len(text) <= longest else text[: len(text) // 16]
        return 200

    cell.repeat(step)


if __name__ == "__main__":
    main(PARAMETERS, body)
