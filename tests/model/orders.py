"""Every atomic step of the protocol: the order it has in the code, and the weakest one with which the model holds.

`docs/protocol.md` has this table, and a test keeps the two equal. In the world of views (views.py) the model runs with
the orders that are *needed*, so that what the code has beyond them is known to be beyond.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum


class Order(IntEnum):
    """C11's orders. Two of them are not comparable: whoever compares asks `acquires` and `releases`."""

    RELAXED = 0
    ACQUIRE = 1
    RELEASE = 2
    ACQ_REL = 3
    SEQ_CST = 4

    @property
    def acquires(self) -> bool:
        """Whether a read sees what the writer had seen."""
        return self in (Order.ACQUIRE, Order.ACQ_REL, Order.SEQ_CST)

    @property
    def releases(self) -> bool:
        """Whether a write shows what its thread has seen."""
        return self in (Order.RELEASE, Order.ACQ_REL, Order.SEQ_CST)


class Word(Enum):
    """The kinds of shared words."""

    LOCK = "lock"
    HINT = "hint"
    TAG = "tag"
    STATE = "state"
    INDEX = "index"
    OBJECTS = "objects"
    BITS = "bits"


class Kind(Enum):
    """What a step does to its word."""

    LOAD = "load"
    STORE = "store"
    UPDATE = "update"  # a read-modify-write


WEAKER: dict[Kind, dict[Order, tuple[Order, ...]]] = {
    Kind.LOAD: {Order.SEQ_CST: (Order.ACQUIRE,), Order.ACQUIRE: (Order.RELAXED,)},
    Kind.STORE: {Order.SEQ_CST: (Order.RELEASE,), Order.RELEASE: (Order.RELAXED,)},
    Kind.UPDATE: {
        Order.SEQ_CST: (Order.ACQ_REL,),
        Order.ACQ_REL: (Order.ACQUIRE, Order.RELEASE),
        Order.ACQUIRE: (Order.RELAXED,),
        Order.RELEASE: (Order.RELAXED,),
    },
}
"""For each access, the orders one step below an order."""


@dataclass(frozen=True)
class Step:
    """An atomic step of the code."""

    name: str
    where: str  # the function that takes it
    word: Word
    kind: Kind
    code: Order
    needed: Order


SC, AR, ACQ, REL, RLX = Order.SEQ_CST, Order.ACQ_REL, Order.ACQUIRE, Order.RELEASE, Order.RELAXED
LOAD, STORE, UPDATE = Kind.LOAD, Kind.STORE, Kind.UPDATE

STEPS = (
    Step("put: or", "shelf_put", Word.BITS, UPDATE, SC, SC),
    Step("put: state", "span_state", Word.STATE, LOAD, SC, SC),
    Step("whole: objects", "span_is_whole", Word.OBJECTS, LOAD, RLX, RLX),
    Step("whole: words", "span_is_whole", Word.BITS, LOAD, SC, SC),
    Step("worth: words", "span_is_worth_it", Word.BITS, LOAD, SC, SC),
    Step("tag: now", "tag_now", Word.TAG, LOAD, SC, ACQ),
    Step("tag: set", "tag_set", Word.TAG, UPDATE, SC, REL),
    Step("tag: inside", "tag_set", Word.TAG, STORE, REL, REL),
    Step("state: set", "span_set_state", Word.STATE, STORE, SC, SC),
    Step("lock: taken", "lock_take, lock_try", Word.LOCK, UPDATE, SC, ACQ),
    Step("lock: found taken", "lock_try", Word.LOCK, LOAD, SC, SC),
    Step("lock: dropped", "lock_drop", Word.LOCK, UPDATE, SC, SC),
    Step("hint: left", "shelf_hint", Word.HINT, UPDATE, SC, SC),
    Step("hint: found there", "shelf_hint", Word.HINT, LOAD, SC, SC),
    Step("hint: looked for", "shelf_has_hints", Word.HINT, LOAD, SC, SC),
    Step("hint: taken", "shelf_read_hints", Word.HINT, UPDATE, SC, SC),
    Step("claim: all", "span_claim_all", Word.BITS, UPDATE, SC, RLX),
    Step("claim: back", "span_claim_all", Word.BITS, UPDATE, SC, SC),
    Step("draw: word", "shelf_draw_current", Word.BITS, LOAD, RLX, RLX),
    Step("claim: some", "span_claim", Word.BITS, UPDATE, SC, ACQ),
    Step("form: index", "arena_span_new", Word.INDEX, STORE, RLX, RLX),
    Step("form: objects", "span_form", Word.OBJECTS, STORE, RLX, RLX),
    Step("form: words", "span_form", Word.BITS, STORE, REL, REL),
    Step("purge: tag", "geometry_read", Word.TAG, LOAD, RLX, RLX),
    Step("purge: index", "geometry_read", Word.INDEX, LOAD, RLX, RLX),
    Step("purge: objects", "geometry_read", Word.OBJECTS, LOAD, RLX, RLX),
    Step("purge: claim", "objects_claim", Word.BITS, UPDATE, SC, ACQ),
    Step("purge: span", "objects_put", Word.INDEX, LOAD, RLX, RLX),
)

CODE = {step.name: step.code for step in STEPS}
NEEDED = {step.name: step.needed for step in STEPS}
