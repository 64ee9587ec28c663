"""The public functions behind ``import rtmalloc``."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from rtmalloc import _core

_DOMAIN_BITS = {"raw": 1, "mem": 2, "obj": 4}
_ALL_DOMAINS = frozenset(_DOMAIN_BITS)


class InstallError(RuntimeError):
    """rtmalloc cannot take over this interpreter's allocations; the message says why and what to do."""


@dataclass(frozen=True)
class Status:
    """Whether and how rtmalloc serves this process."""

    active: bool
    """Whether any Python domain or malloc itself is served by rtmalloc now."""
    route: str
    """``"preload"`` (the whole process), ``"install"`` (Python's domains only) or ``"none"``."""
    domains: frozenset[str]
    """The Python allocator domains whose calls arrive at rtmalloc: ``raw``, ``mem``, ``obj``."""
    library: str
    """Path of the file whose allocator is used."""


@dataclass(frozen=True)
class ClassStats:
    """One size class of small blocks."""

    size: int
    """Bytes of a block."""
    spans: int
    """Spans that hold blocks of this size."""
    owned_spans: int
    """Spans among them that a thread owns; the others wait for one or are full."""
    blocks: int
    """Blocks that fit into these spans."""
    free_blocks: int
    """Blocks among them that are free and in no thread's cache."""


@dataclass(frozen=True)
class Stats:
    """A snapshot of the allocator. Under load its numbers are of slightly different instants."""

    allocated: int
    """Bytes in blocks that the program holds, plus what threads' caches hold (at most :attr:`cached`)."""
    cached: int
    """Bytes of free blocks that threads' caches may hold: an upper bound."""
    active: int
    """Bytes of address space in use: spans, large blocks, mappings of single huge blocks."""
    resident: int
    """Bytes of all of the above, and of free memory not yet given back, that lie in physical memory."""
    dirty: int
    """Bytes of free memory that is still resident; it goes back after ``dirty_decay_ms``."""
    metadata: int
    """Bytes of physical memory that rtmalloc's own tables take."""
    counters: dict[str, int]
    """Every number by its name in ``rtmalloc/core/stats.pxd``: events since the process began."""
    classes: tuple[ClassStats, ...]
    """Size classes in use, smallest first."""


@dataclass(frozen=True)
class Option:
    """A run-time option, from the table in ``rtmalloc/core/options.h``."""

    name: str
    value: int
    default: int
    least: int
    most: int
    unit: str
    description: str


def library_path() -> Path:
    """Path of the preload library, for ``LD_PRELOAD``.

    Raises :class:`FileNotFoundError` when this installation has none (a source tree that was not built).
    """
    path = Path(str(resources.files("rtmalloc.lib") / "librtmalloc.so"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make build`, or install rtmalloc from a wheel")
    return path


def install(domains: str | Iterable[str] = "auto") -> Status:
    """Move this interpreter's allocations to rtmalloc from now on; what was allocated before stays where it is.

    ``domains`` is ``"auto"``, ``{"raw"}`` or ``{"raw", "mem", "obj"}``. CPython's own objects are in ``obj``, lists' and
    dicts' storage in ``mem``, and what is allocated without the interpreter's lock (numpy's arrays from 2.5 on) in
    ``raw``; extensions mix ``mem`` and ``obj``, so they go together. ``"auto"`` takes all three, or ``raw`` alone on a
    free-threaded build, whose garbage collector walks its own allocator's heap (PEP 703).

    Calling it again changes nothing. There is no uninstall: blocks of rtmalloc would be freed by an allocator that does
    not know them; see :func:`disable`.

    Returns the :class:`Status` afterwards. Raises :class:`InstallError` where installing would break the program, and
    :class:`ValueError` for other sets of domains.
    """
    wanted = _domains_wanted(domains)
    bits = sum(_DOMAIN_BITS[name] for name in wanted)
    if bits & ~_core.hooks_active_now():
        _refuse_if_unsafe(wanted)
        if not _core.hooks_install(bits):
            raise InstallError("this process exports no PyMem_SetAllocator: it is no CPython interpreter")
    return status()


def _domains_wanted(domains: str | Iterable[str]) -> frozenset[str]:
    """The set of domains that ``domains`` names for this interpreter."""
    if domains == "auto":
        return frozenset({"raw"}) if _core.is_free_threaded() else _ALL_DOMAINS
    wanted = frozenset([domains] if isinstance(domains, str) else domains)
    if wanted not in (frozenset({"raw"}), _ALL_DOMAINS):
        raise ValueError(f'domains is "auto", {{"raw"}} or {{"raw", "mem", "obj"}}, not {sorted(wanted)}')
    if "obj" in wanted and _core.is_free_threaded():
        raise InstallError(
            "a free-threaded interpreter finds its objects by walking its own allocator: only {'raw'} can be replaced"
        )
    return wanted


def _refuse_if_unsafe(wanted: frozenset[str]) -> None:
    """Raise :class:`InstallError` when somebody else would later undo or misread our hooks."""
    tracemalloc = sys.modules.get("tracemalloc")
    if tracemalloc is not None and tracemalloc.is_tracing():
        raise InstallError(
            "tracemalloc is tracing: when it stops it would put the allocators back that it found, and the next free "
            "of an rtmalloc block would crash. Call tracemalloc.stop() first, or install before tracemalloc.start()"
        )


def disable() -> None:
    """Send new requests of Python's domains to the allocators that were there before; ours are still freed correctly.

    Raises :class:`InstallError` when there is nothing to go back to.
    """
    if not _core.hooks_pause_all(True):
        raise InstallError("there was no allocator before rtmalloc in this process")


def enable() -> None:
    """Undo :func:`disable`."""
    _core.hooks_pause_all(False)


def status() -> Status:
    """Whether and how rtmalloc serves this process now."""
    bits = _core.hooks_active_now()
    names = frozenset(name for name, bit in _DOMAIN_BITS.items() if bits & bit)
    preloaded = _core.is_preloaded()
    route = "preload" if preloaded else "install" if names else "none"
    return Status(active=preloaded or bool(names), route=route, domains=names, library=_core.location())


def stats() -> Stats:
    """A snapshot of the allocator that serves this process; takes time in proportion to the memory in use."""
    numbers, classes = _core.stats_raw()
    return Stats(
        allocated=numbers["allocated"],
        cached=numbers["cached"],
        active=numbers["active"],
        resident=numbers["resident"],
        dirty=numbers["dirty"],
        metadata=numbers["metadata"],
        counters=numbers,
        classes=tuple(ClassStats(*row) for row in classes),
    )


def trim() -> bool:
    """Give unused memory back to the kernel now; whether there was any."""
    return _core.trim()


def options() -> dict[str, Option]:
    """All run-time options by name, with their values now."""
    return {row[0]: Option(*row) for row in _core.option_table()}


def configure(**values: int) -> None:
    """Change run-time options, for example ``configure(dirty_decay_ms=1000)``.

    Raises :class:`ValueError` for an unknown name or a value out of range; then nothing is changed.
    """
    table = list(options().values())
    numbers = {option.name: number for number, option in enumerate(table)}
    for name, value in values.items():
        if name not in numbers:
            raise ValueError(f"there is no option {name!r}; there are {', '.join(sorted(numbers))}")
        option = table[numbers[name]]
        if not isinstance(value, int) or not option.least <= value <= option.most:
            span = f"{option.least} to {option.most} {option.unit}".strip()
            raise ValueError(f"{name} is a whole number from {span}, not {value!r}")
    for name, value in values.items():
        _core.option_set_number(numbers[name], value)

