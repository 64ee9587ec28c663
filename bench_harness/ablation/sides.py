"""From the sides of switches to contenders: each variant and option is proven to work before anything is measured."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from bench_harness.ablation.declaration import Declaration, Item, Side
from bench_harness.errors import UsageError
from bench_harness.measuring.plan import NATIVE, Contender, Group
from bench_harness.peers.allocators import Allocator, describe
from bench_harness.peers.options import complaint_of, variant

__all__ = ["chosen_of", "contender_name", "contenders_of", "groups_of", "prove_side"]

BUILD_SECONDS = 600.0


def contender_name(declaration: Declaration, side: Side) -> str:
    """A side's name in results: `NAME`, `NAME-VARIANT`, `NAME[OPTION=VALUE]`."""
    base = f"{declaration.allocator}-{side.variant}" if side.variant else declaration.allocator
    return f"{base}[{','.join(side.options)}]" if side.options else base


def _variants(declaration: Declaration, items: Sequence[Item]) -> dict[str, Allocator]:
    """The libraries of all variants that these items need, brought up to date.

    Raises:
        UsageError: one cannot be built; the message names it, its switches, and the command that says why.
    """
    users: dict[str, list[str]] = {}
    for item in items:
        for switch in item.switches:
            for side in (switch.on, switch.off):
                if side.variant and switch.name not in users.setdefault(side.variant, []):
                    users[side.variant].append(switch.name)
    libraries = {}
    for name, switches in users.items():
        library = _build(declaration, name, switches)
        libraries[name] = describe(f"{declaration.allocator}-{name}", library, declaration.allocator)
    return libraries


def _build(declaration: Declaration, name: str, switches: Sequence[str]) -> Path:
    command = [*declaration.build, name]
    wrong = f"switch {', '.join(switches)}: variant {name} cannot be built"
    try:
        done = subprocess.run(command, cwd=declaration.root, capture_output=True, text=True, timeout=BUILD_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{wrong}: {error}") from error
    library = declaration.library(name)
    if done.returncode or not library.is_file():
        words = done.stderr.strip().splitlines() or [f"{library} is not there"]
        raise UsageError(f"{wrong}: {words[0]}; try: {shlex.join(command)}")
    return library


def prove_side(allocator: Allocator, switches: Sequence[str]) -> None:
    """Run one small cell under a side: the library must load, and accept its options without a word.

    Raises:
        UsageError: it failed or complained; the message names the switches.
    """
    why = complaint_of(allocator)
    if why:
        raise UsageError(f"switch {', '.join(switches)}: {allocator.name} does not work: {why}")


def contenders_of(
    declaration: Declaration, items: Sequence[Item], found: Mapping[str, Allocator]
) -> dict[str, Contender]:
    """Every side of these items as a contender, by name, each of them proven.

    Args:
        declaration: where variants lie.
        items: what is to be measured.
        found: the allocators of this machine.
    Raises:
        UsageError: the allocator, a variant or an option is not there; the message names it.
    """
    base = found.get(declaration.allocator)
    if base is None or base.path is None:
        raise UsageError(f"{declaration.allocator}: not found; found are {', '.join(found)}")
    libraries = {"": base, **_variants(declaration, items)}
    users: dict[Side, list[str]] = {}
    for item in items:
        for switch in item.switches:
            for side in (switch.on, switch.off):
                users.setdefault(side, []).append(switch.name)
    contenders = {}
    for side, switches in users.items():
        name = contender_name(declaration, side)
        allocator = libraries[side.variant]
        if side.options:
            allocator = replace(variant(allocator, side.options), name=name)
        prove_side(allocator, switches)
        contenders[name] = Contender(name, allocator, NATIVE)
    return contenders


def groups_of(items: Sequence[Item]) -> tuple[Group, ...]:
    """Every group that these items are measured in, once."""
    return tuple(dict.fromkeys(g for item in items for switch in item.switches for g in switch.groups))


def chosen_of(declaration: Declaration, items: Sequence[Item]) -> dict[Group, frozenset[str]]:
    """Which contenders each group needs: both sides of every switch that names it."""
    names: dict[Group, set[str]] = {}
    for item in items:
        for switch in item.switches:
            pair = {contender_name(declaration, side) for side in (switch.on, switch.off)}
            for group in switch.groups:
                names.setdefault(group, set()).update(pair)
    return {group: frozenset(of) for group, of in names.items()}
