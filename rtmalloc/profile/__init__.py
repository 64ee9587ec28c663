"""Profiles: which sizes a program asks for, and how long it keeps them.

A recording follows about one small request in ``every`` from ``malloc`` to ``free``, and counts large ones one by one.
``RTMALLOC_PROFILE=DIRECTORY`` records a whole process, and each of its children, and writes a file when it ends; these
functions do it from Python. ``rtmalloc profile`` merges and shows the files, and computes a table of size classes from
them. The format and the statistics are in docs/profiles.md.

:func:`heap` is another kind of profile: who holds memory now, by call stack (docs/heap-profile.md).
"""

from __future__ import annotations

from rtmalloc.profile.heap_profile import HeapProfile, heap, heap_start, heap_stop, load_heap
from rtmalloc.profile.heap_sites import Frame, Site
from rtmalloc.profile.recording import (
    EVERY_MOST,
    FORMAT,
    VERSION,
    LargeBucket,
    Profile,
    ProfileError,
    SmallBucket,
    is_recording,
    load,
    merge,
    save,
    snapshot,
    start,
    stop,
)

__all__ = [
    "EVERY_MOST",
    "FORMAT",
    "VERSION",
    "Frame",
    "HeapProfile",
    "LargeBucket",
    "Profile",
    "ProfileError",
    "Site",
    "SmallBucket",
    "heap",
    "heap_start",
    "heap_stop",
    "is_recording",
    "load",
    "load_heap",
    "merge",
    "save",
    "snapshot",
    "start",
    "stop",
]
