"""rtmalloc: a memory allocator for Python services and any other program.

``python -m rtmalloc script.py`` runs a program with every allocation on rtmalloc; :func:`install` moves a running
interpreter over to it. :func:`stats` and :func:`status` show what it does, :func:`trim` gives unused memory back.
"""

from __future__ import annotations

from rtmalloc._api import (
    ClassStats,
    InstallError,
    Option,
    Stats,
    Status,
    configure,
    disable,
    enable,
    install,
    library_path,
    options,
    stats,
    status,
    trim,
)

__version__ = "0.1.0"

__all__ = [
    "ClassStats",
    "InstallError",
    "Option",
    "Stats",
    "Status",
    "configure",
    "disable",
    "enable",
    "install",
    "library_path",
    "options",
    "stats",
    "status",
    "trim",
]
