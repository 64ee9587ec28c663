"""Packages that bring an allocator of their own, which no preload reaches: asked for a block like other ways in."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from typing import Any

from rtmalloc import _core

_PROBE_BYTES = 80_000

ADVICE = {
    "numpy": "numpy before 2.5 asks the C library: use the launcher, or rtmalloc.numpy.handler()",
    "polars": "polars has an allocator compiled in: its frames stay there, and nothing moves them",
    "pyarrow": "ARROW_DEFAULT_MEMORY_POOL=system in the environment sends pyarrow's buffers to malloc",
}
"""What to do where a package's blocks do not arrive, one line by its name."""


def package_entries() -> dict[str, bool]:
    """Of each known package that this program has imported: whether the data that it makes now lies in our blocks."""
    return {name: _core.owns(address()) for name, address in sorted(_ADDRESSES.items()) if name in sys.modules}


def _numpy() -> int:
    """The address of a new array's data, made the way this program makes them."""
    return int(sys.modules["numpy"].empty(_PROBE_BYTES).ctypes.data)


def _pyarrow() -> int:
    """The address of a new buffer."""
    return int(sys.modules["pyarrow"].allocate_buffer(_PROBE_BYTES).address)


class _Array(ctypes.Structure):
    """``struct ArrowArray`` of Arrow's C data interface."""


_Array._fields_ = [
    *((name, ctypes.c_int64) for name in ("length", "null_count", "offset", "n_buffers", "n_children")),
    ("buffers", ctypes.POINTER(ctypes.c_void_p)),
    ("children", ctypes.c_void_p),
    ("dictionary", ctypes.c_void_p),
    ("release", ctypes.CFUNCTYPE(None, ctypes.POINTER(_Array))),
    ("private_data", ctypes.c_void_p),
]


class _Stream(ctypes.Structure):
    """``struct ArrowArrayStream``, of which only ``get_next`` is called."""


_Stream._fields_ = [
    ("get_schema", ctypes.c_void_p),
    ("get_next", ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(_Stream), ctypes.POINTER(_Array))),
    ("get_last_error", ctypes.c_void_p),
    ("release", ctypes.c_void_p),
    ("private_data", ctypes.c_void_p),
]


def _polars() -> int:
    """The address of a new column's values, by Arrow's C stream, the one interface to it that is stable."""
    capsule = sys.modules["polars"].Series([1.0] * (_PROBE_BYTES // 8)).__arrow_c_stream__()
    return _first_values(capsule)


def _first_values(capsule: Any) -> int:
    """The address of the values in the first chunk of a stream of numbers; its capsule frees what it holds."""
    pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", ctypes.pythonapi)
    )
    stream = ctypes.cast(pointer(capsule, b"arrow_array_stream"), ctypes.POINTER(_Stream)).contents
    array = _Array()
    if stream.get_next(ctypes.byref(stream), ctypes.byref(array)) != 0:
        return 0
    try:
        return array.buffers[1] or 0
    finally:
        array.release(ctypes.byref(array))


_ADDRESSES: dict[str, Callable[[], int]] = {"numpy": _numpy, "polars": _polars, "pyarrow": _pyarrow}
