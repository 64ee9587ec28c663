"""Traces of other tools, read as text: Malloc Lab's `.rep` files and those of Android's memory_replay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench_harness.errors import HarnessError
from bench_harness.tracing import raw
from bench_harness.tracing.raw import RawWriter

__all__ = ["read_text_trace"]

_SHOWN = 60  # characters of a line that cannot be read
_REP_HEADER = 4  # lines: heap size (unused), number of ids, number of operations, weight (unused)
_ANDROID_LINE = re.compile(r"\s*\d+: \w+ (0x)?[0-9a-fA-F]+\b")
# Numbers after the pointer, before two optional time stamps.
_ANDROID_NUMBERS = {"malloc": 1, "calloc": 2, "memalign": 2, "realloc": 2, "free": 0}


def _numbered(lines: Sequence[str], first: int = 1) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, first):
        words = line.split()
        if words:
            yield number, words


class _Refused(Exception):
    """A line that says nothing valid; the message says why."""


def _rep_event(writer: RawWriter, words: Sequence[str], ids: int, known: set[int]) -> None:
    """One of `a ID BYTES`, `r ID BYTES`, `f ID`; `f -1` is free(NULL)."""
    op, *rest = words
    numbers = [int(text) for text in rest]
    if len(numbers) != (1 if op == "f" else 2) or op not in ("a", "r", "f"):
        raise _Refused("expected `a ID BYTES`, `r ID BYTES` or `f ID`")
    if op == "f" and numbers[0] == -1:
        return
    if not 0 <= numbers[0] < ids or numbers[-1] < 0:
        raise _Refused(f"ids go from 0 to {ids - 1}, sizes from 0")
    block = numbers[0]
    if op != "a" and block not in known:
        raise _Refused(f"block {block} is not allocated")
    address = block + 1
    if op == "a":
        if block in known:
            raise _Refused(f"block {block} is allocated already")
        writer.add(raw.MALLOC, 0, address, numbers[1])
        known.add(block)
    elif op == "r":
        writer.add(raw.RESIZE, 0, address)
        writer.add(raw.RESIZED, 0, address, numbers[1])
    else:
        writer.add(raw.FREE, 0, address)
        known.discard(block)


def _read_rep(path: Path, lines: Sequence[str], writer: RawWriter) -> None:
    try:
        _, ids, operations, _ = (int(line) for line in lines[:_REP_HEADER])
    except ValueError:
        raise HarnessError(f"{path}: a .rep file begins with four lines of one number each") from None
    known: set[int] = set()
    count = 0

    def event(words: Sequence[str]) -> None:
        _rep_event(writer, words, ids, known)

    for number, words in _numbered(lines[_REP_HEADER:], _REP_HEADER + 1):
        _read_line(path, number, words, event)
        count += 1
    if count != operations:
        raise HarnessError(f"{path}: its header promises {operations} operations, there are {count}: was it cut?")


class _Android:
    """Events of memory_replay's lines: `TID: OP POINTER NUMBERS... [START_NS END_NS]`."""

    def __init__(self, writer: RawWriter) -> None:
        self._writer = writer
        self._first_ns: int | None = None
        self._latest_ns = 0

    def _moment(self, stamps: Sequence[str]) -> int:
        """ns since the first stamp; a line without one stays where the last one was."""
        if stamps:
            start = int(stamps[0])
            self._first_ns = start if self._first_ns is None else self._first_ns
            self._latest_ns = max(self._latest_ns, start - self._first_ns)
        return self._latest_ns

    def event(self, words: Sequence[str]) -> None:
        thread, op, pointer, *rest = words
        if not thread.endswith(":"):
            raise _Refused("expected `TID: OP POINTER ...`")
        block = int(pointer, 16)
        if op == "thread_done":
            self._writer.add(raw.THREAD_END, thread, 0, ns=self._moment(rest))
            return
        wanted = _ANDROID_NUMBERS.get(op)
        if wanted is None:
            raise _Refused(f"unknown operation {op}; known are {', '.join(_ANDROID_NUMBERS)}, thread_done")
        if len(rest) not in (wanted, wanted + 2):
            raise _Refused(f"{op} takes {wanted} numbers and, at will, two time stamps")
        ns = self._moment(rest[wanted:])
        self._add(op, thread, block, rest[:wanted], ns)

    def _add(self, op: str, thread: str, block: int, given: Sequence[str], ns: int) -> None:
        add = self._writer.add
        if op == "free":
            if block:
                add(raw.FREE, thread, block, ns=ns)
        elif op == "realloc":
            old, size = int(given[0], 16), int(given[1])
            if old:
                add(raw.RESIZE, thread, old, ns=ns)
            if block:
                add(raw.RESIZED if old else raw.MALLOC, thread, block, size, ns=ns)
            elif old:
                add(raw.FREE if size == 0 else raw.RESIZE_FAILED, thread, 0 if size == 0 else old, ns=ns)
        elif block:  # a call that failed made nothing
            numbers = [int(text) for text in given]
            if op == "memalign":
                alignment = 1 << max(0, (numbers[0] - 1).bit_length())  # the next power of two, as memalign does
                add(raw.ALIGNED, thread, block, numbers[1], alignment, ns)
            else:
                size = numbers[0] * numbers[1] if op == "calloc" else numbers[0]
                add(raw.CALLOC if op == "calloc" else raw.MALLOC, thread, block, size, ns=ns)


def _read_line(path: Path, number: int, words: Sequence[str], event: Callable[[Sequence[str]], None]) -> None:
    try:
        event(words)
    except _Refused as refused:
        why = str(refused)
    except (ValueError, OverflowError):
        why = "a word that should be a number is none"
    else:
        return
    raise HarnessError(f"{path}:{number}: {why}: {' '.join(words)[:_SHOWN]}")


def read_text_trace(path: Path, target: Path) -> str:
    """Turn a text trace into a recorder's file.

    Args:
        path: a `.rep` file of Malloc Lab or a text of memory_replay, told apart by their first line.
        target: the recorder's file to write.
    Returns:
        The name of its format.
    Raises:
        HarnessError: it is neither, or a line cannot be read; the message names the line.
    """
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except UnicodeDecodeError:
        lines = []
    first = lines[0] if lines else ""
    writer = RawWriter()
    if first.strip().isdigit():
        kind = "Malloc Lab"
        _read_rep(path, lines, writer)
    elif _ANDROID_LINE.match(first):
        kind = "memory_replay"
        android = _Android(writer)
        for number, words in _numbered(lines):
            _read_line(path, number, words, android.event)
    else:
        raise HarnessError(
            f"{path}: neither a trace of this harness (.trace.zst), nor a .rep file of Malloc Lab, nor a text of "
            "Android's memory_replay (their archives must be unpacked first)"
        )
    writer.save(target, str(path))
    return kind
