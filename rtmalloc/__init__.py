"""rtmalloc: a memory allocator for Python services and any other program.

``python -m rtmalloc script.py`` runs a program with every allocation on rtmalloc; :func:`install` moves a running
interpreter over to it. :func:`status` and :func:`verify` tell whether it is active, :func:`stats` what it does, and
:func:`trim` gives unused memory back.
"""

from __future__ import annotations

from rtmalloc import _supported  # noqa: F401  # first: it ends the import with a sentence where nothing else can work
from rtmalloc._install import InstallError, Status, disable, enable, install, status
from rtmalloc._library import library_path

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from rtmalloc._options import Option, configure, options
    from rtmalloc._pressure import PressureCallback, announce_memory_pressure, on_memory_pressure
    from rtmalloc._stats import ClassStats, Stats, ThreadStats, bytes_allocated, stats, trim
    from rtmalloc._stats_file import StatsFileError, stats_file
    from rtmalloc._verify import Verification, verify

__version__ = "0.1.0"

# What needs dataclasses, json or ctypes comes with its first use: importing rtmalloc and install() stay under 5 ms.
_LATER = {
    "ClassStats": "_stats",
    "Option": "_options",
    "PressureCallback": "_pressure",
    "Stats": "_stats",
    "StatsFileError": "_stats_file",
    "ThreadStats": "_stats",
    "Verification": "_verify",
    "announce_memory_pressure": "_pressure",
    "bytes_allocated": "_stats",
    "configure": "_options",
    "on_memory_pressure": "_pressure",
    "options": "_options",
    "stats": "_stats",
    "stats_file": "_stats_file",
    "trim": "_stats",
    "verify": "_verify",
}

_SUBMODULES = ("numpy", "profile", "prometheus")

__all__ = [
    "ClassStats",
    "InstallError",
    "Option",
    "PressureCallback",
    "Stats",
    "StatsFileError",
    "Status",
    "ThreadStats",
    "Verification",
    "announce_memory_pressure",
    "bytes_allocated",
    "configure",
    "disable",
    "enable",
    "install",
    "library_path",
    "on_memory_pressure",
    "options",
    "stats",
    "stats_file",
    "status",
    "trim",
    "verify",
]


def __getattr__(name: str) -> object:
    """Fetch a public name from the module that has it, once; the modules of _SUBMODULES too."""
    if name not in _LATER and name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    value = getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """All public names, also those not fetched yet."""
    return sorted({*globals(), *_LATER})
