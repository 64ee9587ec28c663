"""A span's life: the look at its words, release, abandonment, formation (span.pxd, heap.pxd, store.pxd)."""

from __future__ import annotations

from .explorer import Violation
from .machine import BLOCKED, Machine
from .program import Pc, Then
from .state import (
    AFTER_LOOK,
    AFTER_RELEASE,
    ANY_FREE,
    BITS,
    CURSOR,
    FIRST,
    FORMED,
    FOUND,
    FREE_SLICE,
    FREE_TAG,
    HEAP,
    HELD,
    LIVE,
    NOBODY,
    NOT_WHOLE,
    NOTIFIED,
    PC,
    RELEASE,
    RELEASED,
    SEEN,
    SHAPE,
    SHAPES,
    SPAN,
    STATE,
    TAG,
    TRUE_SHAPE,
    WORD,
    WORDS,
    WORK,
    WORTH_IT,
    SpanState,
    tag_class,
    tag_of,
    tag_owner,
)


class SpanSteps(Machine):
    """Looking at a span, releasing it, abandoning it, forming one."""

    # ---- the look: read all words of a span, under the lock that guards its state --------------------------

    def _look_begin(self, pc: Pc) -> None:
        s, t = self.s, self.t
        s[t + WORD], s[t + FOUND], s[t + PC] = 0, 0, pc

    def _look_word(self) -> bool:
        """Read one word; true behind the last."""
        s, t = self.s, self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        shape = SHAPES[s[p + SHAPE]]
        bits = self._load(p + BITS + word)
        if bits:
            s[t + FOUND] |= ANY_FREE
        if bits.bit_count() >= shape.worth:
            s[t + FOUND] |= WORTH_IT
        if bits != shape.full[word]:
            s[t + FOUND] |= NOT_WHOLE
        if self._word_exists(p, word + 1):
            s[t + WORD] = word + 1
            return False
        s[t + WORD] = 0
        return True

    def _word_exists(self, p: int, word: int) -> bool:
        return word < WORDS and SHAPES[self.s[p + SHAPE]].full[word] != 0

    def _own_look(self, after: Then) -> None:
        self.s[self.t + AFTER_LOOK] = after
        self._look_begin(Pc.OWN_LOOK)

    def own_look(self) -> None:
        """heap_span_settle, under the heap's lock: bring the state of its span in line with the words."""
        s, t = self.s, self.t
        p = self.slice_at[s[t + SPAN]]
        if not self._look_word():
            return
        found = s[t + FOUND]
        s[t + FOUND] = 0
        if s[p + STATE] == SpanState.FULL and found & WORTH_IT:
            s[p + STATE] = SpanState.PARTIAL
        if not found & NOT_WHOLE:
            self._release(Then.OWN_RELEASED)
        else:
            self.then_own_released()

    def then_own_released(self) -> None:
        """The look is over; FOUND says whether it released the span."""
        self.then_of[self.s[self.t + AFTER_LOOK]]()

    # ---- release: claim every word, or put back what was claimed -------------------------------------------

    def _release(self, after: Then) -> None:
        s, t = self.s, self.t
        s[t + AFTER_RELEASE], s[t + WORD] = after, 0
        s[t + PC] = Pc.RELEASE_CLAIM if self.rules.release_claims else Pc.RELEASE_TAG

    def release_claim(self) -> None:
        """span_claim_all: got = exchange(bits[word], 0)."""
        s, t = self._locked(), self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        got = self._claim(p, word, 0xFF)
        s[t + RELEASE + word] = got
        if got != SHAPES[s[p + SHAPE]].full[word]:
            self._release_put_back_next()
        elif self._word_exists(p, word + 1):
            s[t + WORD] = word + 1
        else:
            s[t + WORD], s[t + PC] = 0, Pc.RELEASE_TAG

    def _release_put_back_next(self) -> None:
        s, t = self.s, self.t
        for word in range(WORDS):
            if s[t + RELEASE + word]:
                s[t + WORD], s[t + PC] = word, Pc.RELEASE_PUT_BACK
                return
        s[t + WORD] = 0
        self.then_of[s[t + AFTER_RELEASE]]()

    def release_put_back(self) -> None:
        """A bare OR: who has the missing bit brings an event of his own, and that waits for the lock we hold."""
        s, t = self._locked(), self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        got = s[t + RELEASE + word]
        old = self._give(p, word, got)
        s[t + RELEASE + word] = 0
        full = SHAPES[s[p + SHAPE]].full[word]
        if not self.rules.release_put_back_has_no_event and (old == 0 or old | got == full):
            s[t + PC] = Pc.EVENT_LOAD_TAG
        else:
            self._release_put_back_next()

    def release_tag(self) -> None:
        """store_span_release: the slices' tags, one by one."""
        s, t = self.s, self.t
        p = self.slice_at[s[t + SPAN]]
        if s[t + WORD] == 0:
            self._check_release(p)
        if self._store_next_tag(FREE_TAG):
            return
        s[p + STATE] = SpanState.NONE
        s[p + CURSOR] = s[p + FORMED] = 0
        if not self.rules.flag_survives_release:
            s[p + NOTIFIED] = 0
        s[t + PC] = Pc.RELEASE_SLICES

    def _check_release(self, p: int) -> None:
        """A span is released once, whole, and under the lock of its owner, or of its class if it has none."""
        s, t = self.s, self.t
        if not s[p + FORMED]:
            raise Violation("released twice", f"span {s[t + SPAN]}")
        if tag_owner(self._load(p + TAG)) != s[t + HEAP]:
            raise Violation("not the owner", f"span {s[t + SPAN]} is released, but somebody else owns it")
        for word, full in enumerate(SHAPES[s[p + TRUE_SHAPE]].full):
            if not self.rules.release_claims:  # mutation: the words were only read
                s[t + RELEASE + word] = self._claim(p, word, 0xFF)
            if s[p + LIVE + word] or s[p + HELD + word] != full or s[t + RELEASE + word] != full:
                raise Violation("released with objects out", f"span {s[t + SPAN]}, word {word}")
            s[p + HELD + word] = s[t + RELEASE + word] = 0

    def release_slices(self) -> None:
        """The page heap has the slices, under its lock: they can be formed anew."""
        s, t = self._locked(), self.t
        for p in self._slices_of_span():
            s[p + FREE_SLICE] = 1
        s[t + FOUND] = RELEASED
        self.then_of[s[t + AFTER_RELEASE]]()

    def _slices_of_span(self) -> list[int]:
        s, number = self.s, self.s[self.t + SPAN]
        return self.slice_at[number : number + SHAPES[s[self.slice_at[number] + TRUE_SHAPE]].slices]

    def _store_next_tag(self, tag: int, exchange: bool = False) -> bool:
        """tag_set: give one slice of the span its tag, the first slice last; WORD counts. True while there are more."""
        s, t = self.s, self.t
        slices = self._slices_of_span()
        p = slices[(s[t + WORD] + 1) % len(slices)]
        if exchange:
            self._locked()[p + TAG] = tag
        else:
            self._store(p + TAG, tag)
        s[t + WORD] += 1
        if s[t + WORD] < len(slices):
            return True
        s[t + WORD] = 0
        return False

    # ---- abandon: the holder of the heap's lock makes its span nobody's. SEEN has the tag ------------------

    def _abandon(self, after: Then) -> None:
        s, t = self.s, self.t
        s[t + SEEN] = self._load(self.slice_at[s[t + SPAN]] + TAG)
        s[t + AFTER_LOOK] = after
        if s[t + SEEN] == FREE_TAG or tag_owner(s[t + SEEN]) != s[t + HEAP]:
            raise Violation("not the owner", f"span {s[t + SPAN]} is abandoned, but another heap owns it")
        if self.rules.abandon_looks_under_lock:
            s[t + PC] = Pc.ABANDON_LOCK
        else:
            self._look_begin(Pc.ABANDON_LOOK_UNLOCKED)

    def abandon_look_unlocked(self) -> None:
        """Mutation: the look is before the lock."""
        if self._look_word():
            self.s[self.t + PC] = Pc.ABANDON_LOCK

    def abandon_lock(self) -> bool | None:
        """central_abandon: the class lock."""
        s, t = self.s, self.t
        if not self._lock(tag_class(s[t + SEEN])):
            return BLOCKED
        if self.rules.abandon_looks_under_lock and not self.rules.abandon_stores_tag_before_look:
            self._look_begin(Pc.ABANDON_LOOK)
        else:
            s[t + PC] = Pc.ABANDON_TAG
        return None

    def abandon_tag(self) -> None:
        """exchange(tag, nobody), slice by slice: the event of who puts from now on comes to the class lock."""
        s, t = self.s, self.t
        nobody = tag_of(NOBODY, tag_class(s[t + SEEN]))
        if self._store_next_tag(nobody, exchange=self.rules.abandon_exchanges_tag):
            return
        if self.rules.abandon_looks_under_lock and self.rules.abandon_stores_tag_before_look:
            self._look_begin(Pc.ABANDON_LOOK)
        else:
            self._abandon_settle()

    def abandon_look(self) -> None:
        """central_settle: who put before the tag changed is seen here."""
        if not self._look_word():
            return
        if self.rules.abandon_stores_tag_before_look:
            self._abandon_settle()
        else:
            self.s[self.t + PC] = Pc.ABANDON_TAG

    def _abandon_settle(self) -> None:
        s, t = self.s, self.t
        p, found = self.slice_at[s[t + SPAN]], s[t + FOUND]
        s[p + STATE] = SpanState.LISTED if found & ANY_FREE else SpanState.UNLISTED
        s[p + CURSOR] = s[t + FOUND] = s[t + HEAP] = 0
        if found & NOT_WHOLE:
            s[t + PC] = Pc.ABANDON_UNLOCK
        else:
            self._release(Then.ABANDON_RELEASED)

    def then_abandon_released(self) -> None:
        """Released, or the claim was raced."""
        self.s[self.t + PC] = Pc.ABANDON_UNLOCK

    def abandon_unlock(self) -> None:
        """Through with the span."""
        s, t = self.s, self.t
        self._unlock(tag_class(s[t + SEEN]))
        s[t + SEEN] = s[t + FOUND] = s[t + AFTER_RELEASE] = 0
        self.then_of[s[t + AFTER_LOOK]]()

    # ---- formation: WORK has the shape ---------------------------------------------------------------------

    def start_form(self, shape: int) -> None:
        """Form a span of a shape and take objects from it, as a refill does that finds nothing else."""
        s, t = self.s, self.t
        s[t + WORK], s[t + HEAP], s[t + PC] = shape, self.me, Pc.FORM_LOCK

    def form_lock(self) -> bool | None:
        """The heap's lock."""
        if not self._lock(self._heap_lock()):
            return BLOCKED
        self.s[self.t + PC] = Pc.FORM_TAKE
        return None

    def form_take(self) -> None:
        """store_span_new: take slices from the page heap, under its lock. It may go without, or have to."""
        s, t = self._locked(), self.t
        shape = SHAPES[s[t + WORK]]
        for number in range(self.slices - shape.slices + 1):
            taken = self.slice_at[number : number + shape.slices]
            if all(s[p + FREE_SLICE] for p in taken) and self._choose(2):
                break
        else:
            s[t + PC] = Pc.FORM_UNLOCK
            return
        for p in taken:
            s[p + FREE_SLICE] = 0
            if any(s[p + BITS : p + BITS + WORDS]):
                raise Violation("bits lost", "slices of the page heap have bits set")
        s[taken[0] + TRUE_SHAPE] = s[t + WORK]
        s[taken[0] + STATE], s[taken[0] + FORMED] = SpanState.CURRENT, 1
        if not self.rules.flag_survives_formation:
            s[taken[0] + NOTIFIED] = 0
        s[t + SPAN] = number
        self._form_next(Pc.FORM_TAKE)

    def _form_next(self, done: Pc) -> None:
        """The order of formation: shape, tags, words."""
        order = [Pc.FORM_TAKE, Pc.FORM_SHAPE, Pc.FORM_TAG, Pc.FORM_WORD]
        if not self.rules.formation_tag_before_words:
            order = [Pc.FORM_TAKE, Pc.FORM_SHAPE, Pc.FORM_WORD, Pc.FORM_TAG]
        if not self.rules.formation_shape_before_words:
            order = [Pc.FORM_TAKE, Pc.FORM_TAG, Pc.FORM_WORD, Pc.FORM_SHAPE]
        self.s[self.t + WORD] = 0
        if done == order[-1]:
            self.then_of[Then.REFILL_FORMED]()
        else:
            self.s[self.t + PC] = order[order.index(done) + 1]

    def form_shape(self) -> None:
        """span_form, first half. Who has claimed a bit of the span reads this shape."""
        s, t = self.s, self.t
        number = s[t + SPAN]
        self._store(self.slice_at[number] + SHAPE, s[t + WORK])
        for p in self._slices_of_span():
            s[p + FIRST] = number
        self._form_next(Pc.FORM_SHAPE)

    def form_tag(self) -> None:
        """The slices' tags, one by one. Who has claimed a bit of the span reads a tag of this incarnation."""
        s, t = self.s, self.t
        if not self._store_next_tag(tag_of(self.me, SHAPES[s[t + WORK]].size_class)):
            self._form_next(Pc.FORM_TAG)

    def form_word(self) -> None:
        """span_form, second half: store(bits[word], full(word)), release."""
        s, t = self.s, self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        full = SHAPES[s[t + WORK]].full
        self._store(p + BITS + word, full[word])
        if word + 1 < WORDS and full[word + 1]:
            s[t + WORD] = word + 1
        else:
            self._form_next(Pc.FORM_WORD)

    def form_unlock(self) -> None:
        """There were no slices."""
        self._unlock(self._heap_lock())
        self.then_next_action()
