"""What the model of the bitmap protocol consists of: shapes of spans, bytes of a state, rules, scenarios.

A state is one flat `bytes`: the class locks, the heaps' locks and mailboxes, a record per slice, a record per
thread. Names in capitals are offsets into a record, or values in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

# ---- values ------------------------------------------------------------------------------------------------

WORDS = 2  # bitmap words per slice
CLASSES = 2
EMPTY, CLOSED = 0, 0xFF  # heads of a mailbox; any other value is the number of a span + 1
FREE_TAG = 0
NOBODY = 0  # the owner that the tag of an unowned span names
NO_HEAP = 0x0F  # the heap of a thread that has none: no tag names it
ANY_FREE, WORTH_IT, NOT_WHOLE, RELEASED = 1, 2, 4, 8  # what a look at the words of a span finds, and leads to


def tag_of(owner: int, size_class: int) -> int:
    """The tag of a span's slices; 0 is for slices of no span."""
    return 1 + owner * CLASSES + size_class


def tag_owner(tag: int) -> int:
    """The heap that a tag names, or NOBODY."""
    return (tag - 1) // CLASSES


def tag_class(tag: int) -> int:
    """The size class that a tag names."""
    return (tag - 1) % CLASSES


class SpanState(IntEnum):
    """Under the owner's heap lock; under the class lock while nobody owns the span."""

    NONE = 0  # not a span: free, or a slice inside a longer span
    CURRENT = 1
    PARTIAL = 2
    FULL = 3
    LISTED = 4
    UNLISTED = 5


# ---- shapes of spans ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shape:
    """How a span is cut. Spans of a class are cut alike; shapes of one class are for different scenarios."""

    name: str
    size_class: int
    slices: int
    full: tuple[int, int]  # the bits of each word of the bitmap; 0: the word is not used
    pages: tuple[tuple[int, int], ...]  # for each page, the bits of each word whose objects overlap it
    worth: int = 1  # free objects in a word that make the span worth a refill's visit


ONE = Shape("one", 0, 1, (0b1, 0), ((0b1, 0),))
PAIR = Shape("pair", 0, 1, (0b11, 0), ((0b01, 0), (0b10, 0)))
TALL = Shape("tall", 0, 1, (0b1, 0b1), ((0b1, 0b1),))  # objects of both words overlap the page
TRIO = Shape("trio", 0, 1, (0b111, 0), ((0b011, 0), (0b110, 0)), worth=2)
SQUARE = Shape("square", 0, 1, (0b11, 0b11), ((0b11, 0), (0b10, 0b01), (0, 0b11)))
ROW = Shape("row", 1, 1, (0b11, 0), ((0b11, 0),))  # the bits of PAIR, but one page under both objects
WIDE = Shape("wide", 1, 2, (0b1, 0b1), ((0b1, 0), (0, 0b1)))
SHAPES = (ONE, PAIR, TALL, TRIO, SQUARE, ROW, WIDE)

# ---- the bytes of a state ----------------------------------------------------------------------------------

# A slice; a span's fields are those of its first slice.
TAG = 0  # the tag map's entry: atomic
STATE = 1  # a SpanState: under the owner's heap lock, or the class lock
NOTIFIED = 2  # in a mailbox, or about to be: atomic
LINK = 3  # the mailbox behind this span: of who turned NOTIFIED on, then of who took it out, until he clears it
SHAPE = 4  # index into SHAPES: written while the span is formed, read by anybody
FIRST = 5  # the first slice of the span that the slice belongs to, or once belonged to: the same
CURSOR = 6  # where the next refill goes on: of the owner
BITS = 7  # a byte per word: atomic
# What follows is not in the allocator: it is what the model knows, and what the properties are about.
FREE_SLICE = 9  # the slice is with the page heap
FORMED = 10  # the slice is the first of a span
TRUE_SHAPE = 11  # of the present incarnation, from the moment its slices were taken
LIVE = 12  # a byte per word: objects in the hands of the program, or in a bin
HELD = 14  # a byte per word: bits that a purger or releaser has claimed, or that a put is about to return
SLICE_SIZE = 16

