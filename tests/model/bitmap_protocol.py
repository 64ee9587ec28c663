"""The bitmap span protocol, complete: the steps of spans, puts and heaps, and here those of the page purger.

`docs/protocol.md` has the argument that this model checks. Where a step is a function of rtmalloc/core, or part
of one, its comment begins with the function's name.
"""

from __future__ import annotations

from .explorer import Violation
from .heap_steps import HeapSteps
from .program import Pc, Then
from .state import (
    CLAIM,
    FOUND,
    FREE_TAG,
    MASK,
    PC,
    SHAPE,
    SHAPES,
    SPAN,
    TAG,
    TRUE_SHAPE,
    WORD,
    WORDS,
    WORK,
    Rules,
    Scenario,
)

CHECKED = 1  # in FOUND: the shape by which the purger works is the span's


class BitmapProtocol(HeapSteps):
    """All interleavings of the threads of one scenario, under the protocol's rules or a mutation of them."""

    def __init__(self, scenario: Scenario, rules: Rules | None = None) -> None:
        super().__init__(scenario, rules or Rules())

    # ---- page return: any thread, any span, no ownership. WORK has the shape, MASK the page ----------------

    def start_purge(self, number: int) -> None:
        """Give back a page of a span."""
        self.s[self.t + SPAN], self.s[self.t + PC] = number, Pc.PURGE_LOAD_TAG

    def purge_load_tag(self) -> None:
        """Is there a span? There was one."""
        s, t = self.s, self.t
        if self._load(self.slice_at[s[t + SPAN]] + TAG) == FREE_TAG:
            self.then_next_action()
        else:
            s[t + PC] = Pc.PURGE_LOAD_SHAPE

    def purge_load_shape(self) -> None:
        """How is it cut? Perhaps not so any more: that is checked as soon as a bit is claimed."""
        s, t = self.s, self.t
        s[t + WORK] = self._load(self.slice_at[s[t + SPAN]] + SHAPE)
        s[t + MASK] = self._choose(len(SHAPES[s[t + WORK]].pages))
        self._purge_claim_from(0)

    def _purge_page(self) -> tuple[int, int]:
        return SHAPES[self.s[self.t + WORK]].pages[self.s[self.t + MASK]]

    def _purge_claim_from(self, first: int) -> None:
        s, t, page = self.s, self.t, self._purge_page()
        for word in range(first, WORDS):
            if page[word]:
                s[t + WORD], s[t + PC] = word, Pc.PURGE_CLAIM
                return
        s[t + PC] = Pc.PURGE_MADVISE

    def purge_claim(self) -> None:
        """Claim objects that overlap the page. While we hold a bit, the span cannot be released."""
        s, t = self._locked(), self.t
        word = s[t + WORD]
        s[t + CLAIM + word] = got = self._claim(self.slice_at[s[t + SPAN]], word, self._purge_page()[word])
        if got and s[t + FOUND] != CHECKED and self.rules.purge_checks_shape:
            s[t + PC] = Pc.PURGE_CHECK_SHAPE
        else:
            self._purge_claimed()

    def purge_check_shape(self) -> None:
        """Read the shape again: from now on it is the span's, and stays so."""
        s, t = self.s, self.t
        if self._load(self.slice_at[s[t + SPAN]] + SHAPE) == s[t + WORK]:
            s[t + FOUND] = CHECKED
            self._purge_claimed()
        else:
            self.then_purge_put_back()

    def _purge_claimed(self) -> None:
        s, t = self.s, self.t
        word = s[t + WORD]
        if s[t + CLAIM + word] == self._purge_page()[word]:
            self._purge_claim_from(word + 1)
        else:
            self.then_purge_put_back()

    def purge_madvise(self) -> None:
        """What the page held is gone."""
        s, t = self.s, self.t
        pages = SHAPES[s[self.slice_at[s[t + SPAN]] + TRUE_SHAPE]].pages
        page = pages[min(s[t + MASK], len(pages) - 1)]
        if any(page[word] & ~s[t + CLAIM + word] for word in range(WORDS)):
            raise Violation("madvise of an object in use", f"span {s[t + SPAN]}, page {s[t + MASK]}")
        self.then_purge_put_back()

    def then_purge_put_back(self) -> None:
        """Return what was claimed: a put per word, with its event."""
        s, t = self.s, self.t
        s[t + WORK] = 0
        for word in range(WORDS):
            mask = s[t + CLAIM + word]
            if mask:
                s[t + CLAIM + word] = 0
                self._put(s[t + SPAN], word, mask, Then.PURGE_PUT_BACK)
                return
        self.then_next_action()
