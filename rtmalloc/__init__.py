"""rtmalloc: a memory allocator for Python services and any other program.

``python -m rtmalloc script.py`` runs a program with every allocation on rtmalloc; :func:`install` moves a running
interpreter over to it. :func:`status` and :func:`verify` tell whether it is active, :func:`stats` what it does, and
:func:`trim` gives unused memory back.
"""

from __future__ import annotations

import sys
from typing import NoReturn


def _cannot_be_used(reason: str, cause: BaseException | None = None) -> NoReturn:
    """End the import with one sentence; on the command line, with that sentence alone."""
    # runpy imports this package while sys.argv[0] is still "-m"; the console script has its own name there.
    if sys.argv[:1] == ["-m"] or (sys.argv and sys.argv[0].endswith("/rtmalloc")):
        raise SystemExit(f"rtmalloc: {reason}")
    raise ImportError(f"rtmalloc: {reason}") from cause


if sys.implementation.name != "cpython" or sys.version_info < (3, 10):
    _cannot_be_used(f"needs CPython 3.10 or later, this is {sys.implementation.name} {sys.version.split()[0]}")
try:
    from rtmalloc import _core  # noqa: F401  # the first import of it, so that a failure is told here
except ImportError as error:
    if "static TLS" in str(error):
        _cannot_be_used(
            "too many libraries with static thread-local storage are loaded: import rtmalloc first, or use the launcher "
            "(python -m rtmalloc)",
            error,
        )
    _cannot_be_used(
        f"has no extension module for CPython {sys.version.split()[0]} ({error}): install it with this interpreter's pip",
        error,
    )

from rtmalloc._install import InstallError, Status, Verification, disable, enable, install, status, verify
from rtmalloc._library import library_path
from rtmalloc._options import Option, configure, options
from rtmalloc._stats import ClassStats, Stats, bytes_allocated, stats, trim
from rtmalloc._stats_file import StatsFileError, stats_file

__version__ = "0.1.0"

__all__ = [
    "ClassStats",
    "InstallError",
    "Option",
    "Stats",
    "StatsFileError",
    "Status",
    "Verification",
    "bytes_allocated",
    "configure",
    "disable",
    "enable",
    "install",
    "library_path",
    "options",
    "stats",
    "stats_file",
    "status",
    "trim",
    "verify",
]
