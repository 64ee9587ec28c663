"""The course of a run: a rich bar on a terminal, one plain line per cell elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from bench_harness.measuring.plan import Cell
from bench_harness.measuring.run import Progress
from bench_harness.reporting.numbers import mebibytes, si

__all__ = ["duration", "show_progress"]


def duration(seconds: float) -> str:
    """Seconds as a person says them: 45 s, 3 min 20 s, 2 h 05 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _outcome(cell: Cell, entry: dict[str, Any]) -> str:
    name = f"{cell.group.label} x{cell.group.threads} {cell.contender.name}"
    if entry["status"] == "failed":
        return f"{name}: FAILED: {entry['reason']}"
    disturbed = ", disturbed" if entry["disturbance"]["disturbed"] else ""
    speed = si(entry["throughput"]) if entry["throughput"] else "no"
    return f"{name}: {speed} op/s, peak {mebibytes(entry['peak_rss_bytes'])} MiB{disturbed}"


class _Lines:
    """One line per cell, for logs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._done = self._total = 0

    def plan(self, cells: int, seconds: float) -> None:
        self._total += cells
        self.say(f"{cells} cells, about {duration(seconds)}")

    def begin(self, cell: Cell) -> None:
        """Nothing to show: the line comes with the outcome."""

    def end(self, cell: Cell, entry: dict[str, Any]) -> None:
        self._done += 1
        self.say(f"[{self._done}/{self._total}] round {cell.round + 1}: {_outcome(cell, entry)}")

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, soft_wrap=True)


class _Bar:
    """A bar with the running cell's name and the remaining time; failures scroll by above it."""

    def __init__(self, bar: RichProgress) -> None:
        self._bar = bar
        self._task = bar.add_task("starting", total=0)
        self._total = 0

    def plan(self, cells: int, seconds: float) -> None:
        self._total += cells
        self._bar.update(self._task, total=self._total)
        self.say(f"{cells} cells, about {duration(seconds)}")

    def begin(self, cell: Cell) -> None:
        self._bar.update(
            self._task,
            description=f"round {cell.round + 1}: {cell.group.label} x{cell.group.threads} {cell.contender.name}",
        )

    def end(self, cell: Cell, entry: dict[str, Any]) -> None:
        self._bar.advance(self._task)
        if entry["status"] == "failed":
            self.say(_outcome(cell, entry))

    def say(self, line: str) -> None:
        self._bar.console.print(line, markup=False)


@contextmanager
def show_progress(console: Console) -> Iterator[Progress]:
    """A progress display that fits the console, removed at the end."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with RichProgress(*columns, console=console, transient=True) as bar:
        yield _Bar(bar)
