"""The statistics that another process writes: where its file is, and whether it is of that very process."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator
from pathlib import Path

from rtmalloc.observe import process
from rtmalloc.observe.stats import Stats
from rtmalloc.observe.stats_file import default_directory, is_current, path_of
from rtmalloc.settings import STATS_FILE


class StatsFileError(OSError):
    """The statistics of another process cannot be read; the message says why."""


def read(pid: int, pattern: str | None = None) -> tuple[Stats, float]:
    """The last statistics that a process wrote.

    Args:
        pid: of the process, as it is seen from here.
        pattern: the file, with ``{pid}`` for the process id; None looks where the process would write it, by its own
            environment.

    Returns:
        The statistics and the time they were written, in seconds since 1970.

    Raises:
        StatsFileError: when there is no such process, or it writes no file; the message says what it runs on.
    """
    if process.start_ticks(pid) is None:
        raise StatsFileError(f"there is no process {pid}")
    number = process.number_inside(pid)
    try:
        patterns = [pattern] if pattern else list(_patterns(pid))
    except PermissionError:
        raise StatsFileError(
            f"process {pid} belongs to user {process.owner(pid)}: ask as that user or as root"
        ) from None
    looked = []
    for one in patterns:
        file = path_of(one, number)
        if not file.exists():
            looked.append(str(file))
        elif not is_current(file, number, pid):
            looked.append(f"{file}, which is damaged or left from an earlier process")
        else:
            return Stats.from_json(file.read_text()), file.stat().st_mtime
    raise StatsFileError(
        f"{process.runs_on(pid)}, and writes no statistics (looked for {'; '.join(looked)}): start it with "
        f"{STATS_FILE}=1 in its environment, call rtmalloc.stats_file() in it, or name its file with --file"
    )


def _patterns(pid: int) -> Iterator[str]:
    """Where a process may write: by our environment, by its own, and both as its container sees them.

    Raises:
        PermissionError: when it is another user's.
    """
    theirs = process.environment(pid)
    found = [str(default_directory() / "{pid}.json"), str(default_directory(theirs, process.owner(pid)) / "{pid}.json")]
    if theirs.get(STATS_FILE, "1") not in ("", "1"):
        found.insert(0, os.path.join(os.readlink(f"/proc/{pid}/cwd"), theirs[STATS_FILE]))
    if theirs.get("PROMETHEUS_MULTIPROC_DIR"):
        found.append(worker_pattern(theirs["PROMETHEUS_MULTIPROC_DIR"]))
    if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
        found += [f"/proc/{pid}/root{pattern}" for pattern in found]
    yield from dict.fromkeys(found)


def worker_pattern(directory: str) -> str:
    """The pattern of the files in a directory that the workers of one service share."""
    return os.path.join(directory, "rtmalloc_{pid}.json")


def workers(directory: str) -> Iterator[tuple[int, Stats]]:
    """The process ids and statistics of all living processes that write to a shared directory."""
    before, after = worker_pattern(glob.escape(directory)).split("{pid}")
    for name in sorted(glob.glob(f"{before}*{after}")):
        number = os.path.basename(name).removeprefix("rtmalloc_").removesuffix(".json")
        if number.isdecimal() and is_current(Path(name), int(number), int(number)):
            yield int(number), Stats.from_json(Path(name).read_text())
