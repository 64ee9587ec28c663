"""What an owner does: refill, adopt, sweep, leave (refill.pxd, scavenge.pxd, store.pxd, thread.pxd)."""

from __future__ import annotations

from .explorer import Violation
from .machine import BLOCKED
from .mail_steps import MailSteps
from .program import Pc, Then
from .state import (
    AFTER_LOOK,
    AFTER_RELEASE,
    BITS,
    COUNT,
    CURSOR,
    EMPTY,
    FORMED,
    FOUND,
    HEAP,
    HELD,
    LIVE,
    MASK,
    NOBODY,
    PC,
    SEEN,
    SHAPES,
    SPAN,
    STATE,
    TAG,
    WORD,
    WORK,
    SpanState,
    tag_class,
    tag_of,
    tag_owner,
)


class HeapSteps(MailSteps):
    """The slow paths of an owner."""

    # ---- refill, under the heap's lock. SEEN: the tag of its spans of the class. COUNT: it has got some

    def start_refill(self, size_class: int) -> None:
        """Take objects of a class."""
        s, t = self.s, self.t
        s[t + SEEN], s[t + HEAP] = tag_of(self.me, size_class), self.me
        if self.rules.refill_under_heap_lock:
            s[t + PC] = Pc.REFILL_LOCK
        else:
            self._refill_from_lowest()

    def refill_lock(self) -> bool | None:
        """heap_refill: the heap's lock."""
        if not self._lock(self._heap_lock()):
            return BLOCKED
        self._refill_from_lowest()
        return None

    def _own(self, state: SpanState) -> int | None:
        """The lowest own span of the class in a state."""
        s, tag = self.s, self.s[self.t + SEEN]
        for number, p in enumerate(self.slice_at):
            if s[p + FORMED] and s[p + STATE] == state and self._load(p + TAG) == tag:
                return number
        return None

    def _refill_from_lowest(self) -> None:
        """heap_draw: from the current span, unless a partial one is lower."""
        current, partial = self._own(SpanState.CURRENT), self._own(SpanState.PARTIAL)
        if current is None:
            self._refill_from_next()
        elif partial is not None and partial < current:
            self.s[self.slice_at[current] + STATE] = SpanState.PARTIAL
            self._refill_from_next()
        else:
            self._refill_from(current)

    def _refill_from_next(self) -> None:
        """heap_span_next: the lowest partial span, else one that nobody owns."""
        s, t = self.s, self.t
        partial = self._own(SpanState.PARTIAL)
        if partial is not None:
            p = self.slice_at[partial]
            s[p + STATE], s[p + CURSOR] = SpanState.CURRENT, 0
            self._refill_from(partial)
        elif s[t + COUNT]:
            self._refill_done()
        else:
            s[t + PC] = Pc.ADOPT_LOCK if self.rules.adopt_under_class_lock else Pc.ADOPT_TAKE_UNLOCKED

    def _refill_from(self, number: int) -> None:
        self.s[self.t + SPAN] = number
        self._refill_from_word(self.s[self.slice_at[number] + CURSOR])

    def _refill_from_word(self, word: int) -> None:
        s, t = self.s, self.t
        p = self.slice_at[s[t + SPAN]]
        s[p + CURSOR] = word
        if self._word_exists(p, word):
            s[t + WORD], s[t + PC] = word, Pc.REFILL_LOAD
            return
        # Nothing more from the cursor on: full, unless something came home behind the scan.
        s[p + STATE], s[p + CURSOR] = SpanState.FULL, 0
        if self.rules.full_is_rechecked:
            self._own_look(Then.REFILL_GO_ON)
        else:
            self._refill_from_next()

    def then_refill_go_on(self) -> None:
        """The current span had no more."""
        s, t = self.s, self.t
        s[t + SPAN] = s[t + FOUND] = s[t + AFTER_LOOK] = s[t + AFTER_RELEASE] = 0
        self._refill_from_next()

    def then_refill_formed(self) -> None:
        """The new span is the current one."""
        s, t = self.s, self.t
        number = s[t + SPAN]
        s[t + SEEN] = tag_of(self.me, SHAPES[s[t + WORK]].size_class)
        s[t + WORK] = 0
        self._refill_from(number)

    def refill_load(self) -> None:
        """span_draw: read the word at the cursor."""
        s, t = self.s, self.t
        word = s[t + WORD]
        bits = self._load(self.slice_at[s[t + SPAN]] + BITS + word)
        if bits:
            s[t + MASK] = bits if self._choose(2) else bits & -bits
            s[t + PC] = Pc.REFILL_CLAIM
        else:
            self._refill_from_word(word + 1)

    def refill_claim(self) -> None:
        """span_claim: got = fetch_and(bits[word], ~want) & want. The objects go to the program, or a bin."""
        s, t = self._locked(), self.t
        p, word, want = self.slice_at[s[t + SPAN]], s[t + WORD], s[t + MASK]
        if s[p + TAG] != s[t + SEEN] or s[p + STATE] != SpanState.CURRENT:
            raise Violation("not the owner", f"refill from span {s[t + SPAN]}, not the heap's current one")
        got = self._claim(p, word, want)
        s[p + HELD + word] ^= got
        s[p + LIVE + word] |= got
        s[t + MASK] = 0
        if not got:
            self._refill_from_word(word + 1)
            return
        s[t + COUNT] = 1
        # The bin may want more; and a word that is empty now may have been passed or not: all is tried.
        wants_more, pass_word = self._choose(2), not s[p + BITS + word] and self._choose(2)
        if wants_more:
            self._refill_from_word(word + 1 if pass_word else word)
        else:
            s[p + CURSOR] = word + 1 if pass_word else word
            self._refill_done()

    def _refill_done(self) -> None:
        s, t = self.s, self.t
        s[t + SPAN] = s[t + WORD] = s[t + MASK] = s[t + SEEN] = 0
        if self.rules.refill_under_heap_lock:
            self.s[self.t + PC] = Pc.REFILL_UNLOCK
        else:
            self.then_next_action()

    def refill_unlock(self) -> None:
        """The bin has what there was."""
        self._unlock(self._heap_lock())
        self.then_next_action()

    # ---- adoption, under the heap's lock -------------------------------------------------------------------

    def _lowest_listed(self) -> int | None:
        s, nobody = self.s, tag_of(NOBODY, tag_class(self.s[self.t + SEEN]))
        for number, p in enumerate(self.slice_at):
            if s[p + STATE] == SpanState.LISTED and self._load(p + TAG) == nobody:
                return number
        return None

    def adopt_lock(self) -> bool | None:
        """central_adopt: take the lowest span of the store, under the class lock. MASK: there is one."""
        s, t = self.s, self.t
        if not self._lock(tag_class(s[t + SEEN])):
            return BLOCKED
        number = self._lowest_listed()
        if number is None:
            s[t + PC] = Pc.ADOPT_UNLOCK
        else:
            s[t + SPAN], s[t + MASK], s[t + WORD], s[t + PC] = number, 1, 0, Pc.ADOPT_TAG
        return None

    def adopt_take_unlocked(self) -> None:
        """Mutation: the store is read without the lock."""
        s, t = self.s, self.t
        number = self._lowest_listed()
        if number is None:
            self._refill_done()
        else:
            s[t + SPAN], s[t + WORD], s[t + PC] = number, 0, Pc.ADOPT_TAG

    def adopt_tag(self) -> None:
        """The slices' tags, one by one."""
        s, t = self.s, self.t
        p = self.slice_at[s[t + SPAN]]
        nobodys = s[p + STATE] == SpanState.LISTED and tag_owner(self._load(p + TAG)) == NOBODY
        if s[t + WORD] == 0 and not nobodys:
            raise Violation("not the owner", f"span {s[t + SPAN]} is adopted, but not in the store")
        if self._store_next_tag(s[t + SEEN]):
            return
        s[p + STATE], s[p + CURSOR] = SpanState.CURRENT, 0
        if self.rules.adopt_under_class_lock:
            s[t + PC] = Pc.ADOPT_UNLOCK
        else:
            self._refill_from(s[t + SPAN])

    def adopt_unlock(self) -> None:
        """The span is ours, if there was one."""
        s, t = self.s, self.t
        self._unlock(tag_class(s[t + SEEN]))
        if s[t + MASK]:
            s[t + MASK] = 0
            self._refill_from(s[t + SPAN])
        else:
            self._refill_done()

    # ---- the epoch's sweep, under the heap's lock ----------------------------------------------------------

    def start_sweep(self, _: int) -> None:
        """heap_sweep: look at all own spans."""
        self.s[self.t + HEAP], self.s[self.t + PC] = self.me, Pc.SWEEP_LOCK

    def sweep_lock(self) -> bool | None:
        """The heap's lock."""
        if not self._lock(self._heap_lock()):
            return BLOCKED
        self._sweep_from(0)
        return None

    def _sweep_from(self, first: int) -> None:
        s, t = self.s, self.t
        for number in range(first, self.slices):
            p = self.slice_at[number]
            if s[p + FORMED] and self._owned_by(p, self.me):
                s[t + SPAN] = number
                self._own_look(Then.SWEEP_NEXT)
                return
        s[t + PC] = Pc.SWEEP_UNLOCK

    def then_sweep_next(self) -> None:
        """The next own span."""
        s, t = self.s, self.t
        first, s[t + SPAN], s[t + FOUND] = s[t + SPAN] + 1, 0, 0
        self._sweep_from(first)

    def sweep_unlock(self) -> None:
        """All have been looked at."""
        self._unlock(self._heap_lock())
        self.then_next_action()

    # ---- exit ----------------------------------------------------------------------------------------------

    def start_exit(self, _: int) -> None:
        """heap_leave: give up every span, then close."""
        self.s[self.t + HEAP], self.s[self.t + PC] = self.me, Pc.EXIT_LOCK

    def exit_lock(self) -> bool | None:
        """The heap's lock, for all its spans."""
        if not self._lock(self._heap_lock()):
            return BLOCKED
        self.then_exit_next()
        return None

    def then_exit_next(self) -> None:
        """The next span of the heap."""
        s, t = self.s, self.t
        s[t + SPAN] = 0
        self._forget()
        s[t + HEAP] = self.me
        for number, p in enumerate(self.slice_at):
            if s[p + FORMED] and self._owned_by(p, self.me):
                s[t + SPAN] = number
                self._abandon(Then.EXIT_NEXT)
                return
        s[t + PC] = Pc.EXIT_UNLOCK

    def exit_unlock(self) -> None:
        """No tag names the heap any more: the mailbox can close. From now on the thread has no heap."""
        self._unlock(self._heap_lock())
        self.s[self.t + PC] = Pc.MAIL_TAKE

    def start_reopen(self, _: int) -> None:
        """heap_acquire: wait for the heap."""
        self.s[self.t + PC] = Pc.REOPEN

    def reopen(self) -> bool | None:
        """mailbox_open, before the heap owns a span. The pool has it once its last thread is through with it."""
        s = self.s
        threads = zip(self.scenario.threads, self.thread_at, strict=True)
        if any(th.heap == self.me and t < self.t and s[t + PC] != Pc.DONE for th, t in threads):
            return BLOCKED
        self._store(self.mailboxes + self.me, EMPTY)
        self.then_next_action()
        return None
