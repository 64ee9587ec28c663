"""Recordings: the format of a profile's file, merging, and the recording of this process."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rtmalloc import _core

FORMAT, VERSION = "rtmalloc-profile", 1
EVERY_MOST = 1 << 20
"""The largest ``every``."""


class ProfileError(ValueError):
    """A file is no profile, or profiles cannot be used as asked; the message says why in one sentence."""


@dataclass(frozen=True)
class SmallBucket:
    """Requests of one step of 16 bytes. All but :attr:`samples` are estimates: each sample stands for ``every``."""

    size: int
    """The largest size it counts, a multiple of 16; the least is 15 bytes less."""
    samples: int
    """Requests that were followed."""
    requests: int
    """Requests of the program."""
    bytes: int
    """Bytes that they asked for, all together."""
    live: int
    """Requests among them whose block was not freed when the profile was taken."""
    live_bytes: int
    """Bytes that these asked for."""
    object_ms: int
    """Milliseconds that their blocks lived, all together; of those still alive, until then."""
    byte_ms: int
    """The same, each block times the bytes asked for."""


@dataclass(frozen=True)
class LargeBucket:
    """Requests above the small classes: an eighth of a doubling."""

    least: int
    """The least size in bytes that it counts; the next bucket begins at most an eighth above it."""
    requests: int
    """Exactly."""
    bytes: int
    """Bytes that they asked for, exactly."""


@dataclass(frozen=True)
class Profile:
    """What one recording found, or many that were merged."""

    milliseconds: int
    """How long was recorded; of merged profiles the sum."""
    every: int
    """One small request in so many was followed; of merged profiles the largest."""
    small: tuple[SmallBucket, ...]
    """In ascending order; sizes nobody asked for are left out."""
    large: tuple[LargeBucket, ...]
    """In ascending order."""
    processes: int = 1
    programs: dict[str, int] = field(default_factory=dict)
    """Processes by the name of their program."""
    classes: tuple[int, ...] = ()
    """Block sizes of the small classes that served them; empty when they were not the same everywhere."""

    def to_json(self) -> str:
        """The profile in the format of docs/profiles.md."""
        head = {
            "format": FORMAT,
            "version": VERSION,
            "programs": self.programs,
            "processes": self.processes,
            "milliseconds": self.milliseconds,
            "every": self.every,
            "classes": self.classes,
        }
        lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
        for name, rows in (("small", self.small), ("large", self.large)):
            body = ",\n ".join(json.dumps(list(vars(row).values())) for row in rows)
            lines.append(f'"{name}": [{body}]')
        return "{" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str, name: str = "profile") -> Profile:
        """The profile that ``text`` holds.

        Args:
            text: what :meth:`to_json` or a process under ``RTMALLOC_PROFILE`` wrote.
            name: stands for it in messages.

        Raises:
            ProfileError: when it is something else, or of another version.
        """
        try:
            fields = json.loads(text)
        except json.JSONDecodeError as error:
            raise ProfileError(f"{name}:{error.lineno}: no profile: {error.msg}") from None
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ProfileError(f"{name}: no profile: it does not say format {FORMAT}")
        if fields.get("version") != VERSION:
            raise ProfileError(f"{name}: version {fields.get('version')!r}; this program reads version {VERSION}")
        programs = fields.get("programs", {})
        if not isinstance(programs, dict) or not all(_is_count(count) for count in programs.values()):
            raise ProfileError(f"{name}: programs is an object of counts")
        small = tuple(SmallBucket(*row) for row in _rows(fields, "small", 8, name))
        if any(bucket.size % 16 or not 0 < bucket.size <= 1 << 15 for bucket in small):
            raise ProfileError(f"{name}: a small size is a multiple of 16 up to 32768")
        return cls(
            milliseconds=_count(fields, "milliseconds", name),
            every=_count(fields, "every", name),
            small=small,
            large=tuple(LargeBucket(*row) for row in _rows(fields, "large", 3, name)),
            processes=_count(fields, "processes", name),
            programs=dict(programs),
            classes=tuple(_counts(fields.get("classes", []), "classes", name)),
        )

    def save(self, path: str | Path) -> None:
        """Write the profile to a file.

        Args:
            path: replaced whole or not at all.

        Raises:
            OSError: when it cannot be written.
        """
        target = Path(path)
        fresh = target.with_name(target.name + ".new")
        fresh.write_text(self.to_json(), encoding="utf-8")
        fresh.replace(target)


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _counts(value: Any, key: str, name: str) -> list[int]:
    if not isinstance(value, list) or not all(_is_count(item) for item in value):
        raise ProfileError(f"{name}: {key} is a list of whole numbers")
    return value


def _count(fields: dict[str, Any], key: str, name: str) -> int:
    value = fields.get(key)
    if not _is_count(value):
        raise ProfileError(f"{name}: {key} is a whole number")
    return int(value)  # type: ignore[arg-type]  # _is_count says so


def _rows(fields: dict[str, Any], key: str, length: int, name: str) -> list[list[int]]:
    rows = fields.get(key)
    if not isinstance(rows, list):
        raise ProfileError(f"{name}: {key} is a list of buckets")
    for row in rows:
        if len(_counts(row, f"a bucket of {key}", name)) != length:
            raise ProfileError(f"{name}: a bucket of {key} has {length} numbers")
    if [row[0] for row in rows] != sorted({row[0] for row in rows}):
        raise ProfileError(f"{name}: the buckets of {key} ascend")
    return rows


def load(path: str | Path) -> Profile:
    """Read a profile from a file.

    Args:
        path: a file that :func:`save` or a recorded process wrote.

    Raises:
        ProfileError: when it is no profile.
        OSError: when it cannot be read.
    """
    try:
        return Profile.from_json(Path(path).read_text(encoding="utf-8"), name=str(path))
    except UnicodeDecodeError:
        raise ProfileError(f"{path}: no profile: it is no text") from None


def _sum(rows: Iterable[SmallBucket | LargeBucket]) -> list[list[int]]:
    """Rows with the same first number added up, in ascending order."""
    sums: dict[int, list[int]] = {}
    for row in rows:
        first, *rest = vars(row).values()
        sums[first] = [a + b for a, b in zip(sums.get(first, [0] * len(rest)), rest, strict=True)]
    return [[first, *sums[first]] for first in sorted(sums)]


def merge(profiles: Sequence[Profile]) -> Profile:
    """One profile of many, of any number of processes and machines; in any order and grouping the same.

    Args:
        profiles: one or more; their counts are added up.

    Raises:
        ProfileError: when there is none.
    """
    if not profiles:
        raise ProfileError("there is no profile to merge")
    programs: dict[str, int] = {}
    for profile in profiles:
        for name, count in profile.programs.items():
            programs[name] = programs.get(name, 0) + count
    tables = {profile.classes for profile in profiles}
    return Profile(
        milliseconds=sum(profile.milliseconds for profile in profiles),
        every=max(profile.every for profile in profiles),
        small=tuple(SmallBucket(*row) for row in _sum(b for p in profiles for b in p.small)),
        large=tuple(LargeBucket(*row) for row in _sum(b for p in profiles for b in p.large)),
        processes=sum(profile.processes for profile in profiles),
        programs=dict(sorted(programs.items())),
        classes=tables.pop() if len(tables) == 1 else (),
    )


def start(every: int = 1024) -> None:
    """Begin a recording in this process; what an earlier one counted is forgotten.

    Args:
        every: of so many small requests one is followed, 1 to 1048576. The default costs about 1.5 % of throughput in
            a program that does nothing but allocate.

    Raises:
        ValueError: for another ``every``.
        MemoryError: when there is none for the counters.
    """
    if type(every) is not int or not 1 <= every <= EVERY_MOST:
        raise ValueError(f"every is a whole number from 1 to {EVERY_MOST}, not {every!r}")
    if not _core.profile_start(every):
        raise MemoryError("no memory for the profile")


def stop() -> None:
    """End the recording. What it counted stays for :func:`snapshot`, in which blocks freed later count as alive."""
    _core.profile_stop()


def is_recording() -> bool:
    """Whether a recording runs in this process now."""
    return _core.profile_read()[0][0]


def snapshot() -> Profile:
    """What the present recording has found so far, or the last one if it has ended.

    Raises:
        ProfileError: when nothing was recorded in this process.
    """
    (_, every, milliseconds), small, large = _core.profile_read()
    if every == 0:
        raise ProfileError(
            "nothing is recorded in this process: call rtmalloc.profile.start(), or set RTMALLOC_PROFILE"
        )
    name = Path(sys.argv[0]).name if sys.argv and sys.argv[0] not in ("", "-c") else Path(sys.executable).name
    return Profile(
        milliseconds=milliseconds,
        every=every,
        small=tuple(SmallBucket(*row) for row in small),
        large=tuple(LargeBucket(*row) for row in large),
        programs={name: 1},
        classes=tuple(_core.size_classes()[0]),
    )


def save(path: str | Path) -> None:
    """Write :func:`snapshot` to a file.

    Args:
        path: replaced whole or not at all.

    Raises:
        ProfileError: when nothing was recorded in this process.
        OSError: when the file cannot be written.
    """
    snapshot().save(path)
