"""Heap profiles: who holds memory, by call site. The file that the allocator writes, its estimates, differences.

A followed block stands for ``interval / bytes`` blocks like it (docs/heap-profile.md), so that all sums here are
estimates, and unbiased. What a site pins are pages that stay resident for its survivors: of each page an equal share
for every block in use on it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtmalloc import _core
from rtmalloc.interpreter.options import configure
from rtmalloc.observe import thread_names
from rtmalloc.profile.heap_sites import LEFT_OUT, Frame, Site, innermost, summed
from rtmalloc.profile.recording import ProfileError

if TYPE_CHECKING:
    from rtmalloc.profile.heap_account import Account

FORMAT, VERSION = "rtmalloc-heap", 1
INTERVAL = 512 * 1024
"""Bytes that a followed block stands for, unless told otherwise."""

UNWINDING = {0: "no native frames", 1: ".eh_frame", 2: "frame pointers"}
PYTHON = {
    0: "no Python frames: rtmalloc was not imported",
    1: "Python frames",
    2: "no Python frames: this interpreter does not lay them out as rtmalloc knows it",
}
_OWN = ("librtmalloc", "_core.")


@dataclass(frozen=True)
class HeapProfile:
    """What a process held at one moment, or what changed between two."""

    program: str
    pid: int
    time: float
    """Seconds since 1970."""
    seconds: float
    """Since the recording began; of a difference, between the two."""
    interval: int
    native: str
    """How native frames were found."""
    python: str
    """Whether Python frames could be found, and why not."""
    left_out: int
    """Samples whose stack, or whose block, found no room in the profile's tables."""
    sites: tuple[Site, ...]
    """By live bytes, the most first."""
    is_difference: bool = False
    raw: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)
    """The file's content; None in a difference."""

    @property
    def live_bytes(self) -> float:
        """All live bytes."""
        return sum(site.live_bytes for site in self.sites)

    @property
    def pinned_bytes(self) -> float:
        """All free bytes on pages that live blocks keep resident."""
        return sum(site.pinned_bytes for site in self.sites)

    def account(self) -> Account:
        """The resident memory of the process, split; the parts add up to what the kernel counts.

        Raises:
            ProfileError: for a difference.
        """
        from rtmalloc.profile.heap_account import account_of

        return account_of(self._raw())

    def by_line(self) -> tuple[Site, ...]:
        """The sites, summed by their innermost Python frame, or the innermost frame where there is none."""
        return summed(replace(site, frames=(innermost(site),)) for site in self.sites)

    def minus(self, before: HeapProfile) -> HeapProfile:
        """What has changed since an earlier profile of the same process: leaks grow.

        Args:
            before: the earlier profile.
        """
        sites: dict[tuple[Frame, ...], Site] = {site.frames: site for site in self.sites}
        for site in before.sites:
            sites[site.frames] = sites.get(site.frames, Site(site.frames)).plus(site, -1)
        found = tuple(sorted(sites.values(), key=lambda site: -site.live_bytes))
        return replace(self, sites=found, seconds=self.time - before.time, is_difference=True, raw=None)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile as JSON; ``rtmalloc/schema/heap-1.json`` is its schema.

        Args:
            path: of the file, which is replaced.

        Raises:
            ProfileError: for a difference.
        """
        Path(path).write_text(json.dumps(self._raw()), encoding="utf-8")

    def to_pprof(self, path: str | os.PathLike[str]) -> None:
        """Write it as pprof's ``profile.proto``, gzipped; needs ``pip install 'rtmalloc[profile]'``.

        Args:
            path: of the file, which is replaced.
        """
        from rtmalloc.profile.heap_pprof import pprof_bytes

        Path(path).write_bytes(pprof_bytes(self))

    def to_collapsed(self, path: str | os.PathLike[str], of: str = "live_bytes") -> None:
        """Write lines ``outer;inner bytes`` for tools that draw flame graphs.

        Args:
            path: of the file.
            of: which number of a :class:`Site`. What is not positive is left out.
        """
        lines = []
        for site in self.sites:
            value = round(getattr(site, of))
            if value > 0:
                frames = [frame.label.replace(";", ":") for frame in reversed(site.frames)]
                lines.append(f"{';'.join(frames) or '(unknown)'} {value}")
        Path(path).write_text("".join(line + "\n" for line in lines), encoding="utf-8")

    def _raw(self) -> Mapping[str, Any]:
        if self.raw is None:
            raise ProfileError("a difference of two profiles has no file and no account of its own")
        return self.raw


def _frame(row: list[Any], strings: list[str]) -> Frame:
    if row[0] in (1, 3):
        return Frame(strings[row[3]], strings[row[2]], row[1], row[0] == 3)
    if row[0] == 2:
        return Frame(LEFT_OUT)
    return Frame(row[3] or f"{os.path.basename(row[2]) or '?'}+{row[1]:#x}", row[2])


def _is_own(frame: Frame) -> bool:
    """Whether it is one of the allocator's own frames, with which a native stack begins."""
    name = os.path.basename(frame.file)
    return not frame.line and name.startswith(_OWN)


