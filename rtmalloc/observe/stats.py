"""Numbers about the allocator, as typed objects and as JSON."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

from rtmalloc import _core
from rtmalloc.observe.process import start_ticks


@dataclass(frozen=True)
class ClassStats:
    """One size class of small blocks."""

    size: int
    """Bytes of a block."""
    spans: int
    """Spans that hold blocks of this size."""
    current_spans: int
    """Spans among them that refills draw from now: at most one for each slot."""
    blocks: int
    """Blocks that fit into these spans."""
    free_blocks: int
    """Blocks among them that are free and in no thread's cache."""

    @classmethod
    def from_numbers(cls, numbers: dict[str, int]) -> ClassStats:
        """One class from its numbers in ``rtmalloc/core/numbers.toml``."""
        return cls(numbers["size"], numbers["spans"], numbers["current"], numbers["objects"], numbers["free"])

    @property
    def allocated(self) -> int:
        """Bytes in blocks of this size that the program or a thread's cache holds."""
        return (self.blocks - self.free_blocks) * self.size


@dataclass(frozen=True)
class ThreadStats:
    """One thread's heap. It outlives its thread, clean, and goes to the next one that needs one.

    Read without stopping the thread: each number was true a moment ago, but they need not fit together.
    """

    heap: int
    """Number of the heap, from 1."""
    live: bool
    """Whether a thread has it now."""
    native_id: int
    """The kernel's number of that thread (``threading.Thread.native_id``), or of the last one that had it; 0, where the
    heap is a CPU's."""
    lives: int
    """Threads that have had it."""
    slot: int
    """Number of the slot, the group of spans, that the thread used last."""
    cached: int
    """Bytes of free blocks that the thread keeps at hand."""
    capacity: int
    """Bytes of free blocks that it may keep."""
    counters: dict[str, int]
    """Events of this heap since the process began, by their names in ``rtmalloc/core/numbers.toml``."""

    @classmethod
    def from_numbers(cls, numbers: dict[str, int], counters: dict[str, int]) -> ThreadStats:
        """One heap from its numbers and its counters."""
        return cls(
            numbers["id"], bool(numbers["live"]), numbers["thread"], numbers["lives"], numbers["slot"],
            numbers["cached"], numbers["capacity"], counters,
        )  # fmt: skip


@dataclass(frozen=True)
class Stats:
    """A snapshot of the allocator. Under load its numbers are of slightly different instants.

    The names are jemalloc's where jemalloc has one. For a process that serves everything from rtmalloc,
    ``resident + metadata`` is what the heap adds to its RSS.
    """

    allocated: int
    """Bytes in blocks that the program holds, plus what threads' caches hold (at most :attr:`cached`)."""
    cached: int
    """Bytes of free blocks that threads' caches may hold: an upper bound."""
    active: int
    """Bytes of address space in use: spans, large blocks, mappings of single huge blocks."""
    resident: int
    """Bytes of all of the above, and of free memory not yet given back, that lie in physical memory."""
    dirty: int
    """Bytes of free slices that are still resident; they go back after ``dirty_decay_ms``."""
    muzzy: int
    """Bytes among them that the kernel may take when it needs memory (``muzzy_decay_ms``)."""
    clean: int
    """Bytes of free slices that hold no memory: given back, or never used."""
    committed: int
    """Bytes of address space opened for use: blocks of the arena, ``dirty`` and ``clean`` slices together."""
    metadata: int
    """Bytes of physical memory that rtmalloc's own tables take."""
    reserved: int
    """Bytes of address space set aside; costs no memory."""
    purged: int
    """Bytes given back to the kernel since the process began."""
    threads: int
    """Threads that have a heap now. None, where caches are those of CPUs."""
    caches: str
    """Whose the caches are, as in :attr:`Status.caches`."""
    counters: dict[str, int]
    """Every number by its name in ``rtmalloc/core/numbers.toml``: of the whole process since it began."""
    classes: tuple[ClassStats, ...]
    """Size classes in use, smallest first."""
    per_thread: tuple[ThreadStats, ...]
    """The heaps of all threads, also of those that have ended."""

    def to_json(self, *, indent: int | None = None) -> str:
        """All of it as one JSON object, with the process id and when the process started, in clock ticks since boot.

        Args:
            indent: spaces per level; None is one line.
        """
        return json.dumps({"pid": os.getpid(), "start": start_ticks(), **asdict(self)}, indent=indent)

    @classmethod
    def from_json(cls, text: str) -> Stats:
        """The snapshot that :meth:`to_json` wrote.

        Args:
            text: one JSON object, of this version or an older one.

        Raises:
            ValueError: when ``text`` is something else.
        """
        try:
            fields = json.loads(text)
            for name in ("pid", "start"):
                fields.pop(name, None)
            fields["classes"] = tuple(ClassStats(**row) for row in fields["classes"])
            # A process that started before an upgrade may write what an older version wrote.
            fields.setdefault("caches", "thread")
            fields["per_thread"] = tuple(ThreadStats(**row) for row in fields.get("per_thread", ()))
            return cls(**fields)
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"no rtmalloc statistics: {error}") from None


def stats() -> Stats:
    """A snapshot of the allocator that serves this process.

    It walks the page map: about a millisecond per GiB of memory in use, without stopping other threads.
    """
    numbers, summed, classes = _core.stats_raw()
    return Stats(
        allocated=numbers["allocated"],
        cached=numbers["cached"],
        active=numbers["active"],
        resident=numbers["resident"],
        dirty=numbers["dirty"],
        muzzy=numbers["muzzy"],
        clean=numbers["clean"],
        committed=numbers["committed"],
        metadata=numbers["metadata"],
        reserved=numbers["reserved"],
        purged=numbers["purged"],
        threads=numbers["threads"],
        caches=_core.CACHES[numbers["caches"]],
        counters={**numbers, **summed},
        classes=tuple(ClassStats.from_numbers(row) for row in classes),
        per_thread=tuple(ThreadStats.from_numbers(*row) for row in _core.heaps_raw()),
    )


def bytes_allocated() -> int:
    """:attr:`Stats.allocated` alone, in bytes; the name is that of pyarrow's memory pools."""
    return stats().allocated


def trim(*, emergency: bool = False) -> bool:
    """Give unused memory back to the kernel now instead of after ``dirty_decay_ms``.

    Worth calling after ``gc.collect()``, before a process goes idle for good or forks workers. Other threads give back
    what they cache at their next few calls of the allocator.

    Args:
        emergency: flush as under memory pressure: take also what sleeping threads have not seen come home, and give
            back without delay what comes home within the next second. It costs the threads their caches.

    Returns:
        Whether any memory went back.
    """
    return _core.flush_everything() if emergency else _core.trim()
