"""Call sites of a heap profile: frames, and what a call stack has asked for and holds."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

LEFT_OUT = "(outer frames left out)"
_LOOP = "asyncio/events.py"
LIFE_SECONDS = 0.004
"""The end of the first step of life times: the step of the allocator's clock. Each step is twice as long."""


def life_seconds(step: int) -> float:
    """The end of a step of life times."""
    return float(LIFE_SECONDS * 2**step)


@dataclass(frozen=True)
class Frame:
    """One line of a call stack."""

    function: str
    file: str = ""
    line: int = 0
    """0 in native code."""
    coroutine: bool = False
    """Whether it is an async function."""

    @property
    def label(self) -> str:
        """The frame for reading: ``function file:line``, or a native function and its library."""
        place = f"{self.file}:{self.line}" if self.line else os.path.basename(self.file)
        return f"{self.function} {place}".strip()


@dataclass(frozen=True)
class Site:
    """A call stack, and what it has asked for and holds; in a difference, by how much that has changed."""

    frames: tuple[Frame, ...]
    """The innermost first."""
    alloc_objects: float = 0.0
    """Blocks since the recording began."""
    alloc_bytes: float = 0.0
    live_objects: float = 0.0
    """Of them, not freed."""
    live_bytes: float = 0.0
    pinned_bytes: float = 0.0
    """Free bytes on the pages that these keep resident."""
    samples: int = 0
    """Live blocks that were followed: the relative error of ``live_bytes`` is about one over the root of it."""
    threads: tuple[str, ...] = ()
    """Names of the threads that asked for the live ones, as the kernel has them."""
    lives: tuple[float, ...] = ()
    """Bytes that are gone, by how long they lived: less than 4 ms, less than 8, and so on; the last is open."""

    def plus(self, other: Site, sign: int = 1) -> Site:
        """The sum of two records of one stack, or their difference.

        Args:
            other: the second record.
            sign: 1 for the sum, -1 for what this record has more.
        """
        return Site(
            self.frames,
            self.alloc_objects + sign * other.alloc_objects,
            self.alloc_bytes + sign * other.alloc_bytes,
            self.live_objects + sign * other.live_objects,
            self.live_bytes + sign * other.live_bytes,
            self.pinned_bytes + sign * other.pinned_bytes,
            self.samples + other.samples,
            tuple(sorted({*self.threads, *other.threads})),
            tuple(one + sign * two for one, two in zip_longest(self.lives, other.lives, fillvalue=0.0)),
        )

    @property
    def task(self) -> str:
        """The coroutine that the running asyncio task was made of; empty where none ran, or its frames were left out.

        A task itself cannot be asked: its name lies where a look might allocate.
        """
        found = ""
        for frame in self.frames:
            if frame.coroutine:
                found = frame.function
            elif found and frame.file.endswith(_LOOP):
                break
        return "" if found and self.frames[-1].function == LEFT_OUT else found

    @property
    def freed_bytes(self) -> float:
        """Bytes that are gone."""
        return sum(self.lives)

    @property
    def median_life(self) -> float:
        """Seconds that half of the bytes that are gone lived at most, to a step of ``lives``; 0 without any."""
        half = sum(self.lives) / 2
        for step, bytes_ in enumerate(self.lives):
            half -= bytes_
            if half <= 0 < bytes_:
                return life_seconds(step)
        return 0.0


def innermost(site: Site) -> Frame:
    """The frame that a site is known by."""
    python = [frame for frame in site.frames if frame.line]
    return (python or list(site.frames) or [Frame("(unknown)")])[0]


def summed(sites: Iterable[Site]) -> tuple[Site, ...]:
    """Sites of equal stacks as one, by live bytes."""
    found: dict[tuple[Frame, ...], Site] = {}
    for site in sites:
        found[site.frames] = found[site.frames].plus(site) if site.frames in found else site
    return tuple(sorted(found.values(), key=lambda site: -site.live_bytes))
