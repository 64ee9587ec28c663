"""The machine: threads as automata, a memory, and what each access does to both; the properties of every step."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from .accesses import LOCAL, Access, Do
from .automaton import Automaton
from .explorer import Violation
from .layout import SHAPES, Layout, Scenario, State, World, shelf_of
from .memory import GLANCE, SequentialMemory
from .orders import Order
from .views import ViewMemory

BLOCKED = -1
MEMORIES = {World.SEQUENTIAL: SequentialMemory, World.VIEWS: ViewMemory}
Whole = tuple[bytes, Any]


def last_taking(script: tuple[tuple[str, int], ...]) -> int:
    """The position of the last action that makes objects live, or -1."""
    return max((n for n, (action, _) in enumerate(script) if action.startswith("refill")), default=-1)


class Machine:
    """All interleavings of the threads of one scenario, whatever their programs are (explorer.System)."""

    def __init__(
        self, scenario: Scenario, programs: Callable[[int], Automaton], orders: Mapping[str, Order], layout: Layout
    ) -> None:
        """The scenario's threads, number n with the automaton that `programs(n)` makes."""
        self.scenario = scenario
        self.orders = orders
        self.at = layout
        self.threads = range(len(scenario.threads))
        first = {thread: scenario.threads.index(scenario.threads[thread]) for thread in self.threads}
        self.automata = [programs(thread) if first[thread] == thread else None for thread in self.threads]
        self.automaton = [self.automata[first[thread]] or programs(thread) for thread in self.threads]
        groups = [[thread for thread in self.threads if first[thread] == leader] for leader in self.threads]
        self.interchangeable = [group for group in groups if len(group) > 1]
        self.memory = MEMORIES[scenario.world](scenario, layout, orders)
        self.memory.one_of = self._one_of
        self.execute: list[Callable[[Access], Any]] = [getattr(self, "_" + do.name.lower()) for do in Do]
        # the step at hand
        self.core = bytearray()
        self.thread = 0
        self.done: list[tuple[Access, Any]] = []  # what it did, for a trace
        self.path: list[int] = []  # its choices ...
        self.arity: list[int] = []  # ... out of how many each
        self.chosen = 0

    # ---- what the explorer asks for ------------------------------------------------------------------------

    def initial(self) -> Whole:
        """The spans of the scenario are there; every thread is at its beginning."""
        at = self.at
        self.core = core = bytearray(at.size)
        core[at.takers] = sum(last_taking(thread.script) >= 0 for thread in self.scenario.threads)
        number = 0
        for span in self.scenario.spans:
            shelf = shelf_of(span.slot, span.shape.size_class)
            for inside in range(number, number + span.shape.slices):
                core[at.tag + inside], core[at.index + inside], core[at.taken + inside] = shelf + 1, number, 1
            core[at.state + number] = span.state
            core[at.objects + number] = SHAPES.index(span.shape)
            core[at.formed + number] = SHAPES.index(span.shape) + 1
            if span.state == State.CURRENT:
                core[at.current + shelf] = number + 1
            elif span.state == State.PARTIAL:
                core[at.listed + number] = shelf + 1
                core[at.count + shelf] += 1
            for word, full in enumerate(span.shape.full):
                live = span.live[word] if word < len(span.live) else 0
                core[at.live + at.place(number, word)] = live
                core[at.bits + at.place(number, word)] = full & ~live
            number += span.shape.slices
        for inside in range(number, at.slices):
            core[at.index + inside] = inside
        state = bytes(core), self.memory.initial(core)
        for thread in self.threads:
            self._begin(state, thread)
            self.chosen = 0
            self._go_on(0)
            state = bytes(self.core), self.memory.end()
        return state

    def steps(self, state: Whole) -> Iterator[Whole]:
        """Every thread's next step, once for each outcome of its choices."""
        core = state[0]
        path, arity = self.path, self.arity
        for thread in self.threads:
            number = core[2 * thread] << 8 | core[2 * thread + 1]
            if self.automaton[thread].access[number] is None:
                continue
            path.clear()
            arity.clear()
            while True:
                self._begin(state, thread)
                self.chosen = 0
                if self._step(number):
                    yield self._canonical()
                while path and path[-1] + 1 == arity[-1]:
                    path.pop()
                    arity.pop()
                if not path:
                    break
                path[-1] += 1

    def label(self) -> str:
        """The step and what it led to. Interchangeable threads may change names from step to step."""
        core, at = self.core, self.at
        name = self.scenario.threads[self.thread].name
        slices = [
            f"[{n}: tag {core[at.tag + n]} {State(core[at.state + n]).name} bits "
            + " ".join(f"{core[at.bits + at.place(n, word)]:b}" for word in range(at.words))
            + "]"
            for n in range(at.slices)
        ]
        shelves = [
            f"({shelf + 1}:{' locked' if core[at.lock + shelf] else ''} hints {[core[h] for h in at.hints_of(shelf)]})"
            for shelf in range(at.shelves)
            if core[at.lock + shelf] or any(core[h] for h in at.hints_of(shelf))
        ]
        done = [f"{a.step} {at.names.get(a.cell, '')} {a.value} -> {answer}" for a, answer in self.done]
        return f"{name}: {'; '.join(done):60} {' '.join(slices + shelves)}"

    def finished(self, state: Whole) -> bool:
        """All threads have ended."""
        core = state[0]
        return all(
            self.automaton[thread].access[core[2 * thread] << 8 | core[2 * thread + 1]] is None
            for thread in self.threads
        )

    def check_end(self, state: Whole) -> None:
        """Raise Violation unless the state is as it must be when all threads have ended."""
        raise NotImplementedError

    # ---- a step --------------------------------------------------------------------------------------------

    def _begin(self, state: Whole, thread: int) -> None:
        self.core, self.thread = bytearray(state[0]), thread
        self.done = []
        self.memory.begin(self.core, state[1])

    def _step(self, number: int) -> bool:
        """The access of a local state, and what is no step of its own behind it; false where it has to wait."""
        automaton = self.automaton[self.thread]
        while True:
            access = automaton.access[number]
            if access is None:
                break
            answer = self.execute[access.do](access)
            if answer is BLOCKED:
                return False
            self.done.append((access, answer))
            number = automaton.after(number, answer)
            if access.do not in LOCAL and (access.do != Do.PICK or answer == ()):
                break
        self._go_on(number)
        return True

    def _go_on(self, number: int) -> None:
        """Do what is local, up to the next access that is a step."""
        automaton = self.automaton[self.thread]
        access = automaton.access[number]
        while access is not None and access.do in LOCAL:
            number = automaton.after(number, self.execute[access.do](access))
            access = automaton.access[number]
        if access is None:
            self.memory.forget(self.thread)
        self.core[2 * self.thread], self.core[2 * self.thread + 1] = number >> 8, number & 0xFF

    def _canonical(self) -> Whole:
        """The state, with interchangeable threads in one order."""
        core, extra = self.core, self.memory.end()
        for group in self.interchangeable:
            key = [(core[2 * t] << 8 | core[2 * t + 1], self.memory.of_thread(extra, t)) for t in group]
            in_order = sorted(range(len(group)), key=key.__getitem__)
            if in_order != list(range(len(group))):
                old = list(self.threads)
                for t, n in zip(group, in_order, strict=True):
                    old[t] = group[n]
                    core[2 * t], core[2 * t + 1] = key[n][0] >> 8, key[n][0] & 0xFF
                extra = self.memory.permuted(extra, old)
                for holder in range(self.at.holder, self.at.holder + self.at.shelves):
                    if core[holder]:
                        core[holder] = old.index(core[holder] - 1) + 1
        return bytes(core), extra

    def _one_of(self, count: int) -> int:
        """One of 0 .. count - 1; the step is tried once with each."""
        if count == 1:
            return 0
        if self.chosen == len(self.path):
            self.path.append(0)
            self.arity.append(count)
        self.chosen += 1
        return self.path[self.chosen - 1]

    # ---- atomic words --------------------------------------------------------------------------------------

    def _load(self, access: Access) -> int:
        if access.step == GLANCE:
            return self.memory.glance(self.thread, access.cell)
        return self.memory.load(self.thread, access.cell, self.orders[access.step])

    def _store(self, access: Access) -> int:
        self.memory.store(self.thread, access.cell, access.value, self.orders[access.step])
        return 0

    def _update(self, cell: int, change: Callable[[int], int], order: Order) -> int:
        before = self.memory.update_begin(self.thread, cell, order)
        self.memory.update_end(self.thread, cell, change(before), order)
        return before

    def _swap(self, access: Access) -> int:
        return self._update(access.cell, lambda _: access.value, self.orders[access.step])

    def _swap_if(self, access: Access) -> int:
        expected, failing = access.other
        seen = self.memory.compare(self.thread, access.cell, expected, self.orders[failing])
        if seen == expected:
            self._swap(access)
        return seen

    # ---- locks. The memory has whether they are taken, the model knows by whom

    def _lock_try(self, access: Access) -> int:
        cell = self.at.lock + access.cell
        if self.memory.compare(self.thread, cell, 0, self.orders["lock: found taken"]):
            return 0
        self._update(cell, lambda _: 1, self.orders[access.step])
        self.core[self.at.holder + access.cell] = self.thread + 1
        return 1

    def _lock_take(self, access: Access) -> int:
        if self.core[self.at.lock + access.cell]:
            return BLOCKED
        self._update(self.at.lock + access.cell, lambda _: 1, self.orders[access.step])
        self.core[self.at.holder + access.cell] = self.thread + 1
        return 0

    def _lock_drop(self, access: Access) -> int:
        self._check_holder(access.cell)
        self.core[self.at.holder + access.cell] = 0
        self._update(self.at.lock + access.cell, lambda _: 0, self.orders[access.step])
        return 0

    def _check_holder(self, shelf: int) -> None:
        if self.core[self.at.holder + shelf] != self.thread + 1:
            raise Violation("not the holder", f"of the lock of shelf {shelf + 1}")

    def _peek(self, access: Access) -> int:
        if access.other >= 0:
            self._check_holder(access.other)
        return self.memory.peek(self.thread, access.cell, access.other)

    def _poke(self, access: Access) -> int:
        self._check_holder(access.other)
        self.memory.poke(self.thread, access.cell, access.value, access.other)
        return 0
