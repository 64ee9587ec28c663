"""The search itself: what it counts, and that it finds what is there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .explorer import Explored, Found, Violation, explore


class Walk:
    """A system for the tests of the explorer: numbers, and the steps between them."""

    def __init__(self, edges: dict[int, list[int]], ends: set[int], bad: int = -1) -> None:
        self.edges = edges
        self.ends = ends
        self.bad = bad
        self.last = ""

    def initial(self) -> bytes:
        return bytes([0])

    def steps(self, state: bytes) -> Iterator[bytes]:
        for after in self.edges.get(state[0], []):
            self.last = f"{state[0]} to {after}"
            if after == self.bad:
                raise Violation("bad", self.last)
            yield bytes([after])

    def label(self) -> str:
        return self.last

    def finished(self, state: bytes) -> bool:
        return state[0] in self.ends

    def check_end(self, state: bytes) -> None:
        if state[0] == 9:
            raise Violation("bad end", "9")


def test_explorer_counts_states() -> None:
    assert explore(Walk({0: [1, 2], 1: [3], 2: [3]}, {3})) == Explored(states=4, transitions=4, ends=1)


def test_explorer_gives_the_shortest_trace() -> None:
    result = explore(Walk({0: [1, 2], 1: [3], 3: [4], 2: [4], 4: [5]}, {5}, bad=5))
    assert isinstance(result, Found)
    assert (result.kind, result.trace) == ("bad", ("0 to 2", "2 to 4", "4 to 5"))


def test_explorer_finds_deadlock_livelock_and_bad_ends() -> None:
    kinds = [
        explore(walk)
        for walk in (
            Walk({0: [1]}, set()),
            Walk({0: [1, 4], 1: [2], 2: [1], 4: [5]}, {5}),
            Walk({0: [9]}, {9}),
        )
    ]
    assert [result.kind for result in kinds if isinstance(result, Found)] == ["deadlock", "livelock", "bad end"]


def test_explorer_gives_up_at_its_limit() -> None:
    with pytest.raises(RuntimeError, match="more than 3 states"):
        explore(Walk({n: [n + 1] for n in range(9)}, {9}), state_limit=3)
