"""What the kernel tells about a process: whether it is the same one still, its environment, what it runs on."""

from __future__ import annotations

import os
from pathlib import Path

_START_FIELD = 22
"""Of ``/proc/PID/stat``, counted from 1 (proc(5)): the clock, in ticks since boot, when the process started."""


def start_ticks(pid: int | str = "self") -> int | None:
    """When a process started, in clock ticks since boot, which tells two of one number apart; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is a name in parentheses, which may hold anything.
    return int(text.rpartition(")")[2].split()[_START_FIELD - 3])


def _status(pid: int, name: str) -> list[str]:
    """The words of a line of ``/proc/PID/status`` behind its name; none where the kernel has no such line."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.split()[1:]
    return []


def number_inside(pid: int) -> int:
    """The number under which a process knows itself: another one in a container."""
    return int([str(pid), *_status(pid, "NSpid")][-1])


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal: without one the signal may end it."""
    return bool(int([*_status(pid, "SigCgt"), "0"][0], 16) >> (number - 1) & 1)


def environment(pid: int) -> dict[str, str]:
    """The environment that a process was started with.

    Raises:
        PermissionError: when it is another user's.
    """
    text = os.fsdecode(Path(f"/proc/{pid}/environ").read_bytes())
    pairs = (entry.partition("=") for entry in text.split("\0") if entry)
    return {name: value for name, _, value in pairs}


def owner(pid: int) -> int:
    """The user id of a process."""
    return Path(f"/proc/{pid}").stat().st_uid


def runs_on(pid: int) -> str:
    """In words, whether a process has rtmalloc in its address space."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError as error:
        return f"process {pid} cannot be looked into ({error.strerror})"
    if "/librtmalloc" in maps:
        return f"process {pid} runs on the preload library"
    if "/rtmalloc/_core" in maps:
        return f"process {pid} has imported rtmalloc without the preload library"
    return f"process {pid} does not run on rtmalloc"
