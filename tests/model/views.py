"""Memory by C11's orders, without load buffering: each word has a history, and each thread a view of it.

A *message* is a value in a word's modification order, with the view that its writer showed by it. A thread's *view*
says how far it has come in each history: it can read that message, or a later one. A load that acquires takes over the
view of the message that it reads. A sequentially consistent load reads nothing older than the last sequentially
consistent write of the word. A read-modify-write reads what is last, and shows on what the message before it showed (a
release sequence). A store needs to know what is last, or only read-modify-writes behind what it knows: then C11 too
leaves it no other place in the order. Where it does not, that is a race; so is a plain access to a write unknown to it.

Views are bytes: for each tracked word the number of a message, from 1; 0 stands for those that no thread can read any
more. What is numbered anew, or dropped, when a step is over tells no two states apart that differ in what can happen.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from .explorer import Violation
from .layout import Layout, Scenario
from .memory import GLANCE, SequentialMemory
from .orders import STEPS, Kind, Order, Word

MOST_OBJECTS = 3  # of a place


class Message(NamedTuple):
    """A value of a word."""

    value: int
    view: bytes
    update: bool  # written by a read-modify-write


class ViewMemory(SequentialMemory):
    """Histories and views. The core has each word's last value."""

    def __init__(self, scenario: Scenario, layout: Layout, orders: Mapping[str, Order]) -> None:
        """A memory for a scenario's threads, whose steps have these orders."""
        super().__init__(scenario, layout, orders)
        at = layout
        words = {
            Word.LOCK: range(at.lock, at.lock + at.shelves),
            Word.HINT: range(at.hint, at.hint + at.shelves * at.hints),
            Word.TAG: range(at.tag, at.tag + at.slices),
            Word.STATE: range(at.state, at.state + at.slices),
            Word.INDEX: range(at.index, at.index + at.slices),
            Word.OBJECTS: range(at.objects, at.objects + at.slices),
            Word.BITS: range(at.bits, at.bits + at.slices * at.words),
        }
        purges = any(action == "purge" for thread in scenario.threads for action, _ in thread.script)
        weak = {
            step.word
            for step in STEPS
            if step.kind == Kind.LOAD and orders[step.name] != Order.SEQ_CST and step.name != GLANCE
            if purges or not step.name.startswith("purge")
        }
        self.place: dict[int, int] = {}  # of a cell, in a view
        self.weakly_read: list[bool] = []  # whether any load may read what is not last
        self.atomic: list[int] = []  # places that are not, and that no plain load reads: see `end`
        for word, cells in words.items():
            for cell in cells:
                self.place[cell] = len(self.weakly_read)
                if word not in weak and word in (Word.LOCK, Word.HINT, Word.TAG, Word.BITS):
                    self.atomic.append(self.place[cell])
                self.weakly_read.append(word in weak)
        # What locks guard, the page heap, and objects on their way through the program: a word each, always updated.
        self.guarded = len(self.weakly_read)
        self.pages = self.guarded + at.shelves
        self.program = self.pages + 1
        self.contents = self.program + at.slices * at.words  # of each object: what its users have written
        self.count = self.contents + at.slices * at.words * MOST_OBJECTS
        self.weakly_read += [False] * (self.count - self.guarded)
        self.nothing = bytes(self.count)
        self.messages: list[tuple[Message, ...]] = []
        self.strict = bytearray()  # of each word, the last sequentially consistent write
        self.views: list[bytearray] = []

    def initial(self, core: bytearray) -> Any:
        """One message for each word, known to all threads."""
        values = [0] * self.count
        for cell, place in self.place.items():
            values[place] = core[cell]
        known = bytes([1] * self.count)
        return (
            tuple((Message(value, self.nothing, True),) for value in values),
            known,
            (known,) * self.threads,
        )

    def begin(self, core: bytearray, extra: Any) -> None:
        """Work on a state."""
        self.core = core
        self.messages, self.strict = list(extra[0]), bytearray(extra[1])
        self.views = [bytearray(view) for view in extra[2]]

    # ---- accesses

    def load(self, thread: int, cell: int, order: Order) -> int:
        """Any message that the thread's view, and the order, let it see."""
        place = self.place[cell]
        return self._read(thread, place, self._oldest(thread, place, order), order)

    def _oldest(self, thread: int, place: int, order: Order) -> int:
        oldest = max(self.views[thread][place], 1)
        return max(oldest, self.strict[place]) if order == Order.SEQ_CST else oldest

    def _read(self, thread: int, place: int, oldest: int, order: Order) -> int:
        messages = self.messages[place]
        number = len(messages) - self.one_of(len(messages) - oldest + 1)
        message = messages[number - 1]
        self.views[thread][place] = number
        if order.acquires:
            self._see(thread, message.view)
        return message.value

    def _see(self, thread: int, view: bytes) -> None:
        own = self.views[thread]
        for place, number in enumerate(view):
            if number > own[place]:
                own[place] = number

    def store(self, thread: int, cell: int, value: int, order: Order) -> None:
        """Behind what is last, which the thread must know."""
        place = self.place[cell]
        messages = self.messages[place]
        if not all(message.update for message in messages[self.views[thread][place] :]):
            raise Violation("race", f"a store to {self.names[cell]} is not ordered with the last one")
        self._append(thread, place, value, order, self.nothing, False)
        self.core[cell] = value

    def _append(self, thread: int, place: int, value: int, order: Order, shown: bytes, update: bool) -> None:
        number = len(self.messages[place]) + 1
        self.views[thread][place] = number
        if order.releases:
            shown = bytes(map(max, shown, self.views[thread]))
        if shown[place]:
            shown = shown[:place] + b"\0" + shown[place + 1 :]
        self.messages[place] += (Message(value, shown, update),)
        if order == Order.SEQ_CST:
            self.strict[place] = number

    def update_begin(self, thread: int, cell: int, order: Order) -> int:
        """What is last."""
        place = self.place[cell]
        return self._read(thread, place, len(self.messages[place]), order)

    def update_end(self, thread: int, cell: int, value: int, order: Order) -> None:
        """Right behind what was read."""
        place = self.place[cell]
        self._append(thread, place, value, order, self.messages[place][-1].view, True)
        self.core[cell] = value

    def compare(self, thread: int, cell: int, expected: int, failing: Order) -> int:
        """What is last, if that is expected; or any other value that a load could see."""
        place = self.place[cell]
        messages = self.messages[place]
        oldest = self._oldest(thread, place, failing)
        numbers = [n for n in range(oldest, len(messages) + 1) if messages[n - 1].value != expected]
        if messages[-1].value == expected:
            numbers.append(0)
        number = numbers[self.one_of(len(numbers))]
        if number == 0:
            return expected
        self.views[thread][place] = number
        if failing.acquires:
            self._see(thread, messages[number - 1].view)
        return messages[number - 1].value

    def peek(self, thread: int, cell: int, guard: int) -> int:
        """What is last, which the thread must know."""
        if guard >= 0:
            self._guarded(thread, guard)
        else:
            place = self.place[cell]
            if self.views[thread][place] != len(self.messages[place]):
                raise Violation("race", f"a plain load of {self.names[cell]} is not ordered with the last store")
        return self.core[cell]

    def poke(self, thread: int, cell: int, value: int, guard: int) -> None:
        """The same, and what the lock guards is news for all others."""
        self._guarded(thread, guard)
        self.core[cell] = value

    def _guarded(self, thread: int, shelf: int) -> None:
        place = self.guarded + shelf
        if self.views[thread][place] != len(self.messages[place]):
            raise Violation("race", f"what the lock of shelf {shelf + 1} guards was changed without its order")
        self._append(thread, place, 0, Order.RELAXED, self.nothing, True)

    def publish(self, thread: int, place: int) -> None:
        """Objects of a place go through the program: whoever gets them has seen what the thread had seen."""
        self._pass(thread, self.program + place, Order.ACQ_REL)

    def receive(self, thread: int, place: int) -> None:
        """The other end of that."""
        self._pass(thread, self.program + place, Order.ACQUIRE)

    def use(self, thread: int, place: int, mask: int) -> None:
        """The program has written into objects that it is about to free."""
        for content in self._contents(place, mask):
            self._append(thread, content, 0, Order.RELAXED, self.nothing, True)

    def check_used(self, thread: int, place: int, mask: int) -> None:
        """Objects are about to be used anew: by a thread that has seen all of that."""
        for content in self._contents(place, mask):
            if self.views[thread][content] != len(self.messages[content]):
                raise Violation("race", f"an object of place {place} is used before its last user has done with it")

    def _contents(self, place: int, mask: int) -> list[int]:
        return [self.contents + place * MOST_OBJECTS + bit for bit in range(MOST_OBJECTS) if mask >> bit & 1]

    def page_lock(self, thread: int) -> None:
        """A lock taken and dropped."""
        self._pass(thread, self.pages, Order.ACQ_REL)

    def _pass(self, thread: int, place: int, order: Order) -> None:
        self._read(thread, place, len(self.messages[place]), order)
        if order.releases:
            self._append(thread, place, 0, order, self.messages[place][-1].view, True)

    # ---- the state after a step

    def forget(self, thread: int) -> None:
        """The thread has ended: its view means nothing any more."""
        self.views[thread] = bytearray()

    def end(self) -> Any:
        """Histories, numbered anew from the oldest message that somebody can read."""
        views = [view for view in self.views if view]
        for place, messages in enumerate(self.messages):
            last = len(messages)
            dropped = last - 1
            if last > 1 and self.weakly_read[place]:
                dropped = min((max(view[place], 1) for view in views), default=last) - 1
            elif last > 1 and place < self.guarded:
                dropped = min((max(view[place], self.strict[place], 1) for view in views), default=last) - 1
            if dropped:
                self._drop(place, dropped)
        for place in self.atomic:
            if self.strict[place] == len(self.messages[place]) == 1:
                for view in views:  # there is nothing else to be read, whatever a thread knows
                    view[place] = 1
        known = bytes(map(min, *views)) if len(views) > 1 else bytes(views[0]) if views else None
        return (
            tuple(tuple(self._message(message, known) for message in messages) for messages in self.messages),
            bytes(self.strict),
            tuple(map(bytes, self.views)),
        )

    def _drop(self, place: int, count: int) -> None:
        self.messages[place] = self.messages[place][count:]
        for view in self.views:
            if view:
                view[place] = max(view[place] - count, 0)
        self.strict[place] = max(self.strict[place] - count, 0)
        for other, messages in enumerate(self.messages):
            if any(message.view[place] for message in messages):
                self.messages[other] = tuple(
                    message._replace(
                        view=bytes(max(n - count, 0) if at == place else n for at, n in enumerate(message.view))
                    )
                    for message in messages
                )

    def _message(self, message: Message, known: bytes | None) -> Message:
        """Without what all threads know anyway."""
        if known is None or message.view == self.nothing:
            return message
        return message._replace(view=bytes(a if a > b else 0 for a, b in zip(message.view, known, strict=True)))

    def of_thread(self, extra: Any, thread: int) -> Any:
        """The thread's view."""
        return extra[2][thread]

    def permuted(self, extra: Any, threads: list[int]) -> Any:
        """Views in another order."""
        return (*extra[:2], tuple(extra[2][old] for old in threads))
