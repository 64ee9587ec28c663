"""What each switch did: ratios with the idea / without it, and which of them a repeat of the run confirms.

A measure of a switch is the geometric mean over the groups that should move (or should not), formed round by round, so
that its interval is that of paired rounds. An effect counts only when both passes of a run find it significant, with an
interval that leaves out "no difference", in the same direction; otherwise it is not separable. Each pass tests at 5 %;
that both err in the same direction happens to one in 800 effects that are not there, which is why the errors of a pass
are not controlled further: with few rounds that would hide effects of any size.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from bench_harness import statistics
from bench_harness.ablation.declaration import Declaration, Item, Switch
from bench_harness.ablation.sides import contender_name
from bench_harness.measuring.plan import Group
from bench_harness.measuring.store import Results
from bench_harness.statistics import Comparison

__all__ = ["LEAST", "MEASURES", "Effect", "Measure", "SwitchEffects", "Verdict", "effects_of", "steady_rss"]


# A smaller ratio is not claimed: one library under two names may differ by as much (the self-check's limit for A/A).
LEAST = 0.01


def _idle_mark(cell: dict[str, Any]) -> dict[str, Any] | None:
    """The last moment of a workload's last idling."""
    return next((mark for mark in reversed(cell["marks"]) if mark["name"].startswith("idle ")), None)


def steady_rss(cell: dict[str, Any]) -> float | None:
    """RSS when the work is done: at the end of the last idling, or of the window where a workload does not idle."""
    mark = _idle_mark(cell)
    if mark is not None:
        return float(mark.get("outside_rss_bytes") or mark["rss_bytes"])
    return float(cell["window_rss_bytes"]) or None


def live_after(cell: dict[str, Any]) -> float | None:
    """Bytes that the program holds at the moment of its steady RSS; None where they are not counted."""
    mark = _idle_mark(cell)
    live = cell["live_bytes"] if mark is None else mark["live_bytes"]
    return float(live) if live > 0 else None


def _cpu_seconds(cell: dict[str, Any]) -> float | None:
    """User and system time of one operation, seconds."""
    spent: float = cell["user_seconds"] + cell["system_seconds"]
    return spent / cell["operations"] if cell["operations"] else None


def _fragmentation(cell: dict[str, Any]) -> float | None:
    steady, live = steady_rss(cell), live_after(cell)
    # The harness's own tables are in every RSS and are nobody's fragmentation.
    return (steady - cell["harness_bytes"]) / live if steady and live else None


@dataclass(frozen=True)
class Measure:
    """One number of a cell; `more_is_better` is the direction of a gain."""

    name: str
    title: str
    more_is_better: bool
    of: Callable[[dict[str, Any]], float | None]


MEASURES = (
    Measure("throughput", "throughput", True, lambda cell: cell["throughput"]),
    # Hardly feels that others use the machine, unlike throughput.
    Measure("cpu", "CPU time/op", False, _cpu_seconds),
    Measure("peak", "peak RSS", False, lambda cell: float(cell["peak_rss_bytes"])),
    Measure("steady", "steady RSS", False, steady_rss),
    Measure("fragmentation", "RSS/live", False, _fragmentation),
)


class Verdict(enum.Enum):
    """What can be claimed of one effect."""

    BETTER = "better"
    WORSE = "worse"
    NOT_SEPARABLE = "not separable"
    UNCONFIRMED = "unconfirmed"  # there is no second pass
    NONE = "too few rounds"
    MISSING = "not measured"


@dataclass(frozen=True)
class Effect:
    """One measure of a switch, as with the idea / without it.

    Attributes:
        measure: what was measured.
        first, second: the two passes; None where no round has both sides.
        both: their rounds together, for the number that a table shows.
    """

    measure: Measure
    first: Comparison | None
    second: Comparison | None
    both: Comparison | None

    @property
    def verdict(self) -> Verdict:
        """Better or worse only if both passes say so."""
        passes = (self.first, self.second)
        if self.both is None:
            return Verdict.MISSING
        if any(c is not None and c.significant is None for c in passes):
            return Verdict.NONE
        if any(c is None for c in passes):
            return Verdict.UNCONFIRMED
        directions = {_direction(c) for c in passes if c is not None}
        if directions not in ({1}, {-1}):
            return Verdict.NOT_SEPARABLE
        return Verdict.BETTER if (directions == {1}) == self.measure.more_is_better else Verdict.WORSE

    @property
    def confirmed(self) -> bool:
        """True when a direction can be claimed."""
        return self.verdict in (Verdict.BETTER, Verdict.WORSE)


def _direction(c: Comparison) -> int:
    """1 for more with the idea, -1 for less, 0 when the pass does not tell them apart."""
    if not c.significant or c.low <= 1 <= c.high or abs(c.ratio - 1) < LEAST:
        return 0
    return 1 if c.ratio > 1 else -1


