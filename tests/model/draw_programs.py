"""Refills: from the current span, from the queue, from other slots, from new spans (spans/shelf.pxd, slot.pxd)."""

from __future__ import annotations

from .accesses import (
    claim_bits,
    form_word,
    hand_out,
    load,
    lock_drop,
    lock_take,
    lock_try,
    lowest,
    peek,
    poke,
    run_take,
    store,
    swap,
)
from .home_programs import Program
from .layout import SHAPES, State, shelf_of
from .shelf_programs import ShelfPrograms

VISITS = 2  # DRAW_VISITS: spans that one refill may gather from


class DrawPrograms(ShelfPrograms):
    """What a refill does."""

    # ---- shelf_draw, under the lock

    def draw(self, shelf: int, wanted: int) -> Program:
        """shelf_draw: objects of the current span, then of those in the queue; how many."""
        got = 0
        for _ in range(VISITS):
            current = yield peek(self.at.current + shelf, shelf)
            first = yield lowest(shelf)
            if current and first and first < current:
                # Lowest address first, at every refill.
                yield from self.list_span(shelf, current - 1)
                yield poke(self.at.current + shelf, 0, shelf)
                current = 0
            del first
            if not current:
                current = yield from self.unlist(shelf)
                if not current:
                    return got
                yield poke(self.at.current + shelf, current, shelf)
                yield poke(self.at.cursor + shelf, 0, shelf)
                yield store(self.at.state + current - 1, State.CURRENT, "state: current")
            got += yield from self.draw_current(shelf, current - 1, wanted - got)
            if got >= wanted:
                return got
            del current
            yield from self.retire(shelf)
        return got

    def draw_current(self, shelf: int, span: int, wanted: int) -> Program:
        """shelf_draw_current: claim the lowest objects from where the scan stands; how many."""
        shape = SHAPES[(yield peek(self.at.objects + span))]
        word = yield peek(self.at.cursor + shelf, shelf)
        got = 0
        while word < len(shape.full) and got < wanted:
            place = self.at.place(span, word)
            mask = yield load(self.at.bits + place, "draw: word")
            if mask:
                mask = yield claim_bits(place, _lowest_bits(mask, wanted - got), "draw: claim")
            if not mask:
                word += 1
                continue
            yield hand_out(place, mask)
            got += mask.bit_count()
        yield poke(self.at.cursor + shelf, word, shelf)
        return got

    # ---- slot_draw

    def refill(self, slot: int, size_class: int, wanted: int) -> Program:
        """slot_draw: objects by way of `slot` or, where its lock is taken, another one, which is the answer."""
        slot = yield from self.enter(slot, size_class)
        shelf = shelf_of(slot, size_class)
        got = yield from self.draw(shelf, wanted)
        while not got:
            # Not under the lock: a new span may cost a system call.
            yield from self.leave(shelf)
            span = yield from self.steal(slot, size_class)
            if span < 0:
                span = yield from self.form(shelf, size_class)
                if span < 0:
                    return slot
            if self.rules.take_over_under_lock:
                yield lock_take(shelf)
            yield from self.take_over(shelf, span)
            got = yield from self.draw(shelf, wanted)
            if self.rules.take_over_looks:
                yield from self.look(shelf, span)
            del span
        del got
        yield from self.leave(shelf)
        return slot

    def enter(self, slot: int, size_class: int) -> Program:
        """slot_enter: the lock of the slot's shelf, else of any other, else wait."""
        if not self.rules.draw_under_lock:
            return slot
        for i in range(self.scenario.slots):
            other = (slot + i) % self.scenario.slots
            if (yield lock_try(shelf_of(other, size_class))):
                return other
        yield lock_take(shelf_of(slot, size_class))
        return slot

    def steal(self, slot: int, size_class: int) -> Program:
        """slot_steal: the lowest span with free objects of another slot, HELD, and ours by its tag; -1: none."""
        for i in range(1, self.scenario.slots):
            shelf = shelf_of((slot + i) % self.scenario.slots, size_class)
            if not (yield lowest(shelf)):  # (the count, which may be read at any time)
                continue
            if self.rules.steal_under_lock and not (yield lock_try(shelf)):
                continue
            span = (yield from self.unlist(shelf)) - 1
            if span >= 0:
                yield from self.move(span, shelf_of(slot, size_class))
            yield from self.leave(shelf)
            if span >= 0:
                return span
        return -1

    def move(self, span: int, shelf: int) -> Program:
        """Of slot_steal: the state, then the tag of the shelf that the span goes to."""
        slices = SHAPES[(yield peek(self.at.objects + span))].slices
        if self.rules.steal_sets_held_first and self.rules.steal_sets_held:
            yield store(self.at.state + span, State.HELD, "state: held")
        yield from self.tag_set(span, slices, shelf + 1, "tag: moved")
        if self.rules.steal_sets_held and not self.rules.steal_sets_held_first:
            yield store(self.at.state + span, State.HELD, "state: held")

    def take_over(self, shelf: int, span: int) -> Program:
        """shelf_take_over: a span that was HELD joins the shelf."""
        if (yield peek(self.at.current + shelf, shelf)):
            yield from self.list_span(shelf, span)
        else:
            yield poke(self.at.current + shelf, span + 1, shelf)
            yield poke(self.at.cursor + shelf, 0, shelf)
            yield store(self.at.state + span, State.CURRENT, "state: taken over")

    # ---- formation

    def form(self, shelf: int, size_class: int) -> Program:
        """formation_new: a new span, HELD; -1: no slices."""
        shape = SHAPES.index(self.scenario.forms[size_class])
        span = (yield run_take(shape)) - 1
        if span < 0:
            return -1
        if not self.rules.formation_index_before_tag:
            yield from self.form_tag(shelf, span, shape)
        for i in range(SHAPES[shape].slices):
            yield store(self.at.index + span + i, span, "form: index")
        if self.rules.formation_sets_held:
            yield store(self.at.state + span, State.HELD, "state: held anew")
        # The tag before the bits: whoever claims one of them, and puts it back, must find the shelf.
        if self.rules.formation_tag_before_bits and self.rules.formation_index_before_tag:
            yield from self.form_tag(shelf, span, shape)
        if self.rules.formation_objects_before_bits:
            yield store(self.at.objects + span, shape, "form: objects")
        for word in range(len(SHAPES[shape].full)):
            yield form_word(self.at.place(span, word), SHAPES[shape].full[word], "form: words")
        if not self.rules.formation_objects_before_bits:
            yield store(self.at.objects + span, shape, "form: objects")
        if not self.rules.formation_tag_before_bits:
            yield from self.form_tag(shelf, span, shape)
        return span

    def form_tag(self, shelf: int, span: int, shape: int) -> Program:
        """The tags of a new span."""
        yield from self.tag_set(span, SHAPES[shape].slices, shelf + 1, "tag: formed")


def _lowest_bits(mask: int, count: int) -> int:
    """mask_lowest."""
    result = 0
    while mask and count:
        result |= mask & -mask
        mask &= mask - 1
        count -= 1
    return result
