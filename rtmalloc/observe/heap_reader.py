"""The heap profile of another process: a signal asks for it, and the process writes it into its own directory."""

from __future__ import annotations

import os
import time
from pathlib import Path

from rtmalloc.observe import process
from rtmalloc.settings import HEAP_PROFILE, OPTIONS

_STEP_SECONDS = 0.05


class HeapReadError(OSError):
    """A process cannot be asked for its heap profile; the message says why."""


def _option(environment: dict[str, str], name: str) -> str:
    """An option as a process was started with it; empty when it was not named. The last one counts."""
    found = ""
    for part in environment.get(OPTIONS, "").split(","):
        key, _, value = part.partition("=")
        if key == name:
            found = value
    return found


def _files(directory: Path, number: int) -> set[Path]:
    return set(directory.glob(f"rtmalloc-heap-{number}-*.json"))


def ask(pid: int, timeout: float = 10.0) -> Path:
    """Let a process write its heap profile now.

    Args:
        pid: of the process, as it is seen from here.
        timeout: seconds to wait for the file.

    Returns:
        The file.

    Raises:
        HeapReadError: when there is no such process, it is another user's, it records none, or it does not answer.
    """
    if process.start_ticks(pid) is None:
        raise HeapReadError(f"there is no process {pid}")
    if process.owner(pid) != os.geteuid():
        raise HeapReadError(f"process {pid} belongs to user {process.owner(pid)}, and so does its heap profile")
    theirs = process.environment(pid)
    directory, wanted = theirs.get(HEAP_PROFILE, ""), _option(theirs, "heap_profile_signal")
    if not directory or not wanted.isdecimal() or not 0 < int(wanted) <= 64:
        raise HeapReadError(
            f"{process.runs_on(pid)}, and was not started for this: `rtmalloc run --heap-profile DIRECTORY -- command`"
        )
    if not process.catches(pid, int(wanted)):
        raise HeapReadError(f"process {pid} has no handler for signal {wanted}: it would end by it")
    number = process.number_inside(pid)
    place = Path(os.path.join(os.readlink(f"/proc/{pid}/cwd"), directory))
    if os.readlink(f"/proc/{pid}/ns/mnt") != os.readlink("/proc/self/ns/mnt"):
        place = Path(f"/proc/{pid}/root{place}")
    before = _files(place, number)
    os.kill(pid, int(wanted))
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        fresh = _files(place, number) - before
        if fresh:
            return max(fresh)
        time.sleep(_STEP_SECONDS)
    raise HeapReadError(f"process {pid} has written nothing to {place} for {timeout:.0f} s")
