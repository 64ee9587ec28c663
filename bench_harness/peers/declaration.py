"""`peers.toml` read: what is declared of each allocator, and of the ways in which a Python program uses one."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_harness.documents import PACKAGE, read_toml

__all__ = [
    "DEFAULT",
    "PEERS",
    "AllocatorRow",
    "Ask",
    "Declaration",
    "Library",
    "Options",
    "Preset",
    "RouteRow",
    "Version",
    "base_name",
    "declared",
    "preset_of",
    "rank_of",
    "read",
]

PEERS = PACKAGE / "peers.toml"
DEFAULT = "default"  # the preset of an allocator as it comes
_RANK = 1


@dataclass(frozen=True)
class Ask:
    """How to ask for texts: `find`'s group in what a command prints, or a preloaded library, or its bytes."""

    find: str
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Version:
    """How to ask for a version: by a call without arguments, or by `find` in the library's bytes."""

    call: str = ""
    text: bool = False
    find: str = ""
    companion: bool = False


@dataclass(frozen=True)
class Library:
    """Where a library is: by file names, inside a Python package, or among the probes."""

    files: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    package: str = ""
    file: str = ""
    probe: str = ""


@dataclass(frozen=True)
class Options:
    """How options reach an allocator: `name=value` texts as `pair`s joined in one variable, or one variable each."""

    variable: str
    pair: str = "{name}={value}"
    join: str = ","
    names: Ask | None = None


@dataclass(frozen=True)
class Preset:
    """Options that go together, the probe libraries that belong to them, and whose advice they are."""

    options: tuple[str, ...] = ()
    companions: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class AllocatorRow:
    """One allocator's table of `peers.toml`; `schema/peers-1.json` describes every field."""

    name: str
    title: str
    rank: int = _RANK
    look: int | None = None
    role: str = ""
    compared: bool = True
    library: Library | None = None
    version: Version | None = None
    options: Options | None = None
    presets: Mapping[str, Preset] = field(default_factory=dict)
    get: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RouteRow:
    """One route's table of `peers.toml`; `schema/peers-1.json` describes every field."""

    route: str
    description: str
    of: tuple[str, ...] = ()
    needs_library: bool = False
    name: str = ""
    rank: int = _RANK
    look: int | None = None
    preload: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    presets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    tried: bool = False
    module: str = ""
    call: str = ""
    objects: str = ""
    served_by: str = ""


@dataclass(frozen=True)
class Declaration:
    """The whole file.

    Attributes:
        base: contenders that ratios refer to, the first that took part.
        presets: what a run compares of every allocator when none is named.
        allocators, routes: by name, in the file's order.
    """

    base: tuple[str, ...]
    presets: tuple[str, ...]
    allocators: Mapping[str, AllocatorRow]
    routes: Mapping[str, RouteRow]

    @property
    def system(self) -> str:
        """The name of the C library's own allocator."""
        return next(row.name for row in self.allocators.values() if row.role == "system")

    @property
    def probe(self) -> str:
        """The name of the allocator that measures the harness and does not compete."""
        return next(row.name for row in self.allocators.values() if row.role == "probe")

    def row(self, family: str) -> AllocatorRow:
        """What is declared of an allocator; of one that is not declared: that it takes options as NAME_OPTIONS."""
        known = self.allocators.get(family)
        return known or AllocatorRow(family, family, options=Options(f"{family.upper()}_OPTIONS"))


def _tuples(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()}


def _allocator(name: str, fields: Mapping[str, Any]) -> AllocatorRow:
    made = dict(fields)
    made.setdefault("title", name)
    for key, kind in (("library", Library), ("version", Version)):
        if key in made:
            made[key] = kind(**_tuples(made[key]))
    if "options" in made:
        options = dict(made["options"])
        if "names" in options:
            options["names"] = Ask(**_tuples(options["names"]))
        made["options"] = Options(**options)
    made["presets"] = {key: Preset(**_tuples(value)) for key, value in made.get("presets", {}).items()}
    return AllocatorRow(name, **made)


def read(path: Path) -> Declaration:
    """Read and check a file of peers.

    Raises:
        HarnessError: it cannot be read or breaks the schema.
    """
    document = read_toml(path, "peers-1", "declaration of peers")
    return Declaration(
        tuple(document["base"]),
        tuple(document["presets"]),
        {name: _allocator(name, fields) for name, fields in document["allocators"].items()},
        {name: RouteRow(name, **_tuples(fields)) for name, fields in document["routes"].items()},
    )


@functools.cache
def declared() -> Declaration:
    """The content of `peers.toml`."""
    return read(PEERS)


def base_name(contender: str) -> str:
    """A contender's name without route, preset and options: `ROUTE/NAME:PRESET[OPTION=1]` gives `NAME`."""
    plain = contender.partition("[")[0].rpartition("/")[2]
    return plain.partition(":")[0]


def preset_of(contender: str) -> str:
    """The preset in a contender's name."""
    return contender.partition("[")[0].rpartition("/")[2].partition(":")[2] or DEFAULT


def _route_named(contender: str) -> RouteRow | None:
    """The route whose own name a contender bears."""
    plain = base_name(contender)
    return next((route for route in declared().routes.values() if route.name and route.name == plain), None)


def rank_of(contender: str) -> int:
    """Where a contender's row stands in a table: lower ranks first."""
    route = _route_named(contender)
    return route.rank if route is not None else declared().row(base_name(contender)).rank
