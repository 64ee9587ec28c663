"""One cell's entry in a result file: made from what was observed, or from the reason of a failure."""

from __future__ import annotations

import datetime
import random
from collections.abc import Sequence
from typing import Any

from bench_harness.errors import CellFailure
from bench_harness.measuring.latency import latency_entry
from bench_harness.measuring.observation import Observation, observe
from bench_harness.measuring.plan import Cell, Plan
from bench_harness.measuring.routes import launch_of, prove

__all__ = ["identity", "run_cell"]

SOON_NS = 100_000_000  # five sampling periods: later a sample says nothing about the moment

_COPIED = (
    "operations",
    "seconds",
    "user_seconds",
    "system_seconds",
    "minor_faults",
    "major_faults",
    "involuntary_switches",
    "peak_rss_bytes",
    "window_rss_bytes",
    "end_rss_bytes",
    "live_bytes",
    "harness_bytes",
    "metrics",
)


def identity(cell: Cell, machine: str) -> dict[str, Any]:
    """What every entry starts with, successful or not."""
    return {
        "workload": cell.group.workload.name,
        "label": cell.group.label,
        "threads": cell.group.threads,
        "contender": cell.contender.name,
        "allocator": cell.contender.allocator.name,
        "route": cell.contender.route,
        "round": cell.round,
        "machine": machine,
        "started": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
    }


def _sampled_at(samples: Sequence[tuple[int, int]], at_ns: int) -> int | None:
    """The RSS seen from outside at a moment: the first sample after it, if one was taken soon enough."""
    rss = next(((when, rss) for when, rss in samples if when >= at_ns), None)
    return rss[1] if rss is not None and rss[0] - at_ns <= SOON_NS else None


def _success(seen: Observation) -> dict[str, Any]:
    report = seen.report
    zero = report["began_ns"]
    # A cell whose memory is that of several processes looks at them itself; ours saw only one of them.
    samples = [(at, rss) for at, rss in report.get("samples", ())] or seen.samples

    def since(ns: int) -> float:
        return round(float(ns - zero) * 1e-9, 4)

    live = report["live_bytes"]
    # The harness's own tables are a known part of the RSS and nobody's overhead.
    used = report["window_rss_bytes"] - report["harness_bytes"]
    return {
        "status": "ok",
        "reason": None,
        "parameters": report["parameters"],
        **{name: report[name] for name in _COPIED},
        "throughput": report["operations"] / report["seconds"] if report["seconds"] > 0 else None,
        "overhead": used / live if live > 0 and report["window_rss_bytes"] > 0 else None,
        "served_by": report["malloc_object"],
        "marks": [
            {
                "name": m["name"],
                "at": since(m["at_ns"]),
                "rss_bytes": m["rss_bytes"],
                "live_bytes": m["live_bytes"],
                "outside_rss_bytes": _sampled_at(samples, m["at_ns"]),
            }
            for m in report["marks"]
        ],
        "samples": [[since(at), rss] for at, rss in samples],
        "disturbance": {
            "other": round(seen.disturbance.other, 4),
            "steal": round(seen.disturbance.steal, 4),
            "disturbed": seen.disturbance.disturbed,
        },
        "elapsed": round(seen.elapsed, 3),
        **({"latency": latency} if (latency := latency_entry(report)) is not None else {}),
    }


def run_cell(cell: Cell, plan: Plan, machine: str) -> dict[str, Any]:
    """Run a cell, again if others disturbed it, and return its entry for the result file.

    The least disturbed attempt counts: it is chosen by what others did to the machine, never by its outcome.
    """
    padding = random.Random(f"{plan.seed}/{cell.key}")
    best: Observation | None = None
    attempts = 0
    # The timeout must leave room for what a workload does outside its window (filling, idling).
    timeout = plan.warmup + plan.seconds + plan.timeout
    try:
        cell.contender.allocator.check_unchanged()
        launch = launch_of(cell, plan)
        while best is None or (best.disturbance.disturbed and attempts <= plan.retries):
            seen = observe(launch, timeout, plan.memory_cap, padding)
            attempts += 1
            prove(cell, seen)
            if best is None or seen.disturbance.total < best.disturbance.total:
                best = seen
    except CellFailure as failure:
        return {
            **identity(cell, machine),
            "status": "failed",
            "reason": str(failure),
            "attempts": attempts + 1,
        }
    return {**identity(cell, machine), **_success(best), "attempts": attempts}
