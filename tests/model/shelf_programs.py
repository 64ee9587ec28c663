"""What the holder of a shelf's lock does with its spans: look, release, retire (spans/shelf.pxd, formation.pxd)."""

from __future__ import annotations

from .accesses import (
    claim_bits,
    load,
    lock_drop,
    lock_take,
    lock_try,
    lowest,
    or_bits,
    peek,
    poke,
    run_give,
    store,
    swap,
)
from .home_programs import HomePrograms, Program
from .layout import FREE_TAG, SHAPES, State


class ShelfPrograms(HomePrograms):
    """States of spans, under the lock of the shelf that their tag names."""

    # ---- the queue

    def list_span(self, shelf: int, span: int) -> Program:
        """shelf_list: into the queue."""
        yield store(self.at.state + span, State.PARTIAL, "state: partial")
        yield poke(self.at.listed + span, shelf + 1, shelf)

    def unlist(self, shelf: int) -> Program:
        """shelf_unlist: 1 + the lowest span of the queue, which is in it no more; or 0."""
        span = (yield lowest(shelf)) - 1
        if span >= 0:
            yield poke(self.at.listed + span, 0, shelf)
        return span + 1

    # ---- the look

    def look(self, shelf: int, slice_: int) -> Program:
        """shelf_look: whether the slice is one of the shelf's; if a span begins there, it is settled."""
        if self.rules.event_checks_tag and (yield load(self.at.tag + slice_, "look: tag")) != shelf + 1:
            return False
        # (It may have become the inside of a longer span: then there is nothing to do.)
        if (yield load(self.at.index + slice_, "look: index")) != slice_ and self.rules.interior_is_left_alone:
            return True
        yield from self.settle(shelf, slice_)
        return True

    def settle(self, shelf: int, span: int) -> Program:
        """shelf_settle: bring the state in line with the bits."""
        state = yield peek(self.at.state + span)
        if state == State.NONE or (state == State.HELD and self.rules.held_is_left_alone):
            return
        shape = SHAPES[(yield peek(self.at.objects + span))]
        while (yield from self.is_whole(span, shape.full)):
            if (yield from self.claim_all(span, shape.full)):
                yield from self.release(shelf, span)
                return
            if not self.rules.whole_is_looked_at_again:
                break
        if state == State.FULL and (yield from self.is_worth_it(span, len(shape.full), shape.worth)):
            yield from self.list_span(shelf, span)

    def is_whole(self, span: int, full: tuple[int, ...]) -> Program:
        """span_is_whole: every object is free."""
        for word in range(len(full)):
            if (yield load(self.at.bits + self.at.place(span, word), "look: words")) != full[word]:
                return False
        return True

    def is_worth_it(self, span: int, words: int, worth: int) -> Program:
        """span_is_worth_it: some word has enough free objects."""
        for word in range(words):
            bits = yield load(self.at.bits + self.at.place(span, word), "look: words")
            if bits.bit_count() >= worth:
                return True
        return False

    # ---- release

    def claim_all(self, span: int, full: tuple[int, ...]) -> Program:
        """span_claim_all: all or none. What is put back has no event: the caller looks again."""
        if not self.rules.whole_is_claimed:
            return True
        for word in range(len(full)):
            got = yield claim_bits(self.at.place(span, word), 0xFF, "claim: all")
            if got != full[word]:
                if got:
                    yield or_bits(self.at.place(span, word), got, "claim: back")
                del got
                while word:
                    word -= 1
                    yield or_bits(self.at.place(span, word), full[word], "claim: back")
                return False
        return True

    def release(self, shelf: int, span: int) -> Program:
        """shelf_release, formation_release: the span leaves the shelf, then its slices go back."""
        shape = SHAPES[(yield peek(self.at.objects + span))]
        if (yield peek(self.at.state + span)) == State.PARTIAL:
            yield poke(self.at.listed + span, 0, shelf)
        elif (yield peek(self.at.current + shelf, shelf)) == span + 1:
            yield poke(self.at.current + shelf, 0, shelf)
        if self.rules.release_sets_none:
            yield store(self.at.state + span, State.NONE, "state: none")
        yield from self.tag_set(span, shape.slices, FREE_TAG, "tag: released")
        yield run_give(span, shape.full if self.rules.whole_is_claimed else (0,) * len(shape.full))

    def tag_set(self, span: int, slices: int, tag: int, step: str) -> Program:
        """tag_set: all slices of a span, the first one last."""
        for i in range(1, slices):
            yield store(self.at.tag + span + i, tag, "tag: inside")
        yield swap(self.at.tag + span, tag, step)

    # ---- the current span has no more

    def retire(self, shelf: int) -> Program:
        """shelf_retire: first the state, then one more look, for what came home behind the scan."""
        span = (yield peek(self.at.current + shelf, shelf)) - 1
        yield poke(self.at.current + shelf, 0, shelf)
        if self.rules.retire_sets_state_first:
            yield store(self.at.state + span, State.FULL, "state: full")
            if self.rules.retire_looks:
                yield from self.settle(shelf, span)
            return
        # Mutation: the look comes first.
        shape = SHAPES[(yield peek(self.at.objects + span))]
        if (yield from self.is_whole(span, shape.full)):
            if (yield from self.claim_all(span, shape.full)):
                yield from self.release(shelf, span)
                return
        elif (yield from self.is_worth_it(span, len(shape.full), shape.worth)):
            yield from self.list_span(shelf, span)
            return
        yield store(self.at.state + span, State.FULL, "state: full")

    def tidy(self, slice_: int) -> Program:
        """shelf_tidy: the purge pass has found the span CURRENT. The lock is only tried."""
        tag = yield load(self.at.tag + slice_, "tidy: tag")
        if tag == FREE_TAG:
            return
        shelf = tag - 1
        if not (yield lock_try(shelf)):
            return
        if (yield peek(self.at.current + shelf, shelf)) == slice_ + 1:
            yield from self.retire(shelf)
        del tag, slice_
        yield from self.leave(shelf)

    # ---- fork

    def fork(self, _: int) -> Program:
        """fork_prepare and fork_parent: every lock is taken and dropped; then what was told meanwhile is read."""
        for shelf in range(self.at.shelves):
            yield lock_take(shelf)
        for shelf in range(self.at.shelves):
            yield lock_drop(shelf)
        if self.rules.fork_reads_hints:
            for shelf in range(self.at.shelves):
                yield from self.read_hints(shelf)
