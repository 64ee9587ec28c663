"""From a result file's cells to rows: per group and contender the summaries, and comparisons with a base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bench_harness import statistics
from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.store import Results
from bench_harness.peers.declaration import DEFAULT, declared, rank_of
from bench_harness.statistics import Comparison, Summary

__all__ = [
    "BUSY_SHARE",
    "GroupRows",
    "Mean",
    "Row",
    "analyse",
    "choose_base",
    "disturbed_share",
    "geometric_means",
    "one_machine",
]

BUSY_SHARE = 0.25  # of the cells disturbed: from here on a table carries a warning


@dataclass
class Row:
    """A contender in a group.

    Attributes:
        family: its allocator without preset and options.
        preset: the set of options that the allocator ran with.
        version: what its library said of itself.
        throughput: operations per second; None when no cell ran.
        peak_rss: bytes.
        cpu_ns: CPU time of one operation, nanoseconds, user and system together.
        overhead: (RSS - harness) / live at the window's end; None where live bytes are not counted.
        failures: reasons of failed cells.
        throughput_ratio, rss_ratio: against the base; None for the base itself and where no round has both.
    """

    contender: str
    family: str
    cells: list[dict[str, Any]]
    failures: list[str]
    preset: str = DEFAULT
    version: str = ""
    throughput: Summary | None = None
    peak_rss: Summary | None = None
    overhead: float | None = None
    user: float | None = None
    system: float | None = None
    faults: float | None = None
    cpu_ns: float | None = None
    disturbed: int = 0
    throughput_ratio: Comparison | None = None
    rss_ratio: Comparison | None = None

    @property
    def is_probe(self) -> bool:
        """True for the no-op allocator: its row is the loop overhead, not a competitor."""
        return self.family == declared().probe

    def series(self, name: str) -> dict[int, float]:
        """A field of the successful cells by round, where it is there and positive."""
        return {c["round"]: c[name] for c in self.cells if c.get(name)}


@dataclass
class GroupRows:
    """All contenders of one workload with one number of threads; `base` is who their ratios refer to."""

    label: str
    threads: int
    operation: str
    rows: list[Row]
    base: str = ""

    @property
    def title(self) -> str:
        """For headings: `larson, 2 threads`."""
        return f"{self.label}, {self.threads} thread{'s' if self.threads != 1 else ''}"

    @property
    def competitors(self) -> list[Row]:
        """The rows without the no-op probe."""
        return [row for row in self.rows if not row.is_probe]

    @property
    def rounds(self) -> int:
        """The most rounds in which a competitor ran."""
        return max((len(row.cells) for row in self.competitors), default=0)

    def row(self, contender: str) -> Row | None:
        """The row of a contender."""
        return next((row for row in self.rows if row.contender == contender), None)


def one_machine(results: Results, machine: str | None = None) -> Results:
    """The cells of one machine type, since no statistic ever mixes two.

    Raises:
        UsageError: the file has several and none was named, or it has not the named one.
    """
    ids = list(results.machines)
    if machine is None and len(ids) > 1:
        named = ", ".join(f"{i} ({results.machines[i]['cpu']}, {results.machines[i]['cores']} cores)" for i in ids)
        raise UsageError(f"the file holds several machine types, name one with --machine: {named}")
    chosen = machine or ids[0]
    if chosen not in ids:
        raise UsageError(f"--machine {chosen}: not in the file; there are {', '.join(ids)}")
    header = {**results.header, "machines": {chosen: results.machines[chosen]}}
    return Results(header, [cell for cell in results.cells if cell["machine"] == chosen])


def _median(cells: Sequence[dict[str, Any]], name: str) -> float | None:
    values = [cell[name] for cell in cells if cell.get(name) is not None]
    return statistics.summarise(values).median if values else None


def _short_version(family: str, version: str) -> str:
    """A version without the name that stands beside it: `NAME 1.2` of NAME is 1.2; a hash is as good as its start."""
    return version.removeprefix(f"{family} ").removeprefix("sha256 ")


def _row(contender: str, allocator: Mapping[str, Any], cells: list[dict[str, Any]]) -> Row:
    ok = [cell for cell in cells if cell["status"] == "ok"]
    row = Row(contender, allocator.get("family", ""), ok, [c["reason"] for c in cells if c["status"] == "failed"])
    row.preset, row.version = allocator.get("preset", DEFAULT), _short_version(row.family, allocator.get("version", ""))
    throughputs = [c["throughput"] for c in ok if c["throughput"]]
    if throughputs:
        row.throughput = statistics.summarise(throughputs)
    if ok:
        row.peak_rss = statistics.summarise([c["peak_rss_bytes"] for c in ok])
    row.overhead = _median(ok, "overhead")
    row.user, row.system = _median(ok, "user_seconds"), _median(ok, "system_seconds")
    row.faults = _median(ok, "minor_faults")
    # CPU time per operation hardly feels that others use the machine; wall time is what a program feels.
    costs = [1e9 * (c["user_seconds"] + c["system_seconds"]) / c["operations"] for c in ok if c["operations"]]
    row.cpu_ns = statistics.summarise(costs).median if costs else None
    row.disturbed = sum(cell["disturbance"]["disturbed"] for cell in ok)
    return row


def choose_base(results: Results, wanted: str | None = None) -> str | None:
    """Check a wanted base; None means that each group takes its own: the first of those that `peers.toml` names, or
    its first contender.

    Raises:
        UsageError: the wanted one is not in the results.
        HarnessError: the results hold no cell.
    """
    names = list(dict.fromkeys(cell["contender"] for cell in results.cells))
    if not names:
        raise HarnessError("the results hold no cell")
    if wanted is not None and wanted not in names:
        raise UsageError(f"--base {wanted}: not in the results; there are {', '.join(names)}")
    return wanted


def _base_of(rows: Sequence[Row], wanted: str | None) -> str:
    names = [row.contender for row in rows if not row.is_probe]
    for name in (wanted, *declared().base):
        if name in names:
            return str(name)
    return names[0] if names else ""


def _order(name: str) -> tuple[int, str]:
    """By the rank that `peers.toml` gives, then by name."""
    return rank_of(name), name


def analyse(results: Results, base: str | None = None) -> list[GroupRows]:
    """Summaries of every group, with comparisons whose errors are controlled over the whole file.

    Args:
        results: of one machine type (see `one_machine`).
        base: the contender that ratios refer to; None or where it did not take part: see `choose_base`.
    """
    groups: dict[tuple[str, int], dict[str, list[dict[str, Any]]]] = {}
    for cell in results.cells:
        groups.setdefault((cell["label"], cell["threads"]), {}).setdefault(cell["contender"], []).append(cell)
    allocators = results.header["allocators"]
    table = []
    for (label, threads), contenders in sorted(groups.items()):
        rows = [
            _row(name, allocators.get(cells[0]["allocator"], {}), cells)
            for name, cells in sorted(contenders.items(), key=lambda item: _order(item[0]))
        ]
        workload = next(iter(contenders.values()))[0]["workload"]
        operation = results.header["workloads"][workload]["operation"]
        table.append(GroupRows(label, threads, operation, rows, _base_of(rows, base)))
    _compare_with_bases(table)
    return table


def _compare_with_bases(table: Sequence[GroupRows]) -> None:
    pairs: list[tuple[Row, Comparison | None, Comparison | None]] = []
    for group in table:
        reference = group.row(group.base)
        for row in group.competitors:
            if reference is not None and row is not reference:
                speed, size = (
                    statistics.compare(row.series(name), reference.series(name))
                    for name in ("throughput", "peak_rss_bytes")
                )
                pairs.append((row, speed, size))
    speeds = statistics.control_errors([speed for _, speed, _ in pairs])
    sizes = statistics.control_errors([size for _, _, size in pairs])
    for (row, _, _), speed, size in zip(pairs, speeds, sizes, strict=True):
        row.throughput_ratio, row.rss_ratio = speed, size


@dataclass(frozen=True)
class Mean:
    """Geometric means of a contender's ratios to `base` over `groups` groups."""

    contender: str
    base: str
    throughput: float
    peak_rss: float
    groups: int


