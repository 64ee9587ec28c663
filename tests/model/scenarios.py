"""The scenarios that are explored, and the mutations that one of them must catch.

`SCENARIOS` run in every test run, `LONG_SCENARIOS` only in a soak. What a scenario adds to the others is said at it.
"""

from __future__ import annotations

from dataclasses import dataclass

from .state import (
    NOBODY,
    ONE,
    PAIR,
    ROW,
    SHAPES,
    SQUARE,
    TALL,
    TRIO,
    WIDE,
    Do,
    Scenario,
    Shape,
    Span,
    SpanState,
    Thread,
)

Action = tuple[Do, int]

FREE_ALL: Action = (Do.FREE_ALL, 0)
FREE_ONCE: Action = (Do.FREE_SOME, 1)
FREE_TWICE: Action = (Do.FREE_SOME, 2)
REFILL: Action = (Do.REFILL, 0)
REFILL_OTHER_CLASS: Action = (Do.REFILL, 1)
DRAIN: Action = (Do.DRAIN, 0)
SWEEP: Action = (Do.SWEEP, 0)
EXIT: Action = (Do.EXIT, 0)
REOPEN: Action = (Do.REOPEN, 0)
AWAIT_OTHERS: Action = (Do.AWAIT_OTHERS, 0)
SPURIOUS_HINT: Action = (Do.SPURIOUS_HINT, 0)
# When all is quiet: does the mail tell everything? The heap ends only after that.
CHECK: tuple[Action, ...] = (AWAIT_OTHERS, DRAIN, (Do.CHECK_PROMPT, 0))
CHECK_AND_EXIT: tuple[Action, ...] = (*CHECK, EXIT)


def form(shape: Shape) -> Action:
    """Cut a span of this shape."""
    return (Do.FORM, SHAPES.index(shape))


def evict(heap: int) -> Action:
    """Read the mail of a heap whose owner may be asleep."""
    return (Do.EVICT, heap)


def owner(*script: Action) -> Thread:
    """The thread of heap 1, which owns the spans at the start."""
    return Thread("owner", script, 1)


def second(*script: Action) -> Thread:
    """The thread of heap 2: adopts, forms, or evicts."""
    return Thread("second", script, 2)


def third(*script: Action) -> Thread:
    """The thread of heap 3."""
    return Thread("third", script, 3)


FREER = Thread("freer", (FREE_ALL,))
FREES_ONCE = Thread("freer", (FREE_ONCE,))
FREES_TWICE = Thread("freer", (FREE_TWICE,))
FREES_AT_LAST = Thread("last freer", (AWAIT_OTHERS, FREE_ALL))
PURGER = Thread("purger", ((Do.PURGE, 0),))
PURGER_OF_SLICE_1 = Thread("purger", ((Do.PURGE, 1),))
EVICTOR = Thread("evictor", (evict(1),))
GHOST = Thread("ghost", (SPURIOUS_HINT,))


def full(shape: Shape, heap: int = 1) -> Span:
    """A span of a heap with all objects live."""
    return Span(shape, heap, SpanState.FULL, shape.full)


def partial(shape: Shape, *live: int) -> Span:
    """A span of the owner with these objects live in each word."""
    return Span(shape, 1, SpanState.PARTIAL, (live[0], live[1] if len(live) > 1 else 0))


def current(shape: Shape, *live: int) -> Span:
    """The span that the owner refills from."""
    return Span(shape, 1, SpanState.CURRENT, (live[0], live[1] if len(live) > 1 else 0))


EMPTY_PAIR, EMPTY_ONE, EMPTY_TALL = partial(PAIR, 0), partial(ONE, 0), current(TALL, 0, 0)
LISTED_PAIR = Span(PAIR, NOBODY, SpanState.LISTED, (0, 0))
LISTED_ONE = Span(ONE, NOBODY, SpanState.LISTED, (0, 0))

# ---- run every time ----------------------------------------------------------------------------------------

