"""Where the preload library is."""

from __future__ import annotations

from importlib import resources
from pathlib import Path


def library_path() -> Path:
    """Path of the preload library, for ``LD_PRELOAD``.

    Raises:
        FileNotFoundError: when this installation has none (a source tree that was not built).
    """
    path = Path(str(resources.files("rtmalloc") / "lib" / "librtmalloc.so"))
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: run `make build`, or install rtmalloc from a wheel")
    return path
