"""Python's threads under their names in the kernel, where a heap profile reads them: CPython 3.14 does it by itself."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

_NAME_BYTES = 15
"""That the kernel keeps."""


def _tell(thread: threading.Thread) -> None:
    """Name a thread in the kernel, but for the main one, whose name is the program's, and those that C code began."""
    foreign = isinstance(thread, threading._DummyThread)
    if foreign or thread.native_id is None or thread.native_id == os.getpid():
        return
    name = thread.name.encode()[:_NAME_BYTES].decode(errors="ignore")
    with suppress(OSError), open(f"/proc/self/task/{thread.native_id}/comm", "w", encoding="utf-8") as file:
        file.write(name)


def keep() -> None:
    """Name the threads that there are, and each that begins from now on."""
    wanted: Any = threading.Thread
    before = getattr(wanted, "_set_native_id", None)
    if hasattr(wanted, "_set_os_name") or before is None or hasattr(before, "names"):
        return

    def named(self: threading.Thread) -> None:
        before(self)
        _tell(self)

    named.names = True  # type: ignore[attr-defined]
    wanted._set_native_id = named
    for thread in threading.enumerate():
        _tell(thread)
