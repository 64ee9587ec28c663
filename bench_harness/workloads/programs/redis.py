"""redis: Debian's server under its own benchmark: fill, read, work on lists and hashes, drop everything, idle."""

from __future__ import annotations

import csv
import os
import time

from bench_harness.workloads.programs._program import Run, main

OPERATION = "one command"
NEEDS = ("redis-server", "redis-benchmark", "redis-cli")
PARAMETERS = [
    ("requests", 100_000, 1000, 1_000_000_000, "commands", "commands of each kind"),
    ("keys", 50_000, 1, 1_000_000_000, "keys", "keys to which they go at random"),
    ("bytes", 400, 1, 100_000_000, "bytes", "length of a value"),
    ("clients", 20, 1, 1000, "connections", "connections at once, each of 8 commands at a time"),
    ("idle", 1.0, 0.0, 3600.0, "s", "time without commands at the end"),
]
TAKES_SECONDS = 6.0
KINDS = ("set", "get", "lpush", "rpop", "hset", "zadd")


def body(run: Run) -> None:
    """The server listens on a socket in the cell's folder only, and keeps nothing on disk."""
    socket = str(run.folder / "redis.sock")
    server = run.start(
        "redis-server", "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--daemonize", "no"
    )  # fmt: skip
    server.wait_until(lambda: os.path.exists(socket), "redis-server did not start")
    requests, clients = str(run.integer("requests")), str(run.integer("clients"))
    run.window_begin()
    answered = 0
    for kind in KINDS:
        said = run.client(
            "redis-benchmark", "-s", socket, "-t", kind, "-n", requests, "-c", clients, "-P", "8",
            "-r", str(run.integer("keys")), "-d", str(run.integer("bytes")), "--csv",
        )  # fmt: skip
        answered += sum(run.integer("requests") for row in csv.DictReader(said.splitlines()) if float(row["rps"]) > 0)
        if kind == "set":
            run.mark("filled")
    run.window_end(answered)
    run.mark("loaded")
    run.client("redis-cli", "-s", socket, "flushall", "sync")
    run.mark("idle 0 s")
    time.sleep(float(run.values["idle"]))
    run.mark(f"idle {run.values['idle']:g} s")


if __name__ == "__main__":
    main(PARAMETERS, body)
