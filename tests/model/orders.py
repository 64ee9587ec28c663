"""Every atomic step of the protocol: the order it has in the code, and the weakest one with which the model holds.

`docs/protocol.md` has this table; `test_protocol.py` keeps the two equal. In the world of views (views.py) the model
runs with the orders that are *needed*, so that what the code has beyond them is known to be beyond.
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


class Access(Enum):
    """What a step does to its word."""

    LOAD = "load"
    STORE = "store"
    UPDATE = "update"  # a read-modify-write


WEAKER = {
    Access.LOAD: {Order.SEQ_CST: (Order.ACQUIRE,), Order.ACQUIRE: (Order.RELAXED,)},
    Access.STORE: {Order.SEQ_CST: (Order.RELEASE,), Order.RELEASE: (Order.RELAXED,)},
    Access.UPDATE: {
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
    access: Access
    code: Order
    needed: Order
    pairs: str  # with what


def _step(name: str, where: str, word: Word, access: Access, code: Order, needed: Order, pairs: str) -> Step:
    return Step(name, where, word, access, code, needed, pairs)


SC, AR, ACQ, REL, RLX = Order.SEQ_CST, Order.ACQ_REL, Order.ACQUIRE, Order.RELEASE, Order.RELAXED
LOAD, STORE, UPDATE = Access.LOAD, Access.STORE, Access.UPDATE

STEPS = (
    _step("put: or", "shelf_put", Word.BITS, UPDATE, SC, SC, ""),
    _step("put: state", "shelf_put", Word.STATE, LOAD, SC, SC, ""),
    _step("put: objects", "span_is_whole", Word.OBJECTS, LOAD, RLX, RLX, ""),
    _step("put: words", "span_is_whole", Word.BITS, LOAD, SC, SC, ""),
    _step("event: tag", "shelf_event", Word.TAG, LOAD, SC, SC, ""),
    _step("lock: taken", "lock_take, lock_try", Word.LOCK, UPDATE, SC, SC, ""),
    _step("lock: found taken", "lock_try", Word.LOCK, LOAD, SC, SC, ""),
    _step("lock: dropped", "lock_drop", Word.LOCK, UPDATE, SC, SC, ""),
    _step("hint: left", "shelf_hint", Word.HINT, UPDATE, SC, SC, ""),
    _step("hint: found there", "shelf_hint", Word.HINT, LOAD, SC, SC, ""),
    _step("hint: looked for", "shelf_has_hints", Word.HINT, LOAD, SC, SC, ""),
    _step("hint: taken", "shelf_read_hints", Word.HINT, UPDATE, SC, SC, ""),
    _step("look: tag", "shelf_look", Word.TAG, LOAD, SC, SC, ""),
    _step("look: index", "shelf_look", Word.INDEX, LOAD, RLX, RLX, ""),
    _step("look: words", "span_is_whole, span_is_worth_it", Word.BITS, LOAD, SC, SC, ""),
    _step("claim: all", "span_claim_all", Word.BITS, UPDATE, SC, SC, ""),
    _step("claim: back", "span_claim_all", Word.BITS, UPDATE, SC, SC, ""),
    _step("draw: word", "shelf_draw_current", Word.BITS, LOAD, RLX, RLX, ""),
    _step("draw: claim", "shelf_draw_current", Word.BITS, UPDATE, SC, SC, ""),
    _step("state: full", "shelf_retire", Word.STATE, STORE, SC, SC, ""),
    _step("state: taken over", "shelf_take_over", Word.STATE, STORE, SC, SC, ""),
    _step("state: partial", "shelf_list", Word.STATE, STORE, SC, SC, ""),
    _step("state: current", "shelf_draw", Word.STATE, STORE, SC, SC, ""),
    _step("state: held", "slot_steal", Word.STATE, STORE, SC, SC, ""),
    _step("state: held anew", "formation_new", Word.STATE, STORE, SC, SC, ""),
    _step("state: none", "formation_release", Word.STATE, STORE, SC, SC, ""),
    _step("tag: inside", "tag_set", Word.TAG, STORE, RLX, REL, ""),
    _step("tag: moved", "slot_steal", Word.TAG, UPDATE, SC, SC, ""),
    _step("tag: formed", "formation_new", Word.TAG, UPDATE, SC, SC, ""),
    _step("tag: released", "formation_release", Word.TAG, UPDATE, SC, SC, ""),
    _step("form: index", "arena_span_new", Word.INDEX, STORE, RLX, RLX, ""),
    _step("form: objects", "span_form", Word.OBJECTS, STORE, RLX, RLX, ""),
    _step("form: words", "span_form", Word.BITS, STORE, REL, REL, ""),
    _step("purge: tag", "geometry_read", Word.TAG, LOAD, RLX, RLX, ""),
    _step("purge: index", "geometry_read", Word.INDEX, LOAD, RLX, RLX, ""),
    _step("purge: objects", "geometry_read", Word.OBJECTS, LOAD, RLX, RLX, ""),
    _step("purge: state", "span_return", Word.STATE, LOAD, SC, RLX, ""),
    _step("purge: claim", "objects_claim", Word.BITS, UPDATE, SC, SC, ""),
    _step("purge: span", "objects_put", Word.INDEX, LOAD, RLX, RLX, ""),
    _step("tidy: tag", "shelf_tidy", Word.TAG, LOAD, SC, RLX, ""),
)

CODE = {step.name: step.code for step in STEPS}
NEEDED = {step.name: step.needed for step in STEPS}
