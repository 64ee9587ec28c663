"""Refills: from the current span, from the queue, from other slots, from new spans (spans/shelf.pxd, slot.pxd)."""

from __future__ import annotations

from .accesses import (
    claim_bits,
    form_word,
    hand_out,
    load,
    lock_sleep,
    lock_take,
    lock_try,
    lowest,
    peek,
    poke,
    run_take,
    store,
)
from .home_programs import Program
from .layout import SHAPES, State, shelf_of
from .shelf_programs import ShelfPrograms

VISITS = 2  # DRAW_VISITS: spans that one refill may gather from


class DrawPrograms(ShelfPrograms):
    """What a refill does."""

    def draw(self, shelf: int, wanted: int) -> Program:
        """shelf_draw: objects of the current span, then of those in the queue; how many."""
        got = 0
        for _ in range(VISITS):
            current = yield peek(self.at.current + shelf, shelf)
            if current and 0 < (yield lowest(shelf)) < current:
                # Lowest address first, at every refill.
                yield from self.list_span(shelf, current - 1)
                yield poke(self.at.current + shelf, 0, shelf)
                current = 0
            if not current:
                current = yield from self.unlist(shelf)
                if not current:
                    return got
                yield poke(self.at.current + shelf, current, shelf)
                yield store(self.at.state + current - 1, State.CURRENT, "state: set")
                yield poke(self.at.cursor + shelf, 0, shelf)
            got += yield from self.draw_current(shelf, current - 1, wanted - got)
            if got >= wanted:
                return got
            del current
            yield from self.retire(shelf)
        return got

    def draw_current(self, shelf: int, span: int, wanted: int) -> Program:
        """shelf_draw_current: claim the lowest objects from where the scan stands; how many."""
        words = len(SHAPES[(yield peek(self.at.objects + span))].full)
        word = yield peek(self.at.cursor + shelf, shelf)
        got = 0
        while word < words and got < wanted:
            place = self.at.place(span, word)
            mask = yield load(self.at.bits + place, "draw: word")
            if mask:
                mask = yield claim_bits(place, _lowest_bits(mask, wanted - got), "claim: some")
            if not mask:
                word += 1
                continue
            yield hand_out(place, mask)
            got += mask.bit_count()
        yield poke(self.at.cursor + shelf, word, shelf)
        return got

    # ---- slots

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
        """slot_enter: the lock of the slot's shelf, if it is free."""
        if not self.rules.draw_under_lock:
            return slot
        if (yield lock_try(shelf_of(slot, size_class))):
            return slot
        return (yield from self.enter_other(slot, size_class))

    def enter_other(self, slot: int, size_class: int) -> Program:
        """slot_enter_other: any other's, else sleep.

        (The code tries all again and again, and sleeps between. That is as if its tries had come later.)
        """
        found = yield from self.try_others(slot, size_class)
        if found >= 0:
            return found
        yield lock_sleep(shelf_of(slot, size_class))
        return slot

    def try_others(self, slot: int, size_class: int) -> Program:
        """slot_try_others: any other's lock, then its own; -1: none. (The code begins with the slot of this CPU.)"""
        for i in range(1, self.scenario.slots):
            other = (slot + i) % self.scenario.slots
            if (yield lock_try(shelf_of(other, size_class))):
                return other
        if (yield lock_try(shelf_of(slot, size_class))):
            return slot
        return -1

    def steal(self, slot: int, size_class: int) -> Program:
        """slot_steal: the lowest span with free objects of another slot, HELD, and ours by its tag; -1: none."""
        for i in range(1, self.scenario.slots):
            shelf = shelf_of((slot + i) % self.scenario.slots, size_class)
            if not (yield lowest(shelf)):  # (the count, which may be read at any time, and be old)
                continue
            if self.rules.steal_under_lock and not (yield lock_try(shelf)):
                continue
            span = (yield from self.unlist(shelf)) - 1
            if span >= 0:
                slices = SHAPES[(yield peek(self.at.objects + span))].slices
                if self.rules.steal_sets_held:
                    yield store(self.at.state + span, State.HELD, "state: set")
                yield from self.tag_set(span, slices, shelf_of(slot, size_class) + 1)
                del slices
            yield from self.leave(shelf)
            if span >= 0:
                return span
        return -1

    def take_over(self, shelf: int, span: int) -> Program:
        """shelf_take_over: a span that was HELD joins the shelf."""
        if not (yield peek(self.at.current + shelf, shelf)):
            yield poke(self.at.current + shelf, span + 1, shelf)
            yield poke(self.at.cursor + shelf, 0, shelf)
            yield store(self.at.state + span, State.CURRENT, "state: set")
        else:
            yield from self.list_span(shelf, span)

    # ---- formation

    def form(self, shelf: int, size_class: int) -> Program:
        """formation_new: a new span, HELD; -1: no slices."""
        shape = SHAPES.index(self.scenario.forms[size_class])
        span = (yield run_take(shape)) - 1
        if span < 0:
            return -1
        if not self.rules.formation_index_before_tag:
            yield from self.tag_set(span, SHAPES[shape].slices, shelf + 1)
        for i in range(SHAPES[shape].slices):
            yield store(self.at.index + span + i, span, "form: index")
        if self.rules.formation_sets_held:
            yield store(self.at.state + span, State.HELD, "state: set")
        # The tag before the bits: whoever claims one of them, and puts it back, must find the shelf.
        if self.rules.formation_tag_before_bits and self.rules.formation_index_before_tag:
            yield from self.tag_set(span, SHAPES[shape].slices, shelf + 1)
        if self.rules.formation_objects_before_bits:
            yield store(self.at.objects + span, shape, "form: objects")
        for word in range(len(SHAPES[shape].full)):
            yield form_word(self.at.place(span, word), SHAPES[shape].full[word], "form: words")
        if not self.rules.formation_objects_before_bits:
            yield store(self.at.objects + span, shape, "form: objects")
        if not self.rules.formation_tag_before_bits:
            yield from self.tag_set(span, SHAPES[shape].slices, shelf + 1)
        return span


def _lowest_bits(mask: int, count: int) -> int:
    """mask_lowest."""
    result = 0
    while mask and count:
        result |= mask & -mask
        mask &= mask - 1
        count -= 1
    return result
