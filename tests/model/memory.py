"""Memory as all threads see it when every step is sequentially consistent. views.py has the other one.

A memory works on the bytes of the state at hand, `core`, which hold what is last in each word's modification order.
What it needs besides is its `extra` part of the state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .layout import Layout, Scenario
from .orders import Order

GLANCE = "draw: word"  # a load that is followed by a claim, whatever it says


class SequentialMemory:
    """Every store is visible at once."""

    def __init__(self, scenario: Scenario, layout: Layout, orders: Mapping[str, Order]) -> None:
        """A memory for a scenario's threads, whose steps have these orders."""
        self.names = layout.names
        self.threads = len(scenario.threads)
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
        """The load GLANCE: to miss what comes home now is to have looked a little earlier."""
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

    def use(self, thread: int, place: int, mask: int) -> None:
        """The program has written into objects that it is about to free."""

    def check_used(self, thread: int, place: int, mask: int) -> None:
        """Objects are about to be used anew."""

    def page_lock(self, thread: int) -> None:
        """The thread has the page heap's lock, for a moment."""

    def forget(self, thread: int) -> None:
        """The thread has ended."""

    def of_thread(self, extra: Any, thread: int) -> Any:
        """The part of `extra` that belongs to a thread."""
        return ()

    def permuted(self, extra: Any, threads: list[int]) -> Any:
        """`extra` with thread number n in the part that threads[n] had."""
        return extra
