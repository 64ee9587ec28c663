"""What the drivers of real programs share: a program under the allocator, its memory from outside, the line at the end.

The driver itself is not served by the allocator, and neither are the clients that it starts. A script declares
OPERATION, PARAMETERS and NEEDS (executables, or `module:NAME`) as literals and calls `main(PARAMETERS, body)`;
`body(run)` starts programs with `run.start` and measures between `run.window_begin` and `run.window_end`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

__all__ = ["Program", "Run", "main"]

Row = tuple[str, float, float, float, str, str]
COMMON: dict[str, float] = {"threads": 1, "seconds": 1.0, "warmup": 0.2, "seed": 4141, "gate": 0}
SAMPLE_SECONDS = 0.02
END_SECONDS = 20.0  # after SIGTERM
_PR_SET_PDEATHSIG = 1


class Failure(Exception):
    """The program did not do what it should; the message becomes the cell's reason."""


def _die_with_driver() -> None:
    """In the child before exec: no program outlives its driver."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Program:
    """A program that the allocator serves, with all its processes."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path, witness: Path) -> None:
        """Watch a started process."""
        self.process = process
        self.log = log
        self._witness = witness
        self.maps: set[str] = set()
        self._watched = psutil.Process(process.pid)

    def _all(self) -> Iterator[psutil.Process]:
        with contextlib.suppress(psutil.Error):
            yield self._watched
            yield from self._watched.children(recursive=True)

    def resident_bytes(self) -> int:
        """RSS of its processes together; 0 once they are gone."""
        total = 0
        for process in self._all():
            with contextlib.suppress(psutil.Error):
                total += process.memory_info().rss
        return total

    def cpu_seconds(self) -> tuple[float, float]:
        """User and system time of the process and those of its children that it has waited for."""
        times = self._watched.cpu_times()
        return times.user + times.children_user, times.system + times.children_system

    def peak_bytes(self) -> int:
        """VmHWM of the process itself, while it lives."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        return 0

    def look(self) -> None:
        """Note which files are mapped, for the proof, while it lives.

        Only once the witness has spoken in this very program: before exec the process is a copy of the driver, and
        before the loader is done the libraries are not there yet. At its end a look may see a part only.
        """
        pid = self.process.pid
        with contextlib.suppress(OSError):
            program = os.readlink(f"/proc/{pid}/exe")
            told = [line for line in self._witness.read_text().splitlines() if line.startswith(f"begin {pid}\t")]
            if told and told[-1].endswith(f"\t{program}"):
                lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
                parts = (line.split(maxsplit=5) for line in lines)
                self.maps |= {words[5] for words in parts if len(words) == 6 and words[5][0] == "/"}

    def wait_until(self, ready: Callable[[], bool], what: str, seconds: float = 30) -> None:
        """Wait for the program to be ready; Failure when it ends or takes too long."""
        until = time.monotonic() + seconds
        while not ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise Failure(f"{what}: {self.last_words()}")
            time.sleep(0.01)

    def last_words(self) -> str:
        """The end of its output."""
        words = self.log.read_text(errors="replace").strip().splitlines()
        return words[-1] if words else f"status {self.process.poll()}, without a word"

    def end(self) -> None:
        """Ask it to end, and wait for that."""
        if self.process.poll() is None:
            self.look()
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            raise Failure(f"did not end within {END_SECONDS:g} s of SIGTERM: {self.last_words()}") from None


class Run:
    """A running cell: parameters, the programs it started, marks and metrics."""

    def __init__(self, values: Mapping[str, float], folder: Path) -> None:
        """Take the parameters' values by name, and an empty folder."""
        self.values = values
        self.folder = folder
        self.random = random.Random(int(values["seed"]))
        self.programs: list[Program] = []
        self.metrics: dict[str, float] = {}
        self.marks: list[tuple[str, int, int]] = []
        self.samples: list[tuple[int, int]] = []
        self.operations = 0
        self.window_rss = self.peak = 0
        self.cpu = self._clients = (0.0, 0.0)
        self.began_ns = self.ended_ns = self.paused_ns = 0
        self._witness = folder / "witness"
        self._witness.touch()
        self._over = threading.Event()
        self._cap = int(os.environ.get("BENCH_HARNESS_MEMORY_CAP", "0"))
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def integer(self, name: str) -> int:
        """A parameter's value as a whole number."""
        return int(self.values[name])

    def start(self, *command: str, environment: Mapping[str, str] | None = None, text: bytes = b"") -> Program:
        """Start a program under the allocator.

        Args:
            command: the program and its arguments.
            environment: variables beside those that the cell has.
            text: its standard input.
        """
        env = {
            **os.environ,
            **(environment or {}),
            # Ahead of all others: a program that is linked with an allocator of its own is served by this one.
            "LD_PRELOAD": f"{os.environ['BENCH_HARNESS_WITNESS_LIBRARY']}:{os.environ['BENCH_HARNESS_PRELOAD']}",
            "BENCH_HARNESS_WITNESS": str(self._witness),
        }
        log = self.folder / f"log-{len(self.programs)}"
        source = self.folder / f"input-{len(self.programs)}"
        source.write_bytes(text)
        with source.open("rb") as given, log.open("wb") as sink:
            process = subprocess.Popen(
                command, stdin=given, stdout=sink, stderr=sink, env=env, cwd=self.folder, preexec_fn=_die_with_driver
            )
        self.programs.append(Program(process, log, self._witness))
        return self.programs[-1]

    def client(self, *command: str, seconds: float = 300) -> str:
        """Run a client, which the allocator does not serve; returns what it printed. Failure when it fails.

        Its CPU time is not the programs', of which none may end meanwhile.
        """
        before = self._ended_cpu()
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, cwd=self.folder, preexec_fn=_die_with_driver
        )
        after = self._ended_cpu()
        self._clients = (self._clients[0] + after[0] - before[0], self._clients[1] + after[1] - before[1])
        if done.returncode != 0:
            words = (done.stderr or done.stdout).strip().splitlines() or ["without a word"]
            raise Failure(f"{Path(command[0]).name} failed: {words[-1]}")
        return done.stdout

    def resident_bytes(self) -> int:
        """RSS of all programs together."""
        return sum(program.resident_bytes() for program in self.programs)

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for program in self.programs:
                program.look()
            rss = self.resident_bytes()
            if rss:
                self.samples.append((time.monotonic_ns(), rss))
            if self._cap and rss > self._cap:
                print(
                    f"exceeded the memory cap: {rss >> 20} MiB of RSS, allowed are {self._cap >> 20}", file=sys.stderr
                )
                os.killpg(0, signal.SIGKILL)

    def mark(self, name: str) -> None:
        """Record this moment and the programs' RSS."""
        self.marks.append((name, time.monotonic_ns(), self.resident_bytes()))

    def window_begin(self) -> None:
        """The measured window starts here."""
        self._clients = (0.0, 0.0)
        self.cpu = self._cpu()
        self.began_ns = time.monotonic_ns()

    def _cpu(self) -> tuple[float, float]:
        """User and system seconds of the programs so far, and of clients that have ended."""
        living = [program.cpu_seconds() for program in self.programs if program.process.poll() is None]
        ended = self._ended_cpu()
        return sum(user for user, _ in living) + ended[0], sum(system for _, system in living) + ended[1]

    @staticmethod
    def _ended_cpu() -> tuple[float, float]:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime, usage.ru_stime

    def window_end(self, operations: int) -> None:
        """The window ends after so many operations."""
        self.ended_ns = time.monotonic_ns()
        user, system = self._cpu()
        self.cpu = (user - self.cpu[0] - self._clients[0], system - self.cpu[1] - self._clients[1])
        self.operations = operations
        self.window_rss = self.resident_bytes()

    def finish(self) -> dict[str, Any]:
        """End the programs and make the cell's line."""
        living = [program for program in self.programs if program.process.poll() is None]
        self.peak = max([self.peak, *(program.peak_bytes() for program in living)])
        end_rss = self.resident_bytes()
        for program in self.programs:
            program.end()
        self._over.set()
        served, peaks = self._witnessed()
        self.peak = max([self.peak, self.window_rss, *peaks.values(), *(rss for _, _, rss in self.marks)])
        main = served.get(self.programs[0].process.pid, {})
        return {
            "parameters": dict(self.values),
            "threads": 1,
            "operations": self.operations,
            "began_ns": self.began_ns,
            "ended_ns": self.ended_ns,
            "seconds": (self.ended_ns - self.began_ns - self.paused_ns) * 1e-9,
            "user_seconds": max(0.0, self.cpu[0]),
            "system_seconds": max(0.0, self.cpu[1]),
            "minor_faults": 0,
            "major_faults": 0,
            "involuntary_switches": 0,
            "peak_rss_bytes": self.peak,
            "window_rss_bytes": self.window_rss,
            "end_rss_bytes": end_rss,
            "live_bytes": -1,
            "harness_bytes": 0,
            "metrics": self.metrics,
            "marks": [{"name": n, "at_ns": at, "rss_bytes": rss, "live_bytes": -1} for n, at, rss in self.marks],
            "samples": self.samples,
            "malloc_object": main.get("malloc_object", ""),
            "free_object": main.get("free_object", ""),
            "processes": list(served.values()),
            "maps": sorted(self.programs[0].maps),
        }

    def _witnessed(self) -> tuple[dict[int, dict[str, str]], dict[int, int]]:
        """Who served each process, and how large those became that came to their end."""
        served: dict[int, dict[str, str]] = {}
        peaks: dict[int, int] = {}
        for line in self._witness.read_text(errors="replace").splitlines():
            head, *rest = line.split("\t")
            kind, _, pid = head.partition(" ")
            if kind == "begin" and len(rest) == 3:
                # exec keeps the process id: the last program is the one that counts.
                served[int(pid)] = dict(zip(("malloc_object", "free_object", "program"), rest, strict=True))
            elif kind == "end" and len(rest) == 1:
                peaks[int(pid)] = max(peaks.get(int(pid), 0), int(rest[0]))
        return served, peaks


def _arguments(parameters: Sequence[Row]) -> dict[str, float]:
    values: dict[str, float] = {**COMMON, **{row[0]: row[1] for row in parameters}}
    for text in sys.argv[1:]:
        name, _, value = text.partition("=")
        if name not in values:
            sys.exit(f"{text}: unknown argument; valid are {', '.join(values)}")
        values[name] = type(values[name])(value)
    return values


def main(parameters: Sequence[Row], body: Callable[[Run], None]) -> None:
    """Run `body(run)` once and print its line; waits at the gate when the harness asks for it."""
    values = _arguments(parameters)
    with tempfile.TemporaryDirectory(prefix="bench-harness-") as folder:
        run = Run(values, Path(folder))
        try:
            body(run)
            report = run.finish()
        except Failure as failure:
            sys.exit(str(failure))
        print(json.dumps({"workload": Path(sys.argv[0]).stem, **report}), flush=True)
        if values["gate"]:
            sys.stdin.read()