# A thread: where it is in its script, its program counter, whom it returns to, and its registers.
POSITION = 0  # index of the action in the script
PC = 1
AFTER = 2  # continuation of put, event and notify
AFTER_LOOK = 3  # continuation of an owner's look and of abandon
AFTER_RELEASE = 4  # continuation of a release
SPAN = 5  # what put, event, look, notify, release and abandon work on
WORD = 6
MASK = 7
SEEN = 8  # the tag that was read
HEAP = 9  # whose lock is held, or who gets a hint
EVENT_CLASS = 10  # the class that an event is about
FOUND = 11  # of a look: ANY_FREE, WORTH_IT, NOT_WHOLE, RELEASED
REST = 12  # what is left of a mailbox that was taken
WORK = 13  # the shape by which a purger works, or that is being formed
CLAIM = 14  # a byte per word: what a purger has claimed
COUNT = 14  # puts that are left, or whether a refill has something: of threads that do not purge just now
RELEASE = 16  # a byte per word: what a releaser has claimed
THREAD_SIZE = 18
REGISTERS = slice(AFTER, THREAD_SIZE)

# With a store buffer: number of entries, then the entries (address, value), the oldest first.
STORES = THREAD_SIZE
STORE_SLOTS = 4

# ---- rules: what the proof leans on ------------------------------------------------------------------------


@dataclass(frozen=True)
class Rules:
    """Each field is a part of the protocol. A mutation turns one off."""

    # put
    event_when_word_becomes_useful: bool = True
    event_when_word_becomes_full: bool = True
    tag_read_after_or: bool = True
    precheck_reads_after_or: bool = True
    # hints
    flag_survives_release: bool = True
    flag_survives_formation: bool = True
    flag_cleared_by_exchange: bool = True
    flag_cleared_before_look: bool = True
    link_read_before_flag_cleared: bool = True
    push_sees_closed: bool = True
    closed_push_looks_again: bool = True
    drain_forwards: bool = True
    exit_forwards: bool = True
    # spans that nobody owns
    unowned_event_checks_tag: bool = True
    unowned_event_follows_new_owner: bool = True
    release_under_class_lock: bool = True
    adopt_under_class_lock: bool = True
    abandon_looks_under_lock: bool = True
    abandon_stores_tag_before_look: bool = True
    abandon_exchanges_tag: bool = True
    # owned spans
    settle_under_heap_lock: bool = True
    settle_checks_tag: bool = True
    refill_under_heap_lock: bool = True
    full_is_rechecked: bool = True
    evict_forwards: bool = True
    evict_forwards_by_mail: bool = True
    evict_knows_of_release: bool = True
    # release
    interior_slice_is_settled: bool = True
    release_claims: bool = True
    release_put_back_has_no_event: bool = True
    # page return and formation
    purge_put_back_has_event: bool = True
    purge_checks_shape: bool = True
    formation_shape_before_words: bool = True
    formation_tag_before_words: bool = True


# ---- scenarios ---------------------------------------------------------------------------------------------


class Do(IntEnum):
    """What a thread can do. Each action has an argument, 0 where none is named."""

    FREE_ALL = 0  # return live objects of any span, in any grouping, until there are none and none will be
    FREE_SOME = 1  # the same, in at most so many puts
    REFILL = 2  # take objects of this class: of own spans, or of one from the central store
    DRAIN = 3  # read the mail
    SWEEP = 4  # the epoch's look at the own spans
    EVICT = 5  # read the mail of this heap, whose owner may be asleep, and abandon its useful spans
    EXIT = 6  # abandon or release all spans, close the mailbox, forward what is in it
    REOPEN = 7  # take over the heap of a thread that has ended
    FORM = 8  # cut a span of the shape with this index from the page heap's slices, if it has them, and refill
    PURGE = 9  # give back one page of the span that begins at this slice
    AWAIT_OTHERS = 10  # until all other threads have finished
    CHECK_PROMPT = 11  # nothing runs, the mail is read: no span may be left that waits for a look
    SPURIOUS_HINT = 12  # about any slice, to any heap


@dataclass(frozen=True)
class Thread:
    """A thread of a scenario. Threads without a heap that have equal scripts are interchangeable."""

    name: str
    script: tuple[tuple[Do, int], ...]
    heap: int = NO_HEAP


@dataclass(frozen=True)
class Span:
    """A span that exists at the start. It lies behind the one before it."""

    shape: Shape
    owner: int
    state: SpanState
    live: tuple[int, int]  # for each word, the objects that are in the program's hands; the others are free
    cursor: int = 0


@dataclass(frozen=True)
class Scenario:
    """Who is there at the start, and what each will do."""

    name: str
    threads: tuple[Thread, ...]
    spans: tuple[Span, ...]
    lossy: bool = False  # hints get lost at will
    store_buffer: bool = False  # plain stores become visible late (x86), in place of sequential consistency
    precheck: bool = False  # who fills a word reads the others, and has an event only if they are full too
