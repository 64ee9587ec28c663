"""Objects come home: put, the event that it may cause, and whom that reaches (remote, mailbox, store.pxd)."""

from __future__ import annotations

from .explorer import Violation
from .machine import BLOCKED
from .program import Pc, Then
from .span_steps import SpanSteps
from .state import (
    AFTER,
    AFTER_LOOK,
    AFTER_RELEASE,
    ANY_FREE,
    BITS,
    CLOSED,
    COUNT,
    EVENT_CLASS,
    FIRST,
    FOUND,
    FREE_TAG,
    HEAP,
    HELD,
    LINK,
    LIVE,
    MASK,
    NO_HEAP,
    NOBODY,
    NOT_WHOLE,
    NOTIFIED,
    PC,
    POSITION,
    REST,
    SEEN,
    SHAPE,
    SHAPES,
    SPAN,
    STATE,
    TAG,
    WORD,
    WORDS,
    Do,
    SpanState,
    tag_class,
    tag_owner,
)


class PutSteps(SpanSteps):
    """put(span, word, mask), and its event."""

    # ---- the program frees ---------------------------------------------------------------------------------

    def start_free_all(self, _: int) -> None:
        """Free whatever is live until nothing is."""
        self.s[self.t + PC] = Pc.FREE_PICK

    def start_free_some(self, puts: int) -> None:
        """Free in at most so many puts."""
        self.s[self.t + COUNT], self.s[self.t + PC] = puts, Pc.FREE_PICK

    def free_pick(self) -> bool | None:
        """Choose live objects of one word, and call put with them. Any thread may free any object."""
        s, t = self.s, self.t
        some = self.thread.script[s[t + POSITION]][0] == Do.FREE_SOME
        if some and (not s[t + COUNT] or self._choose(2)):
            self.then_next_action()
            return None
        live = [(n, w) for n, p in enumerate(self.slice_at) for w in range(WORDS) if s[p + LIVE + w]]
        if not live:
            if some or self._more_will_be_live():
                return BLOCKED
            self.then_next_action()
            return None
        number, word = live[self._choose(len(live))]
        p = self.slice_at[number]
        mask = self._choose_part(s[p + LIVE + word])
        s[p + LIVE + word] ^= mask
        s[p + HELD + word] |= mask
        if some:
            s[t + COUNT] -= 1
        self._put(number, word, mask, Then.FREE_MORE)
        return self.step_of[s[t + PC]]()

    def _more_will_be_live(self) -> bool:
        s = self.s
        places = zip(self.thread_at, self.last_taking, strict=True)
        return any(s[t + PC] != Pc.DONE and s[t + POSITION] <= last for t, last in places)

    def then_free_more(self) -> None:
        """The put is over; the next one."""
        self.s[self.t + SPAN], self.s[self.t + PC] = 0, Pc.FREE_PICK

    # ---- put -----------------------------------------------------------------------------------------------

    def _put(self, number: int, word: int, mask: int, after: Then) -> None:
        s, t = self.s, self.t
        s[t + SPAN], s[t + WORD], s[t + MASK], s[t + AFTER], s[t + FOUND] = number, word, mask, after, 0
        if not self.rules.tag_read_after_or:
            s[t + PC] = Pc.PUT_LOAD_TAG_EARLY
        elif self.scenario.precheck and not self.rules.precheck_reads_after_or:
            s[t + PC] = Pc.PUT_LOOK_EARLY
        else:
            s[t + PC] = Pc.PUT_OR

    def put_or(self) -> None:
        """span_put: before = fetch_or(bits[word], mask). The shape is from when we still held objects of the span."""
        s, t = self._locked(), self.t
        p, word, mask = self.slice_at[s[t + SPAN]], s[t + WORD], s[t + MASK]
        shape, rules = SHAPES[s[p + SHAPE]], self.rules
        s[t + EVENT_CLASS], s[t + MASK] = shape.size_class, 0
        before = self._give(p, word, mask)
        now = before | mask
        useful = before.bit_count() < shape.worth <= now.bit_count() and rules.event_when_word_becomes_useful
        full = now == shape.full[word] and rules.event_when_word_becomes_full
        if s[t + AFTER] == Then.PURGE_PUT_BACK and not rules.purge_put_back_has_event:
            self._return()
        elif useful or (full and not self.scenario.precheck):
            if rules.tag_read_after_or:
                s[t + PC] = Pc.EVENT_LOAD_TAG
            else:
                self._dispatch(s[t + SEEN])
        elif full and rules.precheck_reads_after_or:
            s[t + SEEN] = s[p + SHAPE]
            s[t + WORD], s[t + PC] = 0, Pc.PUT_PRECHECK
        elif full and not s[t + FOUND] & NOT_WHOLE:
            s[t + PC] = Pc.EVENT_LOAD_TAG
        else:
            self._return()

    def put_precheck(self) -> None:
        """Variant: read all words, without a lock, by the shape from before the OR: no event if one is not full."""
        s, t = self.s, self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        full = SHAPES[s[t + SEEN]].full
        if self._load(p + BITS + word) != full[word]:
            self._return()
        elif word + 1 < WORDS and full[word + 1]:
            s[t + WORD] = word + 1
        else:
            s[t + PC] = Pc.EVENT_LOAD_TAG

    def put_look_early(self) -> None:
        """Mutation: the loads of the pre-check overtake the OR, as a relaxed order would let them."""
        s, t = self.s, self.t
        p, other = self.slice_at[s[t + SPAN]], 1 - s[t + WORD]
        if self._load(p + BITS + other) != SHAPES[s[p + SHAPE]].full[other]:
            s[t + FOUND] = NOT_WHOLE
        s[t + PC] = Pc.PUT_OR

    def put_load_tag_early(self) -> None:
        """Mutation: the load of the tag overtakes the OR."""
        s, t = self.s, self.t
        s[t + SEEN] = self._load(self.slice_at[s[t + SPAN]] + TAG)
        s[t + PC] = Pc.PUT_OR

    # ---- event: whoever has the span now settles it, or is told --------------------------------------------

    def event_load_tag(self) -> None:
        """span_event: the tag says whose the span is. We hold nothing of it any more."""
        s, t = self.s, self.t
        self._dispatch(self._load(self.slice_at[s[t + SPAN]] + TAG))

    def _dispatch(self, tag: int) -> None:
        s, t = self.s, self.t
        exiting = self.thread.script[s[t + POSITION]][0] == Do.EXIT
        me = NO_HEAP if exiting else self.me
        s[t + WORD], s[t + SEEN] = 0, tag
        if tag == FREE_TAG or (tag_owner(tag) == NOBODY and tag_class(tag) != s[t + EVENT_CLASS]):
            self._return()
            return
        s[t + HEAP] = tag_owner(tag)
        if tag_owner(tag) == NOBODY:
            s[t + PC] = Pc.EVENT_CLASS_LOCK
        elif tag_owner(tag) == me:
            s[t + PC] = Pc.EVENT_HEAP_LOCK
        else:
            s[t + PC] = Pc.EVENT_LOOK

    def event_look(self) -> None:
        """Another heap's: useful again is news for its owner alone, but whoever sees it whole may settle it.

        No lock is held, and the span may be another one by now: the answer is no more than a guess. If the owner has
        been at work just now (any time, as far as we know), it is left to it even so.
        """
        s, t = self.s, self.t
        p, word = self.slice_at[s[t + SPAN]], s[t + WORD]
        if not word and self._choose(2):
            s[t + PC] = Pc.NOTIFY_EXCHANGE_FLAG
        elif self._load(p + BITS + word) != SHAPES[s[p + SHAPE]].full[word]:
            s[t + WORD], s[t + PC] = 0, Pc.NOTIFY_EXCHANGE_FLAG
        elif self._word_exists(p, word + 1):
            s[t + WORD] = word + 1
        elif self.rules.settle_under_heap_lock:
            s[t + PC] = Pc.EVENT_HEAP_TRY_LOCK
        else:
            s[t + PC] = Pc.EVENT_HEAP_TAG

    def event_heap_try_lock(self) -> None:
        """Only an owner waits for a heap's lock. It is at work just now: so it gets a hint."""
        self.s[self.t + PC] = Pc.EVENT_HEAP_TAG if self._lock(self._heap_lock()) else Pc.NOTIFY_EXCHANGE_FLAG

    def event_heap_lock(self) -> bool | None:
        """The owner takes its own lock."""
        if not self._lock(self._heap_lock()):
            return BLOCKED
        self.s[self.t + PC] = Pc.EVENT_HEAP_TAG
        return None

    def event_heap_tag(self) -> None:
        """heap_settle_locked: is it (still) the heap's? If not, MASK: the tag is to be read again."""
        s, t = self.s, self.t
        number = s[t + SPAN]
        p = self.slice_at[number]
        if not self._owned_by(p, s[t + HEAP]) and self.rules.settle_checks_tag:
            s[t + MASK], s[t + PC] = 1, Pc.EVENT_HEAP_UNLOCK
        elif s[p + FIRST] != number:  # inside a longer span: nothing to do, and that will not change
            s[t + MASK], s[t + PC] = not self.rules.interior_slice_is_settled, Pc.EVENT_HEAP_UNLOCK
        else:
            self._own_look(Then.EVENT_SETTLED)

    def then_event_settled(self) -> None:
        """The span's state fits its words."""
        s, t = self.s, self.t
        s[t + FOUND] = s[t + AFTER_LOOK] = s[t + AFTER_RELEASE] = 0
        if self.rules.settle_under_heap_lock or s[t + HEAP] == self.me:
            s[t + PC] = Pc.EVENT_HEAP_UNLOCK
        else:
            self._return()

    def event_heap_unlock(self) -> None:
        """Done, unless the tag has changed."""
        self._unlock(self._heap_lock())
        self._event_again_or_return()

    def _event_again_or_return(self) -> None:
        s, t = self.s, self.t
        if s[t + MASK]:
            s[t + MASK], s[t + PC] = 0, Pc.MAIL_LOAD_TAG if self._evicting() else Pc.EVENT_LOAD_TAG
        else:
            self._return()

    # ---- the event of a span that nobody owns: SEEN has its tag --------------------------------------------

    def event_class_lock(self) -> bool | None:
        """central_event: under the class lock nobody can adopt the span, and only the holder can release it."""
        s, t = self.s, self.t
        if not self._lock(tag_class(s[t + SEEN])):
            return BLOCKED
        if self.rules.unowned_event_checks_tag:
            s[t + PC] = Pc.EVENT_CLASS_TAG
        else:
            self._look_begin(Pc.EVENT_CLASS_LOOK)
        return None

    def event_class_tag(self) -> None:
        """Is it still one of this class that nobody owns? If not, MASK: the tag is to be read again."""
        s, t = self.s, self.t
        number = s[t + SPAN]
        p = self.slice_at[number]
        if self._load(p + TAG) != s[t + SEEN]:
            s[t + MASK] = self.rules.unowned_event_follows_new_owner
            s[t + PC] = Pc.EVENT_CLASS_UNLOCK
        elif s[p + FIRST] != number:  # inside a longer span
            s[t + MASK] = not self.rules.interior_slice_is_settled
            s[t + PC] = Pc.EVENT_CLASS_UNLOCK
        else:
            self._look_begin(Pc.EVENT_CLASS_LOOK)

    def event_class_look(self) -> None:
        """central_settle: release it if it is whole, else list it if it has become useful."""
        s, t = self.s, self.t
        p = self.slice_at[s[t + SPAN]]
        if not self._look_word():
            return
        found = s[t + FOUND]
        s[t + FOUND] = 0
        if not found & NOT_WHOLE:
            if not self.rules.release_under_class_lock:
                self._unlock(tag_class(s[t + SEEN]))
            self._release(Then.EVENT_CLASS_RELEASED)
            return
        if found & ANY_FREE and s[p + STATE] == SpanState.UNLISTED:
            s[p + STATE] = SpanState.LISTED
        s[t + PC] = Pc.EVENT_CLASS_UNLOCK

    def then_event_class_released(self) -> None:
        """Released, or the claim was raced by a purger or a free: they bring an event of their own."""
        self.s[self.t + FOUND] = self.s[self.t + AFTER_RELEASE] = 0
        if self.rules.release_under_class_lock:
            self.s[self.t + PC] = Pc.EVENT_CLASS_UNLOCK
        else:
            self._return()

    def event_class_unlock(self) -> None:
        """Done, unless the tag has changed."""
        self._unlock(tag_class(self.s[self.t + SEEN]))
        self._event_again_or_return()

    # ---- notify: a hint for the heap in HEAP ---------------------------------------------------------------

    def notify_exchange_flag(self) -> None:
        """mailbox_push: exchange(notified, 1). Who turned it on pushes."""
        s, t = self._locked(), self.t
        p = self.slice_at[s[t + SPAN]]
        if s[p + NOTIFIED]:
            self._return()
            return
        lost = self._choose(3) if self.scenario.lossy else 0
        if lost != 1:  # 1: lost before it was given. 2: lost with the flag on, so that no later one gets through
            s[p + NOTIFIED] = 1
        if lost:
            self._return()
        else:
            s[t + PC] = Pc.NOTIFY_LOAD_HEAD

    def notify_load_head(self) -> None:
        """Read the head, and write it to the link, which is ours as long as the flag is."""
        s, t = self.s, self.t
        head = self._load(self.mailboxes + s[t + HEAP])
        if head == CLOSED and self.rules.push_sees_closed:
            s[t + PC] = Pc.NOTIFY_CLEAR_FLAG
            return
        s[self.slice_at[s[t + SPAN]] + LINK] = s[t + MASK] = head
        s[t + PC] = Pc.NOTIFY_SWAP_HEAD

    def notify_swap_head(self) -> None:
        """Push, if the head is still what the link says."""
        s, t = self._locked(), self.t
        mailbox, number, expected = self.mailboxes + s[t + HEAP], s[t + SPAN], s[t + MASK]
        s[t + MASK] = 0
        if s[mailbox] != expected:
            s[t + PC] = Pc.NOTIFY_LOAD_HEAD
            return
        taken = [s[other + REST] for other in self.thread_at]
        if number in self._mail(s) or any(number in self._chain(s, rest) for rest in taken):
            raise Violation("in two mailboxes", f"slice {number} is pushed, but in a mailbox already")
        s[mailbox] = number + 1
        self._return()

    def notify_clear_flag(self) -> None:
        """The heap has closed, so the span is not its own any more: flag off, then the tag is read again."""
        s, t = self.s, self.t
        self._clear_flag()
        if not self.rules.closed_push_looks_again:
            self._return()
        elif self._evicting():
            s[t + PC] = Pc.MAIL_LOAD_TAG
        else:
            s[t + PC] = Pc.EVENT_LOAD_TAG

    def _evicting(self) -> bool:
        return self.thread.script[self.s[self.t + POSITION]][0] == Do.EVICT

    def _clear_flag(self) -> None:
        """exchange(notified, 0)"""
        p = self.slice_at[self.s[self.t + SPAN]]
        if self.rules.link_read_before_flag_cleared:
            self.s[p + LINK] = 0  # nobody reads it any more
        if self.rules.flag_cleared_by_exchange:
            self._locked()[p + NOTIFIED] = 0
        else:
            self._store(p + NOTIFIED, 0)

    def start_spurious_hint(self, _: int) -> None:
        """A hint for no reason."""
        self.s[self.t + PC] = Pc.SPURIOUS_HINT

    def spurious_hint(self) -> None:
        """To any heap, about any slice."""
        s, t = self.s, self.t
        s[t + SPAN] = self._choose(self.slices)
        s[t + HEAP] = self.heaps[self._choose(len(self.heaps))]
        s[t + PC] = Pc.NOTIFY_EXCHANGE_FLAG
