"""The scenarios: small enough to be explored to the end, and each with a race of its own."""

from __future__ import annotations

from .layout import ONE, PAIR, ROW, SQUARE, TALL, TRIO, WIDE, Scenario, Span, State, Thread


def _does(name: str, *script: tuple[str, int], slot: int = 0) -> Thread:
    return Thread(name, script, slot)


FREER = _does("freer", ("free_all", 0))
FREES_ONCE = _does("frees once", ("free_some", 1))
PURGER = _does("purger", ("purge", 0))
PURGES_INSIDE = _does("purges inside", ("purge", 1))
PURGES_TWICE = _does("purges twice", ("purge_twice", 0))
PURGES_BOTH = _does("purges both", ("purge_both", 0))
LATE = _does("late", ("spurious", 0))
REFILLS = _does("refills", ("refill", 10))
REFILLS_TWO = _does("refills two", ("refill", 20))
REFILLS_OTHER = _does("refills other", ("refill", 11))
THIEF = _does("thief", ("refill", 10), slot=1)
THIEF_OF_TWO = _does("thief of two", ("refill", 20), slot=1)
REFILLS_FREES = _does("refills, frees", ("refill", 10), ("free_all", 0))
THIEF_FREES = _does("thief, frees", ("refill", 10), ("free_all", 0), slot=1)
ANEW_OTHER = _does("frees, other class, frees", ("free_some", 1), ("refill", 11), ("free_all", 0))
ANEW_WIDE = _does("frees, wide, frees", ("free_some", 2), ("refill", 11), ("free_all", 0))
ANEW_TWICE = _does("frees, 2 spans, frees", ("free_some", 1), ("refill", 10), ("refill", 10), ("free_all", 0))

FULL_PAIR = Span(PAIR, 0, State.FULL, (0b11,))
FULL_TRIO = Span(TRIO, 0, State.FULL, (0b111,))
FULL_ONE = Span(ONE, 0, State.FULL, (0b1,))
FULL_TALL = Span(TALL, 0, State.FULL, (0b1, 0b1))
FULL_SQUARE = Span(SQUARE, 0, State.FULL, (0b11, 0b11))
FULL_WIDE = Span(WIDE, 0, State.FULL, (0b1, 0b1))
CURRENT_PAIR = Span(PAIR, 0, State.CURRENT, (0b01,))
PARTIAL_PAIR = Span(PAIR, 0, State.PARTIAL, (0b01,))
SPENT_PAIR = Span(PAIR, 0, State.CURRENT, (0b11,))

