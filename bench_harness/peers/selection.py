"""Which allocators take part: the texts of the command line, or all that are here."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench_harness.errors import UsageError
from bench_harness.peers.allocators import Allocator, describe
from bench_harness.peers.declaration import DEFAULT, declared
from bench_harness.peers.options import check_options, presets_of, variant, with_preset

__all__ = ["select_allocators"]

_NAME = r"[\w.+-]+"
_OPTION = r"\w+=[^,\s]+"


def _named(text: str, known: dict[str, Allocator]) -> Allocator:
    """Read `NAME[:PRESET][=/path/lib.so]`; a library given by path is known by its name from then on."""
    whole, equals, path = text.partition("=")
    name, colon, preset = whole.partition(":")
    if equals:
        if not re.fullmatch(_NAME, name):
            raise UsageError(f"--allocator {text}: a name is made of letters, digits and . _ + -")
        if not Path(path).is_file():
            raise UsageError(f"--allocator {text}: no such file: {path}")
        known[name] = describe(name, Path(path))
    elif name not in known:
        raise UsageError(f"--allocator {name}: unknown; found are {', '.join(known)} (or NAME=/path/lib.so)")
    if colon and preset not in presets_of(known[name].family):
        raise UsageError(f"--allocator {text}: no such preset; {name} has {', '.join(presets_of(known[name].family))}")
    return with_preset(known[name], preset or DEFAULT)


def _all(known: Mapping[str, Allocator], say: Callable[[str], object]) -> list[Allocator]:
    """Every allocator that competes, at each of the presets that a run compares."""
    chosen = []
    for name, allocator in known.items():
        if allocator.is_probe or not declared().row(name).compared:
            continue
        for preset in declared().presets:
            if preset not in presets_of(allocator.family):
                continue
            made = with_preset(allocator, preset)
            try:
                if preset != DEFAULT:
                    check_options(made)
            except UsageError as wrong:
                say(f"{made.name} is left out: {wrong}")
            else:
                chosen.append(made)
    return chosen


def _set(text: str, known: Mapping[str, Allocator]) -> Allocator:
    """Read `NAME[:PRESET].OPTION=VALUE[,OPTION=VALUE]`."""
    match = re.fullmatch(rf"([\w+-]+)(?::([\w-]+))?\.({_OPTION}(?:,{_OPTION})*)", text)
    if not match or match[1] not in known:
        raise UsageError(f"--set {text}: must be NAME.OPTION=VALUE[,OPTION=VALUE] with NAME one of {', '.join(known)}")
    try:
        made = variant(with_preset(known[match[1]], match[2] or DEFAULT), match[3].split(","))
        check_options(made)
    except UsageError as wrong:
        raise UsageError(f"--set {text}: {wrong}") from wrong
    return made


def select_allocators(
    found: Mapping[str, Allocator],
    wanted: Sequence[str],
    settings: Sequence[str],
    probe: bool = True,
    say: Callable[[str], object] = print,
) -> list[Allocator]:
    """The allocators of a run.

    Args:
        found: what `find_allocators` returned.
        wanted: `NAME`, `NAME:PRESET` or `NAME=/path/lib.so` texts; empty means all that compete, each at the presets
            that `peers.toml` names for a comparison.
        settings: `NAME.OPTION=VALUE` texts, each of which adds a variant (comma: several options in one variant).
        probe: add the no-op probe when it is there.
        say: told what is left out, and why.
    Raises:
        UsageError: a name is unknown, a file does not exist, a setting is malformed, or an allocator does not have or
            accept an option.
    """
    known = dict(found)
    chosen: dict[str, Allocator] = {}
    for allocator in [_named(text, known) for text in wanted] or _all(known, say):
        if wanted and allocator.preset != DEFAULT:
            check_options(allocator)
        chosen.setdefault(allocator.name, allocator)
    if probe and declared().probe in known:
        chosen.setdefault(declared().probe, known[declared().probe])
    variants = [_set(text, known) for text in settings]
    return [*chosen.values(), *variants]
