"""The recorder's files, as `native/raw.h` describes them: their headers are read here, and whole files written.

Writing serves traces of other tools: what they tell becomes a recorder's file, and goes the same way from there.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from pathlib import Path

from bench_harness.errors import HarnessError

__all__ = ["RawFile", "RawWriter", "read_raw"]

_MAGIC = b"bhraw\0\0\1"
_HEADER_BYTES = 4096
_TEXT_BYTES = 1024
_FIELDS = struct.Struct(f"<8s2q8Q{_TEXT_BYTES}s{_TEXT_BYTES}s")
_THREAD_BITS, _SIZE_BITS = 24, 56

MALLOC, CALLOC, ALIGNED, FREE, RESIZE, RESIZED, RESIZE_FAILED, TOUCHED, THREAD_END = range(1, 10)


@dataclass(frozen=True)
class RawFile:
    """What a recorder's file says of itself.

    Attributes:
        path: the file.
        pid: of the process.
        command: its program and arguments.
        began: CLOCK_REALTIME in ns.
        events: written, all threads.
        lost: events that could not be written, because no page of the file could be had.
        ended: the process ended by itself, so that the touched pages of what it still held are known.
        parent_file: name of the file of the process that forked it; empty when it was none that recorded.
        inherited: events of that file that came before the fork.
    """

    path: Path
    pid: int
    command: tuple[str, ...]
    began: int
    events: int
    threads: int
    lost: int
    ended: bool
    parent_file: str
    inherited: int


def read_raw(path: Path) -> RawFile:
    """The header of a recorder's file.

    Raises:
        HarnessError: the file is none.
    """
    with path.open("rb") as file:
        data = file.read(_FIELDS.size)
    if len(data) < _FIELDS.size or not data.startswith(_MAGIC):
        raise HarnessError(f"{path}: not a recorder's file")
    _, pid, _, _, began, events, _, threads, lost, ended, inherited, parent, command = _FIELDS.unpack(data)
    words = command.rstrip(b"\0").decode(errors="replace").split("\0")
    name = Path(parent.rstrip(b"\0").decode(errors="replace")).name
    return RawFile(path, pid, tuple(words), began, events, threads, lost, bool(ended), name, inherited)


class RawWriter:
    """Collects events in their order and writes them as a recorder's file."""

    def __init__(self, page_bytes: int = 4096) -> None:
        """Nothing is written before `save`."""
        self._words = array("Q")
        self._threads: dict[object, int] = {}
        self._page_bytes = page_bytes

    def add(self, op: int, thread: object, address: int, size: int = 0, alignment: int = 1, ns: int = 0) -> None:
        """Append an event.

        Args:
            op: MALLOC .. THREAD_END.
            thread: whatever stands for the thread.
            address: of the block: any number but 0 that no other live block has.
            size: bytes, or pages for TOUCHED.
            alignment: a power of two, for ALIGNED.
            ns: since the begin.
        """
        number = self._threads.setdefault(thread, len(self._threads) + 1)
        order = self.events << _THREAD_BITS | number
        self._words.extend((order, ns << 8 | op, address, (alignment.bit_length() - 1) << _SIZE_BITS | size))

    @property
    def events(self) -> int:
        """Events so far."""
        return len(self._words) // 4

    def save(self, path: Path, command: str = "") -> None:
        """Write the file."""
        words = command.encode()[: _TEXT_BYTES - 1]
        fields = (0, 0, self._page_bytes, 0, self.events, 0, len(self._threads), 0, 1, 0)
        header = _FIELDS.pack(_MAGIC, *fields, b"", words)
        with path.open("wb") as file:
            file.write(header.ljust(_HEADER_BYTES, b"\0"))
            self._words.tofile(file)
