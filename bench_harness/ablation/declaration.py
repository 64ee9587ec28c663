"""The declared ideas: `bench_harness/ablation.toml` read, checked, and chosen from.

An item is an idea with what was guessed of it. It has one or more switches; a switch has two sides, with the idea
(`on`) and without it (`off`), of which usually one is the default, and the workloads that should and should not move.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench_harness.documents import PACKAGE, read_toml
from bench_harness.errors import HarnessError, UsageError
from bench_harness.measuring.catalogue import Workload, parse_workload
from bench_harness.measuring.plan import NATIVE, Group

__all__ = ["ROWS", "Declaration", "Guess", "Item", "Side", "Switch", "read", "select"]

ROWS = PACKAGE / "ablation.toml"
SCHEMA = "ablation-1"


@dataclass(frozen=True)
class Side:
    """One side of a switch: a variant's name and `name=value` options; neither means the default."""

    variant: str = ""
    options: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """For tables: `default`, `shard-off`, `bin_max=0`."""
        return " ".join(filter(None, (self.variant, *self.options))) or "default"

    @property
    def is_default(self) -> bool:
        """True when nothing differs from the allocator as it is built and started by default."""
        return self == Side()


@dataclass(frozen=True)
class Guess:
    """What was expected of an idea: `+++` major, `++` moderate, `+` minor, `-` neutral, `?` nothing was said."""

    speed: str
    rss: str
    fragmentation: str


@dataclass(frozen=True)
class Switch:
    """One way to turn an idea on and off.

    Attributes:
        name: on the command line and in tables.
        tells: what stands against what, in words.
        on, off: with the idea and without it.
        moves: groups in which the idea should show.
        still: groups in which it should not.
    """

    name: str
    tells: str
    on: Side
    off: Side
    moves: tuple[Group, ...]
    still: tuple[Group, ...]

    @property
    def groups(self) -> tuple[Group, ...]:
        """Every group that the switch is measured in."""
        return (*self.moves, *self.still)


@dataclass(frozen=True)
class Item:
    """An idea; `number` is None for what the list of ideas does not number, `says` is the list's own promise."""

    number: int | None
    idea: str
    guess: Guess
    says: str
    switches: tuple[Switch, ...]


@dataclass(frozen=True)
class Declaration:
    """The whole file.

    Attributes:
        allocator: name of the allocator whose ideas these are.
        variants: path of a variant's library, `{}` standing for its name.
        build: command that brings variants up to date: their names follow it, and it leaves alone what is.
        items: the ideas in the file's order.
        path: the file.
    """

    allocator: str
    variants: str
    build: tuple[str, ...]
    items: tuple[Item, ...]
    path: Path

    @property
    def root(self) -> Path:
        """The folder that `variants` is relative to and `build` runs in: the one above the file's."""
        return self.path.resolve().parents[1]

    def library(self, variant: str) -> Path:
        """Where a variant's library is once it is built."""
        return self.root / self.variants.format(variant)


def _group(text: str, found: Mapping[str, Workload]) -> Group:
    """Read `churn:live=1000 x2`: a workload as the command line writes it, and a number of threads."""
    name, _, threads = text.rpartition(" x")
    workload, values = parse_workload(name, found)
    if workload.kind != NATIVE:
        raise UsageError(f"{name}: an ablation runs native workloads only")
    if not workload.thread_counts([int(threads)]) == [int(threads)]:
        raise UsageError(f"{text}: the workload cannot run {threads} threads")
    return Group(workload, tuple(values.items()), int(threads))


def _side(fields: Mapping[str, Any]) -> Side:
    return Side(fields.get("variant", ""), tuple(fields.get("options", ())))


def _switch(fields: Mapping[str, Any], found: Mapping[str, Workload]) -> Switch:
    switch = Switch(
        fields["name"],
        fields["tells"],
        _side(fields["on"]),
        _side(fields["off"]),
        tuple(_group(text, found) for text in fields["moves"]),
        tuple(_group(text, found) for text in fields["still"]),
    )
    if switch.on == switch.off:
        raise UsageError("both sides are the same")
    twice = set(switch.moves) & set(switch.still)
    if twice:
        raise UsageError(f"{twice.pop().label} is named both in moves and in still")
    return switch


def read(path: Path, found: Mapping[str, Workload]) -> Declaration:
    """Read and check a file of ideas.

    Args:
        path: the TOML file; `schema/ablation-1.json` describes every field.
        found: the workloads that its rows may name.
    Raises:
        HarnessError: it cannot be read, breaks the schema, or names a workload wrong or a switch twice; it says where.
    """
    document = read_toml(path, SCHEMA, "list of ideas")
    items = []
    names: set[str] = set()
    for entry in document["items"]:
        switches = []
        for fields in entry["switches"]:
            if fields["name"] in names:
                raise HarnessError(f"{path}: switch {fields['name']} is declared twice")
            names.add(fields["name"])
            try:
                switches.append(_switch(fields, found))
            except UsageError as wrong:
                raise HarnessError(f"{path}: switch {fields['name']}: {wrong}") from wrong
        items.append(
            Item(entry.get("number"), entry["idea"], Guess(**entry["guess"]), entry.get("says", ""), tuple(switches))
        )
    a = document["allocator"]
    build = tuple(sys.executable if part == "{python}" else part for part in a["build"])
    return Declaration(a["name"], a["variants"], build, tuple(items), path)


def select(items: Sequence[Item], wanted: Sequence[str]) -> list[Item]:
    """The items of a run, each with the switches that were asked for.

    Args:
        items: all of them.
        wanted: item numbers and switch names; empty means everything.
    Raises:
        UsageError: there is no such number or name.
    """
    if not wanted:
        return list(items)
    numbers = {str(item.number) for item in items if item.number is not None}
    names = {switch.name for item in items for switch in item.switches}
    for text in wanted:
        if text not in numbers | names:
            raise UsageError(
                f"ablate {text}: no such idea; numbers are {', '.join(sorted(numbers, key=int))}, "
                f"switches are {', '.join(sorted(names))}"
            )
    chosen = []
    for item in items:
        kept = tuple(s for s in item.switches if s.name in wanted or str(item.number) in wanted)
        if kept:
            chosen.append(Item(item.number, item.idea, item.guess, item.says, kept))
    return chosen
