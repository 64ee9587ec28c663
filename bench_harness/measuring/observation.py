"""Run one cell: a fresh process, watched from outside, which proves which allocator served it.

The child prints one JSON line when it is done and then waits at a gate (end of file on its standard input),
so its /proc files can be read while it is whole. Peak RSS is VmHWM of /proc/PID/status and not `ru_maxrss`:
exec gives a process a new address space and with it a new VmHWM, but the kernel carries `ru_maxrss` of the
old one over, so a small child of a fat parent would report its parent's size.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench_harness.errors import CellFailure
from bench_harness.measuring.disturbance import Disturbance, Watch
from bench_harness.peers.allocators import Allocator

__all__ = ["Launch", "Observation", "is_served_by", "observe", "prove_allocator", "same_file"]

SAMPLE_SECONDS = 0.02  # RSS from outside: 50 a second cost 0.2 % of a core
SAMPLES_KEPT = 400  # a long cell's samples are thinned to this many
SHOWN_STDERR = 300  # characters of a failed child's last words
PADDING_MOST = 4096  # bytes of environment, see _environment


@dataclass(frozen=True)
class Launch:
    """How to start a cell.

    Attributes:
        command: program and arguments; it must understand `gate=1`.
        allocator: who is to serve the cell.
        preload: whether its library is preloaded.
        environment: further variables.
        front: a library of the harness's that is preloaded ahead of the allocator's.
    """

    command: Sequence[str]
    allocator: Allocator
    preload: bool = True
    environment: Mapping[str, str] = field(default_factory=dict)
    front: Path | None = None


@dataclass(frozen=True)
class Observation:
    """What one successful process reported and what was seen from outside.

    Attributes:
        report: the child's own JSON line.
        samples: (CLOCK_MONOTONIC ns, RSS bytes) pairs taken from outside.
        status: VmHWM, VmRSS and others of /proc/PID/status at the gate, in bytes.
        maps: files mapped into the child.
        disturbance: CPU use by others.
        elapsed: seconds from start to exit.
    """

    report: dict[str, Any]
    samples: list[tuple[int, int]]
    status: dict[str, int]
    maps: frozenset[str]
    disturbance: Disturbance
    elapsed: float


def _environment(launch: Launch, padding: random.Random) -> dict[str, str]:
    """A small, known environment: what the user's shell exports must not change a result.

    Its random padding moves the stack from cell to cell, so that a lucky or unlucky stack alignment becomes
    noise that averages out instead of a bias.
    """
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    env = {
        **kept,
        **launch.allocator.environment,
        **launch.environment,
        "BENCH_HARNESS_PADDING": "x" * padding.randrange(PADDING_MOST),
    }
    libraries = [str(launch.front or ""), launch.allocator.preloaded if launch.preload else ""]
    if any(libraries):
        env["LD_PRELOAD"] = ":".join(filter(None, libraries))
    return env


def _mapped_files(pid: int) -> frozenset[str]:
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return frozenset(parts[5] for line in lines if len(parts := line.split(maxsplit=5)) == 6 and parts[5][0] == "/")


def _status(pid: int) -> dict[str, int]:
    values = {}
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if rest.endswith("kB"):
            values[name] = int(rest.split()[0]) * 1024
    return values


def same_file(a: str, b: Path) -> bool:
    """True when both paths lead to one file; a path that leads nowhere is no file."""
    try:
        return os.path.samefile(a, b)
    except OSError:
        return False


def is_served_by(allocator: Allocator, served: str) -> bool:
    """True when the object `served` that a function came from is the allocator's: its library, or the C library."""
    if allocator.path is None:
        return Path(served).name.startswith(("libc.so", "libc-", "ld-musl"))
    return same_file(served, allocator.path)


def prove_allocator(allocator: Allocator, report: Mapping[str, Any], maps: frozenset[str]) -> None:
    """Check that malloc and free really came from the allocator.

    Args:
        allocator: who should have served the cell.
        report: the child's line: `malloc_object` and `free_object` are what dladdr said inside it.
        maps: the files mapped into the child, read from outside.
    Raises:
        CellFailure: another library served it, or the two sources contradict each other.
    """
    for symbol in ("malloc", "free"):
        served = str(report.get(f"{symbol}_object", ""))
        if not is_served_by(allocator, served):
            raise CellFailure(f"{symbol} was served by {served or 'an unknown object'}, not by {allocator.name}")
        if not any(same_file(path, Path(served)) for path in maps):
            replaced = f"{served} (deleted)" in maps
            how = "was replaced while the cell ran" if replaced else f"claims to serve {symbol} but is not mapped"
            raise CellFailure(f"{served} {how}")


