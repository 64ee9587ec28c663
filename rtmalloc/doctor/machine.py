"""Checks of the machine: kernel, limits, C library, loader.

A check is a function without arguments that returns a :class:`Finding`; what it looks at is a constant of its module or
a function of the standard library, so that a test can put another world in its place.
"""

from __future__ import annotations

import os
import platform
import resource
import sys
import sysconfig
from pathlib import Path

from rtmalloc.doctor.finding import NOTE, OK, PROBLEM, Finding
from rtmalloc.launcher.launch import why_not_preloadable

THP_FILE = Path("/sys/kernel/mm/transparent_hugepage/enabled")
OVERCOMMIT_FILE = Path("/proc/sys/vm/overcommit_memory")

_LEAST_ADDRESS_SPACE = 1 << 30


def check_loader() -> Finding:
    """The loader ignores ``LD_PRELOAD`` for privileged and for static programs."""
    reason = why_not_preloadable(os.path.realpath(sys.executable))
    if reason:
        return Finding("loader", PROBLEM, f"{sys.executable} {reason}", "use install(), which needs no loader")
    return Finding("loader", OK, f"preloads into {sys.executable}")


def check_c_library() -> Finding:
    """musl refuses initial-exec thread-local storage in libraries that are loaded late."""
    if "musl" in str(sysconfig.get_config_var("HOST_GNU_TYPE")) or "musl" in str(sysconfig.get_config_var("MULTIARCH")):
        return Finding(
            "C library",
            NOTE,
            "musl: the preload library is tested with C programs there, Python is not",
            "use a glibc image, or test well",
        )
    return Finding("C library", OK, " ".join(platform.libc_ver()) or "unknown")


def check_static_tls() -> Finding:
    """The extension needs 8 bytes of static thread-local storage, which every loaded library draws from."""
    # Without them `import rtmalloc` has failed, with a sentence of its own, and nobody gets here.
    return Finding("static TLS", OK, "the extension was loaded")


def check_address_space() -> Finding:
    """A limit on the address space makes rtmalloc map its arena piece by piece."""
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft == resource.RLIM_INFINITY:
        return Finding("address space", OK, "no limit")
    mib = soft >> 20
    if soft < _LEAST_ADDRESS_SPACE:
        return Finding(
            "address space",
            NOTE,
            f"limited to {mib} MiB (ulimit -v): tables and arena share it with everything else",
            "limit the memory instead of the address space (a cgroup's memory.max)",
        )
    return Finding("address space", OK, f"limited to {mib} MiB: the arena is made to fit")


def check_overcommit() -> Finding:
    """Strict overcommit counts what is reserved."""
    try:
        strict = OVERCOMMIT_FILE.read_text().strip() == "2"
    except OSError:
        return Finding("overcommit", OK, "unknown")
    if strict:
        return Finding(
            "overcommit",
            NOTE,
            "vm.overcommit_memory=2: the kernel counts mapped memory even if it is never touched",
            "expect an earlier out-of-memory; vm.overcommit_memory=0 or 1 does not count it",
        )
    return Finding("overcommit", OK, "reserved address space costs nothing")


def check_huge_pages() -> Finding:
    """With transparent huge pages everywhere, one live block keeps 2 MiB."""
    try:
        text = THP_FILE.read_text()
    except OSError:
        return Finding("huge pages", OK, "no transparent huge pages")
    if "[always]" in text:
        return Finding(
            "huge pages",
            NOTE,
            "transparent huge pages are always on: the kernel may fill in memory that was given back, 2 MiB at a time",
            f"echo madvise > {THP_FILE}",
        )
    return Finding("huge pages", OK, "transparent huge pages only where a program asks for them")


def check_page_size() -> Finding:
    """Memory goes back in pages."""
    size = os.sysconf("SC_PAGE_SIZE")
    if size > 4096:
        return Finding("page size", NOTE, f"{size >> 10} KiB pages: less goes back after a burst than with 4 KiB ones")
    return Finding("page size", OK, f"{size >> 10} KiB")
