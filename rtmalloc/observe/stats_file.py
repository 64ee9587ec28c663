"""Statistics for other processes: a file that this one rewrites now and then, and how another reads it."""

from __future__ import annotations

import os
import stat
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rtmalloc.observe.stats import Stats, stats
from rtmalloc.settings import STATS_FILE

_MOST_SECONDS = 86_400.0


class StatsFileError(OSError):
    """The statistics of another process cannot be read; the message says why."""


@dataclass
class _Writer:
    """The thread that writes this process's file; replaced as a whole in a forked child, whose thread is gone."""

    pattern: str
    every: float
    stop: threading.Event
    thread: threading.Thread | None = None


_writer: _Writer | None = None


def default_directory() -> Path:
    """Where files go when no path is given: a directory of this user alone, under ``XDG_RUNTIME_DIR`` or ``/tmp``."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime and os.path.isdir(runtime):
        return Path(runtime) / "rtmalloc"
    return Path(tempfile.gettempdir()) / f"rtmalloc-{os.getuid()}"


def _path_of(pattern: str, pid: int) -> Path:
    """The file of a process: ``{pid}`` in the pattern is its number."""
    return Path(pattern.replace("{pid}", str(pid)))


def stats_file(path: str | os.PathLike[str] | None = None, *, every: float = 10.0) -> Path:
    """Let ``rtmalloc stats PID`` read this process: write :func:`stats` as JSON to a file, now and then again.

    A daemon thread does it; a forked child goes on with a file of its own. Each time the file is replaced as a whole.

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
    pattern = str(_private(default_directory()) / "{pid}.json") if path is None else os.path.abspath(path)
    _write(_path_of(pattern, os.getpid()))
    stop_writing()
    if _writer is None:
        os.register_at_fork(after_in_child=_go_on_in_child)
    _writer = _Writer(pattern, every, threading.Event())
    _start(_writer)
    return _path_of(pattern, os.getpid())


def stop_writing() -> None:
    """End what :func:`stats_file` began; the last file stays."""
    if _writer is not None:
        _writer.stop.set()


def start_from_environment() -> None:
    """Begin writing when ``RTMALLOC_STATS_FILE`` asks for it and nothing is being written yet."""
    wanted = os.environ.get(STATS_FILE)
    if wanted and _writer is None:
        stats_file(None if wanted == "1" else wanted)


def _private(directory: Path) -> Path:
    """Make the directory for this user alone.

    Raises:
        OSError: when it belongs to somebody else: /tmp is open to all, and he would choose what we write to.
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


def _start(writer: _Writer) -> None:
    def keep_writing() -> None:
        path = _path_of(writer.pattern, os.getpid())
        while not writer.stop.wait(writer.every):
            # A full disk or a removed directory is no reason to disturb the program; the file's age tells.
            with suppress(OSError):
                _write(path)

    writer.thread = threading.Thread(target=keep_writing, name="rtmalloc-stats", daemon=True)
    writer.thread.start()


def _go_on_in_child() -> None:
    """Threads do not survive a fork: write this child's own file, unless one name is for all."""
    global _writer
    if _writer is None or _writer.stop.is_set() or "{pid}" not in _writer.pattern:
        return
    _writer = _Writer(_writer.pattern, _writer.every, threading.Event())
    _start(_writer)


def read(pid: int, path: str | None = None) -> tuple[Stats, float]:
    """The last statistics that a process wrote.

    Args:
        pid: of the process.
        path: the file, or its pattern with ``{pid}``; None looks where :func:`stats_file` writes by default.

    Returns:
        The statistics and the time they were written, in seconds since 1970.

    Raises:
        StatsFileError: when there is no such process, or it writes no file; the message says what it runs on.
    """
    file = _path_of(path or str(default_directory() / "{pid}.json"), pid)
    if not os.path.exists(f"/proc/{pid}"):
        raise StatsFileError(f"there is no process {pid}")
    try:
        return Stats.from_json(file.read_text()), file.stat().st_mtime
    except FileNotFoundError:
        raise StatsFileError(
            f"{_runs_on(pid)}, and writes no {file}: call rtmalloc.stats_file() in it, or name its file with --file"
        ) from None
    except (OSError, ValueError) as error:
        raise StatsFileError(f"{file} cannot be read: {error}") from None


def _runs_on(pid: int) -> str:
    """In words, whether a process has rtmalloc in its address space."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
    except OSError as error:
        return f"process {pid} cannot be looked into ({error.strerror})"
    if "/librtmalloc.so" in maps:
        return f"process {pid} runs on the preload library"
    if "/rtmalloc/_core" in maps:
        return f"process {pid} has imported rtmalloc without the preload library"
    return f"process {pid} does not run on rtmalloc"
