"""Limits that a running interpreter sets for itself: it goes on, and they limit."""

from __future__ import annotations

import pytest

from tests.python.programs import LIBRARY, answer, run_code

LATE = """
import json, resource, sys, threading
held = [bytes(1000) for _ in range(10_000)]
resource.setrlimit(resource.{resource}, (1 << 30, 1 << 30))
thread = threading.Thread(target=lambda: None)
thread.start()
thread.join()
import decimal, _ctypes, sqlite3, ssl
blocks = []
try:
    while len(blocks) < 4000:
        blocks.append(bytearray(b"x") * (1 << 20))
except MemoryError:
    pass
count = len(blocks)
blocks.clear()
again = len([bytearray(b"y") * (1 << 20) for _ in range(count // 2)])
print(json.dumps([count, again]))
"""


@pytest.mark.parametrize("resource", ["RLIMIT_AS", "RLIMIT_DATA"])
@pytest.mark.parametrize("route", ["preload", "launcher", "install"])
def test_a_limit_that_comes_late_limits(route: str, resource: str) -> None:
    environment = {"LD_PRELOAD": str(LIBRARY)} if route == "preload" else {}
    code = LATE.format(resource=resource)
    count, again = answer(run_code(code, "plain" if route == "preload" else route, env=environment))
    assert 600 < count < 1024
    assert again == count // 2