def _stacks(raw: Mapping[str, Any]) -> list[tuple[Frame, ...]]:
    frames = [_frame(row, raw["strings"]) for row in raw["frames"]]
    frames[0] = Frame("(no room for its name)")
    found = []
    for _, _, _, *numbers in raw["stacks"]:
        stack = [frames[number] for number in numbers]
        while stack and _is_own(stack[0]):
            del stack[0]
        found.append(tuple(stack))
    return found


def from_raw(raw: Mapping[str, Any]) -> HeapProfile:
    """The estimates of a file's content.

    Raises:
        ProfileError: when it is no heap profile, or of a version that is not known.
    """
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise ProfileError("this is no heap profile")
    if raw.get("version") != VERSION:
        raise ProfileError(f"a heap profile of version {raw.get('version')!r}: this rtmalloc knows version {VERSION}")
    try:
        return _estimated(raw)
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise ProfileError(f"this heap profile is damaged ({type(error).__name__}: {error})") from None


def _estimated(raw: Mapping[str, Any]) -> HeapProfile:
    interval, every = raw["interval"], raw["every"]
    stacks = _stacks(raw)
    sites = [
        Site(frames, objects / 256, float(asked))
        for frames, (_, objects, asked, *_) in zip(stacks, raw["stacks"], strict=True)
    ]
    for stack, *lives in raw["lives"][1:]:
        sites[stack] = replace(sites[stack], lives=tuple(map(float, lives)))
    for rows, least in ((raw["live"], 1.0 / every), (raw["large"], 0.0)):
        for row in rows[1:]:
            _, block, _, stack, thread, _, share = row
            # Chosen with probability block / interval, at most 1; a small block at most with that of a candidate.
            weight = 1 / min(1.0, block / interval, least or 1.0)
            held = Site(
                stacks[stack],
                live_objects=weight,
                live_bytes=weight * block,
                pinned_bytes=weight * max(0, share - block),
                samples=1,
                threads=(raw["strings"][thread],) if thread else (),
            )
            sites[stack] = sites[stack].plus(held)
    if raw["whole"] is not True:
        raise ValueError("it is not whole")
    return HeapProfile(
        raw["program"],
        raw["pid"],
        raw["time_ms"] / 1000,
        raw["milliseconds"] / 1000,
        interval,
        UNWINDING[raw["native"]],
        PYTHON[raw["python"]],
        raw["left_out"],
        summed(site for site in sites if site.alloc_bytes or site.live_bytes),
        raw=raw,
    )


def parse(text: str, name: str) -> HeapProfile:
    """The heap profile in a file's text.

    Raises:
        ProfileError: when it is none, or was cut short.
    """
    try:
        raw = json.loads(text)
    except ValueError:
        raise ProfileError(f"{name}: this heap profile was cut short, or is none: it is no whole JSON") from None
    try:
        return from_raw(raw)
    except ProfileError as error:
        raise ProfileError(f"{name}: {error}") from None


def load_heap(path: str | os.PathLike[str]) -> HeapProfile:
    """Read a heap profile that a process wrote, or :meth:`HeapProfile.save`.

    Args:
        path: of the file.

    Raises:
        ProfileError: when the file is none, or was cut short.
        OSError: when it cannot be read.
    """
    return parse(Path(path).read_text(encoding="utf-8", errors="replace"), os.fspath(path))


def heap_start(interval: int = INTERVAL) -> None:
    """Begin a heap profile of this process; a running one begins anew. It excludes a profile of sizes.

    Args:
        interval: bytes that a followed block stands for, 1 to 1 GiB.

    Raises:
        ValueError: when it is out of range.
    """
    thread_names.keep()
    configure(heap_profile=0)
    configure(heap_profile_interval=interval)
    configure(heap_profile=1)


def heap_stop() -> None:
    """End the heap profile; what it knew is forgotten."""
    configure(heap_profile=0)


def heap() -> HeapProfile:
    """Who holds memory in this process now.

    Raises:
        ProfileError: when no heap profile is recorded (:func:`heap_start`, or ``RTMALLOC_OPTIONS=heap_profile=1``).
        OSError: when there is no descriptor left.
    """
    with os.fdopen(os.memfd_create("rtmalloc-heap", os.MFD_CLOEXEC), "r+", encoding="utf-8", errors="replace") as file:
        if not _core.heap_dump_into(file.fileno()):
            raise ProfileError(
                "no heap profile is recorded: call rtmalloc.profile.heap_start(), or start the process with "
                "RTMALLOC_OPTIONS=heap_profile=1"
            )
        file.seek(0)
        profile = parse(file.read(), "this process")
    return replace(profile, raw={**(profile.raw or {}), "told": _told()})


def _told() -> dict[str, int]:
    """Bytes of heaps that their libraries can tell of, where they are loaded."""
    arrow = sys.modules.get("pyarrow")
    pool = arrow.default_memory_pool() if arrow is not None else None
    return {"pyarrow": pool.bytes_allocated()} if pool is not None and pool.backend_name != "system" else {}