@dataclass(frozen=True)
class SwitchEffects:
    """A switch with its effects, each list in the order of MEASURES.

    Attributes:
        item, switch: what was measured.
        moved: over the groups that should move.
        stood: over those that should not.
        single: per group.
        failures: reasons of failed cells, with who failed where.
    """

    item: Item
    switch: Switch
    moved: tuple[Effect, ...]
    stood: tuple[Effect, ...]
    single: dict[Group, tuple[Effect, ...]]
    failures: tuple[str, ...]

    @property
    def measured(self) -> bool:
        """True when some cell of either side was run, be it that it failed."""
        return bool(self.failures) or any(e.both is not None for line in self.single.values() for e in line)

    def effect(self, name: str) -> Effect:
        """A measure's effect where the switch should move something."""
        return next(e for e in self.moved if e.measure.name == name)

    @property
    def default_loses(self) -> bool:
        """True when one side is the default, and the other one beats it in throughput and in RSS.

        That is: confirmed faster (by the clock, or in CPU time), smaller in peak or steady RSS, and worse in none of
        these, here and where nothing should move.
        """
        other_is_off = self.switch.on.is_default
        if other_is_off == self.switch.off.is_default:
            return False
        gain = Verdict.WORSE if other_is_off else Verdict.BETTER
        loss = Verdict.BETTER if other_is_off else Verdict.WORSE
        speed, size = ("throughput", "cpu"), ("peak", "steady")
        everywhere = {e.verdict for e in (*self.moved, *self.stood) if e.measure.name in (*speed, *size)}
        wins = all(gain in [self.effect(name).verdict for name in names] for names in (speed, size))
        return wins and loss not in everywhere


_Series = dict[int, float]
_Table = dict[tuple[str, int, str], list[dict[str, Any]]]


def _by_contender(results: Results) -> _Table:
    table: _Table = {}
    for cell in results.cells:
        table.setdefault((cell["label"], cell["threads"], cell["contender"]), []).append(cell)
    return table


def _series(table: _Table, group: Group, name: str, measure: Measure) -> _Series:
    cells = table.get((group.label, group.threads, name), [])
    values = {c["round"]: measure.of(c) for c in cells if c["status"] == "ok"}
    return {number: value for number, value in values.items() if value}


def _ratios(table: _Table, group: Group, sides: tuple[str, str], measure: Measure) -> _Series:
    """With the idea / without it, by round."""
    on, off = (_series(table, group, name, measure) for name in sides)
    return {number: on[number] / off[number] for number in sorted(on.keys() & off.keys())}


def _mean(series: Iterable[_Series]) -> _Series:
    """The geometric mean of several groups' ratios, over the rounds that all of them have.

    A group without any value (it does not count what it holds) takes no part.
    """
    counted = [s for s in series if s]
    rounds = set.intersection(*(set(s) for s in counted)) if counted else set()
    return {number: statistics.geometric_mean([s[number] for s in counted]) for number in sorted(rounds)}


def _compared(series: _Series) -> Comparison | None:
    return statistics.compare(series, dict.fromkeys(series, 1.0))


def _joined(first: _Series, second: _Series) -> _Series:
    """The rounds of two passes as one series."""
    offset = 1 + max(first, default=-1)
    return {**first, **{number + offset: value for number, value in second.items()}}


def _failures(tables: Sequence[_Table], switch: Switch, sides: tuple[str, str]) -> tuple[str, ...]:
    found = {
        f"{name} in {group.label} x{group.threads}: {cell['reason']}": None
        for table in tables
        for group in switch.groups
        for name in sides
        for cell in table.get((group.label, group.threads, name), [])
        if cell["status"] == "failed"
    }
    return tuple(found)


def effects_of(
    declaration: Declaration, items: Sequence[Item], first: Results, second: Results | None
) -> list[SwitchEffects]:
    """The effects of every switch.

    Args:
        declaration: how sides are named in results.
        items: what to look at; a switch without cells in the results has effects without numbers.
        first, second: a run and its repeat, of one machine type.
    """
    tables = [_by_contender(results) for results in (first, second) if results is not None]
    found = []
    for item in items:
        for switch in item.switches:
            sides = (contender_name(declaration, switch.on), contender_name(declaration, switch.off))

            def effects(groups: Sequence[Group], sides: tuple[str, str] = sides) -> tuple[Effect, ...]:
                return tuple(_effect(tables, groups, sides, measure) for measure in MEASURES)

            found.append(
                SwitchEffects(
                    item,
                    switch,
                    effects(switch.moves),
                    effects(switch.still),
                    {group: effects([group]) for group in switch.groups},
                    _failures(tables, switch, sides),
                )
            )
    return found


def _effect(tables: Sequence[_Table], groups: Sequence[Group], sides: tuple[str, str], measure: Measure) -> Effect:
    passes = [_mean(_ratios(table, group, sides, measure) for group in groups) for table in tables]
    second = passes[1] if len(passes) > 1 else {}
    return Effect(measure, _compared(passes[0]), _compared(second), _compared(_joined(passes[0], second)))
