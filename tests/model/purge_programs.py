"""Pages inside spans go back: any thread, any span, no lock (giveback/page_return.pxd, batch.pxd)."""

from __future__ import annotations

from .accesses import choose, claim_bits, load, madvise, or_bits
from .draw_programs import DrawPrograms
from .home_programs import Program
from .layout import CLASSES, FREE_TAG, SHAPES, State

BATCH_MOST = 2
Run = tuple[int, int, tuple[int, ...]]  # the slice of a span, one of its pages, the objects that overlap it


class PurgePrograms(DrawPrograms):
    """What the purger does. A geometry is (class by the tag, objects)."""

    def purge(self, slice_: int) -> Program:
        """A batch of one page of the span that begins at a slice."""
        yield from self.give_back((slice_,))

    def purge_both(self, slice_: int) -> Program:
        """The same, and the batch goes on with the span behind it."""
        yield from self.give_back((slice_, slice_ + 1))

    def purge_twice(self, slice_: int) -> Program:
        """The same, and the batch goes on with another page of the span."""
        yield from self.give_back((slice_, slice_))

    def give_back(self, slices: tuple[int, ...]) -> Program:
        """A pass: one page of each of these spans, which one is tried; then what is left in the batch."""
        batch: tuple[Run, ...] = ()
        for n in range(len(slices)):
            batch = yield from self.span_return(batch, slices[n])
        yield from self.flush(batch)

    def span_return(self, batch: tuple[Run, ...], slice_: int) -> Program:
        """span_return: a page of the span that begins at a slice joins the batch, unless it is in use."""
        geometry = yield from self.geometry(slice_)
        if not geometry:
            return batch
        if (yield load(self.at.state + slice_, "put: state")) == State.CURRENT:
            yield from self.tidy(slice_)
        number = yield choose(len(SHAPES[geometry[1]].pages))
        return (yield from self.return_run(batch, slice_, geometry, number))

    def geometry(self, slice_: int) -> Program:
        """geometry_read: how the span that begins at the slice is cut; () when none does."""
        tag = yield load(self.at.tag + slice_, "purge: tag")
        if tag == FREE_TAG or (yield load(self.at.index + slice_, "purge: index")) != slice_:
            return ()
        return ((tag - 1) % CLASSES, (yield load(self.at.objects + slice_, "purge: objects")))

    def return_run(self, batch: tuple[Run, ...], slice_: int, geometry: tuple[int, ...], number: int) -> Program:
        """span_return_run: claim the objects that overlap the page, for the batch."""
        page = SHAPES[geometry[1]].pages[number]
        if len(batch) == BATCH_MOST:
            yield from self.flush(batch)
            batch = ()
        if not (yield from self.claim_page(slice_, geometry, page)):
            return batch
        return (*batch, (slice_, number, page))

    def flush(self, batch: tuple[Run, ...]) -> Program:
        """batch_flush: discard the pages of all runs, then put the objects of each back."""
        early = not self.rules.discard_before_put_back
        for n in range(len(batch) if not early else 0):
            yield madvise(*batch[n][:2], batch[n][2] if self.rules.purge_claims else (0,) * len(batch[n][2]))
        for n in range(len(batch)):
            for word in range(len(batch[n][2])):
                if batch[n][2][word] and self.rules.purge_claims:
                    yield from self.put_back(batch[n][0], word, batch[n][2][word])
        for n in range(len(batch) if early else 0):
            yield madvise(*batch[n][:2], (0,) * len(batch[n][2]))

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
