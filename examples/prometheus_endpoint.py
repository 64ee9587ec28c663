"""An endpoint that shows rtmalloc's numbers, and all others, to Prometheus, with any number of workers:

PROMETHEUS_MULTIPROC_DIR=/tmp/metrics rtmalloc run -- gunicorn --workers 4 --chdir examples prometheus_endpoint:app
"""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, make_wsgi_app, multiprocess

import rtmalloc.prometheus

registry = CollectorRegistry()
if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
    multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
rtmalloc.prometheus.register(registry)
app = make_wsgi_app(registry)
