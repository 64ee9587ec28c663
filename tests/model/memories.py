"""Memory as a thread sees it: sequentially consistent, or with the store buffers of x86.

A memory works on the bytes of the state at hand, `core`, which hold what is last in each word's modification order. What
it needs besides is its `extra` part of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .layout import Layout
from .orders import Order

BUFFER = 4  # stores that wait in a thread's buffer, at most


class SequentialMemory:
    """Every store is visible at once."""

    def __init__(self, layout: Layout, threads: int, orders: Mapping[str, Order]) -> None:
        """A memory for so many threads, whose steps have these orders."""
        self.names = layout.names
        self.threads = threads
        self.core = bytearray()
        self.one_of: Callable[[int], int] = lambda count: 0  # the machine's choices

    def initial(self, core: bytearray) -> Any:
        """The `extra` part of the first state."""
        return ()

    def begin(self, core: bytearray, extra: Any) -> None:
        """Work on a state."""
        self.core = core

    def end(self) -> Any:
        """The `extra` part of the state after the step."""
        return ()

    def load(self, thread: int, cell: int, order: Order) -> int:
        """An atomic load."""
        return self.core[cell]

    def glance(self, thread: int, cell: int) -> int:
        """A load that is followed by a claim, whatever it says."""
        return self.core[cell]

    def store(self, thread: int, cell: int, value: int, order: Order) -> None:
        """An atomic store."""
        self.core[cell] = value

    def update_begin(self, thread: int, cell: int, order: Order) -> int:
        """The load of a read-modify-write: it sees what is last."""
        return self.core[cell]

    def update_end(self, thread: int, cell: int, value: int, order: Order) -> None:
        """The store of a read-modify-write."""
        self.core[cell] = value

    def compare(self, thread: int, cell: int, expected: int, failing: Order) -> int:
        """What a compare-and-swap sees. If that is `expected` it goes on with the two above."""
        return self.core[cell]

    def peek(self, thread: int, cell: int, guard: int) -> int:
        """A plain load; `guard` is the shelf whose lock is held for it, or -1."""
        return self.core[cell]

    def poke(self, thread: int, cell: int, value: int, guard: int) -> None:
        """A plain store."""
        self.core[cell] = value

    def publish(self, thread: int, place: int) -> None:
        """The thread gives objects of a place to the program."""

    def receive(self, thread: int, place: int) -> None:
        """The thread gets objects of a place from the program."""

    def page_lock(self, thread: int) -> None:
        """The thread has the page heap's lock, for a moment."""

    def waits(self, extra: Any, thread: int) -> bool:
        """Whether a store of the thread is to become visible yet."""
        return False

    def make_visible(self, thread: int) -> None:
        """The thread's oldest store becomes visible."""

    def forget(self, thread: int) -> None:
        """The thread has ended."""

    def of_thread(self, extra: Any, thread: int) -> Any:
        """The part of `extra` that belongs to a thread."""
        return ()

    def permuted(self, extra: Any, threads: list[int]) -> Any:
        """`extra` with thread number n in the part that threads[n] had."""
        return extra


class BufferedMemory(SequentialMemory):
    """Total store order: stores weaker than sequentially consistent wait in a queue of their thread."""

    def __init__(self, layout: Layout, threads: int, orders: Mapping[str, Order]) -> None:
        """A memory for so many threads."""
        super().__init__(layout, threads, orders)
        self.buffers: list[tuple[tuple[int, int], ...]] = []

    def initial(self, core: bytearray) -> Any:
        """All buffers empty."""
        return ((),) * self.threads

    def begin(self, core: bytearray, extra: Any) -> None:
        """Work on a state."""
        self.core, self.buffers = core, list(extra)

    def end(self) -> Any:
        """The buffers."""
        return tuple(self.buffers)

    def load(self, thread: int, cell: int, order: Order) -> int:
        """A thread sees its own stores at once."""
        for waiting, value in reversed(self.buffers[thread]):
            if waiting == cell:
                return value
        return self.core[cell]

    def glance(self, thread: int, cell: int) -> int:
        """As any load."""
        return self.load(thread, cell, Order.RELAXED)

    def store(self, thread: int, cell: int, value: int, order: Order) -> None:
        """Into the buffer, if the order allows it."""
        if order == Order.SEQ_CST:
            self._flush(thread)
            self.core[cell] = value
            return
        if len(self.buffers[thread]) == BUFFER:
            self.make_visible(thread)
        self.buffers[thread] += ((cell, value),)

    def update_begin(self, thread: int, cell: int, order: Order) -> int:
        """A locked instruction makes all earlier stores visible, whatever its order."""
        self._flush(thread)
        return self.core[cell]

    def compare(self, thread: int, cell: int, expected: int, failing: Order) -> int:
        """Also when it fails."""
        self._flush(thread)
        return self.core[cell]

    def peek(self, thread: int, cell: int, guard: int) -> int:
        """As any load."""
        return self.load(thread, cell, Order.RELAXED)

    def poke(self, thread: int, cell: int, value: int, guard: int) -> None:
        """As any store. (What a lock guards is visible before the lock is dropped.)"""
        if guard >= 0:
            self.core[cell] = value
        else:
            self.store(thread, cell, value, Order.RELAXED)

    def page_lock(self, thread: int) -> None:
        """A lock is a locked instruction."""
        self._flush(thread)

    def waits(self, extra: Any, thread: int) -> bool:
        """Whether the thread's buffer holds anything."""
        return bool(extra[thread])

    def make_visible(self, thread: int) -> None:
        """The oldest store leaves the buffer."""
        cell, value = self.buffers[thread][0]
        self.buffers[thread] = self.buffers[thread][1:]
        self.core[cell] = value

    def _flush(self, thread: int) -> None:
        while self.buffers[thread]:
            self.make_visible(thread)

    def of_thread(self, extra: Any, thread: int) -> Any:
        """The thread's buffer."""
        return extra[thread]

    def permuted(self, extra: Any, threads: list[int]) -> Any:
        """Buffers in another order."""
        return tuple(extra[old] for old in threads)
