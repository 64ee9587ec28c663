"""The protocol with a part missing: what must fail, and where."""

from __future__ import annotations

from dataclasses import dataclass

from .layout import World
from .orders import Order
from .scenarios import SCENARIOS

NAMED = {scenario.name: scenario for scenario in SCENARIOS}


@dataclass(frozen=True)
class Mutation:
    """Rules that are turned off together. Of two that stand in for each other one alone is not missed."""

    rules: tuple[str, ...]
    scenario: str
    kind: str  # of the violation
    world: World = World.SEQUENTIAL


def _mutation(rules: str, scenario: str, kind: str, world: World = World.SEQUENTIAL) -> Mutation:
    return Mutation(tuple(rules.split()), scenario, kind, world)


MUTATIONS = (
    _mutation("event_when_useful", "free: some", "stranded"),
    _mutation("event_when_whole", "free: 2 freers", "stranded"),
    _mutation("state_read_after_or", "refill: some behind the scan", "stranded"),
    _mutation("hint_tries_again", "free: 2 freers", "hint unread"),
    _mutation("hint_waits_when_full", "refill: queue", "stranded"),
    _mutation("leave_reads_hints", "free: 2 freers", "hint unread"),
    _mutation("hints_read_until_none", "free: 2 words of 2", "hint unread"),
    _mutation("look_checks_tag", "refill: queue", "released while a shelf has it"),
    _mutation("interior_is_left_alone release_sets_none", "purge: inside", "not a span"),
    _mutation("held_is_left_alone", "refill: current", "not a span"),
    _mutation("whole_is_claimed", "free: 2 freers", "released with objects out"),
    _mutation("whole_is_looked_at_again", "purge: freer", "stranded"),
    _mutation("draw_under_lock", "refill: current", "not the holder"),
    _mutation("retire_looks", "refill: some behind the scan", "stranded"),
    _mutation("retire_sets_state_first", "refill: some behind the scan", "stranded"),
    _mutation("steal_under_lock", "refill: queue", "not the holder"),
    _mutation("steal_sets_held", "refill: queue", "not a span"),
    _mutation("take_over_under_lock", "refill: current", "not the holder"),
    _mutation("take_over_looks", "form: 2 at once", "stranded"),
    _mutation("formation_sets_held release_sets_none", "form: anew", "not a span"),
    _mutation("formation_index_before_tag", "form: late", "race", World.VIEWS),
    _mutation("formation_objects_before_bits", "purge: other shape", "madvise of an object in use"),
    _mutation("purge_claims", "purge: freer", "madvise of an object in use"),
    _mutation("discard_before_put_back", "batch: freer", "madvise of an object in use"),
    _mutation("purge_checks_geometry", "purge: other shape", "madvise of an object in use"),
    _mutation("put_back_has_event", "purge: freer", "stranded"),
    _mutation("put_back_finds_span", "purge: inside", "stranded"),
)
SPARE = ("event_follows_tag", "hints_forwarded", "formation_tag_before_bits")
"""Rules that the code has and the argument does not lean on: the model holds without them."""

WEAKENED = (
    ("put: or", Order.ACQ_REL, "refill: 2 words"),
    ("put: state", Order.ACQUIRE, "refill: 2 words"),
    ("whole: words", Order.ACQUIRE, "form: other class"),
    ("worth: words", Order.ACQUIRE, "refill: 2 words"),
    ("tag: now", Order.RELAXED, "refill: some behind the scan"),
    ("tag: set", Order.RELAXED, "refill: some behind the scan"),
    ("tag: inside", Order.RELAXED, "purge: inside"),
    ("state: set", Order.RELEASE, "refill: 2 words"),
    ("lock: taken", Order.RELAXED, "refill: 2 words"),
    ("lock: found taken", Order.ACQUIRE, "refill: 2 words"),
    ("lock: dropped", Order.ACQ_REL, "refill: 2 words"),
    ("hint: left", Order.ACQ_REL, "refill: 2 words"),
    ("hint: found there", Order.ACQUIRE, "form: other class"),
    ("hint: looked for", Order.ACQUIRE, "refill: 2 words"),
    ("hint: taken", Order.ACQ_REL, "form: other class"),
    ("claim: back", Order.ACQ_REL, "purge: 2 words"),
    ("claim: some", Order.RELAXED, "refill: 2 words"),
    ("claim: some", Order.RELAXED, "refill: current"),
    ("form: words", Order.RELAXED, "purge: other shape"),
    ("purge: claim", Order.RELAXED, "purge: other shape"),
    ("purge: claim", Order.RELAXED, "purge: freer"),
)
"""Each order that is needed, one step weaker, and the scenario that fails then."""
