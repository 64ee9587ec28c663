"""The page heap and its decay against a naive model: one small record per slice, and plain searches.

The model says *where* each run must be, so it checks the order of preference (lowest dirty run inside a segment, then
the lowest free one, then one across segments, then growth), coalescing, and what is known to be zero.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .probing import probe_load

SEGMENT = 64
GROUP = 2  # segments that open together, so that a huge page fits in
LIMIT = 6  # segments: few enough that the arena fills up, and that the search never abandons near misses


@dataclass(eq=False)
class Slice:
    """What the model knows about one slice."""

    free: bool = True
    dirty: bool = False
    old: bool = False
    muzzy: bool = False


class Model:
    """The naive page heap."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.slices: list[Slice] = []
        self.peak = 0
        self.next_fit = False
        self.recent = 0  # segment of the last run that was taken inside one, or given back

    def free_map(self, dirty_only: bool) -> str:
        return "".join("1" if s.free and (s.dirty or not dirty_only) else "0" for s in self.slices)

    @property
    def used(self) -> int:
        return sum(not s.free for s in self.slices)

    @property
    def dirty(self) -> int:
        return sum(s.free and s.dirty for s in self.slices)

    def note_peak(self) -> int:
        """After slices were taken: by how many the peak has risen."""
        rose = max(0, self.used + self.dirty - self.peak)
        self.peak += rose
        return rose

    def purge_for_peak(self, rose: int) -> None:
        """The highest segments with four dirty slices in a row give back all their dirty ones, until it is enough."""
        wanted = min(rose, self.dirty)
        gone = 0
        for first in range(len(self.slices) - SEGMENT, -1, -SEGMENT):
            text = self.free_map(dirty_only=True)[first : first + SEGMENT]
            if gone < wanted and "1111" in text:
                gone += text.count("1")
                for s in self.slices[first : first + SEGMENT]:
                    if s.free:
                        s.dirty = s.old = s.muzzy = False
        self.peak = max(self.peak - min(gone, wanted), self.used + self.dirty)

    def find(self, count: int) -> int | None:
        """Where the next run of ``count`` slices must come from; grows the arena if it has to."""
        if count <= SEGMENT:
            for dirty_only in (True, False):
                text = self.free_map(dirty_only)
                segments = range(len(text) // SEGMENT)
                start = self.recent if self.next_fit else 0
                for segment in [*segments[start:], *segments[:start]]:
                    at = text[segment * SEGMENT :][:SEGMENT].find("1" * count)
                    if at >= 0:
                        self.recent = segment
                        return int(segment * SEGMENT + at)
        text = self.free_map(dirty_only=False)
        at = text.find("1" * count)
        if at >= 0:
            return at
        tail = len(text) - len(text.rstrip("1"))
        need = -((tail - count) // SEGMENT)
        more = -(len(self.slices) // SEGMENT + need) % GROUP
        if len(self.slices) // SEGMENT + need + more <= self.limit:
            need += more
        if len(self.slices) + need * SEGMENT > self.limit * SEGMENT:
            return None
        self.slices.extend(Slice() for _ in range(need * SEGMENT))
        return self.find(count)

    def mark_taken(self, first: int, count: int) -> None:
        for s in self.slices[first : first + count]:
            assert s.free
            s.free = s.old = s.muzzy = False

    def give(self, first: int, count: int, untouched: bool = False) -> None:
        for s in self.slices[first : first + count]:
            assert not s.free
            s.free = True
            s.dirty |= not untouched
        if not untouched:
            self.recent = (first + count - 1) // SEGMENT

    def age(self, everything: bool, muzzy_wanted: bool, muzzy_step: bool) -> int:
        """One decay step; every run of slices given back is one system call. How many there were."""
        calls = 0
        for first in range(0, len(self.slices), SEGMENT):
            segment = self.slices[first : first + SEGMENT]
            if not any(s.free and s.dirty for s in segment):
                continue  # nothing dirty: the step does not even look
            ages = [s for s in segment if s.free and s.dirty and (muzzy_step or not s.muzzy)]
            due = [s for s in segment if s.free and s.dirty] if everything else [s for s in ages if s.old]
            if not everything:
                for s in segment:
                    s.old = s.free and s.dirty and (s in ages or s.old)
            # With two phases the kernel is first offered what is dirty; what it was offered before goes now.
            two = muzzy_wanted and not everything
            parts = [[s for s in due if s.muzzy], [s for s in due if not s.muzzy]] if two else [due]
            for part in parts:
                names = {id(s) for s in part}
                marks = "".join("1" if id(s) in names else "0" for s in segment)
                calls += len([run for run in marks.split("0") if run])
            for s in due:
                s.old = False
                s.muzzy = s.dirty = two and not s.muzzy
        return calls


class PageHeapMachine(RuleBasedStateMachine):
    """Random life of a page heap, checked against the model at every step."""

    small = st.one_of(st.integers(1, 20), st.sampled_from([1, 2, 4, 8, 16, 32, 63, 64]))
    counts = st.one_of(small, st.integers(1, 64), st.integers(1, 200), st.sampled_from([65, 128, LIMIT * SEGMENT]))

    def __init__(self) -> None:
        super().__init__()
        self.heap: Any = probe_load().Pages(LIMIT)
        self.model = Model(LIMIT)
        self.runs: list[tuple[int, int]] = []

    @initialize(wanted=st.booleans())
    def choose(self, wanted: bool) -> None:
        self.model.next_fit = wanted
        self.heap.next_fit(wanted)

    def took(self, first: int, count: int) -> None:
        self.runs.append((first, count))
        for slice_ in range(first, first + count):
            if not self.model.slices[slice_].dirty:
                assert self.heap.peek(slice_) == (0, 0), f"slice {slice_} is clean, hence zero"
            self.heap.poke(slice_, 0xAB)

    @rule(count=counts)
    def take(self, count: int) -> None:
        expected = self.model.find(count)
        assert self.heap.take(count) == expected
        if expected is not None:
            self.model.mark_taken(expected, count)
            self.model.note_peak()
            self.took(expected, count)

    @rule(count=small)
    def take_small(self, count: int) -> None:
        self.take(count)

    @rule(data=st.data(), more=st.integers(-1, 1))
    def take_a_hole(self, data: st.DataObject, more: int) -> None:
        # Exactly as long as a free run is, or one slice off: where the comparisons could be wrong.
        holes = {len(run) for dirty_only in (True, False) for run in self.model.free_map(dirty_only).split("0")}
        self.take(max(1, data.draw(st.sampled_from(sorted(holes))) + more))

    @rule(count=counts, power=st.integers(0, 8))
    def take_aligned(self, count: int, power: int) -> None:
        alignment = 1 << power
        longer = count + alignment - 1
        start = self.model.find(longer)
        first = None
        if start is not None:
            self.model.mark_taken(start, longer)
            # The probe's base is a multiple of eight segments.
            first = -(-start // alignment) * alignment
            self.model.give(start, first - start, untouched=True)
            self.model.give(first + count, start + longer - first - count, untouched=True)
            self.model.note_peak()
        assert self.heap.take_aligned(count, alignment) == first
        if first is not None:
            self.took(first, count)

    @rule(count=counts)
    def take_large(self, count: int) -> None:
        expected = self.model.find(count)
        first, rose = self.heap.take_large(count)
        assert first == expected
        if expected is None:
            return
        self.model.mark_taken(expected, count)
        assert rose == self.model.note_peak()
        if rose:
            self.model.purge_for_peak(rose)
        self.took(expected, count)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def give(self, data: st.DataObject) -> None:
        first, count = self.runs.pop(data.draw(st.integers(0, len(self.runs) - 1)))
        self.heap.give(first, count)
        self.model.give(first, count)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def give_tail(self, data: st.DataObject) -> None:
        # realloc shrinks a large block: the end of a run comes back.
        number = data.draw(st.integers(0, len(self.runs) - 1))
        first, count = self.runs[number]
        keep = data.draw(st.integers(1, count))
        if keep < count:
            self.heap.give(first + keep, count - keep)
            self.model.give(first + keep, count - keep)
            self.runs[number] = first, keep

    @precondition(lambda self: self.runs)
    @rule(data=st.data(), more=st.one_of(st.integers(1, 8), st.integers(1, 150), st.just(0xFFFFFFF0)))
    def extend(self, data: st.DataObject, more: int) -> None:
        number = data.draw(st.integers(0, len(self.runs) - 1))
        first, count = self.runs[number]
        end = first + count
        behind = self.model.slices[end : end + more]
        fits = len(behind) == more and all(s.free for s in behind)
        assert self.heap.extend(first, count, more) == fits
        if fits:
            self.model.mark_taken(end, more)
            self.model.note_peak()
            self.took(end, more)
            self.runs[-1:] = []
            self.runs[number] = first, count + more

    @rule(everything=st.booleans(), muzzy=st.booleans(), step=st.booleans())
    def age(self, everything: bool, muzzy: bool, step: bool) -> None:
        assert self.heap.age(everything, muzzy, step) == self.model.age(everything, muzzy, step)

    @invariant()
    def the_same_slices(self) -> None:
        opened, used, peak, dirty = self.heap.counters
        slices = self.model.slices
        assert opened * SEGMENT == len(slices)
        assert used == self.model.used == sum(count for _, count in self.runs)
        assert peak == self.model.peak
        assert dirty == self.model.dirty
        for number in range(opened):
            free, dirty_word, old, muzzy = self.heap.segment(number)  # asks segment_is_valid as well
            segment = slices[number * SEGMENT : (number + 1) * SEGMENT]
            assert free == sum(s.free << i for i, s in enumerate(segment))
            assert dirty_word == sum(s.dirty << i for i, s in enumerate(segment))
            assert old & free == sum((s.old and s.free) << i for i, s in enumerate(segment))
            assert muzzy == sum(s.muzzy << i for i, s in enumerate(segment))

    @invariant()
    def summaries_agree(self) -> None:
        for number in range(LIMIT):
            segment = self.model.slices[number * SEGMENT : (number + 1) * SEGMENT]
            for which in range(2):
                text = "".join("1" if s.free and (s.dirty or which == 0) else "0" for s in segment)
                longest = max((len(run) for run in text.split("0")), default=0)
                for level in range(7):
                    assert self.heap.summary(which, level, number) == (longest >= 1 << level), (number, which, level)

    @precondition(lambda self: self.runs)
    @rule(data=st.data())
    def look_at_dirty(self, data: st.DataObject) -> None:
        first, count = data.draw(st.sampled_from(self.runs))
        count = min(count, SEGMENT - first % SEGMENT)  # for a run inside one segment
        expected = sum(s.dirty << i for i, s in enumerate(self.model.slices[first : first + count]))
        assert self.heap.dirty_in(first, count) == expected

    def teardown(self) -> None:
        for first, count in self.runs:
            self.heap.give(first, count)
        opened, used, _, _ = self.heap.counters
        assert used == 0
        # All that was ever opened is one free run again.
        if opened:
            assert self.heap.take(opened * SEGMENT) == 0


def machine_run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        PageHeapMachine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )


def test_page_heap() -> None:
    machine_run(examples=60, steps=60)


@pytest.mark.soak
def test_page_heap_soak() -> None:
    machine_run(examples=3000, steps=200)


def test_a_growing_block_does_not_leave_its_past_behind() -> None:
    # A block that is moved each time it grows: what it leaves behind goes back when the next copy raises the peak.
    heap = probe_load().Pages(40)
    run, length = heap.take_large(8)[0], 8
    while length < 512:
        longer = heap.take_large(2 * length)[0]
        heap.give(run, length)
        run, length = longer, 2 * length
    _, used, peak, dirty = heap.counters
    assert (used, dirty) == (512, 256), "the last copy's past may stay"
    assert peak <= 512 + 256 + 64


def test_what_goes_back_for_the_peak_is_bounded() -> None:
    # Blocks of changing lengths come and go between others that stay, so that free memory does not fit: what that costs
    # is 128 MiB at first, and little per second.
    heap = probe_load().Pages(600)
    chance = random.Random(1)
    blocks: list[tuple[int, int]] = []
    for _ in range(3000):
        if len(blocks) == 20:
            heap.give(*blocks.pop(chance.randrange(20)))
        count = chance.randint(16, 2000)
        first, _ = heap.take_large(count)
        blocks.append((first, count))
    assert heap.peak_allowance < 8192, "it was made use of"
    _, used, peak, dirty = heap.counters
    assert used + dirty <= peak


def test_near_misses() -> None:
    # Many segments whose longest run is just too short, then one that fits: found although the search gives up probing.
    heap = probe_load().Pages(40)
    assert heap.take(40 * SEGMENT) == 0
    for segment in range(30):
        heap.give(segment * SEGMENT + 3, 20)  # level 4 (16), but not 21
    heap.give(33 * SEGMENT, 32)
    heap.give(35 * SEGMENT, 21)
    assert heap.take(21) == 33 * SEGMENT, "beyond the near misses only surely long enough runs are looked at"
    assert heap.take(20) == 3
    # When only a near level holds the answer, the search over all segments finds it.
    heap.give(20 * SEGMENT + 23, 1)
    heap.take(11)  # what is left of segment 33
    assert heap.take(21) == 20 * SEGMENT + 3


def test_many_segments() -> None:
    # More than one word of the summaries.
    heap = probe_load().Pages(200)
    taken = [heap.take(SEGMENT) for _ in range(200)]
    assert taken == [n * SEGMENT for n in range(200)]
    assert heap.take(1) is None
    for n in (199, 64, 63, 128):
        heap.give(n * SEGMENT, SEGMENT)
    assert heap.take(2 * SEGMENT) == 63 * SEGMENT, "coalesced across the border of two summary words"
    assert heap.take(SEGMENT) == 128 * SEGMENT
    assert heap.take(SEGMENT + 1) is None
    assert heap.age(True, False) == 1
    assert heap.take(64) == 199 * SEGMENT
    assert heap.dirty_in(199 * SEGMENT, 64) == 0
    assert heap.peek(199 * SEGMENT) == (0, 0)


def test_next_fit_comes_round() -> None:
    # From the segment that was used last, over all words of the summaries, to the segments before it.
    heap = probe_load().Pages(200)
    for _ in range(200):
        heap.take(SEGMENT)
    heap.next_fit(True)
    for n in (3, 70, 150, 100):
        heap.give(n * SEGMENT, SEGMENT)
    assert [heap.take(40) for _ in range(4)] == [n * SEGMENT for n in (100, 150, 3, 70)]
    heap.give(66 * SEGMENT, 5)
    heap.give(72 * SEGMENT, 1)
    # Segment 66 has the lowest, but the search begins at 72.
    assert heap.take(5) == 100 * SEGMENT + 40
