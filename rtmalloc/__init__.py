"""rtmalloc: a memory allocator for Python services and any other program.

``python -m rtmalloc script.py`` runs a program with every allocation on rtmalloc; :func:`install` moves a running
interpreter over to it. :func:`status` and :func:`verify` tell whether it is active, :func:`stats` what it does, and
:func:`trim` gives unused memory back.
"""

from __future__ import annotations

from rtmalloc import _supported  # noqa: F401  # first: it ends the import with a sentence where nothing else can work

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from rtmalloc.interpreter.install import InstallError, Status, disable, enable, install, status
    from rtmalloc.interpreter.options import Option, configure, options, set_memory_limit
    from rtmalloc.interpreter.pressure import PressureCallback, announce_memory_pressure, on_memory_pressure
    from rtmalloc.interpreter.verify import Verification, verify
    from rtmalloc.observe.stats import ClassStats, Stats, ThreadStats, bytes_allocated, stats, trim
    from rtmalloc.observe.stats_file import stats_file
    from rtmalloc.observe.stats_reader import StatsFileError
    from rtmalloc.settings import library_path

__version__ = "0.1.0"

# A module comes with the first use of a name in it. The launcher needs none of them, and most import dataclasses, json
# or ctypes: importing rtmalloc and install() stay under 5 ms.
_MODULES = {
    "interpreter.install": ("InstallError", "Status", "disable", "enable", "install", "status"),
    "interpreter.options": ("Option", "configure", "options", "set_memory_limit"),
    "interpreter.pressure": ("PressureCallback", "announce_memory_pressure", "on_memory_pressure"),
    "interpreter.verify": ("Verification", "verify"),
    "observe.stats": ("ClassStats", "Stats", "ThreadStats", "bytes_allocated", "stats", "trim"),
    "observe.stats_file": ("stats_file",),
    "observe.stats_reader": ("StatsFileError",),
    "settings": ("library_path",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

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
    "set_memory_limit",
    "stats",
    "stats_file",
    "status",
    "trim",
    "verify",
]


def __getattr__(name: str) -> object:
    """Fetch a public name from the module that has it, once; the modules of _SUBMODULES too."""
    if name not in _MODULE_OF and name not in _SUBMODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _SUBMODULES:
        return _module(name)
    value = getattr(_module(_MODULE_OF[name]), name)
    globals()[name] = value
    return value


def _module(name: str) -> object:
    """A module of this package. As importlib.import_module, which takes longer to import than all of this."""
    import sys

    __import__(f"{__name__}.{name}")
    return sys.modules[f"{__name__}.{name}"]


def __dir__() -> list[str]:
    """All public names, also those not fetched yet."""
    return sorted({*globals(), *_MODULE_OF})
