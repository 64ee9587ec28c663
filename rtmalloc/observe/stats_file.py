"""Statistics for other processes: a file that this one rewrites now and then. :mod:`.stats_reader` reads it."""

from __future__ import annotations

import atexit
import json
import os
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rtmalloc.observe.process import start_ticks
from rtmalloc.observe.stats import stats
from rtmalloc.settings import STATS_FILE

_MOST_SECONDS = 86_400.0
_CHILD_SECONDS = 1.0
"""A forked child that ends or executes a program sooner leaves no file."""

_JOIN_SECONDS = 1.0


@dataclass
class _Writer:
    """The thread that writes this process's file; replaced as a whole in a forked child, whose thread is gone."""

    pattern: str
    every: float
    stop: threading.Event
    pid: int
    thread: threading.Thread | None = None


_writer: _Writer | None = None


def default_directory(environment: Mapping[str, str] = os.environ, user: int | None = None) -> Path:
    """Where files go when no path is given: a directory of one user alone, under ``XDG_RUNTIME_DIR`` or ``TMPDIR``.

    Args:
        environment: of the process that writes.
        user: its user id; None is this process's.
    """
    runtime = environment.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return Path(runtime) / "rtmalloc"
    return Path(environment.get("TMPDIR") or "/tmp") / f"rtmalloc-{os.getuid() if user is None else user}"


def path_of(pattern: str, pid: int) -> Path:
    """The file of a process: ``{pid}`` in the pattern is its number."""
    return Path(pattern.replace("{pid}", str(pid)))


def stats_file(path: str | os.PathLike[str] | None = None, *, every: float = 10.0) -> Path:
    """Let ``rtmalloc stats PID`` read this process: write :func:`stats` as JSON to a file, now and then again.

    A daemon thread does it; a forked child goes on with a file of its own. Each time the file is replaced as a whole,
    and when the process exits it is removed. ``RTMALLOC_STATS_FILE=1`` in the environment does the same without a
    change of code, for programs that are preloaded and for those that call ``install()``.

    Args:
        path: of the file; ``{pid}`` in it becomes the process id, which forked children need. None is
            ``PID.json`` in a directory that only this user can read, where ``rtmalloc stats`` looks first.
        every: seconds between two writes, 0.1 to 86 400.

    Returns:
        The path that this process writes. Calling it again replaces what was set before.

    Raises:
        ValueError: when ``every`` is out of range.
        OSError: when the file cannot be written, or the default directory belongs to somebody else.
    """
    global _writer
    if not 0.1 <= every <= _MOST_SECONDS:
        raise ValueError(f"every is 0.1 to {_MOST_SECONDS:.0f} seconds, not {every!r}")
    if path is None:
        directory = _private(default_directory())
        sweep(directory)
        pattern = str(directory / "{pid}.json")
    else:
        pattern = os.path.abspath(path)
    file = path_of(pattern, os.getpid())
    _write(file)
    stop_writing()
    if _writer is None:
        os.register_at_fork(after_in_child=_go_on_in_child)
        atexit.register(stop_writing)
    _writer = _Writer(pattern, every, threading.Event(), os.getpid())
    _start(_writer, every)
    return file


def stop_writing() -> None:
    """End what :func:`stats_file` began, and remove the file."""
    if _writer is not None and not _writer.stop.is_set() and _writer.pid == os.getpid():
        _writer.stop.set()
        if _writer.thread is not None:
            _writer.thread.join(_JOIN_SECONDS)
        with suppress(OSError):
            path_of(_writer.pattern, _writer.pid).unlink()


def is_writing(pattern: str) -> bool:
    """Whether this process writes its file by this pattern."""
    return _writer is not None and not _writer.stop.is_set() and _writer.pattern == os.path.abspath(pattern)


def start_from_environment() -> None:
    """Begin writing when ``RTMALLOC_STATS_FILE`` asks for it and nothing is written yet; warn where that cannot be."""
    wanted = os.environ.get(STATS_FILE)
    if not wanted or _writer is not None:
        return
    try:
        stats_file(None if wanted == "1" else wanted)
    except OSError as error:
        import warnings

        warnings.warn(f"rtmalloc writes no statistics: {STATS_FILE}: {error}", RuntimeWarning, stacklevel=2)


def is_current(file: Path, number: int, pid: int) -> bool:
    """Whether a file is of the process ``pid``, which knows itself as ``number``, and not of an earlier one."""
    try:
        fields = json.loads(file.read_text())
        return bool(fields["pid"] == number and fields["start"] == start_ticks(pid))
    except (OSError, ValueError, KeyError, TypeError):
        return False


def sweep(directory: Path) -> None:
    """Remove the files of processes that are gone: who is killed removes nothing."""
    for file in directory.glob("*.json"):
        if file.stem.isdecimal() and not is_current(file, int(file.stem), int(file.stem)):
            with suppress(OSError):
                file.unlink()


def _private(directory: Path) -> Path:
    """Make the directory for this user alone.

    Raises:
        OSError: when it belongs to somebody else: /tmp is open to all, and its owner would choose what we write to.
    """
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode) or found.st_mode & 0o077:
        raise PermissionError(f"{directory} is not a directory of this user alone")
    return directory


def _write(path: Path) -> None:
    """Replace the file by a fresh snapshot, so that a reader never sees half of one."""
    fresh = path.with_name(path.name + f".{os.getpid()}.new")
    fresh.write_text(stats().to_json())
    fresh.replace(path)


def _start(writer: _Writer, first: float) -> None:
    """Let a thread write ``first`` seconds from now, and then as often as the writer says."""

    def keep_writing() -> None:
        path = path_of(writer.pattern, writer.pid)
        wait = first
        while not writer.stop.wait(wait):
            # A full disk or a removed directory is no reason to disturb the program; the file's age tells.
            with suppress(OSError):
                _write(path)
            wait = writer.every

    writer.thread = threading.Thread(target=keep_writing, name="rtmalloc-stats", daemon=True)
    writer.thread.start()


def _go_on_in_child() -> None:
    """Threads do not survive a fork: write this child's own file, unless one name is for all."""
    global _writer
    if _writer is None or _writer.stop.is_set() or "{pid}" not in _writer.pattern:
        return
    _writer = _Writer(_writer.pattern, _writer.every, threading.Event(), os.getpid())
    _start(_writer, min(_writer.every, _CHILD_SECONDS))
