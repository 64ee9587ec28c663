"""The tables on the terminal: one per group, then the geometric means; plain text on a pipe."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench_harness.reporting.numbers import describe_verdict, mebibytes, si
from bench_harness.statistics import ALPHA, FEWEST_ROUNDS, Summary
from bench_harness.verdicts.analysis import GroupRows, Row, geometric_means

__all__ = [
    "make_console",
    "print_details",
    "print_groups",
    "print_means",
]


def make_console(stderr: bool = False) -> Console:
    """A console that never folds a table on a pipe: files and logs get whole lines."""
    console = Console(stderr=stderr, highlight=False)
    if not console.is_terminal:
        console = Console(stderr=stderr, highlight=False, width=240, no_color=True)
    return console


def _interval(summary: Summary) -> str:
    if summary.count == 1:
        return si(summary.median)
    half = (summary.high - summary.low) / 2 / summary.median * 100 if summary.median else 0
    return f"{si(summary.median)} ±{half:.1f}%"


def row_figures(row: Row) -> list[str]:
    """What table and report both show of a row that ran: its ratios, peak RSS, overhead, CPU times and faults."""
    return [
        describe_verdict(row.throughput_ratio),
        mebibytes(row.peak_rss.median) if row.peak_rss is not None else "-",
        describe_verdict(row.rss_ratio),
        f"{row.overhead:.2f}" if row.overhead is not None else "-",
        f"{row.cpu_ns:.2f}" if row.cpu_ns is not None else "-",
        f"{row.user:.2f}" if row.user is not None else "-",
        f"{row.system:.2f}" if row.system is not None else "-",
        si(row.faults) if row.faults is not None else "-",
    ]


def _cells(row: Row, threads: int) -> list[str]:
    if row.peak_rss is None:
        return [row.version, "failed"]
    speed = row.throughput
    return [
        row.version,
        _interval(speed) if speed else "-",
        si(speed.maximum) if speed else "-",
        f"{1e9 * threads / speed.maximum:.2f}" if speed else "-",
        *row_figures(row),
        f"{len(row.cells)}" + (f" ({row.disturbed} dist.)" if row.disturbed else ""),
    ]


_NUMBERS = (
    "op/s, median",
    "best",
    "thread ns/op",
    "speed ratio",
    "peak MiB",
    "RSS ratio",
    "RSS/live",
    "CPU ns/op",
    "user s",
    "sys s",
    "faults",
    "cells",
)


def group_table(group: GroupRows) -> Table:
    """The table of one group; the no-op row is named for what it means."""
    table = Table(
        title=f"{group.title}   (operation: {group.operation}; ratios to {group.base})",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        title_style="bold",
    )
    for name in ("allocator", "version"):
        table.add_column(name, no_wrap=True)
    for name in _NUMBERS:
        table.add_column(name, justify="right", no_wrap=True)
    best_speed = max((r.throughput.median for r in group.competitors if r.throughput), default=None)
    best_rss = min((r.peak_rss.median for r in group.competitors if r.peak_rss), default=None)
    told = group.rounds >= FEWEST_ROUNDS  # fewer have no winner
    for row in group.rows:
        texts = [Text(t) for t in _cells(row, group.threads)]
        if told and not row.is_probe and row.throughput and row.throughput.median == best_speed:
            texts[1].stylize("bold green")
        if told and not row.is_probe and row.peak_rss and row.peak_rss.median == best_rss:
            texts[5].stylize("bold green")
        # As text: a variant's name, NAME[option=1], is no markup.
        first = Text("(loop overhead)" if row.is_probe else row.contender)
        table.add_row(first, *texts, style="dim" if row.is_probe else None)
    return table


def print_groups(console: Console, groups: Sequence[GroupRows]) -> None:
    """Print every group's table, and below it the reasons of its failed cells."""
    for group in groups:
        console.print(group_table(group))
        for row in group.rows:
            for reason in dict.fromkeys(row.failures):
                times = row.failures.count(reason)
                console.print(f"  failed: {row.contender} ({times} x): {reason}", markup=False, soft_wrap=True)
    console.print(
        f"= : no significant difference (signed-rank test, paired rounds, {ALPHA:.0%} false discoveries); "
        f"? : fewer than {FEWEST_ROUNDS} rounds, no verdict",
        style="dim",
        soft_wrap=True,
    )


def print_means(console: Console, groups: Sequence[GroupRows]) -> None:
    """Print the geometric means of the ratios, over the groups in which every contender ran."""
    means = geometric_means(groups)
    if not means:
        console.print("no geometric mean: no group in which every contender ran", style="dim")
        return
    few = "" if all(g.rounds >= FEWEST_ROUNDS for g in groups) else " (too few rounds for a verdict)"
    title = f"geometric means of the ratios{few}"
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in ("allocator", "base"):
        table.add_column(name, no_wrap=True)
    for name in ("speed", "peak RSS", "groups"):
        table.add_column(name, justify="right")
    for m in means:
        table.add_row(Text(m.contender), Text(m.base), f"{m.throughput:.3f}", f"{m.peak_rss:.3f}", str(m.groups))
    console.print(table)


def print_details(console: Console, details: Sequence[tuple[str, Sequence[str], Sequence[Sequence[str]]]]) -> None:
    """Print further tables: (title, headings, lines) each."""
    for title, headings, lines in details:
        # Not as the table's title, which would fold at the table's width.
        console.print(title, style="bold", markup=False, soft_wrap=True)
        table = Table(box=box.SIMPLE_HEAD)
        for i, name in enumerate(headings):
            table.add_column(name, justify="right" if i else "left", no_wrap=i == 0)
        for line in lines:
            table.add_row(*map(Text, line))
        console.print(table)
