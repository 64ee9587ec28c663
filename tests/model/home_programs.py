"""Objects come home, and whom that reaches: shelf_put, shelf_event, hints (spans/shelf.pxd).

The first word of a method's docstring, where a colon follows, is the function of the core that it models: source.py
compares the two step by step. Branches on `self.rules` are the mutations; with all rules on, the code remains.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from .accesses import Access, load, lock_drop, lock_take, lock_try, or_bits, peek, swap, swap_if
from .layout import FREE_TAG, SHAPES, Layout, Scenario, State
from .rules import Rules

Program = Generator[Access, Any, Any]


class HomePrograms:
    """What a free does. `look` is in shelf_programs.py."""

    def __init__(self, scenario: Scenario, rules: Rules) -> None:
        self.scenario = scenario
        self.at = Layout(scenario)
        self.rules = rules

    def look(self, shelf: int, slice_: int) -> Program:
        raise NotImplementedError

    def put(self, span: int, word: int, mask: int) -> Program:
        """shelf_put: objects of one word come home."""
        early = State.NONE
        if not self.rules.state_read_after_or:
            early = yield load(self.at.state + span, "put: state")
        # Read before the OR: until then we hold an object, and the span is what we think it is.
        shape = SHAPES[(yield peek(self.at.objects + span))]
        slice_ = yield peek(self.at.index + span)
        before = yield or_bits(self.at.place(span, word), mask, "put: or")
        now = before | mask
        whole = word < len(shape.full) and now == shape.full[word] and self.rules.event_when_whole
        useful = before.bit_count() < shape.worth <= now.bit_count() and self.rules.event_when_useful
        del before, mask, now, shape, word
        if not whole and not useful:
            return
        # The state after the OR: pairs with state: set.
        state = early
        if self.rules.state_read_after_or:
            state = yield load(self.at.state + span, "put: state")
        del early, useful
        whole = whole and state in (State.PARTIAL, State.CURRENT)
        if state == State.FULL or (whole and (yield from self.is_whole(span))):
            del state, whole, span
            yield from self.event(slice_)

    def is_whole(self, span: int) -> Program:
        """span_is_whole: asked without a lock it is a guess, for the span may be another one by now."""
        shape = SHAPES[(yield load(self.at.objects + span, "whole: objects"))]
        for word in range(len(shape.full)):
            if (yield load(self.at.bits + self.at.place(span, word), "whole: words")) != shape.full[word]:
                return False
        return True

    def event(self, slice_: int) -> Program:
        """shelf_event: whoever has the span now settles it, or is told. We hold nothing of it any more."""
        while True:
            tag = yield load(self.at.tag + slice_, "tag: now")
            if tag == FREE_TAG:
                return
            shelf = tag - 1
            if not (yield lock_try(shelf)):
                if (yield from self.hint(shelf, slice_)):
                    del slice_, tag
                    if self.rules.hint_tries_again:
                        yield from self.read_hints(shelf)
                    return
                if not self.rules.hint_waits_when_full:
                    return
                yield lock_take(shelf)
            yield from self.look(shelf, slice_)
            yield from self.leave(shelf)
            del shelf
            if not self.rules.event_follows_tag:
                return
            if (yield load(self.at.tag + slice_, "tag: now")) == tag:
                return
            if (yield load(self.at.tag + slice_, "tag: now")) == FREE_TAG:
                return
            del tag

    # ---- hints

    def hint(self, shelf: int, slice_: int) -> Program:
        """shelf_hint: leave word for the holder of the lock; false when there is no room."""
        cells = self.at.hints_of(shelf)
        for i in range(len(cells)):
            seen = yield swap_if(cells[i], 0, slice_ + 1, "hint: left", "hint: found there")
            if seen in (0, slice_ + 1):
                return True
        return False

    def has_hints(self, shelf: int) -> Program:
        """shelf_has_hints: after the drop of the lock."""
        cells = self.at.hints_of(shelf)
        for i in range(len(cells)):
            if (yield load(cells[i], "hint: looked for")):
                return True
        return False

    def read_hints(self, shelf: int) -> Program:
        """shelf_read_hints: without the lock. If another thread has it by now, that one reads them."""
        while (yield from self.has_hints(shelf)):
            if not (yield lock_try(shelf)):
                return
            elsewhere: tuple[int, ...] = ()
            cells = self.at.hints_of(shelf)
            for i in range(len(cells)):
                slice_ = (yield swap(cells[i], 0, "hint: taken")) - 1
                if slice_ < 0:
                    continue
                if (yield load(self.at.tag + slice_, "tag: now")) == shelf + 1:
                    yield from self.look(shelf, slice_)
                elif self.rules.hints_forwarded:
                    elsewhere += (slice_,)
            del cells, i, slice_
            yield lock_drop(shelf)
            while elsewhere:
                slice_ = elsewhere[0]
                elsewhere = elsewhere[1:]
                yield from self.event(slice_)
                del slice_
            if not self.rules.hints_read_until_none:
                return

    def leave(self, shelf: int) -> Program:
        """shelf_leave: drop the lock, and look whether somebody has left word meanwhile."""
        yield lock_drop(shelf)
        if self.rules.leave_reads_hints and (yield from self.has_hints(shelf)):
            yield from self.read_hints(shelf)
