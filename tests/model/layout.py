"""What a scenario consists of, and where its words lie in a state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

CLASSES = 2
FREE_TAG = 0


class State(IntEnum):
    """States of a span (spans/span.pxd)."""

    NONE = 0
    CURRENT = 1
    PARTIAL = 2
    FULL = 3
    HELD = 4


@dataclass(frozen=True)
class Shape:
    """How a span is cut. Spans of a class are cut alike; shapes of one class are for different scenarios."""

    name: str
    size_class: int
    slices: int
    full: tuple[int, ...]  # the bits of each word of the bitmap
    pages: tuple[tuple[int, ...], ...]  # for each page, the bits of each word whose objects overlap it
    worth: int = 1  # free objects in a word that make a FULL span worth a refill's visit


ONE = Shape("one", 0, 1, (0b1,), ((0b1,),))
PAIR = Shape("pair", 0, 1, (0b11,), ((0b01,), (0b10,)))
TRIO = Shape("trio", 0, 1, (0b111,), ((0b011,), (0b110,)), worth=2)
TALL = Shape("tall", 0, 1, (0b1, 0b1), ((0b1, 0b1),))  # objects of both words overlap the page
SQUARE = Shape("square", 0, 1, (0b11, 0b11), ((0b11, 0), (0b10, 0b01), (0, 0b11)))
ROW = Shape("row", 1, 1, (0b11,), ((0b11,),))  # the bits of PAIR, but one page under both objects
WIDE = Shape("wide", 1, 2, (0b1, 0b1), ((0b1, 0), (0, 0b1)))  # its second word is the first of its second slice
SHAPES = (ONE, PAIR, TRIO, TALL, SQUARE, ROW, WIDE)


@dataclass(frozen=True)
class Thread:
    """A thread of a scenario: the slot it uses, and its actions. Threads that are equal are interchangeable."""

    name: str
    script: tuple[tuple[str, int], ...]
    slot: int = 0


@dataclass(frozen=True)
class Span:
    """A span that exists at the start. It lies behind the one before it."""

    shape: Shape
    slot: int
    state: State
    live: tuple[int, ...]  # for each word, the objects that are in the program's hands; the others are free


class World(IntEnum):
    """What a thread sees of the others' stores."""

    SEQUENTIAL = 0  # all of it, at once
    VIEWS = 1  # C11: what it must, by the order of each step


@dataclass(frozen=True)
class Scenario:
    """Who is there at the start, and what each will do."""

    name: str
    threads: tuple[Thread, ...]
    spans: tuple[Span, ...]
    world: World = World.SEQUENTIAL
    slots: int = 2
    words: int = 1  # bitmap words for each slice
    hints: int = 1  # hint words of a shelf
    free_slices: int = 0  # slices behind the spans that the page heap has
    forms: tuple[Shape, ...] = (PAIR, ROW)  # how new spans of each class are cut


def shelf_of(slot: int, size_class: int) -> int:
    """The number of a slot's shelf."""
    return slot * CLASSES + size_class


class Layout:
    """Where each word is: a cell is an index into the bytes of a state. The local states of the threads come first."""

    def __init__(self, scenario: Scenario) -> None:
        """The cells of a scenario."""
        self.slices = sum(span.shape.slices for span in scenario.spans) + scenario.free_slices
        self.words = scenario.words
        self.hints = scenario.hints
        self.shelves = scenario.slots * CLASSES
        self.names: dict[int, str] = {}
        self.size = 2 * len(scenario.threads)
        places = self.slices * self.words
        # of a shelf
        self.lock = self._cells("lock", self.shelves)
        self.hint = self._cells("hint", self.shelves * self.hints)
        self.current = self._cells("current", self.shelves)  # 1 + the span refilled from, or 0
        self.cursor = self._cells("cursor", self.shelves)
        self.count = self._cells("count", self.shelves)  # spans in the queue
        # of a slice
        self.tag = self._cells("tag", self.slices)  # 1 + the shelf, or FREE_TAG
        self.state = self._cells("state", self.slices)
        self.index = self._cells("index", self.slices)
        self.objects = self._cells("objects", self.slices)  # an index into SHAPES
        self.listed = self._cells("listed", self.slices)  # 1 + the shelf in whose queue the span is, or 0
        # of a place: a bitmap word of a slice
        self.bits = self._cells("bits", places)
        # What follows is not in the allocator: it is what the model knows, and what the properties are about.
        self.live = self._cells("live", places)  # objects in the hands of the program, or in a bin
        self.held = self._cells("held", places)  # claimed by a thread, or about to come home
        self.holder = self._cells("holder", self.shelves)  # 1 + the thread that has the lock, or 0
        self.formed = self._cells("formed", self.slices)  # 1 + the shape of the span that begins here, or 0
        self.taken = self._cells("taken", self.slices)  # the slice is not with the page heap
        self.takers = self._cells("takers", 1)  # threads that may still make objects live

    def _cells(self, name: str, count: int) -> int:
        first = self.size
        self.size += count
        self.names |= {first + n: f"{name}[{n}]" for n in range(count)}
        return first

    def place(self, span: int, word: int) -> int:
        """The number of a span's bitmap word among all; words run on from slice to slice."""
        return span * self.words + word

    def hints_of(self, shelf: int) -> range:
        """The cells of a shelf's hints."""
        return range(self.hint + shelf * self.hints, self.hint + (shelf + 1) * self.hints)
