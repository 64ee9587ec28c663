"""The protocol in a scenario: the threads' scripts, the program around the allocator, and the properties."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .accesses import Access, choose, pick, takes_no_more
from .automaton import Automaton
from .explorer import Violation
from .home_programs import Program
from .layout import FREE_TAG, SHAPES, Scenario, State
from .machine import BLOCKED, Machine, Whole, last_taking
from .orders import NEEDED, Order
from .purge_programs import PurgePrograms
from .rules import Rules


class ThreadPrograms(PurgePrograms):
    """What threads can do: a method for each action of a script, with the action's number."""

    def run(self, script: tuple[tuple[str, int], ...], slot: int) -> Program:
        """A thread's whole program."""
        last = last_taking(script)
        for i in range(len(script)):
            slot = yield from self.act(script[i][0], script[i][1], slot)
            if i == last:
                yield takes_no_more()

    def act(self, action: str, number: int, slot: int) -> Program:
        """One action; the answer is the slot that the thread uses from then on."""
        if action.startswith("refill"):
            return (yield from self.refill(slot, number % 10, number // 10))
        yield from getattr(self, action)(number)
        return slot

    def free_all(self, _: int) -> Program:
        """Free whatever is live, in any grouping, until nothing is and nothing will be."""
        while True:
            picked = yield pick()
            if not picked:
                return
            yield from self.put(*picked)
            del picked

    def free_some(self, puts: int) -> Program:
        """The same, in at most so many puts."""
        while puts:
            puts -= 1
            picked = yield pick()
            if not picked:
                return
            yield from self.put(*picked)
            del picked

    def spurious(self, _: int) -> Program:
        """An event for no reason, of any slice: what comes so late that it is another span's."""
        slice_ = yield choose(self.at.slices)
        yield from self.event(slice_)


class Protocol(Machine):
    """All interleavings of a scenario, under the protocol's rules and orders or a mutation of them."""

    def __init__(
        self, scenario: Scenario, rules: Rules | None = None, orders: Mapping[str, Order] | None = None
    ) -> None:
        """A scenario with the rules of the code and, unless told otherwise, no more than the orders that it needs."""
        programs = ThreadPrograms(scenario, rules or Rules())

        def automaton(number: int) -> Automaton:
            thread = scenario.threads[number]
            return Automaton(lambda: programs.run(thread.script, thread.slot))

        super().__init__(scenario, automaton, orders or NEEDED, programs.at)

    # ---- bits, and whose they are --------------------------------------------------------------------------

    def _or(self, access: Access) -> int:
        core, place, mask = self.core, access.cell, access.value
        before = self._update(self.at.bits + place, lambda bits: bits | mask, self.orders[access.step])
        if before & mask:
            raise Violation("double free", f"bits {mask:#b} of place {place} are set already")
        if core[self.at.held + place] & mask != mask:
            raise Violation("bits lost", f"{mask:#b} of place {place} go to a span that they are not from")
        core[self.at.held + place] ^= mask
        return before

    def _claim(self, access: Access) -> int:
        core, place, mask = self.core, access.cell, access.value
        got = self._update(self.at.bits + place, lambda bits: bits & ~mask, self.orders[access.step]) & mask
        if got & (core[self.at.live + place] | core[self.at.held + place]):
            raise Violation("handed out twice", f"bits {got:#b} of place {place}")
        core[self.at.held + place] |= got
        return got

    def _form_word(self, access: Access) -> int:
        core, place = self.core, access.cell
        if core[self.at.live + place] or core[self.at.held + place] or core[self.at.bits + place]:
            raise Violation("handed out twice", f"place {place} is formed anew while somebody has of it")
        self.memory.store(self.thread, self.at.bits + place, access.value, self.orders[access.step])
        return 0

    def _hand_out(self, access: Access) -> int:
        core, place, mask = self.core, access.cell, access.value
        core[self.at.held + place] ^= mask
        core[self.at.live + place] |= mask
        self.memory.check_used(self.thread, place, mask)
        self.memory.publish(self.thread, place)
        return 0

    def _pick(self, _: Access) -> Any:
        core, at = self.core, self.at
        live = [place for place in range(at.slices * at.words) if core[at.live + place]]
        if not live:
            return BLOCKED if core[at.takers] else ()
        place = live[self._one_of(len(live))]
        parts = [part for part in range(1, core[at.live + place] + 1) if part & core[at.live + place] == part]
        mask = parts[self._one_of(len(parts))]
        core[at.live + place] ^= mask
        core[at.held + place] |= mask
        self.memory.receive(self.thread, place)
        self.memory.use(self.thread, place, mask)
        span = place // at.words
        while not core[at.formed + span]:
            span -= 1
        return span, place - span * at.words, mask

    def _takes_no_more(self, _: Access) -> int:
        self.core[self.at.takers] -= 1
        return 0

    def _choose(self, access: Access) -> int:
        return self._one_of(access.value)

    # ---- spans and their slices ----------------------------------------------------------------------------

    def _lowest(self, access: Access) -> int:
        for span in range(self.at.slices):
            if self.core[self.at.listed + span] == access.cell + 1:
                return span + 1
        return 0

    def _poke(self, access: Access) -> int:
        core, at, cell = self.core, self.at, access.cell
        span = -1
        if at.current <= cell < at.current + at.shelves:
            span = access.value - 1
        elif at.listed <= cell < at.listed + at.slices and access.value:
            span = cell - at.listed
        if span >= 0 and not core[at.formed + span]:
            raise Violation("not a span", f"slice {span} joins a shelf")
        return super()._poke(access)

    def _run_take(self, access: Access) -> int:
        core, at, slices = self.core, self.at, SHAPES[access.value].slices
        for first in range(at.slices - slices + 1):
            if not any(core[at.taken + first : at.taken + first + slices]):
                core[at.taken + first : at.taken + first + slices] = bytes([1] * slices)
                core[at.formed + first] = access.value + 1
                self.memory.page_lock(self.thread)
                return first + 1
        return 0

    def _run_give(self, access: Access) -> int:
        core, at, span, claimed = self.core, self.at, access.cell, access.other
        if not core[at.formed + span]:
            raise Violation("released twice", f"span {span}")
        shape = SHAPES[core[at.formed + span] - 1]
        first = at.place(span, 0)
        words = range(first, first + len(shape.full))
        held = tuple(core[at.held + place] for place in words)
        if claimed != shape.full or held != shape.full or any(core[at.live + place] for place in words):
            raise Violation("released with objects out", f"span {span}")
        if core[at.listed + span] or span + 1 in core[at.current : at.current + at.shelves]:
            raise Violation("released while a shelf has it", f"span {span}")
        for place in words:
            core[at.held + place] = 0
        core[at.formed + span] = 0
        core[at.taken + span : at.taken + span + shape.slices] = bytes(shape.slices)
        self.memory.page_lock(self.thread)
        return 0

    def _madvise(self, access: Access) -> int:
        core, at, span = self.core, self.at, access.cell
        if not core[at.formed + span]:
            raise Violation("madvise of an object in use", f"no span begins at slice {span} any more")
        pages = SHAPES[core[at.formed + span] - 1].pages
        page, claimed = pages[min(access.value, len(pages) - 1)], access.other
        if any(mask & ~got for mask, got in zip(page, claimed, strict=True)):
            raise Violation("madvise of an object in use", f"span {span}, page {access.value}")
        for word, mask in enumerate(claimed):
            self.memory.check_used(self.thread, at.place(span, word), mask)
        return 0

    # ---- the end -------------------------------------------------------------------------------------------

    def check_end(self, state: Whole) -> None:
        """Every thread has ended: nothing is held, nothing is left to be told, and no span waits for a look."""
        core, at = state[0], self.at
        if any(core[at.lock : at.lock + at.shelves]):
            raise Violation("lock held", "and no thread is left to drop it")
        if any(core[at.hint : at.hint + at.shelves * at.hints]):
            raise Violation("hint unread", "and no thread is left to read it")
        for place in range(at.slices * at.words):
            if core[at.held + place]:
                raise Violation("bits lost", f"of place {place}, with a thread that has ended")
        for shelf in range(at.shelves):
            counted, listed = core[at.count + shelf], core[at.listed : at.listed + at.slices].count(shelf + 1)
            if counted != listed:
                raise Violation("miscounted", f"shelf {shelf + 1} counts {counted} spans, and has {listed}")
        for span in range(at.slices):
            if core[at.formed + span]:
                self._check_span(core, span, SHAPES[core[at.formed + span] - 1])
            elif core[at.tag + span] != FREE_TAG and not core[at.taken + span]:
                raise Violation("bits lost", f"slice {span} is free, and has a tag")

    def _check_span(self, core: bytes, span: int, shape: Any) -> None:
        at = self.at
        places = range(at.place(span, 0), at.place(span, len(shape.full)))
        bits = tuple(core[at.bits + place] for place in places)
        if any(core[at.live + p] | core[at.bits + p] != full for p, full in zip(places, shape.full, strict=True)):
            raise Violation("bits lost", f"span {span} has {bits}")
        state, shelf = State(core[at.state + span]), core[at.tag + span] - 1
        where = (
            State.CURRENT
            if core[at.current + shelf] == span + 1
            else State.PARTIAL
            if core[at.listed + span] == shelf + 1
            else State.FULL
        )
        if state != where:
            raise Violation("stranded", f"span {span} is {state.name}, and its shelf has it as {where.name}")
        if state == State.FULL and any(word.bit_count() >= shape.worth for word in bits):
            raise Violation("stranded", f"span {span} is FULL with {bits}")
        if bits == shape.full:
            raise Violation("stranded", f"span {span} is whole, and {state.name}")
