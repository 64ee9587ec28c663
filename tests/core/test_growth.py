"""How the page heap grows and shrinks: segments that the kernel refuses, that are given up, and that are not ours."""

from __future__ import annotations

import pytest

from .probing import probe_load
from .test_page_heap import GROUP, SEGMENT


def test_on_demand_segments_are_mapped_and_survive_refusal() -> None:
    heap = probe_load().Pages(8, on_demand=True)
    assert heap.take(10) == 0
    assert heap.take(SEGMENT) == SEGMENT
    heap.poke(9, 1)
    # The kernel refuses the next segment: no memory now, and the same numbers later.
    heap.refuse(True)
    assert heap.take(60) is None
    assert heap.take_aligned(60, 2) is None
    assert heap.counters[0] == GROUP, "segments that could not be mapped are handed back"
    assert heap.take(20) == 10, "what is mapped still serves"
    heap.refuse(False)
    assert heap.take(60) == GROUP * SEGMENT
    heap.poke(GROUP * SEGMENT + 59, 1)
    assert heap.peek(9)[0] == 1


def test_idle_groups_are_given_up_and_come_back() -> None:
    heap = probe_load().Pages(3 * GROUP, on_demand=True)
    for segment in range(3 * GROUP):
        assert heap.take(SEGMENT) == segment * SEGMENT
        heap.poke(segment * SEGMENT, 7)
    middle, last = GROUP * SEGMENT, 2 * GROUP * SEGMENT
    heap.give(middle, middle)
    heap.give(last + 1, middle - 1)
    assert heap.give_up() == GROUP, "only the group that is wholly free"
    assert heap.counters == (3 * GROUP, middle + 1, 3 * middle, middle - 1)
    assert heap.give_up() == 0, "it is not mapped any more"
    assert heap.take(middle) == middle, "mapped again, at its old place"
    assert heap.dirty_in(middle, SEGMENT) == 0
    assert heap.peek(middle) == (0, 0)
    assert heap.peek(0) == heap.peek(last) == (7, 7)
    heap.give(middle, middle)
    assert heap.give_up() == GROUP
    heap.refuse(True)
    assert heap.take(middle) is None, "the kernel refuses"
    heap.refuse(False)
    assert heap.take(middle) == middle


def test_idle_end_of_the_arena_is_not_opened_any_more() -> None:
    heap = probe_load().Pages(4 * GROUP, on_demand=True)
    run = heap.take(3 * GROUP * SEGMENT)
    assert heap.counters[0] == 3 * GROUP
    heap.give(run + 1, 3 * GROUP * SEGMENT - 1)
    assert heap.give_up() == 2 * GROUP
    assert heap.counters[0] == GROUP
    assert heap.take(3 * GROUP * SEGMENT) == 1, "behind the old end"


def test_runs_reach_over_what_was_given_up() -> None:
    # The lowest groups in a row that are long enough, whatever their neighbours are.
    heap = probe_load().Pages(10 * GROUP, on_demand=True)
    group = GROUP * SEGMENT
    for n in range(10):
        assert heap.take(group) == n * group
    for n in (1, 3, 4, 6, 7, 8):
        heap.give(n * group, group)
    assert heap.give_up() == 6 * GROUP
    assert heap.take(2 * group) == 3 * group
    assert heap.take(3 * group) == 6 * group
    assert heap.take(2 * group) is None
    assert heap.take(1) == group


@pytest.mark.parametrize("count", [1, SEGMENT, 3 * GROUP * SEGMENT])
def test_foreign_mappings_are_left_out(count: int) -> None:
    # The program has a mapping in the arena's range: the heap grows around it.
    heap = probe_load().Pages(10 * GROUP, on_demand=True)
    heap.occupy(0)
    heap.occupy(GROUP + 1)
    expected = 2 * GROUP * SEGMENT
    assert heap.take(count) == expected
    heap.poke(expected, 1)
    heap.poke(expected + count - 1, 1)
    assert heap.take(8 * GROUP * SEGMENT) is None
    assert heap.foreign_is_whole(0) and heap.foreign_is_whole(GROUP + 1)


def test_a_group_that_is_refused_comes_by_segments() -> None:
    heap = probe_load().Pages(2 * GROUP, on_demand=True)
    heap.refuse(True, least=GROUP)
    assert heap.take(1) == 0, "one segment is as good"
    assert heap.counters[0] == 1
    heap.refuse(False)
    assert heap.take(SEGMENT) == SEGMENT
