"""Asking each way in for a block and looking whose it is: the evidence behind :func:`rtmalloc.verify`."""

from __future__ import annotations

import ctypes
import sys

from rtmalloc import _core

LARGE_BYTES = 200_000
"""Above every allocator's small classes (ours end at 32 KiB), below glibc's first mmap threshold times two."""

_PROBE_BYTES = 1_000


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


def numpy_arrives() -> bool:
    """Whether the data of a new numpy array, made the way this program makes them, lies in a block of rtmalloc."""
    array = sys.modules["numpy"].empty(_PROBE_BYTES)
    return _core.owns(array.ctypes.data)
