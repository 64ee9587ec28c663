"""Internal waste by requested size: our table and other allocators', as picture and table of docs/size-classes.md.

    python ci/size_classes.py measure NAME=LIBRARY...  ask libraries for their block sizes: plots/size-classes.json
    python ci/size_classes.py draw                     plots/size-classes.png and .svg, and the rows for the document

A library is preloaded into a process that asks for every size from 1 byte to 32 KiB and notes malloc_usable_size.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from bisect import bisect_left
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from rtmalloc.size_table import table_read  # noqa: E402  # the checkout's, wherever this is started

DATA = ROOT / "plots" / "size-classes.json"
LARGEST = 32768
GLIBC_HEADER = 8
"""Bytes in front of glibc's blocks: the chunk's size."""

RANGES = ((1, 256), (257, 4096), (4097, LARGEST))

_PROBE = f"""
import ctypes, json
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc_usable_size.argtypes = libc.free.argtypes = [ctypes.c_void_p]
libc.malloc_usable_size.restype = ctypes.c_size_t
found = []
for size in range(1, {LARGEST} + 1):
    p = libc.malloc(size)
    found.append(libc.malloc_usable_size(p))
    libc.free(p)
print(json.dumps(sorted(set(found))))
"""


def measure(library: str) -> list[int]:
    """Block sizes that a library uses for requests up to 32 KiB: what it could have given, never less."""
    env = {key: value for key, value in os.environ.items() if key not in ("LD_PRELOAD", "RTMALLOC_OPTIONS")}
    env["LD_PRELOAD"] = library
    done = subprocess.run([sys.executable, "-c", _PROBE], env=env, capture_output=True, text=True, check=True)
    return [int(size) for size in json.loads(done.stdout)]


def waste(blocks: Sequence[int], size: int, header: int = 0) -> float:
    """Part of its block that a request of ``size`` bytes wastes."""
    block = blocks[bisect_left(blocks, size + header)]
    return (block - size) / block


def ours() -> list[int]:
    """The block sizes of rtmalloc.toml."""
    return list(table_read(ROOT / "rtmalloc.toml").sizes)


def glibc() -> list[int]:
    """glibc's chunks by its rule, header included: multiples of 16 from 32 on (MALLOC_ALIGNMENT, MINSIZE)."""
    return list(range(32, LARGEST + 2 * 16 + 1, 16))


def all_tables() -> dict[str, list[int]]:
    """Block sizes by allocator: ours from its table, glibc's by its rule, the others as they were measured."""
    return {"rtmalloc": ours(), "glibc": glibc(), **json.loads(DATA.read_text())}


def header_of(name: str) -> int:
    """Bytes that an allocator keeps in front of each block."""
    return GLIBC_HEADER if name == "glibc" else 0


def markdown() -> str:
    """The table of the document: classes, and worst and mean waste by range of sizes."""
    heads = [f"{first} to {last} B" for first, last in RANGES]
    lines = [
        f"| allocator | block sizes up to 32 KiB | {' | '.join(f'worst, {h} | mean, {h}' for h in heads)} |",
        "|---|" + "---|" * (1 + 2 * len(RANGES)),
    ]
    for name, blocks in all_tables().items():
        cells = []
        for first, last in RANGES:
            values = [(n, waste(blocks, n, header_of(name))) for n in range(first, last + 1)]
            size, worst = max(values, key=lambda pair: pair[1])
            # Each doubling of the size counts the same: programs ask for small sizes more often than for large ones.
            weights = [1 / n for n, _ in values]
            mean = sum(w * v for w, (_, v) in zip(weights, values, strict=True)) / sum(weights)
            cells.append(f"{worst:.1%} at {size} | {mean:.1%}")
        lines.append(f"| {name} | {len([b for b in blocks if b <= LARGEST])} | {' | '.join(cells)} |")
    return "\n".join(lines)


def draw() -> None:
    """Draw the curves, one panel per allocator, ours grey behind the others."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    tables = all_tables()
    sizes = sorted({round(2 ** (k / 60)) for k in range(60 * 15 + 1)})
    columns = 2
    rows = math.ceil(len(tables) / columns)
    figure, panels = pyplot.subplots(
        rows, columns, figsize=(9, 2.1 * rows), sharex=True, sharey=True, layout="constrained"
    )
    mine = [100 * waste(tables["rtmalloc"], n) for n in sizes]
    for axes, (name, blocks) in zip(panels.flat, tables.items(), strict=False):
        axes.plot(sizes, mine, color="0.75", linewidth=0.8)
        if name != "rtmalloc":
            axes.plot(sizes, [100 * waste(blocks, n, header_of(name)) for n in sizes], color="#0072B2", linewidth=0.8)
        else:
            axes.lines[0].set_color("#D55E00")
        axes.set_title(name, fontsize=10, loc="left")
        axes.set_xscale("log", base=2)
        axes.set_xlim(16, LARGEST)
        axes.set_ylim(0, 55)
        axes.grid(color="0.92")
    for axes in list(panels.flat)[len(tables) :]:
        axes.axis("off")
    figure.supxlabel("requested size, bytes (grey: rtmalloc)", fontsize=10)
    figure.supylabel("waste, % of the block", fontsize=10)
    for suffix in ("png", "svg"):
        figure.savefig(
            ROOT / "plots" / f"size-classes.{suffix}", dpi=110, metadata={"Date": None} if suffix == "svg" else None
        )


def main() -> None:
    """Run one of the two commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True, dest="command")
    ask = commands.add_parser("measure")
    ask.add_argument(
        "libraries", nargs="+", metavar="NAME=LIBRARY", help="for example jemalloc=/usr/lib/.../libjemalloc.so.2"
    )
    commands.add_parser("draw")
    arguments = parser.parse_args()
    if arguments.command == "measure":
        pairs = [text.partition("=") for text in arguments.libraries]
        tables = {name: measure(library) for name, _, library in pairs}
        DATA.write_text("{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in tables.items()) + "\n}\n")
    else:
        draw()
        print(markdown())


if __name__ == "__main__":
    main()
