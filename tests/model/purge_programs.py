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
        if (yield load(self.at.state + slice_, "put: state")) == State.CURRENT:
            yield from self.tidy(slice_)
        number = yield choose(len(SHAPES[geometry[1]].pages))
        yield from self.return_run(slice_, geometry, number)

    def geometry(self, slice_: int) -> Program:
        """geometry_read: how the span that begins at the slice is cut; () when none does."""
        tag = yield load(self.at.tag + slice_, "purge: tag")
        if tag == FREE_TAG or (yield load(self.at.index + slice_, "purge: index")) != slice_:
            return ()
        return ((tag - 1) % CLASSES, (yield load(self.at.objects + slice_, "purge: objects")))

    def return_run(self, slice_: int, geometry: tuple[int, ...], number: int) -> Program:
        """span_return_run: claim the objects that overlap the page, discard, put back."""
        page = SHAPES[geometry[1]].pages[number]
        if not (yield from self.claim_page(slice_, geometry, page)):
            return
        del geometry
        yield madvise(slice_, number, page if self.rules.purge_claims else (0,) * len(page))
        for word in range(len(page)):
            if page[word] and self.rules.purge_claims:
                yield from self.put_back(slice_, word, page[word])

    def claim_page(self, slice_: int, geometry: tuple[int, ...], page: tuple[int, ...]) -> Program:
        """objects_claim: all or none, and only if the span is the one whose geometry we read."""
        pinned = False
        for word in range(len(page)):
            if not page[word] or not self.rules.purge_claims:
                continue
            got = yield claim_bits(self.at.place(slice_, word), page[word], "purge: claim")
            whole = got == page[word]
            # The first bit that we hold pins the span: from here on its geometry stays what it is now.
            if whole and not pinned and self.rules.purge_checks_geometry:
                whole = (yield from self.geometry(slice_)) == geometry
            if not whole:
                if got:
                    yield from self.put_back(slice_, word, got)
                del got, whole, geometry, pinned
                while word:
                    word -= 1
                    if page[word]:
                        yield from self.put_back(slice_, word, page[word])
                return False
            pinned = True
        return True

    def put_back(self, slice_: int, word: int, mask: int) -> Program:
        """objects_put: with all that a free does. What we hold pins its span, whichever that is by now."""
        span = slice_
        if self.rules.put_back_finds_span:
            span = yield load(self.at.index + slice_ + word // self.at.words, "purge: span")
        word += (slice_ - span) * self.at.words
        del slice_
        if not self.rules.put_back_has_event:
            yield or_bits(self.at.place(span, word), mask, "put: or")
            return
        yield from self.put(span, word, mask)