# An owner leaves while others free: whoever comes last releases the span.
EXIT_3_FREERS = Scenario("exit, 3 freers", (owner(EXIT), FREER, FREER, FREER), (full(PAIR),))
EXIT_2_WORDS = Scenario("exit, 2 words of 2, 2 freers", (owner(EXIT), FREER, FREER), (full(SQUARE),))
EXIT_WORTH = Scenario("exit, useful from 2 of 3, 2 freers", (owner(EXIT), FREER, FREER), (full(TRIO),))
EXIT_PURGER = Scenario("exit, 2 freers, purger", (owner(EXIT), FREER, FREER, PURGER), (full(PAIR),))
EXIT_TALL_PURGER = Scenario("exit, 2 words, purger", (owner(EXIT), FREER, PURGER), (partial(TALL, 1, 0),))
# An owner works on. Where it takes objects, reads its mail and looks, others free, and a purger borrows bits.
OWNER_MAIL = Scenario("mail of 2 spans", (owner(DRAIN, *CHECK_AND_EXIT), FREER, FREER), (full(PAIR), full(PAIR)))
OWNER_FREES = Scenario(
    "owner frees too", (owner(FREE_TWICE, DRAIN, FREE_ONCE, *CHECK_AND_EXIT), FREER, FREER), (full(PAIR),)
)
OWNER_WORTH = Scenario(
    "refill, useful from 2 of 3, purger", (owner(REFILL, *CHECK_AND_EXIT), FREER, PURGER), (current(TRIO, 3),)
)
OWNER_CURSOR = Scenario(
    "free behind the cursor",
    (owner(REFILL, REFILL, DRAIN, REFILL, *CHECK, FREE_ALL, EXIT), FREES_ONCE),
    (EMPTY_TALL,),
)
OWNER_TALL = Scenario(
    "refill, 2 words, purger", (owner(REFILL, DRAIN, REFILL, *CHECK_AND_EXIT), FREER, PURGER), (EMPTY_TALL,)
)
# Spans change hands.
ADOPT = Scenario("adopt, 2 freers", (owner(EXIT), second(REFILL, *CHECK_AND_EXIT), FREER, FREER), (full(PAIR),))
ADOPT_TALL = Scenario(
    "adopt, 2 words",
    (owner(EXIT), second(REFILL, DRAIN, REFILL, *CHECK_AND_EXIT), FREER),
    (current(TALL, 1, 1),),
)
ADOPT_TWICE = Scenario(
    "2 adopters", (owner(EXIT), second(REFILL, EXIT), third(REFILL, EXIT), FREER), (full(ONE), full(ONE))
)
ADOPT_PURGER = Scenario("adopt, purger", (second(REFILL, REFILL, *CHECK_AND_EXIT), FREER, PURGER), (LISTED_PAIR,))
RECYCLED = Scenario(
    "heap taken over",
    (owner(EXIT), second(REFILL, EXIT), Thread("again", (REOPEN, REFILL, DRAIN, EXIT), 1), FREER),
    (full(PAIR),),
)
# An owner sleeps, and others act for it.
EVICT = Scenario("evict, 2 freers", (owner(DRAIN, EXIT), EVICTOR, FREER, FREER), (full(PAIR),))
EVICT_TALL = Scenario("evict, 2 words", (owner(REFILL, EXIT), EVICTOR, FREER), (full(TALL),))
EVICT_ADOPT = Scenario(
    "evict and adopt", (owner(*CHECK_AND_EXIT), second(evict(1), REFILL, EXIT), FREER), (full(PAIR),)
)
EVICT_REFORM = Scenario(
    "evict, formed anew meanwhile",
    (owner(DRAIN), second(form(PAIR), DRAIN, EXIT), FREER, EVICTOR),
    (full(PAIR),),
)
EVICT_EACH_OTHER = Scenario(
    "evict each other",
    (owner(evict(2)), second(evict(1)), Thread("ghost", (SPURIOUS_HINT, SPURIOUS_HINT, FREE_ALL))),
    (full(ONE), full(ONE, heap=2)),
)
# A slice lives again: what is left of the span before meets the next one.
REFORM_SAME = Scenario(
    "hint outlives its span",
    (owner(FREE_TWICE, DRAIN), second(form(PAIR), REFILL, *CHECK_AND_EXIT), FREER),
    (full(PAIR),),
)
REFORM_OTHER = Scenario(
    "purger outlives its span, other shape",
    (owner(SWEEP), second(form(ROW), EXIT), FREER, PURGER),
    (EMPTY_PAIR,),
)
REFORM_ONE = Scenario(
    "purger outlives its span, same shape",
    (owner(SWEEP), second(form(ONE), *CHECK_AND_EXIT), FREER, PURGER),
    (EMPTY_ONE,),
)
INTERIOR = Scenario(
    "slice is inside nobody's longer span",
    (owner(FREE_TWICE, DRAIN), second(form(WIDE), EXIT), FREES_TWICE, FREES_AT_LAST),
    (full(ONE), full(PAIR)),
)
INTERIOR_OWN = Scenario(
    "slice is inside an own longer span",
    (owner(SWEEP, form(WIDE), DRAIN), GHOST, FREES_AT_LAST),
    (EMPTY_ONE, EMPTY_ONE),
)
INTERIOR_PURGER = Scenario(
    "purger inside a longer span",
    (owner(SWEEP), second(form(WIDE), EXIT), FREER, PURGER_OF_SLICE_1),
    (EMPTY_ONE, EMPTY_ONE),
)
# Hints for no reason, and hints that get lost: only promptness may suffer.
SPURIOUS = Scenario("spurious hint", (owner(DRAIN, EXIT), second(REFILL, DRAIN, EXIT), FREER, GHOST), (full(ONE),))
LOSSY_EXIT = Scenario("lossy: exit", (owner(EXIT), FREER, FREER), (full(PAIR),), lossy=True)
LOSSY_ADOPT = Scenario(
    "lossy: adopt and sweep", (owner(EXIT), second(REFILL, SWEEP, EXIT), FREER), (full(PAIR),), lossy=True
)
LOSSY_EVICT = Scenario("lossy: evict", (owner(EXIT), second(evict(1), REFILL, EXIT), FREER), (full(PAIR),), lossy=True)
LOSSY_SPURIOUS = Scenario(
    "lossy: spurious hint",
    (owner(DRAIN, EXIT), second(REFILL, DRAIN, EXIT), FREER, GHOST),
    (full(ONE),),
    lossy=True,
)
# Stores become visible late.
TSO_EXIT = Scenario("x86: exit", (owner(DRAIN, EXIT), FREER, FREER), (full(PAIR),), store_buffer=True)
TSO_OWNER = Scenario("x86: mail", (owner(DRAIN, *CHECK_AND_EXIT), FREER, FREER), (full(PAIR),), store_buffer=True)
TSO_LOSSY = Scenario("x86: exit, lossy", (owner(EXIT), FREER), (full(PAIR),), lossy=True, store_buffer=True)
TSO_ADOPT = Scenario(
    "x86: adopt", (owner(EXIT), second(REFILL, DRAIN, *CHECK_AND_EXIT), FREER, FREER), (full(ONE),), store_buffer=True
)
TSO_ADOPT_PURGER = Scenario(
    "x86: adopt, purger", (second(REFILL, *CHECK_AND_EXIT), FREER, PURGER), (LISTED_ONE,), store_buffer=True
)
TSO_EVICT = Scenario(
    "x86: evict", (owner(EXIT), second(evict(1), REFILL, EXIT), FREER), (full(PAIR),), store_buffer=True
)
TSO_REFORM = Scenario(
    "x86: purger outlives its span",
    (owner(SWEEP), second(form(ONE), *CHECK_AND_EXIT), FREER, PURGER),
    (EMPTY_ONE,),
    store_buffer=True,
)
TSO_HINT = Scenario(
    "x86: hint outlives its span",
    (owner(SWEEP, DRAIN), second(form(PAIR), REFILL, *CHECK, FREE_ALL, EXIT), FREES_ONCE, GHOST),
    (EMPTY_PAIR,),
    store_buffer=True,
)
# A variant: who fills a word reads the others before it tells anybody.
PRECHECK_EXIT = Scenario(
    "precheck: 2 words, 2 freers", (owner(EXIT), FREER, FREER), (partial(SQUARE, 1, 1),), precheck=True
)
PRECHECK_ADOPT = Scenario(
    "precheck: adopt", (owner(EXIT), second(REFILL, EXIT), FREER), (partial(SQUARE, 1, 1),), precheck=True
)

