"""rtmalloc's numbers for Prometheus; needs ``pip install 'rtmalloc[prometheus]'``.

>>> import rtmalloc.prometheus
>>> rtmalloc.prometheus.register()

Then every scrape of the process carries ``rtmalloc_allocated_bytes``, ``rtmalloc_resident_bytes`` and the others.
Processes that share one endpoint through prometheus_client's multiprocess mode are not covered: it knows no custom
collectors.
"""

from __future__ import annotations

from collections.abc import Iterator

try:
    from prometheus_client import REGISTRY, CollectorRegistry
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("rtmalloc.prometheus needs prometheus_client: pip install 'rtmalloc[prometheus]'") from error

from rtmalloc.interpreter.install import status
from rtmalloc.observe.stats import stats

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


class RtmallocCollector(Collector):
    """Takes one snapshot per scrape; see :func:`rtmalloc.stats` for what it costs."""

    def collect(self) -> Iterator[Metric]:
        """The metrics of this moment."""
        snapshot = stats()
        yield InfoMetricFamily("rtmalloc", "How rtmalloc serves this process", {"route": status().route})
        for name, text in _GAUGES.items():
            yield GaugeMetricFamily(f"rtmalloc_{name}_bytes", text, getattr(snapshot, name))
        yield GaugeMetricFamily("rtmalloc_threads", "Threads that have a heap", snapshot.threads)
        yield CounterMetricFamily("rtmalloc_purged_bytes", "Bytes given back to the kernel", snapshot.purged)
        held = GaugeMetricFamily("rtmalloc_class_blocks", "Blocks of a size class in use or cached", labels=["size"])
        spans = GaugeMetricFamily("rtmalloc_class_spans", "Spans of a size class", labels=["size"])
        for one in snapshot.classes:
            held.add_metric([str(one.size)], one.blocks - one.free_blocks)
            spans.add_metric([str(one.size)], one.spans)
        yield held
        yield spans


def register(registry: CollectorRegistry = REGISTRY) -> RtmallocCollector:
    """Add rtmalloc's numbers to what is scraped.

    Args:
        registry: of prometheus_client; its default one unless given.

    Returns:
        The collector, for ``registry.unregister``.

    Raises:
        ValueError: when it is registered there already.
    """
    collector = RtmallocCollector()
    registry.register(collector)
    return collector
