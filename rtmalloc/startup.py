"""What an interpreter does at its start when ``RTMALLOC_STATS_FILE`` is set: ``rtmalloc.pth`` imports this then.

A program that is preloaded need not import rtmalloc, so that nothing else of ours would run in it.
"""

from __future__ import annotations

import os

from rtmalloc import _core
from rtmalloc.observe.stats_file import start_from_environment
from rtmalloc.settings import SWITCH

if os.environ.get(SWITCH) != "0" and _core.is_preloaded():
    start_from_environment()
