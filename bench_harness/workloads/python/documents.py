"""documents: JSON documents are parsed, changed and written again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from bench_harness.workloads.python._cell import Cell, main

OPERATION = "parse, change and write one document"
PARAMETERS = [
    ("live", 500, 1, 1_000_000, "documents", "parsed documents alive at any time"),
    ("items", 20, 1, 1_000_000, "items", "items of a document"),
]


def make_document(draw: Callable[[], float], key: int, items: int) -> dict[str, Any]:
    """A document of nested lists and dicts with strings and numbers."""
    return {
        "id": key,
        "name": f"document {key}",
        "items": [
            {
                "sku": f"{key}-{i}",
                "price": round(draw() * 100, 2),
                "tags": ["a", "b", str(i)],
                "stock": int(draw() * 1e6),
            }
            for i in range(items)
        ],
    }


def body(cell: Cell) -> None:
    """Keep the last documents in a ring."""
    count, items = cell.integer("live"), cell.integer("items")
    draw, choose = cell.random.random, cell.random.randrange
    texts = [json.dumps(make_document(draw, key, items)) for key in range(64)]
    live: list[object] = [None] * count

    def step() -> int:
        for _ in range(20):
            document = json.loads(texts[choose(64)])
            document["items"].append({"sku": "new", "price": 1.5, "tags": [], "stock": 0})
            texts[choose(64)] = json.dumps(make_document(draw, choose(1000), items))
            live[choose(count)] = document
            json.dumps(document)
        return 20

    cell.repeat(step)


if __name__ == "__main__":
    main(PARAMETERS, body)