class _Child:
    """A running cell: collects its output, samples its RSS, ends it when it hangs or grows too large."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], timeout: float, memory_cap: int) -> None:
        self.began = time.monotonic()
        self._deadline = self.began + timeout
        self._timeout = timeout
        self._cap = memory_cap
        self.samples: list[tuple[int, int]] = []
        self._output = {"stdout": b"", "stderr": b""}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
        )
        self.pid = self._process.pid
        self._watched = psutil.Process(self.pid)
        self.cpu_seconds = 0.0

    def __enter__(self) -> _Child:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            if stream is not None:
                with contextlib.suppress(OSError):
                    stream.close()

    def _kill(self) -> None:
        if self._process.returncode is None:
            # The whole session: a workload may have children of its own.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> None:
        _, status, usage = os.wait4(self.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu_seconds = usage.ru_utime + usage.ru_stime

    def _sample(self) -> None:
        try:
            rss = int(self._watched.memory_info().rss)
        except (psutil.Error, OSError):
            return
        if rss:  # zero between the end of its address space and its reaping
            self.samples.append((time.monotonic_ns(), rss))
        if rss > self._cap:
            raise CellFailure(f"exceeded the memory cap: {rss >> 20} MiB of RSS, allowed are {self._cap >> 20}")
        if time.monotonic() > self._deadline:
            raise CellFailure(f"hung: not finished after {self._timeout:.1f} s")

    def read_line(self) -> str:
        """The child's line, after which it waits at its gate; raises CellFailure when it ends without one."""
        with selectors.DefaultSelector() as selector:
            for name in ("stdout", "stderr"):
                selector.register(getattr(self._process, name), selectors.EVENT_READ, name)
            while selector.get_map():
                for key, _ in selector.select(SAMPLE_SECONDS):
                    data = os.read(key.fd, 1 << 16)
                    self._output[key.data] += data
                    if not data:
                        selector.unregister(key.fileobj)
                self._sample()
                if b"\n" in self._output["stdout"]:
                    return self._output["stdout"].split(b"\n")[0].decode()
        self._reap()
        raise CellFailure(self._reason())

    def _reason(self) -> str:
        code = self._process.returncode or 0
        if code < 0:
            how = f"killed by {signal.Signals(-code).name}"
        else:
            how = f"exit code {code}" if code else "ended without a result"
        words = self._output["stderr"].decode(errors="replace").strip().splitlines()
        return f"{how}: {words[-1][:SHOWN_STDERR]}" if words else how

    def finish(self) -> None:
        """Open the gate and reap the child."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        while os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > self._deadline:
                raise CellFailure(f"hung at exit: not gone after {self._timeout:.1f} s")
            time.sleep(0.001)
        self._reap()
        if self._process.returncode != 0:
            self._output["stderr"] += self._process.stderr.read() if self._process.stderr else b""
            raise CellFailure(f"after its result: {self._reason()}")


def _thin(samples: list[tuple[int, int]]) -> list[tuple[int, int]]:
    step = -(-len(samples) // SAMPLES_KEPT)
    return samples[::step] if step > 1 else samples


def observe(launch: Launch, timeout: float, memory_cap: int, padding: random.Random) -> Observation:
    """Run one cell to its end.

    Args:
        launch: what to start; the command must understand `gate=1`.
        timeout: seconds after which the child is ended as hung.
        memory_cap: bytes of RSS above which it is ended.
        padding: source of the environment's random padding.
    Raises:
        CellFailure: it crashed, hung, outgrew its cap, or did not keep to the protocol.
    """
    watch = Watch()
    try:
        child = _Child(launch.command, _environment(launch, padding), timeout, memory_cap)
    except OSError as error:
        raise CellFailure(f"could not start {launch.command[0]}: {error}") from error
    with child:
        line = child.read_line()
        try:
            report = json.loads(line)
        except ValueError:
            raise CellFailure(f"printed no JSON but: {line[:SHOWN_STDERR]}") from None
        try:
            maps, status = _mapped_files(child.pid), _status(child.pid)
        except OSError as error:
            raise CellFailure(f"did not wait at its gate ({error})") from error
        child.finish()
        elapsed = time.monotonic() - child.began
    return Observation(report, _thin(child.samples), status, maps, watch.stop(child.cpu_seconds), elapsed)
