"""numpy's arrays on rtmalloc where neither the launcher nor ``install()`` reaches them: numpy before 2.5 (NEP 49).

Under the launcher every array is on rtmalloc already, and from numpy 2.5 on ``install()`` is enough, because numpy then
asks Python's RAW domain. Before that, numpy calls the C library's malloc, and this module gives it a handler:

>>> import rtmalloc.numpy
>>> with rtmalloc.numpy.handler():
...     rows = numpy.empty((1000, 1000))

An array keeps the handler that it was made with, so it may outlive the ``with``. numpy keeps the handler in a context
variable: threads that are started inside do not inherit it (``asyncio.to_thread`` and ``copy_context().run`` do), so
each thread says ``with rtmalloc.numpy.handler():`` for itself.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["handler", "handler_name"]

try:
    import numpy
except ImportError as error:
    raise ImportError("rtmalloc.numpy needs numpy 1.22 or later: pip install numpy") from error

from rtmalloc.numpy_handler import handler_capsule, handler_set

if tuple(int(part) for part in numpy.__version__.split(".")[:2]) < (1, 22):
    raise ImportError(f"rtmalloc.numpy needs numpy 1.22 or later, this is {numpy.__version__}")


def _multiarray() -> Any:
    """numpy's extension module, which moved in 2.0."""
    return importlib.import_module(f"numpy.{'_core' if hasattr(numpy, '_core') else 'core'}._multiarray_umath")


@contextmanager
def handler() -> Iterator[None]:
    """Take the data of arrays that this thread makes in the ``with`` from rtmalloc.

    May be nested, and used in tasks of asyncio: each has a context of its own.
    """
    before = handler_set(_multiarray()._ARRAY_API, handler_capsule())
    try:
        yield
    finally:
        handler_set(_multiarray()._ARRAY_API, before)


def handler_name(array: Any = None) -> str | None:
    """Who made an array's data.

    Args:
        array: a numpy array; None asks who would make one here and now.

    Returns:
        ``"rtmalloc"``, ``"default_allocator"`` or another handler's name; None for an array without data of its own
        (a view).
    """
    name: str | None = _multiarray().get_handler_name(*([] if array is None else [array]))
    return name
