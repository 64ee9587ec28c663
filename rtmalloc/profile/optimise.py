"""The best table of size classes for a profile: exact dynamic programming over all tables that keep the rules.

A table is a set of sizes, multiples of 16. What a request costs depends only on the class that serves it, so a table's
cost is a sum over its neighbouring pairs, and the best table with k classes that ends at size j is the best one with
k - 1 classes that ends at some smaller size i, plus the pair (i, j).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from rtmalloc.profile.recording import Profile, ProfileError
from rtmalloc.size_table import GRANULE, MAX_CLASSES, SLICE_LEAST, SizeTable

KEEP = tuple(64 << n for n in range(7))
"""Sizes that every table gets: 64 bytes to 4 KiB, cache line to page, as aligned_alloc and posix_memalign ask for."""

LINEAR_MAX = 256
"""Bytes: the limit of waste begins above it. Below, 16-byte steps make a few percent of a block a few bytes."""

MIN_OBJECTS = 16


@dataclass(frozen=True)
class Demand:
    """What a table is to serve: per step of 16 bytes the objects, and the bytes they asked for."""

    objects: tuple[float, ...]
    """``objects[n]``: of 16 * n - 15 to 16 * n bytes; times their milliseconds where these were recorded."""
    bytes: tuple[float, ...]
    unit: float
    """Divides waste so that it is bytes: milliseconds, or 1."""
    by_life: bool
    """Whether lives were recorded; else every request counts the same."""


def demand(profile: Profile, largest: int) -> Demand:
    """What a profile asks of a table whose largest class is ``largest`` bytes; above it nothing is small.

    Raises:
        ProfileError: when it holds no small request.
    """
    steps = largest // GRANULE + 1
    inside = [bucket for bucket in profile.small if bucket.size <= largest]
    if not inside:
        raise ProfileError("the profile holds no small request: record longer, or with a smaller profile_every")
    by_life = profile.milliseconds > 0 and any(bucket.byte_ms for bucket in inside)
    objects, total = [0.0] * steps, [0.0] * steps
    for bucket in inside:
        objects[bucket.size // GRANULE] = bucket.object_ms if by_life else bucket.requests
        total[bucket.size // GRANULE] = bucket.byte_ms if by_life else bucket.bytes
    return Demand(tuple(objects), tuple(total), profile.milliseconds if by_life else 1.0, by_life)


def footprint(size: int, min_objects: int, slice_bytes: int = SLICE_LEAST) -> float:
    """Bytes of a span that one block of ``size`` bytes takes: itself, and its share of the rest at the span's end."""
    span = SizeTable((size,), min_objects).slices(size, slice_bytes) * slice_bytes
    return span / (span // size)


def waste(sizes: Sequence[int], wanted: Demand, min_objects: int = MIN_OBJECTS) -> float:
    """Bytes that a table wastes on a demand: its blocks' footprints less what was asked for.

    By lives it is a mean over time: at an average moment so many bytes. Otherwise a sum over all requests.
    """
    total = 0.0
    for smaller, size in pairwise([0, *sizes]):
        steps = slice(smaller // GRANULE + 1, size // GRANULE + 1)
        total += footprint(size, min_objects) * sum(wanted.objects[steps]) - sum(wanted.bytes[steps])
    return total / wanted.unit


def asked(wanted: Demand) -> float:
    """Bytes asked for, in the unit of :func:`waste`."""
    return sum(wanted.bytes) / wanted.unit


def _first_smaller(largest: int, max_waste: float, keep: Sequence[int], linear_max: int) -> list[int]:
    """Per step j the lowest step that may stand in front of it in a table; ``j`` itself where none may."""
    first = [0] * (largest // GRANULE + 1)
    kept = 0
    for j in range(1, len(first)):
        size = j * GRANULE
        i = max(kept, first[j - 1])
        # Not by a formula: the rule is the very expression that size_table.py and the loader check.
        while i < j and (size - max(i * GRANULE, linear_max) - 1) / size > max_waste:
            i += 1
        if j > 1 and i == 0 and size > GRANULE:
            i = 1  # the first class is 16 bytes
        first[j] = i
        if size in keep:
            kept = j
    return first


def least_classes(largest: int, max_waste: float, keep: Sequence[int] = KEEP, linear_max: int = LINEAR_MAX) -> int:
    """The fewest classes with which a table can keep the rules."""
    first = _first_smaller(largest, max_waste, keep, linear_max)
    count, j = 0, largest // GRANULE
    while j > 0:
        if first[j] >= j:
            raise ProfileError(f"no table keeps max_waste {max_waste}: even steps of {GRANULE} bytes waste more")
        count, j = count + 1, first[j]
    return count


def optimise(
    wanted: Demand,
    classes: int,
    max_waste: float,
    largest: int,
    *,
    keep: Sequence[int] = KEEP,
    linear_max: int = LINEAR_MAX,
    min_objects: int = MIN_OBJECTS,
) -> tuple[int, ...]:
    """The table that wastes least on a demand.

    Args:
        wanted: the demand.
        classes: how many classes it may have at most, 1 to 125.
        max_waste: part of a block above ``linear_max`` that the least lucky request may waste, above 0, at most 1.
        largest: bytes of its largest class, which it always has.
        keep: further sizes that it always has; those above ``largest`` do not count.
        linear_max: bytes, see ``max_waste``.
        min_objects: blocks that every span holds at least.

    Raises:
        ProfileError: when no table keeps these rules.
    """
    if not 1 <= classes <= MAX_CLASSES:
        raise ProfileError(f"a table has 1 to {MAX_CLASSES} classes, not {classes}")
    if not 0 < max_waste <= 1:
        raise ProfileError(f"max_waste is a fraction above 0, at most 1, not {max_waste}")
    kept = [size for size in keep if GRANULE <= size <= largest and size % GRANULE == 0]
    least = least_classes(largest, max_waste, kept, linear_max)
    if classes < least:
        raise ProfileError(f"{classes} classes are too few: max_waste {max_waste} up to {largest} bytes takes {least}")
    steps = largest // GRANULE
    first = _first_smaller(largest, max_waste, kept, linear_max)
    print_size = [0.0, *(footprint(GRANULE * j, min_objects) for j in range(1, steps + 1))]
    objects, total = [0.0], [0.0]
    for j in range(1, steps + 1):
        objects.append(objects[-1] + wanted.objects[j])
        total.append(total[-1] + wanted.bytes[j])
    never = float("inf")
    best = [0.0] + [never] * steps
    choices: list[list[int]] = []
    for _ in range(classes):
        # best[j] of this round: the least waste on everything up to step j with a last class there and one class more.
        after, choice = [never] * (steps + 1), [0] * (steps + 1)
        for j in range(1, steps + 1):
            found, at, block = never, 0, print_size[j]
            here, asked_here = objects[j], total[j]
            for i in range(j - 1, first[j] - 1, -1):
                # The pair's cost grows as i falls, and nothing costs less than 0: no lower i can be better.
                pair = block * (here - objects[i]) - (asked_here - total[i])
                if pair >= found:
                    break
                if best[i] + pair < found:
                    found, at = best[i] + pair, i
            after[j], choice[j] = found, at
        choices.append(choice)
        # "At most": a table with fewer classes stays a candidate by way of its own round.
        best = after
        if len(choices) == 1:
            record, rounds = best[steps], 1
        elif best[steps] < record:
            record, rounds = best[steps], len(choices)
    sizes, j = [], steps
    for choice in reversed(choices[:rounds]):
        sizes.append(j * GRANULE)
        j = choice[j]
    return tuple(reversed(sizes))


def as_toml(sizes: Sequence[int], max_waste: float, comment: Sequence[str], min_objects: int = MIN_OBJECTS) -> str:
    """A table as the text of a file for ``RTMALLOC_OPTIONS=config=`` and for the build."""
    rows = [", ".join(map(str, sizes[i : i + 12])) for i in range(0, len(sizes), 12)]
    lines = [*(f"# {line}" for line in comment), "", "[classes]", "sizes = [", *(f"    {row}," for row in rows), "]"]
    lines += [f"linear_max = {LINEAR_MAX}", "", "[spans]", f"min_objects = {min_objects}"]
    return "\n".join([*lines, "", "[limits]", f"max_waste = {max_waste:.9f}".rstrip("0").rstrip("."), ""])
