"""What is to be run: contenders (an allocator by a route), cells, and their order."""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench_harness.measuring.catalogue import Workload
from bench_harness.peers.allocators import Allocator

__all__ = ["NATIVE", "Cell", "Contender", "Group", "Plan", "round_order", "settings_of"]

NATIVE = "native"
PROBE_ROUNDS = 3  # the no-op probe explains, it does not compete: a few rounds are enough


@dataclass(frozen=True)
class Contender:
    """What a table's row is about: an allocator, and the route by which the program comes to use it."""

    name: str
    allocator: Allocator
    route: str = NATIVE


@dataclass(frozen=True)
class Group:
    """Cells that are compared with each other: one workload, its parameters and a number of threads."""

    workload: Workload
    parameters: tuple[tuple[str, str], ...]
    threads: int

    @property
    def label(self) -> str:
        """The workload as the command line writes it: `larson` or `churn:live=5000`."""
        given = ",".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.workload.name}:{given}" if given else self.workload.name

    @property
    def takes_seconds(self) -> float:
        """Seconds of a fixed amount of work; 0 when the clock decides."""
        return self.workload.takes(self.parameters)


@dataclass(frozen=True)
class Cell:
    """One process to run: a contender in a group, in one round."""

    group: Group
    contender: Contender
    round: int

    @property
    def key(self) -> tuple[str, int, str, int]:
        """What identifies the cell in a result file."""
        return (self.group.label, self.group.threads, self.contender.name, self.round)


@dataclass(frozen=True)
class Plan:
    """A whole run.

    Attributes:
        groups: what is measured.
        contenders: who competes, native and Python routes together; each group takes those that fit it.
        repeat: rounds that every group gets.
        max_repeat: rounds that a group may get while its confidence intervals are wider than `precision`.
        precision: half-width of the 95 % interval of the median throughput, relative to it; 0 = never extend.
        seconds: length of the measured window.
        warmup: seconds before the window.
        seed: of the order and of the address-space padding.
        timeout: seconds that a cell may take beyond its own window before it counts as hung.
        memory_cap: bytes of RSS above which a cell is ended as failed.
        retries: how often a disturbed cell is repeated.
        interpreter: the Python that runs Python cells.
        latency: time every single call of native cells, with a probe in front of the allocator.
        chosen: names of the contenders of a group; a group without an entry takes all that fit it.
    """

    groups: tuple[Group, ...]
    contenders: tuple[Contender, ...]
    repeat: int
    max_repeat: int
    precision: float
    seconds: float
    warmup: float
    seed: int
    timeout: float
    memory_cap: int
    retries: int
    interpreter: Path
    latency: bool = False
    chosen: Mapping[Group, frozenset[str]] = field(default_factory=dict)

    def contenders_of(self, group: Group) -> list[Contender]:
        """The contenders that a group's workload can run under, and that are chosen for it."""
        kind = group.workload.kind
        chosen = self.chosen.get(group)
        return [
            c
            for c in self.contenders
            if (c.route == NATIVE) == (kind != "python")
            and not (kind == "program" and c.allocator.is_probe)  # no program survives blocks that overlap
            and (chosen is None or c.name in chosen)
        ]

    def cells(self, round_number: int, groups: Iterable[Group]) -> list[Cell]:
        """The cells of one round over `groups`, in the order in which they are run."""
        return [
            Cell(group, contender, round_number)
            for group, contenders in round_order(
                [(group, self._round_contenders(group, round_number)) for group in groups],
                self.seed,
                round_number,
            )
            for contender in contenders
        ]

    def _round_contenders(self, group: Group, round_number: int) -> list[Contender]:
        return [c for c in self.contenders_of(group) if not c.allocator.is_probe or round_number < PROBE_ROUNDS]


def round_order(
    groups: Sequence[tuple[Group, list[Contender]]], seed: int, round_number: int
) -> list[tuple[Group, list[Contender]]]:
    """Shuffle the groups, and the contenders within each group.

    All contenders of a group run next to each other in time: a slow minute of the machine then hits the whole
    pair, and the ratio within the round survives it. Position within the group is random, so that what one
    cell leaves behind (frequency, page cache) favours nobody over the rounds.
    """
    generator = random.Random(f"{seed}/{round_number}")
    order = [(group, generator.sample(contenders, len(contenders))) for group, contenders in groups]
    generator.shuffle(order)
    return order


def settings_of(arguments: argparse.Namespace) -> dict[str, Any]:
    """The fields of a :class:`Plan` that every command which measures has an option for.

    ``--memory-cap`` is in MiB; without it a cell may take half of the machine's memory.
    """
    cap = arguments.memory_cap << 20 if arguments.memory_cap else psutil.virtual_memory().total // 2
    names = ("seconds", "warmup", "seed", "timeout", "retries")
    return {"memory_cap": cap, **{name: getattr(arguments, name) for name in names}}
