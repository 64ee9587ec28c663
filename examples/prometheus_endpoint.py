"""A service that shows rtmalloc's numbers to Prometheus: python -m rtmalloc examples/prometheus_endpoint.py 9100"""

from __future__ import annotations

import sys

import prometheus_client

import rtmalloc.prometheus


def main() -> None:
    """Serve /metrics on the given port of the loopback address until interrupted."""
    rtmalloc.prometheus.register()
    _, thread = prometheus_client.start_http_server(int(sys.argv[1]), addr="127.0.0.1")
    thread.join()


if __name__ == "__main__":
    main()
