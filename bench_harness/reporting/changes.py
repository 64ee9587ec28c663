"""The table of what changed between two result files."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench_harness.reporting.numbers import describe_verdict, mebibytes, si
from bench_harness.verdicts.changes import Change

__all__ = ["print_changes"]


def print_changes(console: Console, found: Sequence[Change]) -> None:
    """Print the changes as one table, and a sentence that sums them up."""
    table = Table(box=box.SIMPLE_HEAD)
    for name in ("cell", "allocator"):
        table.add_column(name, no_wrap=True)
    for name in ("op/s A", "op/s B", "speed B/A", "MiB A", "MiB B", "RSS B/A"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in found:
        table.add_row(
            Text(c.title),
            Text(c.contender),
            si(c.speeds[0]),
            si(c.speeds[1]),
            describe_verdict(c.speed),
            mebibytes(c.sizes[0]),
            mebibytes(c.sizes[1]),
            describe_verdict(c.size),
        )
    console.print(table)
    real = [c for c in found if (c.speed and c.speed.significant) or (c.size and c.size.significant)]
    if real:
        console.print(f"{len(real)} of {len(found)} cells differ significantly", soft_wrap=True)
    else:
        console.print(f"no significant difference in any of {len(found)} cells", soft_wrap=True)
    console.print(
        "the two runs were not interleaved: a drift of the machine between them can look like a change; "
        "for a decision measure both in one run",
        style="dim",
        soft_wrap=True,
    )
