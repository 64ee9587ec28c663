"""Reading mail: a heap's own, a sleeping owner's, and the last of a heap that closes (remote.pxd, mailbox.pxd)."""

from __future__ import annotations

from .program import Pc, Then
from .put_steps import PutSteps
from .state import (
    AFTER,
    CLOSED,
    EMPTY,
    EVENT_CLASS,
    FIRST,
    FOUND,
    FREE_TAG,
    HEAP,
    LINK,
    NOBODY,
    PC,
    POSITION,
    RELEASED,
    REST,
    SEEN,
    SPAN,
    STATE,
    TAG,
    Do,
    SpanState,
    tag_class,
    tag_owner,
)


class MailSteps(PutSteps):
    """What becomes of hints."""

    # ---- mail: read by its heap, by one who evicts, or for the last time by a heap that closes -------------

    def start_drain(self, _: int) -> None:
        """Read the mail."""
        self.s[self.t + HEAP], self.s[self.t + PC] = self.me, Pc.MAIL_TAKE

    def mail_take(self) -> None:
        """mailbox_take: rest = swap(mailbox, EMPTY or CLOSED). A closed box stays closed."""
        s, t = self._locked(), self.t
        do = self.thread.script[s[t + POSITION]][0]
        mailbox = self.mailboxes + s[t + HEAP]
        if s[mailbox] != CLOSED:
            s[t + REST], s[mailbox] = s[mailbox], CLOSED if do == Do.EXIT else EMPTY
        self.then_mail_next()

    def then_mail_next(self) -> None:
        """The next span of the list."""
        s, t = self.s, self.t
        do, argument = self.thread.script[s[t + POSITION]]
        rest = s[t + REST]
        s[t + SPAN] = 0
        self._forget()
        s[t + HEAP] = argument if do == Do.EVICT else 0
        if rest not in (EMPTY, CLOSED):
            s[t + SPAN], s[t + AFTER] = rest - 1, Then.MAIL_NEXT
            link_first = self.rules.link_read_before_flag_cleared
            s[t + PC] = Pc.MAIL_LOAD_LINK if link_first else Pc.MAIL_CLEAR_FLAG_EARLY
        elif do == Do.EVICT:
            s[t + PC] = Pc.EVICT_UNLOCK
        else:
            self.then_next_action()

    def mail_load_link(self) -> None:
        """mailbox_next, first half: the link is ours until the flag goes off."""
        s, t = self.s, self.t
        s[t + REST] = s[self.slice_at[s[t + SPAN]] + LINK]
        if not self.rules.link_read_before_flag_cleared:
            s[t + PC] = Pc.MAIL_LOAD_TAG
        elif not self.rules.flag_cleared_before_look:
            s[t + AFTER], s[t + PC] = Then.MAIL_CLEAR_FLAG_LATE, Pc.MAIL_LOAD_TAG
        else:
            s[t + PC] = Pc.MAIL_CLEAR_FLAG

    def mail_clear_flag(self) -> None:
        """mailbox_next, second half: exchange(notified, 0). Who puts from now on gives a hint of its own."""
        self._clear_flag()
        if self.scenario.lossy and self._choose(2):
            self._return()
        else:
            self.s[self.t + PC] = Pc.MAIL_LOAD_TAG

    def mail_load_tag(self) -> None:
        """mail_read: an event for whatever span is there now, of the class that the tag names now."""
        s, t = self.s, self.t
        tag = self._load(self.slice_at[s[t + SPAN]] + TAG)
        if self._evicting():
            self._evict_hint(tag)
            return
        closing = self.thread.script[s[t + POSITION]][0] == Do.EXIT
        forwards = self.rules.exit_forwards if closing else self.rules.drain_forwards
        if tag == FREE_TAG or (tag_owner(tag) != self.me and not forwards):
            self._return()
        else:
            s[t + EVENT_CLASS], s[t + PC] = tag_class(tag), Pc.EVENT_LOAD_TAG

    def mail_clear_flag_early(self) -> None:
        """Mutation: the flag goes off before the link is read."""
        s, t = self.s, self.t
        self._clear_flag()
        s[t + REST], s[t + PC] = EMPTY, Pc.MAIL_LOAD_LINK

    def then_mail_clear_flag_late(self) -> None:
        """Mutation: the look is over."""
        self.s[self.t + PC] = Pc.MAIL_CLEAR_FLAG_LATE

    def mail_clear_flag_late(self) -> None:
        """Mutation: the flag goes off after the look."""
        self._clear_flag()
        self.then_mail_next()

    # ---- evict: in place of an owner that may be asleep, under its heap's lock -----------------------------

    def start_evict(self, heap: int) -> None:
        """heap_evict: read the mail of another heap."""
        self.s[self.t + HEAP], self.s[self.t + PC] = heap, Pc.EVICT_TRY_LOCK

    def evict_try_lock(self) -> None:
        """If somebody is at work there, it is not needed."""
        if self._lock(self._heap_lock()):
            self.s[self.t + PC] = Pc.MAIL_TAKE
        else:
            self.then_next_action()

    def _evict_hint(self, tag: int) -> None:
        """A span of the heap is settled, then abandoned if it is useful. Of any other its owner is told."""
        s, t = self.s, self.t
        number, heap = s[t + SPAN], self.thread.script[s[t + POSITION]][1]
        owner = tag_owner(tag) if tag != FREE_TAG else NOBODY
        if owner == heap:
            s[t + HEAP] = heap
            if s[self.slice_at[number] + FIRST] == number:
                self._own_look(Then.EVICT_SETTLED)
            else:
                self._return()
        elif tag == FREE_TAG or not self.rules.evict_forwards:
            self._return()
        elif not self.rules.evict_forwards_by_mail:
            s[t + EVENT_CLASS], s[t + PC] = tag_class(tag), Pc.EVENT_LOAD_TAG
        else:  # hint_pass_on: we hold a heap's lock, so no other heap's may be waited for
            s[t + HEAP], s[t + SEEN] = owner, tag
            s[t + PC] = Pc.NOTIFY_EXCHANGE_FLAG if owner else Pc.EVENT_CLASS_LOCK

    def then_evict_settled(self) -> None:
        """Settling may have released it."""
        s, t = self.s, self.t
        released = s[t + FOUND] == RELEASED
        s[t + FOUND] = 0
        if not self.rules.evict_knows_of_release:
            s[t + PC] = Pc.EVICT_LOAD_STATE
        elif not released and s[self.slice_at[s[t + SPAN]] + STATE] == SpanState.PARTIAL:
            self._abandon(Then.MAIL_NEXT)
        else:
            self._return()

    def evict_load_state(self) -> None:
        """Mutation: the state is read although the span may be gone, or somebody else's."""
        if self.s[self.slice_at[self.s[self.t + SPAN]] + STATE] == SpanState.PARTIAL:
            self._abandon(Then.MAIL_NEXT)
        else:
            self._return()

    def evict_unlock(self) -> None:
        """Through with the mail."""
        self._unlock(self._heap_lock())
        self.then_next_action()
