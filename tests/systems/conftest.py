"""Tests that need another system than this machine: `python ci/systems.py test NAME` names it and runs them."""

from __future__ import annotations

import os

NAMED = os.environ.get("RTMALLOC_SYSTEM", "")
collect_ignore = [f"test_{name}.py" for name in ("aarch64", "musl") if name != NAMED]
