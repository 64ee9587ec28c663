"""The ablation as text: the list of ideas, measured beside guessed, on a terminal or as Markdown."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bench_harness.ablation.declaration import Item
from bench_harness.ablation.effects import LEAST, MEASURES, Effect, SwitchEffects, Verdict
from bench_harness.reporting.page import markdown_table
from bench_harness.statistics import ALPHA, FEWEST_ROUNDS, Comparison
from bench_harness.verdicts.analysis import BUSY_SHARE

__all__ = [
    "Lines",
    "detail_lines",
    "interval",
    "markdown",
    "notes",
    "print_effects",
    "print_list",
    "shown",
    "summary_lines",
]

Lines = tuple[tuple[str, ...], list[tuple[str, ...]]]  # headings, lines

_SHORT = {
    Verdict.NOT_SEPARABLE: "not separable",
    Verdict.UNCONFIRMED: "unconfirmed",
    Verdict.NONE: "too few rounds",
}


def interval(c: Comparison) -> str:
    """`1.123 [1.100 1.150]`."""
    return f"{c.ratio:.3f} [{c.low:.3f} {c.high:.3f}]"


def shown(effect: Effect) -> str:
    """An effect as a table shows it: the ratio of a confirmed one, else the reason why there is none to claim."""
    if effect.both is None:
        return "-"
    if effect.confirmed:
        return interval(effect.both)
    return f"{_SHORT[effect.verdict]} [{effect.both.low:.3f} {effect.both.high:.3f}]"


def _elsewhere(effects: SwitchEffects) -> str:
    """What moved where nothing should: the confirmed effects, or that there are none."""
    moved = [f"{e.measure.title} {interval(e.both)}" for e in effects.stood if e.confirmed and e.both is not None]
    if moved:
        return "; ".join(moved)
    verdicts = {e.verdict for e in effects.stood} - {Verdict.MISSING}
    if not verdicts:
        return "-"
    return "no change" if verdicts == {Verdict.NOT_SEPARABLE} else _SHORT[(verdicts - {Verdict.NOT_SEPARABLE}).pop()]


def _number(item: Item) -> str:
    return str(item.number) if item.number is not None else "-"


def summary_lines(found: Sequence[SwitchEffects]) -> Lines:
    """One line per switch: idea and guess, what was switched, and what was measured where it should move."""
    headings = (
        "#",
        "idea",
        "guess: speed RSS frag.",
        "switch",
        "on / off",
        *(m.title for m in MEASURES),
        "where nothing should move",
    )
    lines = []
    before: Item | None = None
    for f in found:
        g = f.item.guess
        new = f.item is not before
        before = f.item
        lines.append(
            (
                _number(f.item) if new else "",
                f.item.idea if new else "",
                f"{g.speed} {g.rss} {g.fragmentation}" if new else "",
                f.switch.name,
                f"{f.switch.on.label} / {f.switch.off.label}",
                *(shown(e) for e in f.moved),
                _elsewhere(f),
            )
        )
    return headings, lines


def detail_lines(found: Sequence[SwitchEffects]) -> Lines:
    """One line per switch and workload, each effect with the ratios of both passes."""
    headings = ("switch", "workload", "should move", *(m.title for m in MEASURES))
    lines = []
    for f in found:
        for group, effects in f.single.items():
            texts = []
            for e in effects:
                passes = [f"{c.ratio:.3f}" for c in (e.first, e.second) if c is not None]
                texts.append(f"{shown(e)} ({', '.join(passes)})" if e.both is not None else "-")
            moves = "yes" if group in f.switch.moves else "no"
            lines.append((f.switch.name, f"{group.label} x{group.threads}", moves, *texts))
    return headings, lines


def notes(found: Sequence[SwitchEffects], disturbed: float) -> list[str]:
    """What must be said beside the table: defaults that lose, a busy machine (share of its cells), failed cells."""
    said = []
    for f in found:
        if f.default_loses:
            better = f.switch.off if f.switch.on.is_default else f.switch.on
            said.append(
                f"THE DEFAULT LOSES: {better.label} (switch {f.switch.name}) beats it in throughput and in RSS: "
                "the default should change"
            )
    if disturbed > BUSY_SHARE:
        said.append(
            f"up to {disturbed:.0%} of the cells were disturbed by other load: about speed, believe CPU time rather "
            "than throughput"
        )
    for f in found:
        said += [f"failed: {text}" for text in f.failures]
    return said


_LEGEND = (
    "ratios: with the idea / without it, over the workloads that it should move, [95 % interval]; throughput above 1 "
    "is a gain, RSS below 1 is one",
    "a ratio stands only where the run and its repeat agree on a direction, each with a significant difference "
    f"(signed-rank test and interval, {ALPHA:.0%}) of at least {LEAST:.0%}; else: not separable. Fewer than "
    f"{FEWEST_ROUNDS} rounds get no verdict",
    "guess: +++ major, ++ moderate, + minor, - neutral, ? none. RSS/live: steady RSS, without what the harness itself "
    "holds, over the bytes that the program holds",
)


def _table(title: str, of: Lines) -> Table:
    headings, lines = of
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", title_style="bold")
    for name in headings:
        table.add_column(name, overflow="fold")
    for line in lines:
        table.add_row(*map(Text, line))
    return table


def print_effects(console: Console, found: Sequence[SwitchEffects], disturbed: float, details: bool) -> None:
    """Print the list of ideas with what was measured, its notes, and if wanted a line per workload."""
    wide = console if console.is_terminal else Console(file=console.file, width=260, no_color=True, highlight=False)
    wide.print(_table("what each idea is worth", summary_lines(found)))
    if details:
        wide.print(_table("by workload (in parentheses the ratios of the two passes)", detail_lines(found)))
    for line in notes(found, disturbed):
        console.print(line, style="bold", markup=False, soft_wrap=True)
    for line in _LEGEND:
        console.print(line, style="dim", markup=False, soft_wrap=True)


def markdown(found: Sequence[SwitchEffects], disturbed: float, details: bool = False) -> str:
    """The table with its notes, ready for a document; if wanted with a line per workload."""
    parts = [*markdown_table(*summary_lines(found)), "", *(f"- {line}" for line in _LEGEND), ""]
    parts += [f"**{line}**\n" for line in notes(found, disturbed)]
    if details:
        parts += ["By workload, with the ratios of both passes:", "", *markdown_table(*detail_lines(found)), ""]
    return "\n".join(parts)


def print_list(console: Console, items: Sequence[Item]) -> None:
    """Print every idea with its switches, their sides and their workloads; nothing is measured."""
    for item in items:
        g = item.guess
        console.print(
            f"{_number(item)}  {item.idea}   (guess: speed {g.speed}, RSS {g.rss}, fragmentation {g.fragmentation})",
            style="bold",
            markup=False,
            soft_wrap=True,
        )
        for s in item.switches:
            console.print(f"   {s.name}: {s.tells}", markup=False, soft_wrap=True)
            console.print(f"      {s.on.label} against {s.off.label}", markup=False, soft_wrap=True)
            for what, groups in (("should move", s.moves), ("should not", s.still)):
                names = ", ".join(f"{group.label} x{group.threads}" for group in groups)
                console.print(f"      {what}: {names}", markup=False, soft_wrap=True)