SCENARIOS = (
    EXIT_3_FREERS,
    EXIT_2_WORDS,
    EXIT_WORTH,
    EXIT_PURGER,
    EXIT_TALL_PURGER,
    OWNER_MAIL,
    OWNER_FREES,
    OWNER_WORTH,
    OWNER_CURSOR,
    OWNER_TALL,
    ADOPT,
    ADOPT_TALL,
    ADOPT_TWICE,
    ADOPT_PURGER,
    RECYCLED,
    EVICT,
    EVICT_TALL,
    EVICT_ADOPT,
    EVICT_REFORM,
    EVICT_EACH_OTHER,
    REFORM_SAME,
    REFORM_OTHER,
    REFORM_ONE,
    INTERIOR,
    INTERIOR_OWN,
    INTERIOR_PURGER,
    SPURIOUS,
    LOSSY_EXIT,
    LOSSY_ADOPT,
    LOSSY_EVICT,
    LOSSY_SPURIOUS,
    TSO_EXIT,
    TSO_OWNER,
    TSO_LOSSY,
    TSO_ADOPT,
    TSO_ADOPT_PURGER,
    TSO_EVICT,
    TSO_REFORM,
    TSO_HINT,
    PRECHECK_EXIT,
    PRECHECK_ADOPT,
)

