"""What the holder of a shelf's lock does with its spans: look, release, retire (spans/shelf.pxd, formation.pxd)."""

from __future__ import annotations

from .accesses import claim_bits, load, lock_try, lowest, or_bits, peek, poke, run_give, store, swap
from .home_programs import HomePrograms, Program
from .layout import FREE_TAG, SHAPES, State


class ShelfPrograms(HomePrograms):
    """States of spans, under the lock of the shelf that their tag names."""

    def list_span(self, shelf: int, span: int) -> Program:
        """shelf_list: into the queue."""
        yield store(self.at.state + span, State.PARTIAL, "state: set")
        yield poke(self.at.listed + span, shelf + 1, shelf)
        yield poke(self.at.count + shelf, (yield peek(self.at.count + shelf, shelf)) + 1, shelf)

    def unlist(self, shelf: int) -> Program:
        """shelf_unlist: 1 + the lowest span of the queue, which is in it no more; or 0."""
        span = yield lowest(shelf)
        if span:
            yield from self.unlist_span(shelf, span - 1)
        return span

    def unlist_span(self, shelf: int, span: int) -> Program:
        yield poke(self.at.listed + span, 0, shelf)
        yield poke(self.at.count + shelf, ((yield peek(self.at.count + shelf, shelf)) - 1) & 0xFF, shelf)

    # ---- the look

    def look(self, shelf: int, slice_: int) -> Program:
        """shelf_look: if the slice is one of the shelf's, and a span begins there, it is settled."""
        if self.rules.look_checks_tag and (yield load(self.at.tag + slice_, "tag: now")) != shelf + 1:
            return
        # (It may have become the inside of a longer span: then there is nothing to do.)
        if (yield peek(self.at.index + slice_)) == slice_ or not self.rules.interior_is_left_alone:
            yield from self.settle(shelf, slice_)

    def settle(self, shelf: int, span: int) -> Program:
        """shelf_settle: bring the state in line with the bits."""
        state = yield peek(self.at.state + span)
        if state == State.NONE or (state == State.HELD and self.rules.held_is_left_alone):
            return
        while (yield from self.is_whole(span)):
            if (yield from self.claim_all(span)):
                yield from self.release_from(shelf, span)
                return
            if not self.rules.whole_is_looked_at_again:
                break
        if state == State.FULL and (yield from self.is_worth_it(span)):
            yield from self.list_span(shelf, span)

    def is_worth_it(self, span: int) -> Program:
        """span_is_worth_it: some word has enough free objects."""
        shape = SHAPES[(yield peek(self.at.objects + span))]
        for word in range(len(shape.full)):
            bits = yield load(self.at.bits + self.at.place(span, word), "worth: words")
            if bits.bit_count() >= shape.worth:
                return True
        return False

    # ---- release

    def claim_all(self, span: int) -> Program:
        """span_claim_all: all or none. What is put back has no event: the caller looks again."""
        if not self.rules.whole_is_claimed:
            return True
        full = SHAPES[(yield peek(self.at.objects + span))].full
        for word in range(len(full)):
            got = yield claim_bits(self.at.place(span, word), 0xFF, "claim: all")
            if got != full[word]:
                yield or_bits(self.at.place(span, word), got, "claim: back")
                del got
                while word:
                    word -= 1
                    yield or_bits(self.at.place(span, word), full[word], "claim: back")
                return False
        return True

    def release_from(self, shelf: int, span: int) -> Program:
        """shelf_release: the span leaves the shelf."""
        if (yield peek(self.at.state + span)) == State.PARTIAL:
            yield from self.unlist_span(shelf, span)
        elif (yield peek(self.at.current + shelf, shelf)) == span + 1:
            yield poke(self.at.current + shelf, 0, shelf)
        yield from self.release(span)

    def release(self, span: int) -> Program:
        """formation_release: its slices go back."""
        shape = SHAPES[(yield peek(self.at.objects + span))]
        if self.rules.release_sets_none:
            yield store(self.at.state + span, State.NONE, "state: set")
        yield from self.tag_set(span, shape.slices, FREE_TAG)
        yield run_give(span, shape.full if self.rules.whole_is_claimed else (0,) * len(shape.full))

    def tag_set(self, span: int, slices: int, tag: int) -> Program:
        """tag_set: all slices of a span, the first one last."""
        for i in range(1, slices):
            yield store(self.at.tag + span + i, tag, "tag: inside")
        yield swap(self.at.tag + span, tag, "tag: set")

    # ---- the current span has no more

    def retire(self, shelf: int) -> Program:
        """shelf_retire: first the state, then one more look, for what came home behind the scan."""
        span = (yield peek(self.at.current + shelf, shelf)) - 1
        yield poke(self.at.current + shelf, 0, shelf)
        if not self.rules.retire_sets_state_first and not (yield from self.is_worth_it(span)):
            yield store(self.at.state + span, State.FULL, "state: set")
            return
        yield store(self.at.state + span, State.FULL, "state: set")
        if self.rules.retire_looks:
            yield from self.settle(shelf, span)

    def tidy(self, slice_: int) -> Program:
        """shelf_tidy: the purge pass has found the span CURRENT. The lock is only tried."""
        tag = yield load(self.at.tag + slice_, "tag: now")
        if tag == FREE_TAG or not (yield lock_try(tag - 1)):
            return
        shelf = tag - 1
        is_current = (yield peek(self.at.current + shelf, shelf)) == slice_ + 1
        if is_current and (yield load(self.at.tag + slice_, "tag: now")) == tag:
            yield from self.retire(shelf)
        del is_current
        del tag, slice_
        yield from self.leave(shelf)
