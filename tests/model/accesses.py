"""What a thread can yield: accesses to shared memory, and some things that the allocator does not know of.

The latter are the program around the allocator and what the properties need. They are no steps of their own: what is
LOCAL happens together with the step before it, PICK together with the one after it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple


class Do(IntEnum):
    """The kinds of accesses; a method of the machine each."""

    LOAD = 0
    STORE = 1
    SWAP = 2
    SWAP_IF = 3
    LOCK_TRY = 4
    LOCK_TAKE = 5
    LOCK_DROP = 6
    OR = 7
    CLAIM = 8
    FORM_WORD = 9
    PEEK = 10
    POKE = 11
    LOWEST = 12
    HAND_OUT = 13
    CHOOSE = 14
    PICK = 15
    RUN_TAKE = 16
    RUN_GIVE = 17
    MADVISE = 18
    TAKES_NO_MORE = 19


LOCAL = frozenset({Do.PEEK, Do.POKE, Do.LOWEST, Do.HAND_OUT, Do.CHOOSE, Do.TAKES_NO_MORE})


class Access(NamedTuple):
    """One access. Which of the fields mean something is said by the functions below."""

    do: Do
    step: str  # its name in orders.STEPS; "" where no atomic word is meant
    cell: int = 0
    value: int = 0
    other: Any = 0


# ---- atomic words. Read-modify-writes are answered with the value before them


def load(cell: int, step: str) -> Access:
    return Access(Do.LOAD, step, cell)


def store(cell: int, value: int, step: str) -> Access:
    return Access(Do.STORE, step, cell, value)


def swap(cell: int, value: int, step: str) -> Access:
    return Access(Do.SWAP, step, cell, value)


def swap_if(cell: int, expected: int, value: int, step: str, failing: str) -> Access:
    """Where the answer is not `expected`, it was the load `failing`."""
    return Access(Do.SWAP_IF, step, cell, value, (expected, failing))


def or_bits(place: int, mask: int, step: str) -> Access:
    """Objects that the thread holds come home."""
    return Access(Do.OR, step, place, mask)


def claim_bits(place: int, mask: int, step: str) -> Access:
    """Take what is set of `mask`, which is the answer."""
    return Access(Do.CLAIM, step, place, mask)


def form_word(place: int, mask: int, step: str) -> Access:
    """A store into the bitmap of a span that is being formed."""
    return Access(Do.FORM_WORD, step, place, mask)


def lock_try(shelf: int) -> Access:
    """Answer: whether the lock was free, and is now the thread's."""
    return Access(Do.LOCK_TRY, "lock: taken", shelf)


def lock_take(shelf: int) -> Access:
    return Access(Do.LOCK_TAKE, "lock: taken", shelf)


def lock_sleep(shelf: int) -> Access:
    """As lock_take, from where it begins to sleep."""
    return lock_take(shelf)


def lock_drop(shelf: int) -> Access:
    return Access(Do.LOCK_DROP, "lock: dropped", shelf)


# ---- plain words


def peek(cell: int, shelf: int = -1) -> Access:
    """A plain load, of what the shelf's lock guards, or of what nothing can be changing."""
    return Access(Do.PEEK, "", cell, 0, shelf)


def poke(cell: int, value: int, shelf: int) -> Access:
    """A plain store to what the shelf's lock guards."""
    return Access(Do.POKE, "", cell, value, shelf)


def lowest(shelf: int) -> Access:
    """Answer: 1 + the lowest span in the shelf's queue, or 0."""
    return Access(Do.LOWEST, "", shelf)


# ---- around the allocator


def hand_out(place: int, mask: int) -> Access:
    """Claimed objects go to the program."""
    return Access(Do.HAND_OUT, "", place, mask)


def choose(count: int) -> Access:
    """Answer: one of 0 .. count - 1; all are tried."""
    return Access(Do.CHOOSE, "", 0, count)


def pick() -> Access:
    """The program chooses live objects of one word. Answer: (span, word, mask), or () when none are left."""
    return Access(Do.PICK, "")


def run_take(shape: int) -> Access:
    """The page heap: slices for a span of the shape. Answer: 1 + the first of them, or 0."""
    return Access(Do.RUN_TAKE, "", 0, shape)


def run_give(span: int, claimed: tuple[int, ...]) -> Access:
    """The page heap gets a span's slices back; `claimed` is what the thread has of each word."""
    return Access(Do.RUN_GIVE, "", span, 0, claimed)


def madvise(span: int, page: int, claimed: tuple[int, ...]) -> Access:
    """A page of a span is given up; the thread has claimed what it believes to overlap it."""
    return Access(Do.MADVISE, "", span, page, claimed)


def takes_no_more() -> Access:
    """From here on the thread makes no object live."""
    return Access(Do.TAKES_NO_MORE, "")