# ---- only in a soak: the same with more threads, words and steps -------------------------------------------

LONG_SCENARIOS = (
    Scenario("exit, 2 words of 2, 3 freers", (owner(EXIT), FREER, FREER, FREER), (full(SQUARE),)),
    Scenario("exit, 2 words of 2, 2 freers, purger", (owner(EXIT), FREER, FREER, PURGER), (full(SQUARE),)),
    Scenario("exit, 2 words, freer, 2 purgers", (owner(EXIT), FREER, PURGER, PURGER), (partial(TALL, 1, 0),)),
    Scenario(
        "refill, 2 words, 2 freers, purger",
        (owner(REFILL, REFILL, DRAIN, REFILL, *CHECK_AND_EXIT), FREER, FREER, PURGER),
        (EMPTY_TALL,),
    ),
    Scenario(
        "adopt, 2 words, 2 freers",
        (owner(EXIT), second(REFILL, DRAIN, REFILL, *CHECK_AND_EXIT), FREER, FREER),
        (current(TALL, 1, 1),),
    ),
    Scenario(
        "2 adopters, useful from 2 of 3",
        (owner(EXIT), second(REFILL, EXIT), third(REFILL, EXIT), FREER),
        (full(TRIO),),
    ),
    Scenario(
        "purger outlives its span, other shape, all exit",
        (owner(SWEEP, EXIT), second(form(ROW), REFILL_OTHER_CLASS, EXIT), FREER, PURGER),
        (EMPTY_PAIR,),
    ),
    Scenario(
        "purger inside a longer span, all exit",
        (
            owner(SWEEP, EXIT),
            second(form(WIDE), REFILL_OTHER_CLASS, REFILL_OTHER_CLASS, EXIT),
            FREER,
            PURGER_OF_SLICE_1,
        ),
        (EMPTY_ONE, EMPTY_ONE),
    ),
    Scenario(
        "hint outlives its span, evictor",
        (owner(FREE_TWICE), second(form(PAIR), REFILL, REFILL, *CHECK_AND_EXIT), FREER, EVICTOR),
        (full(PAIR),),
    ),
    Scenario(
        "evict each other, all exit",
        (owner(evict(2), EXIT), second(evict(1), EXIT), Thread("ghost", (SPURIOUS_HINT, SPURIOUS_HINT)), FREER),
        (full(ONE), full(ONE, heap=2)),
    ),
    Scenario(
        "evict, adopt, purger",
        (owner(DRAIN, EXIT), second(evict(1), REFILL, EXIT), FREER, PURGER),
        (full(PAIR),),
    ),
    Scenario(
        "lossy: evict, adopt, 2 freers",
        (owner(EXIT), second(evict(1), REFILL, EXIT), FREER, FREER),
        (full(PAIR),),
        lossy=True,
    ),
    Scenario(
        "x86: purger outlives its span, other shape",
        (owner(SWEEP), second(form(ROW), REFILL_OTHER_CLASS, EXIT), FREER, PURGER),
        (EMPTY_PAIR,),
        store_buffer=True,
    ),
    Scenario(
        "x86: evict, 2 freers",
        (owner(DRAIN, EXIT), second(evict(1), REFILL, EXIT), FREER, FREER),
        (full(PAIR),),
        store_buffer=True,
    ),
)


# ---- mutations ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Mutation:
    """A rule that is broken, a scenario in which that shows, and as what."""

    rule: str  # a field of Rules
    scenario: Scenario
    kind: str  # of the Violation
    why: str