SCENARIOS = (
    # objects come home
    Scenario("free: 2 freers", (FREER, FREER), (FULL_PAIR,)),
    Scenario("free: some", (FREES_ONCE, FREES_ONCE), (FULL_TRIO,)),
    Scenario("free: 3 freers", (FREER, FREER, FREER), (FULL_TRIO,)),
    Scenario("free: 2 words", (FREER, FREER), (FULL_TALL,), words=2),
    Scenario("free: 2 words of 2", (FREER, FREER), (FULL_SQUARE,), words=2),
    Scenario("free: 2 spans, 1 hint", (FREER, FREER, FREER), (FULL_ONE, FULL_ONE)),
    Scenario("free: 2 spans, 2 hints", (FREER, FREER), (FULL_PAIR, FULL_ONE), hints=2),
    # refills
    Scenario("refill: current", (REFILLS, FREER), (CURRENT_PAIR,)),
    Scenario("refill: behind the scan", (REFILLS_TWO, FREER), (CURRENT_PAIR,)),
    Scenario("refill: some behind the scan", (REFILLS_TWO, FREES_ONCE), (CURRENT_PAIR,)),
    Scenario("refill: 2 words", (REFILLS, FREES_ONCE), (Span(TALL, 0, State.CURRENT, (0b1, 0b1)),), words=2),
    Scenario("refill: spent", (REFILLS, FREER), (SPENT_PAIR,)),
    Scenario("refill: queue", (REFILLS_TWO, FREER), (PARTIAL_PAIR, CURRENT_PAIR)),
    Scenario("refill: 2 at once", (REFILLS_FREES, REFILLS_FREES), (CURRENT_PAIR,)),
    # steals
    Scenario("steal: freer", (THIEF, FREER), (PARTIAL_PAIR,)),
    Scenario("steal: last object", (THIEF, FREER), (PARTIAL_PAIR, Span(ONE, 1, State.CURRENT, (1,)))),
    Scenario("steal: 2 thieves", (THIEF_FREES, THIEF_FREES), (PARTIAL_PAIR,)),
    Scenario("steal: owner", (THIEF_FREES, REFILLS_FREES), (PARTIAL_PAIR,)),
    Scenario("steal: late", (THIEF, FREER, LATE), (PARTIAL_PAIR,)),
    # spans come and go
    Scenario("form: anew", (REFILLS, FREER), (FULL_ONE,)),
    Scenario("form: late", (REFILLS, LATE, FREER), (), free_slices=1),
    Scenario("form: 2 at once", (REFILLS_FREES, REFILLS_FREES), (), free_slices=2),
    Scenario("form: other class", (REFILLS_OTHER, FREER), (FULL_PAIR,)),
    Scenario("form: wide", (REFILLS_OTHER, FREER, LATE), (FULL_ONE,), free_slices=1, forms=(ONE, WIDE)),
    Scenario("form: wide, late", (LATE, ANEW_WIDE), (FULL_ONE, FULL_ONE), forms=(ONE, WIDE)),
    # page return
    Scenario("purge: freer", (PURGER, FREER), (FULL_PAIR,)),
    Scenario("purge: 2 freers", (PURGER, FREER, FREER), (FULL_PAIR,)),
    Scenario("purge: 2 words", (PURGER, FREER), (FULL_TALL,), words=2),
    Scenario("purge: useful", (PURGER, FREER), (FULL_TRIO,)),
    Scenario("purge: tidy", (PURGER, FREER), (CURRENT_PAIR,)),
    Scenario("purge: refill", (PURGER, REFILLS, FREER), (FULL_ONE,), forms=(ONE, ROW)),
    Scenario("purge: other shape", (PURGER, ANEW_OTHER), (Span(PAIR, 0, State.FULL, (0b01,)),)),
    Scenario("purge: inside", (PURGES_INSIDE, ANEW_WIDE), (FULL_ONE, FULL_ONE), forms=(ONE, WIDE)),
    Scenario("purge: was wide", (PURGER, ANEW_TWICE), (Span(WIDE, 0, State.FULL, (0b1, 0)),), forms=(ONE, WIDE)),
    Scenario("batch: freer", (PURGES_TWICE, FREER), (FULL_PAIR,)),
    Scenario("batch: 2 words of 2", (PURGES_TWICE, FREES_ONCE), (FULL_SQUARE,), words=2),
    Scenario("batch: 2 spans", (PURGES_BOTH, FREER), (FULL_PAIR, FULL_ONE)),
    Scenario("batch: refill", (PURGES_TWICE, REFILLS_FREES), (CURRENT_PAIR,)),
    Scenario("batch: anew", (PURGES_BOTH, ANEW_OTHER), (FULL_PAIR, FULL_ONE)),
    Scenario("batch: wide", (PURGES_BOTH, ANEW_WIDE), (FULL_ONE, FULL_ONE), forms=(ONE, WIDE)),
    Scenario("purge: other shape, 3 threads", (PURGER, REFILLS_OTHER, FREER), (FULL_PAIR,)),
    Scenario("purge: was wide, 3 threads", (PURGER, REFILLS, FREER), (FULL_WIDE,), forms=(ONE, WIDE)),
)

LONG = (
    "steal: late",
    "form: wide",
    "batch: anew",
    "purge: refill",
    "purge: was wide",
    "purge: other shape, 3 threads",
    "purge: was wide, 3 threads",
)
"""Only under `make soak`."""

IN_VIEWS = (
    "free: 2 freers",
    "free: some",
    "free: 3 freers",
    "free: 2 words",
    "free: 2 spans, 1 hint",
    "refill: current",
    "refill: some behind the scan",
    "refill: 2 words",
    "steal: freer",
    "form: anew",
    "form: late",
    "form: other class",
    "form: wide, late",
    "purge: freer",
    "purge: 2 words",
    "purge: tidy",
    "purge: inside",
    "batch: freer",
)
"""Those that are explored with C11's orders as well; the others under `make soak`."""
