"""Pages inside spans go back: any thread, any span, no lock (giveback/page_return.pxd)."""

from __future__ import annotations

from .accesses import choose, claim_bits, load, madvise, or_bits
from .draw_programs import DrawPrograms
from .home_programs import Program
from .layout import CLASSES, FREE_TAG, SHAPES, State


class PurgePrograms(DrawPrograms):
    """What the purger does. A geometry is (class by the tag, objects)."""

    def purge(self, slice_: int) -> Program:
        """span_return: give back one page of the span that begins at a slice; which one is tried."""
        geometry = yield from self.geometry(slice_)
        if not geometry:
            return
        if (yield load(self.at.state + slice_, "purge: state")) == State.CURRENT:
            yield from self.tidy(slice_)
        number = yield choose(len(SHAPES[geometry[1]].pages))
        page = SHAPES[geometry[1]].pages[number]
        # Claim the objects that overlap the page, all or none.
        claimed: tuple[int, ...] = ()
        for word in range(len(page)):
            got = page[word]
            if got and self.rules.purge_claims:
                got = yield claim_bits(self.at.place(slice_, word), got, "purge: claim")
            # The first bit that we hold pins the span: from here on its geometry stays what it is now.
            first = got and not any(claimed)
            claimed += (got,)
            if got != page[word]:
                break
            if first and self.rules.purge_checks_geometry and (yield from self.geometry(slice_)) != geometry:
                break
        else:
            first = got = word = geometry = page = 0
            yield madvise(slice_, number, claimed)
        first = got = word = geometry = page = number = 0
        while claimed:
            if claimed[-1] and self.rules.purge_claims:
                yield from self.put_back(slice_, len(claimed) - 1, claimed[-1])
            claimed = claimed[:-1]

    def geometry(self, slice_: int) -> Program:
        """geometry_read: how the span that begins at the slice is cut; () when none does."""
        tag = yield load(self.at.tag + slice_, "purge: tag")
        if tag == FREE_TAG or (yield load(self.at.index + slice_, "purge: index")) != slice_:
            return ()
        objects = yield load(self.at.objects + slice_, "purge: objects")
        return ((tag - 1) % CLASSES, objects)

    def put_back(self, slice_: int, word: int, mask: int) -> Program:
        """objects_put: with all that a free does. What we hold pins the span, whatever it is by now."""
        span = slice_
        if self.rules.put_back_finds_span:
            span = yield load(self.at.index + slice_ + word // self.at.words, "purge: span")
        word += (slice_ - span) * self.at.words
        del slice_
        if not self.rules.put_back_has_event:
            yield or_bits(self.at.place(span, word), mask, "put: or")
            return
        yield from self.put(span, word, mask)
