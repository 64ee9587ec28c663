"""What the Python workloads share: arguments, the measured window, marks, and the JSON line at the end.

It imports as little as possible, and the rest (json, ctypes) only after the peak RSS has been read, because
every import is memory that the report would count as the workload's. A script declares OPERATION and
PARAMETERS (name, default, smallest, largest, unit, help) as literals and calls `main(PARAMETERS, body)`.
"""

from __future__ import annotations

import os
import random
import resource
import sys
import time

TYPE_CHECKING = False  # typing itself is an import that would cost memory
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    Row = tuple[str, float, float, float, str, str]

COMMON: dict[str, float] = {
    "threads": 1,
    "seconds": 1.0,
    "warmup": 0.2,
    "ops": 0,
    "seed": 4141,
    "gate": 0,
}
CALL = "call="  # MODULE:FUNCTION that is called before anything else
PAGE = os.sysconf("SC_PAGESIZE")
_USAGE = (
    ("ru_utime", "user_seconds"),
    ("ru_stime", "system_seconds"),
    ("ru_minflt", "minor_faults"),
    ("ru_majflt", "major_faults"),
    ("ru_nivcsw", "involuntary_switches"),
)


def _status_bytes(name: str) -> int:
    with open("/proc/self/status") as file:
        for line in file:
            if line.startswith(name):
                return int(line.split()[1]) * 1024
    return -1


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Cell:
    """A running cell: `self.random` is the seeded generator, parameters are attributes."""

    def __init__(self, values: Mapping[str, float]) -> None:
        """Take the parameters' values by name."""
        self.values = values
        self.random = random.Random(int(values["seed"]))
        self.marks: list[tuple[str, int, int]] = []
        self.metrics: dict[str, float] = {}
        # Only of a cell whose memory is that of several processes: (CLOCK_MONOTONIC ns, bytes) in place of the
        # harness's own looks from outside.
        self.samples: list[tuple[int, int]] = []
        self.operations = 0
        self.window_rss = -1
        self.paused_ns = 0  # time inside the window that is nobody's work
        self.began = self.ended = self._now()

    def integer(self, name: str) -> int:
        """A parameter's value as a whole number."""
        return int(self.values[name])

    def real(self, name: str) -> float:
        """A parameter's value."""
        return float(self.values[name])

    @staticmethod
    def _now() -> tuple[int, list[float]]:
        """The time, and of the process and those of its children that have ended what `_USAGE` lists."""
        kinds = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return time.monotonic_ns(), [sum(getattr(usage, name) for usage in kinds) for name, _ in _USAGE]

    def mark(self, name: str, rss: int | None = None) -> None:
        """Record this moment and its RSS: the process's own, or what the cell knows of a group of processes."""
        self.marks.append((name, time.monotonic_ns(), _resident_bytes() if rss is None else rss))

    def window_begin(self) -> None:
        """The measured window starts here."""
        self.began = self._now()

    def window_end(self, operations: int) -> None:
        """The window ends after so many operations."""
        self.ended = self._now()
        self.operations = operations
        self.window_rss = _resident_bytes()

    def repeat(self, step: Callable[[], int]) -> None:
        """Call `step()`, which returns the operations it did, during the warm-up and then the window."""
        done = 0
        operations = self.integer("ops")
        if operations:
            self.window_begin()
            while done < operations:
                done += step()
        else:
            clock = time.monotonic
            until = clock() + self.real("warmup")
            while clock() < until:
                step()
            self.window_begin()
            until = clock() + self.real("seconds")
            while clock() < until:
                done += step()
        self.window_end(done)


def _arguments(parameters: Sequence[Row]) -> dict[str, float]:
    values: dict[str, float] = {**COMMON, **{row[0]: row[1] for row in parameters}}
    for text in sys.argv[1:]:
        if text.startswith(CALL):
            continue
        name, _, value = text.partition("=")
        if name not in values:
            sys.exit(f"{text}: unknown argument; valid are {', '.join(values)}")
        values[name] = type(values[name])(value)
    return values


def _objects() -> tuple[str, bool]:
    """Whose code serves Python's small objects: (file, whether it is the raw domain's own function)."""
    import ctypes

    class Hooks(ctypes.Structure):
        _fields_ = [(name, ctypes.c_void_p) for name in ("context", "malloc", "calloc", "realloc", "free")]

    raw, objects = Hooks(), Hooks()
    ctypes.pythonapi.PyMem_GetAllocator(ctypes.c_int(0), ctypes.byref(raw))
    ctypes.pythonapi.PyMem_GetAllocator(ctypes.c_int(2), ctypes.byref(objects))
    return _object_at(objects.malloc), objects.malloc == raw.malloc


def _object_at(address: int | None) -> str:
    """The file that holds the code at an address, as dladdr tells."""
    import ctypes

    class Info(ctypes.Structure):
        _fields_ = [
            ("file", ctypes.c_char_p),
            ("base", ctypes.c_void_p),
            ("symbol", ctypes.c_char_p),
            ("address", ctypes.c_void_p),
        ]

    info = Info()
    library = ctypes.CDLL(None)
    found = library.dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    return info.file.decode() if found and info.file else ""


def _print(name: str, cell: Cell) -> None:
    rss = _resident_bytes()
    # The kernel's counters lag by some pages: what we saw ourselves is a lower bound as well.
    peak = max(_status_bytes("VmHWM:"), rss, cell.window_rss, *(r for _, _, r in cell.marks))
    # Only now: these imports would have been part of the peak.
    import ctypes
    import json

    library = ctypes.CDLL(None)
    served = {
        f"{f}_object": _object_at(ctypes.cast(getattr(library, f), ctypes.c_void_p).value) for f in ("malloc", "free")
    }
    objects, plain = _objects()
    (t0, u0), (t1, u1) = cell.began, cell.ended
    line: dict[str, Any] = {
        "workload": name,
        "parameters": dict(cell.values),
        "threads": 1,
        "operations": cell.operations,
        "began_ns": t0,
        "ended_ns": t1,
        "seconds": (t1 - t0 - cell.paused_ns) * 1e-9,
        **{field: after - before for (_, field), after, before in zip(_USAGE, u1, u0)},  # noqa: B905  # Python 3.9
        "peak_rss_bytes": peak,
        "window_rss_bytes": cell.window_rss,
        "end_rss_bytes": rss,
        "live_bytes": -1,
        "harness_bytes": 0,
        "metrics": cell.metrics,
        "marks": [{"name": n, "at_ns": at, "rss_bytes": r, "live_bytes": -1} for n, at, r in cell.marks],
        **({"samples": cell.samples} if cell.samples else {}),
        "objects_object": objects,
        "objects_are_malloc": plain,
        **served,
    }
    print(json.dumps(line), flush=True)


def main(parameters: Sequence[Row], body: Callable[[Cell], None]) -> None:
    """Run `body(cell)` once and print its line; waits at the gate when the harness asks for it."""
    values = _arguments(parameters)
    for text in sys.argv[1:]:
        if text.startswith(CALL):
            module, _, function = text.removeprefix(CALL).partition(":")
            __import__(module)  # importlib would be one more import
            getattr(sys.modules[module], function)()
    cell = Cell(values)
    body(cell)
    _print(os.path.splitext(os.path.basename(sys.argv[0]))[0], cell)
    if values["gate"]:
        sys.stdin.read()
    # Without the interpreter's tear-down: the work is done, and exit handlers are nobody's measurement.
    os._exit(0)
