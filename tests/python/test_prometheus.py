"""What a Prometheus server scrapes, from one process and from a server with many workers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.python.programs import answer, clean_environment, run, run_code, succeed

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def values_of(text: str) -> dict[str, float]:
    """The values of an exposition by name and labels."""
    pairs = (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


def test_a_server_scrapes_us() -> None:
    pytest.importorskip("prometheus_client", reason="rtmalloc[prometheus] is not installed")
    code = """
import json, urllib.request, rtmalloc.prometheus, prometheus_client
registry = prometheus_client.CollectorRegistry()
rtmalloc.prometheus.register(registry)
server = prometheus_client.start_http_server(0, addr='127.0.0.1', registry=registry)
kept = [bytes(100) for _ in range(50000)]
text = urllib.request.urlopen(f'http://127.0.0.1:{server[0].server_port}/metrics').read().decode()
print(json.dumps(text))
"""
    text = answer(run_code(code, "launcher"))
    values = values_of(text)
    assert values["rtmalloc_allocated_bytes"] > 5_000_000
    assert values["rtmalloc_resident_bytes"] > 5_000_000
    assert values['rtmalloc_info{route="preload"}'] == 1
    assert values["rtmalloc_purged_bytes_total"] >= 0
    assert values['rtmalloc_class_blocks{size="144"}'] >= 50000
    assert "# TYPE rtmalloc_allocated_bytes gauge" in text


def test_workers_that_share_a_directory(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="rtmalloc[prometheus] is not installed")
    code = """
import json, os, signal, time, prometheus_client, rtmalloc.prometheus
registry = prometheus_client.CollectorRegistry()
rtmalloc.prometheus.register(registry)
rtmalloc.prometheus.register(prometheus_client.CollectorRegistry())
def scraped(): return prometheus_client.generate_latest(registry).decode()
workers = []
for n in range(3):
    pid = os.fork()
    if pid == 0: kept = [bytes(1000) for _ in range(10000)]; time.sleep(60)
    workers.append(pid)
end = time.monotonic() + 30
while any(f'pid="{pid}"' not in scraped() for pid in workers): assert time.monotonic() < end; time.sleep(0.1)
os.kill(workers[0], signal.SIGKILL); os.waitpid(workers[0], 0)
text = scraped()
for pid in workers[1:]: os.kill(pid, signal.SIGKILL)
print(json.dumps([os.getpid(), workers, text]))
"""
    env = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics")}
    parent, workers, text = answer(run_code(code, "install", env=env))
    values = values_of(text)
    assert not [name for name in values if f'pid="{workers[0]}"' in name], "who was killed is not counted"
    for pid in (parent, *workers[1:]):
        assert values[f'rtmalloc_resident_bytes{{pid="{pid}"}}'] > 0
    assert values[f'rtmalloc_class_blocks{{pid="{workers[1]}",size="1152"}}'] >= 0
    assert f"{parent}.json" not in str(list((tmp_path / "metrics").iterdir()))


def test_the_example_under_gunicorn(tmp_path: Path) -> None:
    pytest.importorskip("prometheus_client", reason="rtmalloc[prometheus] is not installed")
    gunicorn = shutil.which("gunicorn", path=str(Path(sys.executable).parent)) or pytest.skip(
        "gunicorn is not installed"
    )
    socket = "127.0.0.1:18437"
    command = [sys.executable, "-m", "rtmalloc", "run", "--", gunicorn, "--workers", "3", "--bind", socket]
    server = subprocess.Popen(
        [*command, "--chdir", str(EXAMPLES), "prometheus_endpoint:app"],
        env=clean_environment({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}),
        stderr=subprocess.PIPE,
    )
    try:
        end = time.monotonic() + 60
        found: set[str] = set()
        while len(found) < 3:
            assert time.monotonic() < end and server.poll() is None
            time.sleep(0.1)
            try:
                text = urllib.request.urlopen(f"http://{socket}/metrics").read().decode()
            except OSError:
                continue
            found = {name for name in values_of(text) if name.startswith("rtmalloc_allocated_bytes{pid=")}
        assert 'rtmalloc_info{route="preload"} 1.0' in text
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=30)
    assert not [name for name in os.listdir(tmp_path) if name.startswith("rtmalloc_")], "workers that end leave nothing"


def test_without_the_client_there_is_one_sentence() -> None:
    code = (
        "import sys; sys.modules['prometheus_client'] = None\n"
        "try: import rtmalloc.prometheus\nexcept ImportError as error: print(error)"
    )
    assert succeed(run([sys.executable, "-c", code])) == (
        "rtmalloc.prometheus needs prometheus_client: pip install 'rtmalloc[prometheus]'\n"
    )
