"""The optimiser against brute force, and against the rules that its tables must keep."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rtmalloc.profile import Profile, ProfileError, SmallBucket
from rtmalloc.profile.optimise import KEEP, Demand, as_toml, demand, least_classes, optimise, waste
from rtmalloc.size_table import TableError, table_parse

STEPS = 11
"""Steps of 16 bytes in the small cases: 2**9 tables to try."""


def requests(sizes: list[tuple[int, int]], steps: int) -> Demand:
    """A demand of ``count`` objects of ``size`` bytes each."""
    objects, total = [0.0] * (steps + 1), [0.0] * (steps + 1)
    for size, count in sizes:
        step = (size + 15) // 16
        objects[step] += count
        total[step] += count * size
    return Demand(tuple(objects), tuple(total), 1.0, False)


def all_tables(
    largest: int, classes: int, max_waste: float, keep: list[int], linear_max: int
) -> Iterator[tuple[int, ...]]:
    """Every table that keeps the rules, as size_table.py understands them."""
    forced = {16, largest, *(size for size in keep if size <= largest)}
    free = [size for size in range(16, largest + 1, 16) if size not in forced]
    for count in range(len(free) + 1):
        for chosen in combinations(free, count):
            sizes = sorted(forced | set(chosen))
            unlucky = [
                (size - n) / size > max_waste
                for smaller, size in pairwise(sizes)
                for n in range(max(smaller, linear_max) + 1, size)
            ]
            if len(sizes) <= classes and not any(unlucky):
                yield tuple(sizes)


def true_waste(sizes: tuple[int, ...], asked: list[tuple[int, int]], min_objects: int = 16) -> float:
    """What the table wastes, request by request: the block, and its share of what the span has left over."""
    total = 0.0
    for size, count in asked:
        block = next(block for block in sizes if block >= size)
        slices = 2 if block <= 128 else 1
        while slices < 32 and slices * 16384 // block < min_objects:
            slices *= 2
        total += count * (slices * 16384 / (slices * 16384 // block) - size)
    return total


ASKED = st.lists(st.tuples(st.integers(1, STEPS * 16), st.integers(1, 1000)), min_size=1, max_size=12)


@settings(max_examples=300, deadline=None)
@given(
    asked=ASKED,
    classes=st.integers(1, STEPS),
    max_waste=st.sampled_from([1.0, 0.5, 0.3, 0.2, 0.125]),
    keep=st.lists(st.integers(1, STEPS).map(lambda n: 16 * n), max_size=3),
    linear_max=st.sampled_from([16, 64, 96]),
)
def test_no_table_wastes_less(
    asked: list[tuple[int, int]], classes: int, max_waste: float, keep: list[int], linear_max: int
) -> None:
    largest = STEPS * 16
    wanted = requests(asked, STEPS)
    best = min(
        (true_waste(sizes, asked) for sizes in all_tables(largest, classes, max_waste, keep, linear_max)), default=None
    )
    try:
        found = optimise(wanted, classes, max_waste, largest, keep=keep, linear_max=linear_max)
    except ProfileError as error:
        assert best is None, error
        return
    assert best is not None
    assert found in set(all_tables(largest, classes, max_waste, keep, linear_max))
    assert math.isclose(true_waste(found, asked), best, rel_tol=1e-9, abs_tol=1e-6)
    assert math.isclose(waste(found, wanted), best, rel_tol=1e-9, abs_tol=1e-6)


@settings(max_examples=60, deadline=None)
@given(asked=ASKED, max_waste=st.sampled_from([1.0, 0.5, 0.3]))
def test_more_classes_never_waste_more(asked: list[tuple[int, int]], max_waste: float) -> None:
    wanted = requests(asked, STEPS)
    least = least_classes(STEPS * 16, max_waste, (), 64)
    found = [
        waste(optimise(wanted, n, max_waste, STEPS * 16, keep=(), linear_max=64), wanted) for n in range(least, 12)
    ]
    assert all(a >= b - 1e-9 for a, b in pairwise(found))


BIG = [(4360, 900), (1000, 50), (24, 100_000), (700, 3000), (20_000, 7), (130, 5000)]


@pytest.mark.parametrize(("classes", "max_waste"), [(64, 0.125), (125, 0.06), (40, 0.2), (48, 0.125), (20, 1.0)])
def test_full_size_tables_keep_the_rules(classes: int, max_waste: float) -> None:
    wanted = requests(BIG, 2048)
    sizes = optimise(wanted, classes, max_waste, 32768)
    assert len(sizes) <= classes and sizes[0] == 16 and sizes[-1] == 32768 and set(KEEP) <= set(sizes)
    table = table_parse(as_toml(sizes, max_waste, ["why"]), name="best.toml")
    assert table.sizes == sizes and table.min_objects == 16
    # It cannot do better than a class for each step, and with room for all of them it does as well.
    least = waste(range(16, 32769, 16), wanted)
    if max_waste == 0.125 and classes == 64:
        assert {32, 144, 704, 4368} <= set(sizes)
        assert waste(sizes, wanted) <= least * 1.02
    with pytest.raises(TableError):
        table_parse(as_toml(sizes, 0.001, []))


def test_too_few_classes() -> None:
    wanted = requests(BIG, 2048)
    least = least_classes(32768, 0.125)
    assert 30 < least < 64
    assert len(optimise(wanted, least, 0.125, 32768)) <= least
    with pytest.raises(ProfileError, match=f"takes {least}"):
        optimise(wanted, least - 1, 0.125, 32768)
    with pytest.raises(ProfileError, match="even steps of 16 bytes"):
        optimise(wanted, 125, 0.0001, 32768)


def test_lives_weigh() -> None:
    # Many short-lived blocks of one size, few long-lived ones of another: by lives the few win the class.
    short = SmallBucket(1632, 100, 100_000, 1625 * 100_000, 0, 0, 100, 1625 * 100)
    long = SmallBucket(1488, 10, 1000, 1480 * 1000, 1000, 1480 * 1000, 900_000, 1480 * 900_000)
    profile = Profile(milliseconds=1000, every=1000, small=(long, short), large=())
    wanted = demand(profile, 32768)
    assert wanted.by_life and waste([1488, 1632, 32768], wanted) < 20 * 1000
    one = least_classes(32768, 0.125)
    table = optimise(wanted, one + 1, 0.125, 32768)
    assert 1488 in table
    counted = demand(Profile(milliseconds=0, every=1000, small=(long, short), large=()), 32768)
    assert not counted.by_life
    assert 1632 in optimise(counted, one + 1, 0.125, 32768)


def test_an_empty_profile() -> None:
    with pytest.raises(ProfileError, match="holds no small request"):
        demand(Profile(milliseconds=5, every=1024, small=(), large=()), 32768)
