"""The account of a process's resident memory: every page that the kernel counts, in one of a few parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s*(.*)")
_NAMED = (
    ("cpython", "cpython"),
    ("mimalloc", "mimalloc"),
    ("jemalloc", "jemalloc"),
    ("glibc", "glibc"),
    ("stack", "stacks"),
)
"""What stands in names that programs give to memory (PR_SET_VMA_ANON_NAME), and the part that it is."""
_MIMALLOC_PLACES = (2 << 40, 30 << 40)
"""Where mimalloc asks for its arenas: addresses that the kernel gives to nobody by itself."""
_GLIBC_ARENA = 64 << 20
"""An arena of glibc for threads: a stretch of that size, at a multiple of it, whose end is closed."""
_JEMALLOC_STEP = 2 << 20
"""jemalloc maps multiples of a huge page."""
_POLARS = re.compile(r"/_?polars")
_FREE_THREADED = re.compile(r"/(lib)?python3\.\d+t")
_GUARD_BYTES = 1 << 17
"""A thread's stack stands above a stretch without access that is no longer."""

PARTS = {
    "live": "in blocks that the program holds",
    "pinned": "free, on pages or slices that blocks in use keep",
    "caches": "free, in bins of threads",
    "dirty": "free slices, which go back after dirty_decay_ms",
    "giants": "in blocks with a mapping of their own",
    "metadata": "the allocator's tables, and the profile's",
    "files": "program and libraries, and other files",
    "shared": "shared memory",
    "stacks": "stacks of threads",
    "glibc": "the C library's own heaps: what came before this allocator, or goes around it",
    "cpython": "CPython's own: its arenas, or its mimalloc",
    "pyarrow": "pyarrow's default pool, as it tells",
    "mimalloc": "a mimalloc of somebody else",
    "jemalloc": "a jemalloc of somebody else",
    "polars": "polars' own jemalloc, by the shape of its mappings: a guess",
    "unknown": "anonymous memory of somebody else",
}


OTHERS = ("glibc", "cpython", "pyarrow", "mimalloc", "jemalloc", "polars", "unknown")
"""Parts that other allocators hold."""


@dataclass(frozen=True)
class Mapping_:
    """A mapping of ``/proc/PID/smaps``."""

    start: int
    end: int
    access: str
    name: str
    resident: int


@dataclass(frozen=True)
class Account:
    """Bytes of each part; their sum is the resident memory."""

    parts: Mapping[str, int]

    @property
    def resident(self) -> int:
        """All of it, as the kernel counts."""
        return sum(self.parts.values())


def mappings(smaps: str) -> Iterator[Mapping_]:
    """The mappings that a text of ``/proc/PID/smaps`` lists."""
    found: tuple[int, int, str, str] | None = None
    for line in smaps.splitlines():
        header = _HEADER.fullmatch(line)
        if header:
            found = (int(header[1], 16), int(header[2], 16), header[3], header[4])
        elif found and line.startswith("Rss:"):
            yield Mapping_(*found, int(line.split()[1]) * 1024)


def _inside(one: Mapping_, ranges: list[tuple[int, int]]) -> int:
    """Bytes of a mapping that lie in ranges."""
    return sum(max(0, min(one.end, end) - max(one.start, start)) for start, end in ranges)


def _part(one: Mapping_, before: Mapping_ | None, after: Mapping_ | None, polars: bool) -> str:
    """The part that a mapping belongs to which is not the allocator's."""
    for text, part in _NAMED:
        if one.name.startswith("[anon:") and text in one.name:
            return part
    if "s" in one.access or one.name.startswith(("/dev/shm/", "/SYSV", "/memfd:", "/dev/zero")):
        return "shared"
    if one.name.startswith("[stack"):
        return "stacks"
    if one.name == "[heap]":
        return "glibc"
    if one.name.startswith("/") or one.name.startswith("[v"):
        return "files"
    guarded = before is not None and before.end == one.start and before.access.startswith("---")
    if before is not None and guarded and before.end - before.start <= _GUARD_BYTES and one.access.startswith("rw"):
        return "stacks"
    return _by_shape(one, after, polars)


def _by_shape(one: Mapping_, after: Mapping_ | None, polars: bool) -> str:
    """Whose anonymous memory without a name is, as far as its place tells."""
    if one.name or "x" in one.access:
        return "unknown"
    if _MIMALLOC_PLACES[0] <= one.start < _MIMALLOC_PLACES[1]:
        return "mimalloc"
    closed = after is not None and after.start == one.end and after.access.startswith("---")
    if one.start % _GLIBC_ARENA == 0 and after and closed and after.end == one.start + _GLIBC_ARENA:
        return "glibc"
    blocks = one.start % _JEMALLOC_STEP == 0 == one.end % _JEMALLOC_STEP
    return "polars" if blocks and polars else "unknown"


def _claimed(parts: dict[str, int], told: Mapping[str, int], loaded: str) -> None:
    """Move what libraries tell of their own heaps out of the parts where it was counted."""
    for owner, bytes_ in told.items():
        for part in ("mimalloc", "jemalloc", "unknown"):
            taken = min(bytes_, parts[part])
            parts[part] -= taken
            parts[owner] += taken
            bytes_ -= taken
    if _FREE_THREADED.search(loaded):
        parts["cpython"] += parts["mimalloc"]
        parts["mimalloc"] = 0


def account_of(raw: Mapping[str, Any]) -> Account:
    """The account of the process that wrote a heap profile, at that moment."""
    parts = dict.fromkeys(PARTS, 0)
    arena = [(raw["arena"][0], raw["arena"][1])]
    own = [(start, end) for start, end in raw["own"]]
    giants = [(row[0], row[0] + row[1]) for row in raw["large"][1:] if not arena[0][0] <= row[0] < arena[0][1]]
    heap = 0
    found = list(mappings(raw["smaps"]))
    polars = any(_POLARS.search(one.name) for one in found)
    for before, one, after in zip([None, *found[:-1]], found, [*found[1:], None], strict=True):
        if _inside(one, arena):
            heap += one.resident
        elif _inside(one, own):
            parts["metadata"] += one.resident
        else:
            part = _part(one, before, after, polars)
            big = min(one.resident, _inside(one, giants)) if part in ("unknown", "polars", "mimalloc") else 0
            parts["giants"] += big
            parts[part] += one.resident - big
    _claimed(parts, raw.get("told", {}), raw["smaps"])
    stats = raw["stats"]
    held = max(0, stats["allocated"] - stats["giants"] - stats["in_bins"])
    # Of blocks and caches not everything need be resident: each takes what is left, and the rest is pinned.
    for part, bytes_ in (("dirty", stats["dirty"]), ("caches", stats["in_bins"]), ("live", held)):
        parts[part] = min(bytes_, heap)
        heap -= parts[part]
    parts["pinned"] = heap
    return Account(parts)
