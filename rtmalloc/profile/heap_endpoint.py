"""The heap profile over HTTP, as ``/debug/pprof/heap`` has it elsewhere (Go's net/http/pprof).

>>> from rtmalloc.profile import heap_endpoint
>>> server, thread = heap_endpoint.serve(6060)

``go tool pprof http://127.0.0.1:6060/debug/pprof/heap`` and whatever collects profiles of Go programs can ask it then.
"""

from __future__ import annotations

import gc
import http
import ipaddress
import os
import threading
import time
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from rtmalloc.profile import heap_page
from rtmalloc.profile.heap_profile import HeapProfile, heap
from rtmalloc.profile.recording import ProfileError

PATH = "/debug/pprof/heap"
MOST_SECONDS = 300.0
"""The longest wait between the two moments of a difference."""
_NAMES = ("localhost", "127.0.0.1", "[::1]")


class Refused(Exception):
    """A request that is not served: the status, and a sentence."""

    def __init__(self, status: http.HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.status = status


def answer(query: Mapping[str, str]) -> tuple[str, bytes]:
    """The type and the content of an answer.

    Args:
        query: ``gc=1`` collects Python's garbage first, ``seconds=N`` asks for what changes within N seconds,
            ``debug=1`` for text instead of pprof's gzipped ``profile.proto``.

    Raises:
        Refused: when a number is none, no heap profile is recorded, or protobuf is not installed.
    """
    try:
        seconds = float(query.get("seconds", "0"))
        debug, collects = int(query.get("debug", "0")), int(query.get("gc", "0"))
    except ValueError:
        raise Refused(http.HTTPStatus.BAD_REQUEST, "seconds, debug and gc are numbers") from None
    if not 0 <= seconds <= MOST_SECONDS:
        raise Refused(http.HTTPStatus.BAD_REQUEST, f"seconds is 0 to {MOST_SECONDS:.0f}")
    if collects > 0:
        gc.collect()
    try:
        profile = _asked(seconds)
        if debug > 0:
            return "text/plain; charset=utf-8", (heap_page.summary(profile, 1000) + "\n").encode()
        from rtmalloc.profile.heap_pprof import pprof_bytes

        return "application/octet-stream", pprof_bytes(profile)
    except (ProfileError, ImportError, OSError) as error:
        raise Refused(http.HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from error


def _asked(seconds: float) -> HeapProfile:
    profile = heap()
    if seconds > 0:
        time.sleep(seconds)
        profile = heap().minus(profile)
    return profile


def _packed(host: str, port: int) -> str:
    """An address as ``/proc/net/tcp`` has it: words of the machine's order."""
    data = ipaddress.ip_address(host).packed
    words = [int.from_bytes(data[at : at + 4], "little") for at in range(0, len(data), 4)]
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"


def owner_of(client: tuple[str, int]) -> int | None:
    """The user of this machine whose socket that is; None when it cannot be told."""
    table = "/proc/net/tcp6" if ":" in client[0] else "/proc/net/tcp"
    wanted = _packed(*client)
    with open(table, encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields[1] == wanted:
                return int(fields[7])
    return None


class HeapHandler(BaseHTTPRequestHandler):
    """Serves ``/debug/pprof/heap``; whatever else is asked for goes to the next class, or is not found.

    A request from this machine has to come from the process's own user or root. It has to name this machine, so that
    no page of another site reads it by way of a browser.
    """

    def do_GET(self) -> None:
        """Answer a request."""
        asked = urlsplit(self.path)
        if asked.path != PATH:
            following = getattr(super(), "do_GET", None)
            if following is None:
                self.send_error(http.HTTPStatus.NOT_FOUND, explain=f"only {PATH} is here")
            else:
                following()
            return
        try:
            self._check()
            kind, content = answer({name: values[-1] for name, values in parse_qs(asked.query).items()})
        except Refused as refused:
            self._send(refused.status, "text/plain; charset=utf-8", f"{refused}\n".encode())
            return
        self._send(http.HTTPStatus.OK, kind, content)

    def _check(self) -> None:
        """Whether the client may read it."""
        client = self.client_address
        if not ipaddress.ip_address(client[0].partition("%")[0]).is_loopback:
            return
        if owner_of((client[0], client[1])) not in (0, os.geteuid()):
            raise Refused(http.HTTPStatus.FORBIDDEN, "the heap profile is for the process's own user")
        host = self.headers.get("Host", "localhost")
        if host.rpartition(":")[0 if host.rpartition(":")[2].isdecimal() else 2] not in _NAMES:
            raise Refused(http.HTTPStatus.FORBIDDEN, f"this is not {host!r}")

    def _send(self, status: http.HTTPStatus, kind: str, content: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("X-Content-Type-Options", "nosniff")
        if kind == "application/octet-stream":
            self.send_header("Content-Disposition", 'attachment; filename="heap"')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:
        """Log nothing."""


def serve(
    port: int, addr: str = "127.0.0.1", handler: type[BaseHTTPRequestHandler] = HeapHandler
) -> tuple[ThreadingHTTPServer, threading.Thread]:
    """Serve from a daemon thread.

    Args:
        port: 0 for any that is free: ``server.server_port`` tells which.
        addr: to listen at. Beyond this machine's own address everybody who reaches it may read the profile.
        handler: what answers.

    Returns:
        The server, for ``server.shutdown()``, and its thread.

    Raises:
        OSError: when the port is taken.
    """
    server = ThreadingHTTPServer((addr, port), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="rtmalloc-heap-endpoint", daemon=True)
    thread.start()
    return server, thread
