"""The account of a process's resident memory: every page that the kernel counts, in one of a few parts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+\s*(.*)")
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
    "brk": "the C library's own heap, not ours",
    "unknown": "anonymous memory of somebody else: other allocators, or the interpreter's own",
}


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


def _part(one: Mapping_, before: Mapping_ | None) -> str:
    """The part that a mapping belongs to which is not the allocator's."""
    if "s" in one.access or one.name.startswith(("/dev/shm/", "/SYSV", "/memfd:", "/dev/zero")):
        return "shared"
    if one.name.startswith("[stack"):
        return "stacks"
    if one.name == "[heap]":
        return "brk"
    if one.name.startswith("/") or one.name.startswith("[v"):
        return "files"
    guarded = before is not None and before.end == one.start and before.access.startswith("---")
    if before is not None and guarded and before.end - before.start <= _GUARD_BYTES and one.access.startswith("rw"):
        return "stacks"
    return "unknown"


def account_of(raw: Mapping[str, Any]) -> Account:
    """The account of the process that wrote a heap profile, at that moment."""
    parts = dict.fromkeys(PARTS, 0)
    arena = [(raw["arena"][0], raw["arena"][1])]
    own = [(start, end) for start, end in raw["own"]]
    giants = [(row[0], row[0] + row[1]) for row in raw["large"][1:] if not arena[0][0] <= row[0] < arena[0][1]]
    before = None
    heap = 0
    for one in mappings(raw["smaps"]):
        if _inside(one, arena):
            heap += one.resident
        elif _inside(one, own):
            parts["metadata"] += one.resident
        else:
            part = _part(one, before)
            big = min(one.resident, _inside(one, giants)) if part == "unknown" else 0
            parts["giants"] += big
            parts[part] += one.resident - big
        before = one
    stats = raw["stats"]
    held = max(0, stats["allocated"] - stats["giants"] - stats["in_bins"])
    # Of blocks and caches not everything need be resident: each takes what is left, and the rest is pinned.
    for part, bytes_ in (("dirty", stats["dirty"]), ("caches", stats["in_bins"]), ("live", held)):
        parts[part] = min(bytes_, heap)
        heap -= parts[part]
    parts["pinned"] = heap
    return Account(parts)
