"""rtmalloc's numbers for Prometheus; needs ``pip install 'rtmalloc[prometheus]'``.

>>> import rtmalloc.prometheus
>>> rtmalloc.prometheus.register()

Then every scrape of the process carries ``rtmalloc_allocated_bytes``, ``rtmalloc_resident_bytes`` and the others.

Where ``PROMETHEUS_MULTIPROC_DIR`` is set, as prometheus_client wants it for a server with many workers, each process
that registers, and each of its forked children, writes its numbers to a file there. A scrape of any worker then carries
the numbers of all that live, each with a label ``pid``; no hook is needed for workers that end.

:func:`serve` has the numbers at ``/metrics`` and the heap profile at ``/debug/pprof/heap``.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

try:
    from prometheus_client import REGISTRY, CollectorRegistry, MetricsHandler
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("rtmalloc.prometheus needs prometheus_client: pip install 'rtmalloc[prometheus]'") from error

from rtmalloc.interpreter.install import status
from rtmalloc.observe.stats import Stats, stats
from rtmalloc.observe.stats_file import is_writing, stats_file
from rtmalloc.observe.stats_reader import worker_pattern, workers
from rtmalloc.profile import heap_endpoint

__all__ = ["DIRECTORY", "WORKER_SECONDS", "RtmallocCollector", "register", "serve"]

_GAUGES = {
    "allocated": "Bytes in blocks that the program or a thread's cache holds",
    "cached": "Bytes of free blocks that threads' caches may hold",
    "active": "Bytes of address space in use",
    "resident": "Bytes of the heap that lie in physical memory",
    "dirty": "Bytes of free memory not yet given back to the kernel",
    "muzzy": "Bytes of free memory that the kernel may take when it needs memory",
    "clean": "Bytes of free slices that hold no memory",
    "committed": "Bytes of address space opened for use",
    "metadata": "Bytes of physical memory for rtmalloc's own tables",
}
"""Fields of :class:`rtmalloc.Stats` that go up and down, in bytes."""

_LIMITS = {
    "limit": "Bytes that the heap shall stay below (memory_limit); 0 without one",
    "limit_hard": "Bytes beyond which requests fail (memory_limit_hard); 0 without one",
    "limit_heap": "Estimate of the heap in bytes that both limits go by",
}
"""Counters of :class:`rtmalloc.Stats` about the limits, in bytes."""

DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's environment variable for servers with many workers."""

WORKER_SECONDS = 5.0
"""Between two writes of a worker: what another worker tells of it is at most so old."""


class RtmallocCollector(Collector):
    """Takes one snapshot per scrape; see :func:`rtmalloc.stats` for what it costs."""

    def __init__(self, directory: str = "") -> None:
        self.directory = directory
        """Where the workers of one service write their numbers; empty for this process alone."""

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment; of other workers those that they wrote last."""
        yield InfoMetricFamily("rtmalloc", "How rtmalloc serves this process", {"route": status().route})
        found: dict[tuple[str, ...], Stats] = {}
        if self.directory:
            found = {(str(pid),): snapshot for pid, snapshot in workers(self.directory)}
        found[(str(os.getpid()),) if self.directory else ()] = stats()
        labels = ["pid"] if self.directory else []
        for name, text in _GAUGES.items():
            gauge = GaugeMetricFamily(f"rtmalloc_{name}_bytes", text, labels=labels)
            for label, snapshot in found.items():
                gauge.add_metric(label, getattr(snapshot, name))
            yield gauge
        for name, text in _LIMITS.items():
            gauge = GaugeMetricFamily(f"rtmalloc_{name}_bytes", text, labels=labels)
            for label, snapshot in found.items():
                gauge.add_metric(label, snapshot.counters.get(name, 0))
            yield gauge
        threads = GaugeMetricFamily("rtmalloc_threads", "Threads that have a heap", labels=labels)
        purged = CounterMetricFamily("rtmalloc_purged_bytes", "Bytes given back to the kernel", labels=labels)
        held = GaugeMetricFamily(
            "rtmalloc_class_blocks", "Blocks of a size class in use or cached", labels=[*labels, "size"]
        )
        spans = GaugeMetricFamily("rtmalloc_class_spans", "Spans of a size class", labels=[*labels, "size"])
        for label, snapshot in found.items():
            threads.add_metric(label, snapshot.threads)
            purged.add_metric(label, snapshot.purged)
            for one in snapshot.classes:
                held.add_metric([*label, str(one.size)], one.blocks - one.free_blocks)
                spans.add_metric([*label, str(one.size)], one.spans)
        yield from (threads, purged, held, spans)


def register(registry: CollectorRegistry = REGISTRY) -> RtmallocCollector:
    """Add rtmalloc's numbers to what is scraped; of all workers, where ``PROMETHEUS_MULTIPROC_DIR`` is set.

    Args:
        registry: of prometheus_client; its default one unless given.

    Returns:
        The collector, for ``registry.unregister``.

    Raises:
        ValueError: when it is registered there already.
        OSError: when the directory of the workers cannot be written.
    """
    directory = os.environ.get(DIRECTORY, "")
    if directory and not is_writing(worker_pattern(directory)):
        os.makedirs(directory, exist_ok=True)
        stats_file(worker_pattern(directory), every=WORKER_SECONDS)
    collector = RtmallocCollector(directory)
    registry.register(collector)
    return collector


class _Handler(heap_endpoint.HeapHandler, MetricsHandler):
    """The heap profile at its own path, the metrics at any other."""


def serve(
    port: int, addr: str = "127.0.0.1", registry: CollectorRegistry = REGISTRY
) -> tuple[ThreadingHTTPServer, threading.Thread]:
    """Serve the metrics, and the heap profile at ``/debug/pprof/heap``, from a daemon thread.

    Args:
        port: 0 for any that is free.
        addr: to listen at. Beyond this machine's own address everybody who reaches it may read the heap profile.
        registry: of prometheus_client.

    Returns:
        The server and its thread, as prometheus_client's ``start_http_server`` does.

    Raises:
        OSError: when the port is taken.
    """
    return heap_endpoint.serve(port, addr, type("_Served", (_Handler,), {"registry": registry}))
