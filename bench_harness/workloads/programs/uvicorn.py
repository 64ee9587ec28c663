"""uvicorn: a Python web service under real clients on loopback, every object from the allocator; then it idles."""

from __future__ import annotations

import json
import socket
import sys
import time
from pathlib import Path

from bench_harness.workloads.programs._program import Run, main

OPERATION = "one request"
NEEDS = ("module:uvicorn",)
PARAMETERS = [
    ("requests", 6000, 10, 1_000_000_000, "requests", "requests in all"),
    ("connections", 16, 1, 1000, "connections", "connections at once"),
    ("rate", 0, 0, 1_000_000, "1/s", "open loop: requests due a second, whatever the service does; 0: closed loop"),
    ("idle", 1.0, 0.0, 3600.0, "s", "time without requests at the end"),
]
TAKES_SECONDS = 8.0
HERE = Path(__file__).resolve().parent


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    """True when somebody accepts connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def body(run: Run) -> None:
    """PYTHONMALLOC=malloc: small objects come from the allocator too."""
    port = free_port()
    server = run.start(
        sys.executable, "-m", "uvicorn", "bench_harness.workloads.programs._service:app", "--port", str(port),
        "--log-level", "warning", "--no-access-log",
        environment={"PYTHONMALLOC": "malloc"},
    )  # fmt: skip
    server.wait_until(lambda: listens(port), "uvicorn did not start")
    run.mark("started")
    run.window_begin()
    given = (port, run.integer("requests"), run.integer("connections"), run.integer("rate"), run.integer("seed"))
    told = json.loads(run.client(sys.executable, str(HERE / "_clients.py"), *map(str, given)))
    run.window_end(told.pop("answers"))
    run.metrics.update(told)
    run.mark("idle 0 s")
    time.sleep(float(run.values["idle"]))
    run.mark(f"idle {run.values['idle']:g} s")


if __name__ == "__main__":
    main(PARAMETERS, body)
