"""What a workload tells beyond speed and peak: its own metrics, and the RSS at the moments that it marks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bench_harness import statistics
from bench_harness.reporting.latency import latency_lines
from bench_harness.reporting.numbers import MIB, mebibytes, si
from bench_harness.verdicts.analysis import GroupRows

__all__ = ["Details", "details_of"]


_SMALL = MIB  # below this a tenth of a MiB says too little


@dataclass(frozen=True)
class Details:
    """A table of texts: the first column is the contender, the others medians over the rounds."""

    title: str
    headings: tuple[str, ...]
    lines: tuple[tuple[str, ...], ...]


def _text(name: str, value: float) -> str:
    if not name.endswith("_bytes"):
        return si(value)
    return mebibytes(value) if value >= _SMALL else f"{value / MIB:.3f}"


def _heading(name: str) -> str:
    plain = name.removesuffix("_bytes").replace("_", " ")
    return f"{plain}, MiB" if name.endswith("_bytes") else plain


def _columns(group: GroupRows) -> list[tuple[str, list[dict[str, float]]]]:
    """Per contender, the values of each successful cell by column name, in the order in which they come."""
    table = []
    for row in group.rows:
        cells = []
        for cell in row.cells:
            values = {
                f"RSS {mark['name']}_bytes": mark.get("outside_rss_bytes") or mark["rss_bytes"]
                for mark in cell["marks"]
            }
            # -1 is a workload's way to say that it could not tell.
            values |= {name: value for name, value in cell["metrics"].items() if value >= 0}
            cells.append({name: float(value) for name, value in values.items()})
        table.append(("(loop overhead)" if row.is_probe else row.contender, cells))
    return table


def details_of(groups: Sequence[GroupRows]) -> list[Details]:
    """A table for each group whose cells have metrics or marks, and one for those whose calls were timed."""
    found = []
    for group in groups:
        table = _columns(group)
        names = list(dict.fromkeys(name for _, cells in table for values in cells for name in values))
        if not names:
            continue
        lines = []
        for contender, cells in table:
            series = {name: [values[name] for values in cells if name in values] for name in names}
            texts = [_text(n, statistics.summarise(v).median) if v else "-" for n, v in series.items()]
            lines.append((contender, *texts))
        title = f"{group.title}: what the workload tells"
        found.append(Details(title, ("allocator", *map(_heading, names)), tuple(lines)))
    for group in groups:
        timed = latency_lines(group)
        if timed is not None:
            found.append(Details(f"{group.title}: time of single calls", timed[0], tuple(timed[1])))
    return found
