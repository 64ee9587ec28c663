"""What the tests of traces share: a decoder of plain traces that owes nothing to the code under test."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench_harness.tracing.files import make_plain, read_head
from bench_harness.tracing.raw import RawWriter

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


def make_trace(writer: RawWriter, folder: Path, slice_events: int = 4096) -> Path:
    raw, plain = folder / "made.raw", folder / "made.plain"
    writer.save(raw, "made")
    make_plain(plain, {"source": "test"}, [str(raw)], slice_events)
    return plain