MUTATIONS = (
    # put
    Mutation("event_when_word_becomes_useful", EXIT_PURGER, "stranded", "nobody learns of the first free objects"),
    Mutation("event_when_word_becomes_full", EXIT_3_FREERS, "stranded", "nobody learns of the last object"),
    Mutation("tag_read_after_or", REFORM_OTHER, "stranded", "the tag of before the OR names an owner that is gone"),
    Mutation("precheck_reads_after_or", PRECHECK_EXIT, "stranded", "two fill a word each, and each misses the other"),
    # hints
    Mutation("flag_survives_release", EXIT_3_FREERS, "in two mailboxes", "cleared by the one who releases the span"),
    Mutation("flag_survives_formation", REFORM_ONE, "in two mailboxes", "cleared by the one who forms it anew"),
    Mutation("flag_cleared_by_exchange", TSO_HINT, "stranded", "the clearing waits in the store buffer"),
    Mutation("flag_cleared_before_look", OWNER_FREES, "stranded", "an object comes home between look and clearing"),
    Mutation("link_read_before_flag_cleared", OWNER_MAIL, "in two mailboxes", "the link is somebody else's by then"),
    Mutation("push_sees_closed", RECYCLED, "flag stuck", "a hint is left behind in a closed mailbox"),
    Mutation("closed_push_looks_again", ADOPT, "stranded", "the hint was for the next owner"),
    Mutation("drain_forwards", REFORM_SAME, "stranded", "hints for the next owner were swallowed by this one"),
    Mutation("exit_forwards", ADOPT, "stranded", "the same, when the heap closes"),
    Mutation("evict_forwards", EVICT_EACH_OTHER, "stranded", "the same, when somebody else reads the mail"),
    Mutation("evict_forwards_by_mail", EVICT_EACH_OTHER, "deadlock", "two wait for each other's heap lock"),
    # spans that nobody owns
    Mutation("unowned_event_checks_tag", ADOPT, "not the owner", "the span was adopted before we had the lock"),
    Mutation("unowned_event_follows_new_owner", TSO_ADOPT_PURGER, "stranded", "the adopter's tag came late"),
    Mutation("release_under_class_lock", ADOPT, "not the owner", "the span is adopted while it is released"),
    Mutation("adopt_under_class_lock", ADOPT_TWICE, "not the owner", "two adopt one span"),
    Mutation("abandon_looks_under_lock", REFORM_OTHER, "stranded", "a free between look and tag told the old owner"),
    Mutation("abandon_stores_tag_before_look", LOSSY_EXIT, "stranded", "the same, under the lock"),
    Mutation("abandon_exchanges_tag", TSO_LOSSY, "stranded", "the tag waits in the store buffer during the look"),
    # owned spans
    Mutation("settle_under_heap_lock", EXIT_3_FREERS, "not the owner", "a stranger releases while the owner abandons"),
    Mutation("settle_checks_tag", EXIT_3_FREERS, "not the owner", "the span was abandoned before we had the lock"),
    Mutation("refill_under_heap_lock", ADOPT_TALL, "not the owner", "a stranger releases the span refilled from"),
    Mutation("full_is_rechecked", OWNER_CURSOR, "stranded", "an object came home behind the scan"),
    Mutation("evict_knows_of_release", EVICT_REFORM, "not the owner", "the slice is another heap's span by then"),
    # release
    Mutation("interior_slice_is_settled", INTERIOR, "livelock", "the tag is nobody's, and will not change"),
    Mutation("interior_slice_is_settled", INTERIOR_OWN, "livelock", "the tag is ours, and will not change"),
    Mutation("release_claims", EXIT_PURGER, "released with objects out", "a purger has one of the objects"),
    Mutation("release_put_back_has_no_event", EXIT_PURGER, "deadlock", "the event waits for the lock that we hold"),
    # page return and formation
    Mutation("purge_put_back_has_event", EXIT_PURGER, "stranded", "the purger had the last object"),
    Mutation("purge_checks_shape", REFORM_OTHER, "madvise of an object in use", "pages of the span that was"),
    Mutation(
        "formation_shape_before_words", REFORM_OTHER, "madvise of an object in use", "the check sees the old shape"
    ),
    Mutation("formation_tag_before_words", TSO_REFORM, "stranded", "the purger's put finds no owner yet"),
)
