"""Asking each way in for a block and looking whose it is."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

from rtmalloc import _core
from rtmalloc.interpreter.install import DOMAIN_BITS, SMALL_BYTES
from rtmalloc.interpreter.packages import ADVICE, package_entries

LARGE_BYTES = 200_000
"""Above every allocator's small classes (ours end at 32 KiB), below glibc's first mmap threshold times two."""

_PROBE_BYTES = 1_000


@dataclass(frozen=True)
class Verification:
    """Which ways of asking for memory end at rtmalloc, each found out by asking."""

    entries: dict[str, bool]
    """``malloc``, ``calloc``, ``realloc``, ``posix_memalign`` of the C library; ``raw``, ``mem``, ``obj`` of Python,
    each for a small and, as ``raw-large`` and so on, for a large block (on a free-threaded build ``raw`` alone, because
    the others cannot be replaced there); ``numpy``, ``polars`` and ``pyarrow`` when they have been imported."""

    @property
    def complete(self) -> bool:
        """Whether all of them do."""
        return all(self.entries.values())

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of those that do not."""
        return tuple(name for name, arrives in self.entries.items() if not arrives)

    @property
    def advice(self) -> tuple[str, ...]:
        """A line for each package among them: what sends its blocks to rtmalloc, or that nothing does."""
        return tuple(ADVICE[name] for name in self.missing if name in ADVICE)


def verify() -> Verification:
    """Find out which ways of asking for memory end at rtmalloc, by asking for a block in each and looking whose it is.

    Under the launcher all entries are true, but for packages that bring an allocator of their own; after
    :func:`rtmalloc.install` those of the C library are not.
    """
    entries = c_library_entries()
    for suffix, size in (("", SMALL_BYTES), ("-large", LARGE_BYTES)):
        bits = _core.domains_arriving(size)
        replaceable = {"raw": DOMAIN_BITS["raw"]} if _core.is_free_threaded() else DOMAIN_BITS
        entries.update({name + suffix: bool(bits & bit) for name, bit in replaceable.items()})
    return Verification({**entries, **package_entries()})


def c_library_entries() -> dict[str, bool]:
    """Whether ``malloc``, ``calloc``, ``realloc`` and ``posix_memalign``, as any program sees them, are rtmalloc's."""
    c = ctypes.CDLL(None)
    c.malloc.restype = c.calloc.restype = c.realloc.restype = ctypes.c_void_p
    c.malloc.argtypes = [ctypes.c_size_t]
    c.calloc.argtypes = [ctypes.c_size_t, ctypes.c_size_t]
    c.realloc.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
    c.free.argtypes = [ctypes.c_void_p]
    c.posix_memalign.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t, ctypes.c_size_t]
    aligned = ctypes.c_void_p()
    c.posix_memalign(ctypes.byref(aligned), 64, _PROBE_BYTES)
    blocks = {
        "malloc": c.malloc(_PROBE_BYTES),
        "calloc": c.calloc(1, _PROBE_BYTES),
        "realloc": c.realloc(None, _PROBE_BYTES),
        "posix_memalign": aligned.value,
    }
    entries = {name: block is not None and _core.owns(block) for name, block in blocks.items()}
    for block in blocks.values():
        c.free(block)
    return entries
