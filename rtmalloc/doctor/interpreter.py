"""Checks of the interpreter: its build, and who else serves its allocations.

A check is a function without arguments that returns a :class:`Finding`; what it looks at is a constant of its module or
a function of the standard library, so that a test can put another world in its place.
"""

from __future__ import annotations

import os
import platform
import sys
from importlib.util import find_spec

from rtmalloc import _core
from rtmalloc.doctor.finding import NOTE, OK, PROBLEM, Finding
from rtmalloc.interpreter.install import other_hooks, tracemalloc_is_tracing


def check_interpreter() -> Finding:
    """rtmalloc hooks CPython's allocators, from 3.10 on."""
    version = f"{platform.python_implementation()} {platform.python_version()}"
    if sys.implementation.name != "cpython":
        return Finding("interpreter", PROBLEM, f"{version} has allocators of its own", "use CPython 3.10 or later")
    return Finding("interpreter", OK, version)


def check_free_threading() -> Finding:
    """On a free-threaded build only RAW can be replaced."""
    if _core.is_free_threaded():
        return Finding(
            "free threading",
            NOTE,
            "a free-threaded build keeps its objects in its own allocator, whose heaps its garbage collector walks; "
            "after a burst their memory stays, whatever MIMALLOC_PURGE_DELAY says",
            "rtmalloc serves malloc and the raw domain here; use a build with the GIL for objects too",
        )
    return Finding("free threading", OK, "a build with the GIL: all three domains can be served")


def check_collector() -> Finding:
    """Some garbage collectors keep garbage for so long that no allocator could give its memory back."""
    if _core.is_free_threaded() and sys.version_info[:2] == (3, 14):
        return Finding(
            "collector",
            NOTE,
            "a free-threaded 3.14 puts its garbage collection off until the process has grown (cpython#148937)",
            "call gc.collect() after a burst, or use 3.13 or 3.15",
        )
    if not _core.is_free_threaded() and (3, 14) <= sys.version_info[:3] < (3, 14, 5):
        return Finding(
            "collector",
            NOTE,
            "the incremental garbage collector of 3.14.0 to 3.14.4 lets garbage pile up (cpython#148726)",
            "use CPython 3.14.5 or later",
        )
    return Finding("collector", OK, "not known to keep garbage")


def check_pythonmalloc() -> Finding:
    """``PYTHONMALLOC`` chooses CPython's allocator after the preload library has hooked it."""
    chosen = os.environ.get("PYTHONMALLOC", "")
    if chosen in ("", "default"):
        return Finding("PYTHONMALLOC", OK, "not set")
    if chosen == "malloc":
        return Finding(
            "PYTHONMALLOC",
            NOTE,
            "PYTHONMALLOC=malloc sends objects through the C library's malloc: rtmalloc's under the launcher, with a "
            "detour; install() cannot hook over it there",
            "unset PYTHONMALLOC",
        )
    return Finding(
        "PYTHONMALLOC", PROBLEM, f"PYTHONMALLOC={chosen} keeps Python's objects off rtmalloc", "unset PYTHONMALLOC"
    )


def check_debug_hooks() -> Finding:
    """``-X dev`` puts CPython's debug hooks over the default allocator."""
    debugging, others = other_hooks()
    if debugging and not tracemalloc_is_tracing():
        return Finding(
            "hooks",
            PROBLEM,
            "CPython's debug hooks are active (-X dev, PYTHONDEVMODE, PYTHONMALLOC=debug): they replace the launcher's "
            "hooks, and install() refuses",
            "start without -X dev; for checks use PYTHONMALLOC=debug without rtmalloc",
        )
    if others:
        return Finding(
            "hooks", PROBLEM, f"{', '.join(others)} has hooked Python's allocators", "install rtmalloc before it"
        )
    return Finding("hooks", OK, "nobody else has hooked Python's allocators")


def check_tracemalloc() -> Finding:
    """tracemalloc takes its hooks away when it stops, and ours with them if they came later."""
    if tracemalloc_is_tracing():
        return Finding(
            "tracemalloc",
            NOTE,
            "tracemalloc is tracing: fine under the launcher, but install() refuses until it stops",
            "unset PYTHONTRACEMALLOC, drop -X tracemalloc, or install before tracemalloc.start()",
        )
    return Finding("tracemalloc", OK, "not tracing")


def check_memray() -> Finding:
    """memray takes over names of functions: the preload library's calls have them, the extension's have not."""
    if find_spec("memray") is None:
        return Finding("memray", OK, "not installed")
    return Finding(
        "memray",
        NOTE,
        "under the launcher memray sees every allocation; what install() serves it does not see",
        "profile with `rtmalloc -m memray run ...`, or call rtmalloc.disable() while it traces",
    )
