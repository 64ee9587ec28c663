"""Bitmap, span queue, radix map, spans and transfer cache against naive models."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
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

ALL = (1 << 64) - 1
# Masks of long runs are rare among random words: half of them are made of runs.
RUNS = st.lists(st.tuples(st.integers(0, 63), st.integers(0, 64)), max_size=5).map(
    lambda runs: sum({1 << bit for first, count in runs for bit in range(first, min(64, first + count))})
)
MASKS = st.one_of(st.integers(0, ALL), RUNS, st.sampled_from([0, 1, ALL, ALL - 1, 1 << 63, ALL >> 1]))


@pytest.fixture(scope="module")
def probe() -> ModuleType:
    return probe_load()


def bits(mask: int) -> list[int]:
    return [i for i in range(64) if mask >> i & 1]


def has_run(mask: int, first: int, count: int) -> bool:
    return first + count <= 64 and all(mask >> (first + i) & 1 for i in range(count))


# ---- bitmap


@settings(max_examples=1500, deadline=None)
@given(mask=MASKS, count=st.integers(1, 64), first=st.integers(0, 63))
def test_runs(probe: ModuleType, mask: int, count: int, first: int) -> None:
    starts = [i for i in range(64) if has_run(mask, i, count)]
    assert bits(probe.run_starts(mask, count)) == starts
    assert probe.run_find(mask, count) == (starts[0] if starts else probe.RUN_NONE)
    length = 0
    while first + length < 64 and mask >> (first + length) & 1:
        length += 1
    assert probe.run_length(mask, first) == length
    longest = max((n for i in bits(mask) for n in range(1, 65) if has_run(mask, i, n)), default=0)
    assert probe.run_level(mask) == longest.bit_length()


@settings(max_examples=1500, deadline=None)
@given(mask=MASKS, count=st.integers(0, 64), first=st.integers(0, 63))
def test_masks(probe: ModuleType, mask: int, count: int, first: int) -> None:
    assert bits(probe.mask_lowest(mask, count)) == bits(mask)[:count]
    assert probe.mask_low(count) == (1 << count) - 1
    if first + count <= 64:
        assert bits(probe.mask_run(first, count)) == list(range(first, first + count))
    assert probe.count_bits(mask) == len(bits(mask))
    if mask:
        assert probe.lowest_bit(mask) == bits(mask)[0]
        assert probe.highest_bit(mask) == bits(mask)[-1]


def test_levels(probe: ModuleType) -> None:
    for count in range(1, 65):
        assert probe.level_of(count) == count.bit_length() - 1
        # A segment whose longest run is `count` is listed at the level where a search for `count` begins.
        assert probe.run_level((1 << count) - 1) > probe.level_of(count)


# ---- classes and spans


def test_reciprocal_division_is_exact(probe: ModuleType) -> None:
    # Every byte offset of a span of every class.
    classes = probe.class_sizes()
    assert len(classes) > 20
    for class_ in range(1, len(classes) + 1):
        assert probe.first_wrong_offset(class_) is None, classes[class_ - 1]


def test_class_tables(probe: ModuleType) -> None:
    sizes = [size for size, _ in probe.class_sizes()]
    number = 1
    for size in range(sizes[-1] + 1):
        while sizes[number - 1] < size:
            number += 1
        assert probe.class_for(size) == number, size


def test_aligned_classes(probe: ModuleType) -> None:
    # The smallest class that holds the size and whose block size is a multiple: objects lie at k * size from a slice.
    sizes = [size for size, _ in probe.class_sizes()]
    for power in range(18):
        alignment = 1 << power
        for size in [0, *(s + d for s in sizes for d in (-1, 0, 1)), *range(0, 33000, 127)]:
            fits = (n for n, s in enumerate(sizes, start=1) if s >= size and s % alignment == 0)
            fitting = list(fits) if alignment <= probe.SLICE_BYTES else []
            assert probe.class_for_aligned(size, alignment) == (fitting[0] if fitting else 0), (size, alignment)


def test_spans(probe: ModuleType) -> None:
    for class_, (size, slices) in enumerate(probe.class_sizes(), start=1):
        span = probe.OneSpan(class_)
        words = span.words
        assert span.objects == slices * probe.SLICE_BYTES // size
        assert len(words) <= slices * probe.SLICE_WORDS
        assert sum(len(bits(word)) for word in words) == span.objects
        assert words == [span.full_mask(w) for w in range(len(words))]
        # A span whose objects all fit exactly is whole, then not, then whole again.
        assert span.is_whole and span.has_free
        last = len(words) - 1
        top = 1 << (span.objects - 1) % 64
        assert span.claim(last, top) == top
        assert span.claim(last, top) == 0, "a claimed object is nobody else's"
        assert not span.is_whole
        before = span.words
        assert not span.claim_all()
        assert span.words == before, "a failed claim keeps nothing"
        span.put(last, top)
        assert span.is_whole
        assert span.claim_all()
        assert not span.has_free and span.words == [0] * len(words)


# ---- state machines


class QueueMachine(RuleBasedStateMachine):
    """The span queue against a list in its order: by address, or the latest first."""

    COUNT = 60

    def __init__(self) -> None:
        super().__init__()
        self.queue: Any = probe_load().SpanQueue(self.COUNT)
        self.members: list[int] = []
        self.by_address = True

    @initialize(by_address=st.booleans())
    def choose(self, by_address: bool) -> None:
        self.by_address = by_address

    @rule(number=st.integers(0, COUNT - 1))
    def insert(self, number: int) -> None:
        if number not in self.members:
            self.queue.insert(number, self.by_address)
            self.members.insert(0, number)
            if self.by_address:
                self.members.sort()

    @rule(numbers=st.lists(st.integers(0, COUNT - 1), max_size=20))
    def insert_many(self, numbers: list[int]) -> None:
        for number in numbers:
            self.insert(number)

    @precondition(lambda self: self.members)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from(self.members))
        self.queue.remove(number)
        self.members.remove(number)

    @rule()
    def take(self) -> None:
        assert self.queue.take() == (self.members.pop(0) if self.members else None)

    @invariant()
    def first_is_first(self) -> None:
        assert self.queue.lowest() == (self.members[0] if self.members else None)

    def teardown(self) -> None:
        assert [self.queue.take() for _ in range(len(self.members) + 1)] == [*self.members, None]


def test_queue_after_a_change_of_order() -> None:
    # The option may change while spans are queued: each comes once, the latest of a stack before what lay under it.
    queue = probe_load().SpanQueue(20)
    for number in range(20):
        queue.insert(number * 7 % 20, number % 4 == 0)
    taken = [queue.take() for _ in range(20)]
    assert sorted(taken) == list(range(20)) and queue.take() is None


class RadixMachine(RuleBasedStateMachine):
    """The radix map against a dictionary of pages."""

    # Neighbours, the ends of each level, the ends of the address space.
    pages = st.one_of(
        st.integers(0, (1 << 36) - 1),
        st.sampled_from([0, 1, 4095, 4096, 4097, (1 << 24) - 1, 1 << 24, (1 << 35), (1 << 36) - 1]),
    )

    def __init__(self) -> None:
        super().__init__()
        self.radix: Any = probe_load().Radix()
        self.values: dict[int, int] = {}

    @rule(page=pages, value=st.integers(1, ALL), offset=st.integers(0, 4095))
    def set(self, page: int, value: int, offset: int) -> None:
        assert self.radix.set((page << 12) + offset, value)
        self.values[page] = value

    @rule(page=pages)
    def take(self, page: int) -> None:
        assert self.radix.take(page << 12) == self.values.pop(page, 0)

    @precondition(lambda self: self.values)
    @rule(data=st.data(), step=st.integers(-1, 1))
    def look_near(self, data: st.DataObject, step: int) -> None:
        page = data.draw(st.sampled_from(sorted(self.values))) + step
        if 0 <= page < 1 << 36:
            assert self.radix.get(page << 12) == self.values.get(page, 0)

    @rule(address=st.integers(1 << 48, (1 << 64) - 1))
    def beyond(self, address: int) -> None:
        # What the map cannot hold is simply not in it: wild pointers are asked about, too.
        assert self.radix.get(address) == 0
        assert self.radix.take(address) == 0
        assert not self.radix.set(address, 1)

    def teardown(self) -> None:
        for page, value in self.values.items():
            assert self.radix.take(page << 12) == value


class TransferMachine(RuleBasedStateMachine):
    """The transfer cache against one list per span length; what leaves it goes to the page heap."""

    lengths = st.sampled_from([1, 2, 4, 8, 16])

    def __init__(self) -> None:
        super().__init__()
        self.pages: Any = probe_load().Pages(8)
        self.kept: dict[int, list[int]] = {n: [] for n in (1, 2, 4, 8, 16)}
        self.low = dict.fromkeys(self.kept, 0)
        self.outside: list[tuple[int, int]] = []

    @rule(length=lengths)
    def take(self, length: int) -> None:
        expected = self.kept[length].pop() if self.kept[length] else None
        self.low[length] = min(self.low[length], len(self.kept[length]))
        slice_ = self.pages.transfer_take(length)
        assert slice_ == expected
        if slice_ is None:
            slice_ = self.pages.take(length)
        if slice_ is not None:
            self.outside.append((slice_, length))

    @precondition(lambda self: self.outside)
    @rule(data=st.data(), room=st.sampled_from([0, 1, 3, 64, 1000]))
    def give(self, data: st.DataObject, room: int) -> None:
        slice_, length = self.outside.pop(data.draw(st.integers(0, len(self.outside) - 1)))
        kept = self.pages.transfer_give(slice_, length, room)
        assert kept == (len(self.kept[length]) < min(room, 64))
        if kept:
            self.kept[length].append(slice_)
        else:
            self.pages.give(slice_, length)

    @rule(everything=st.booleans())
    def drain(self, everything: bool) -> None:
        self.pages.transfer_drain(everything)
        for length, kept in self.kept.items():
            del kept[: len(kept) if everything else self.low[length]]
            self.low[length] = len(kept)

    @invariant()
    def nothing_is_lost(self) -> None:
        cached = sum(length * len(kept) for length, kept in self.kept.items())
        assert self.pages.counters[1] == cached + sum(length for _, length in self.outside)


@pytest.mark.parametrize(
    ("machine", "examples", "steps"),
    [(QueueMachine, 60, 120), (RadixMachine, 20, 60), (TransferMachine, 40, 80)],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_machine(machine: type[RuleBasedStateMachine], examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine, settings=settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    )
