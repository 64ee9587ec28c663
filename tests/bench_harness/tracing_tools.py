"""What the tests of traces share: a decoder of plain traces that owes nothing to the code under test."""

from __future__ import annotations

import functools
import random
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_harness.tracing import raw
from bench_harness.tracing.files import make_plain, read_head
from bench_harness.tracing.raw import RawWriter

MAKERS = (raw.MALLOC, raw.MALLOC, raw.CALLOC, raw.ALIGNED)
KINDS = ("malloc", "calloc", "aligned", "free", "realloc", "time")


@dataclass
class Operation:
    """One decoded operation; what it has not is 0, `touched` None for the whole block."""

    kind: str
    slice: int
    thread: int
    slot: tuple[bool, int]
    size: int = 0
    new_slot: tuple[bool, int] | None = None
    old_size: int = 0
    alignment: int = 1
    touched: int | None = None
    microseconds: int = 0


@dataclass
class Decoded:
    """A whole plain trace: segments in the order of the file."""

    head: Any
    segments: list[list[Operation]] = field(default_factory=list)
    threads: list[tuple[int, int]] = field(default_factory=list)

    def of_thread(self, number: int) -> list[Operation]:
        return [op for segment in self.segments for op in segment if op.thread == number]

    @property
    def operations(self) -> list[Operation]:
        return [op for segment in self.segments for op in segment]


class Numbers:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def number(self) -> int:
        value = shift = 0
        while True:
            byte = self.byte()
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def _operation(numbers: Numbers, where: tuple[int, int], moment: int) -> Operation:
    flags = numbers.byte()
    kind = KINDS[flags & 7]
    op = Operation(kind, *where, (bool(flags & 8), numbers.number()), microseconds=moment)
    if kind == "free":
        return op
    if kind == "realloc":
        op.new_slot = (bool(flags & 16), numbers.number())
    op.size = numbers.number()
    if kind == "realloc":
        op.old_size = numbers.number()
    if kind == "aligned":
        op.alignment = 1 << numbers.number()
    if flags & 32:
        op.touched = numbers.number()
    return op


def decode(plain: Path) -> Decoded:
    head, data = read_head(plain), plain.read_bytes()
    decoded = Decoded(head)
    for n in range(head["segments"]):
        line = struct.unpack_from("<2Q4I", data, head["index_at"] + 32 * n)
        at, moment, length, events, slice_number, thread = line
        numbers = Numbers(data[at : at + length])
        segment: list[Operation] = []
        while numbers.at < length:
            if numbers.data[numbers.at] & 7 == 5:
                numbers.byte()
                moment += numbers.number()
                continue
            segment.append(_operation(numbers, (slice_number, thread), moment))
        assert len(segment) == events
        decoded.segments.append(segment)
    decoded.threads = [struct.unpack_from("<2I", data, head["threads_at"] + 8 * n) for n in range(head["threads"])]
    return decoded


@functools.cache
def history(seed: int, threads: int, events: int, addresses: int = 400, makers: tuple[int, ...] = MAKERS) -> RawWriter:
    """A random history of several threads: every kind of call, hand-overs, sizes up to 200 KB, threads that end.

    Made once for all tests that ask for the same, which do not add to it.
    """
    draw = random.Random(seed)
    writer = RawWriter()
    live: dict[int, int] = {}
    for n in range(events):
        thread = draw.randrange(threads * n // events, threads)  # early threads end, late ones begin
        size = int(draw.random() ** 6 * 200_000)
        if live and draw.random() < len(live) / addresses:
            address = draw.choice(list(live))
            del live[address]
            if draw.random() < 0.3:
                writer.add(raw.RESIZE, thread, address, ns=n * 1000)
                writer.add(raw.RESIZED, thread, address, size, ns=n * 1000)
                live[address] = size
            else:
                writer.add(raw.FREE, thread, address, ns=n * 1000)
            continue
        address = next(a for a in range(1, 2 * addresses) if a not in live)
        op = draw.choice(makers)
        writer.add(op, thread, address, size, 1 << draw.randrange(13), n * 1000)
        live[address] = size
    for thread in range(threads - 1):
        writer.add(raw.THREAD_END, thread, 0, ns=events * 1000)
    return writer


def make_trace(writer: RawWriter, folder: Path, slice_events: int = 4096) -> Path:
    source, plain = folder / "made.raw", folder / "made.plain"
    writer.save(source, "made")
    make_plain(plain, {"source": "test"}, [str(source)], slice_events)
    return plain
