"""What an interpreter does at its start when statistics or heap profiles are wanted: ``rtmalloc.pth`` imports it then.

A program that is preloaded need not import rtmalloc, so that nothing else of ours would run in it. The import of the
extension gives heap profiles their Python frames. When the interpreter ends, it tells what it holds before it frees it.
"""

from __future__ import annotations

import atexit
import os

from rtmalloc import _core
from rtmalloc.settings import HEAP_PROFILE, OPTIONS, STATS_FILE, SWITCH

if os.environ.get(SWITCH) != "0" and _core.is_preloaded():
    if os.environ.get(HEAP_PROFILE) or "heap_profile=1" in os.environ.get(OPTIONS, ""):
        from rtmalloc.observe import thread_names

        thread_names.keep()
    # Each only where it is wanted: modules that nobody uses would be memory of every such process.
    if os.environ.get(STATS_FILE):
        from rtmalloc.observe.stats_file import start_from_environment

        start_from_environment()
    if os.environ.get(HEAP_PROFILE):
        # Registered first, so that it runs last.
        atexit.register(_core.heap_finish)
