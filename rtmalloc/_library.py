"""Where the preload library is."""

from __future__ import annotations

import os

TYPE_CHECKING = False  # as in typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from pathlib import Path


def library_file() -> str:
    """Path of the preload library, as a string.

    Beside this file and not through importlib.resources: the loader needs a real file anyway, and the launcher, which
    has 10 ms, cannot wait 20 ms for that import.

    Raises:
        FileNotFoundError: when this installation has none (a source tree that was not built).
    """
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lib", "librtmalloc.so")
    if not os.path.exists(path):
        raise FileNotFoundError(f"{path} is missing: run `make build`, or install rtmalloc from a wheel")
    return path


def library_path() -> Path:
    """Path of the preload library, for ``LD_PRELOAD``.

    Raises:
        FileNotFoundError: when this installation has none (a source tree that was not built).
    """
    from pathlib import Path

    return Path(library_file())