def disturbed_share(results: Results) -> float:
    """Share of the successful cells that other load disturbed, 0 to 1."""
    ok = [cell for cell in results.cells if cell["status"] == "ok"]
    return sum(cell["disturbance"]["disturbed"] for cell in ok) / len(ok) if ok else 0.0


def geometric_means(table: Sequence[GroupRows]) -> list[Mean]:
    """Geometric means per contender and base.

    Only groups in which every contender ran without a failure count, so that nobody gains by crashing; and
    only contenders that took part in all of them.
    """
    means = []
    for base in dict.fromkeys(g.base for g in table):
        whole = [
            g
            for g in table
            if g.base == base and all(r.throughput is not None and not r.failures for r in g.competitors)
        ]
        names = dict.fromkeys(r.contender for g in whole for r in g.competitors if r.contender != base)
        for name in sorted(names, key=_order):
            rows = [row for g in whole if (row := g.row(name)) is not None]
            speeds = [row.throughput_ratio.ratio for row in rows if row.throughput_ratio]
            sizes = [row.rss_ratio.ratio for row in rows if row.rss_ratio]
            if len(speeds) == len(sizes) == len(whole):
                gmean = statistics.geometric_mean
                means.append(Mean(name, base, gmean(speeds), gmean(sizes), len(whole)))
    return means
