"""gunicorn with rtmalloc: `rtmalloc run -- gunicorn -c examples/gunicorn_conf.py app:app`.

The workers are forked without an exec, so the master must be on rtmalloc already: raw_env would come too late.
"""

from __future__ import annotations

from typing import Any

import rtmalloc

preload_app = True


def when_ready(server: Any) -> None:
    """Say so in the log, and give back what loading the application left over, before workers share it."""
    server.log.info("allocator: %s", rtmalloc.status())
    rtmalloc.trim()


def post_fork(server: Any, worker: Any) -> None:
    """Let `rtmalloc stats PID` read each worker."""
    rtmalloc.stats_file()
