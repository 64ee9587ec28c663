"""Ends the import with one clear sentence where rtmalloc cannot work. Imported first; must parse on any Python 3."""

from __future__ import annotations

import sys


def _refuse(reason: str, cause: BaseException | None = None) -> None:
    """End the import with a sentence; on the command line, with that sentence alone and status 1."""
    # runpy imports this package while sys.argv[0] is still "-m"; the console script sets its own name. (A program that
    # was started with another -m may read rtmalloc.pth, and must not end.)
    words = getattr(sys, "orig_argv", ["rtmalloc"])
    if sys.argv[:1] == ["rtmalloc"] or (sys.argv[:1] == ["-m"] and any(word.endswith("rtmalloc") for word in words)):
        raise SystemExit("rtmalloc: " + reason)
    raise ImportError("rtmalloc: " + reason) from cause


_version = sys.version.split()[0]
if sys.implementation.name != "cpython" or sys.version_info < (3, 10):
    _refuse("needs CPython 3.10 or later, this is " + sys.implementation.name + " " + _version)
try:
    from rtmalloc import _core  # noqa: F401  # the first import of it, so that its failure is told here
except ImportError as error:
    if "static TLS" in str(error):
        _refuse(
            "too many libraries with static thread-local storage are loaded: import rtmalloc first, or start the "
            "program with `python -m rtmalloc`",
            error,
        )
    if "already been imported" in str(error):
        _refuse(
            "was imported before the first Py_Finalize of this process, and an extension made by Cython cannot be "
            "imported again; a preloaded library still serves what Python asks for",
            error,
        )
    _refuse(
        "has no extension module for CPython " + _version + " (" + str(error) + "): install it with this interpreter",
        error,
    )
