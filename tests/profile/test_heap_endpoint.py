"""The heap profile over HTTP: fetched as a collector would, and refused to whom it is not for."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from rtmalloc.profile import heap_endpoint
from tests.profile.pprof_reader import read_pprof
from tests.python.programs import clean_environment

pytest.importorskip("google.protobuf", reason="rtmalloc[profile] is not installed")
SERVER = """
import sys, time
from rtmalloc import profile
from rtmalloc.profile import heap_endpoint
{first}
def holder(): return [bytes(3000) for _ in range(20000)]
kept = holder()
class Cycle: pass
def leaks():
    one = Cycle(); one.it = one; one.data = bytearray(8 << 20)
import gc; gc.disable(); leaks()
server, thread = {serve}
print(server.server_port, flush=True)
while True:
    kept.append(holder()); time.sleep(0.2)
"""


@contextmanager
def serving(serve: str = "heap_endpoint.serve(0)", first: str = "profile.heap_start(65536)") -> Iterator[int]:
    command = [sys.executable, "-m", "rtmalloc", "run", "--", sys.executable, "-c"]
    code = SERVER.format(serve=serve, first=first)
    with subprocess.Popen([*command, code], stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def fetch(port: int, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers=headers)
        response = connection.getresponse()
        return response.status, dict(response.getheaders()), response.read()
    finally:
        connection.close()


def test_a_collector_gets_a_profile() -> None:
    with serving() as port:
        status, headers, content = fetch(port, heap_endpoint.PATH)
        collected, change = (fetch(port, f"{heap_endpoint.PATH}?{query}")[2] for query in ("gc=1", "seconds=1"))
    assert status == 200 and headers["Content-Type"] == "application/octet-stream"
    assert headers["Content-Disposition"] == 'attachment; filename="heap"'
    before, after = (read_pprof(one).sums("inuse_space") for one in (content, collected))
    assert before["holder"] > 40e6 and before["leaks"] > 7e6
    assert after["holder"] > 40e6 and after.get("leaks", 0) == 0
    assert read_pprof(change).sums("inuse_space")["holder"] > 40e6
    assert read_pprof(change).duration_nanos > 0.9e9


def test_text_and_what_is_not_there() -> None:
    with serving() as port:
        status, headers, content = fetch(port, f"{heap_endpoint.PATH}?debug=1")
        assert status == 200 and headers["Content-Type"].startswith("text/plain")
        assert b"holder" in content and b"a followed block stands for 64 KiB" in content
        assert fetch(port, "/")[0] == 404
        assert fetch(port, f"{heap_endpoint.PATH}?seconds=long")[0] == 400
        assert fetch(port, f"{heap_endpoint.PATH}?seconds=1e9")[0] == 400
        status, _, content = fetch(port, heap_endpoint.PATH, Host="elsewhere.example:80")
        assert status == 403 and b"this is not" in content


def test_beside_the_metrics() -> None:
    pytest.importorskip("prometheus_client", reason="rtmalloc[prometheus] is not installed")
    with serving("(rtmalloc.prometheus.register(), rtmalloc.prometheus.serve(0))[1]", SECOND) as port:
        status, _, content = fetch(port, "/metrics")
        assert status == 200 and b"rtmalloc_allocated_bytes" in content
        assert read_pprof(fetch(port, heap_endpoint.PATH)[2]).sums("inuse_space")["holder"] > 40e6


SECOND = "import rtmalloc.prometheus; profile.heap_start(65536)"


def test_none_is_recorded() -> None:
    with serving(first="") as port:
        status, _, content = fetch(port, heap_endpoint.PATH)
        assert status == 503 and b"no heap profile is recorded" in content


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another user")
def test_another_user_gets_nothing() -> None:
    code = f"""
import http.client, sys
c = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1])); c.request("GET", {heap_endpoint.PATH!r})
r = c.getresponse(); print(r.status, r.read().decode(), end="")
"""
    # (Not the virtual environment's: its folder need not be another's to read.)
    with serving() as port:
        done = subprocess.run(
            ["/usr/bin/python3", "-c", code, str(port)], capture_output=True, text=True, user=12345, check=True
        )
    assert done.stdout == "403 the heap profile is for the process's own user\n"


@pytest.mark.parametrize(
    ("host", "text"),
    [("127.0.0.1", "0100007F:0050"), ("::1", "00000000000000000000000001000000:0050")],
)
def test_addresses_as_the_kernel_writes_them(host: str, text: str) -> None:
    assert heap_endpoint._packed(host, 80) == text
