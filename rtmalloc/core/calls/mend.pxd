# A copy of the process whose memory may be torn.
# It was made by a raw clone, or by a fork whose locks were taken away, while other threads were at work. The kernel copies pages one after another, so what one page says of another need not be true.
#
# Everything under a lock is made anew from what is true by itself: the tags, which say what each slice is, and the bitmaps of
# the spans. What cannot be decided leaks. Nothing that the copy's own thread holds is touched: its spans and large blocks were
# there before, and nobody else changes them.
#
#     slices      free only where no tag says otherwise
#     shelves     all spans of a class and slot that are complete; those with free objects are queued
#     transfer    given to the page heap, where that has not got them already
#     profile     slabs with free objects are listed again
#     heaps       all but the caller's go to the pool; their bins give back what is right (calls/fork.pxd)
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.size_class cimport rt_class_count
from rtmalloc.core.heaps.heap_pool cimport heap_first
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES
from rtmalloc.core.pages.summary cimport summary_bytes, summary_count, summary_note
from rtmalloc.core.pages.tag cimport TAG_LARGE, TAG_SAMPLED, tag_class, tag_code, tag_is_small, tag_of_slice
from rtmalloc.core.profile.slab cimport slab_list
from rtmalloc.core.spans.shelf cimport shelf_list, shelf_of
from rtmalloc.core.spans.span cimport SPAN_FULL, span_has_free, span_is_complete, span_set_state
from rtmalloc.core.types cimport (
    SHELF_HINTS, TRANSFER_LENGTHS, TRANSFER_SPANS, Allocator, Arena, Heap, PageHeap, Segment, Span, TransferList,
)


cdef inline void mend_segment(PageHeap* ph, uint32_t s) noexcept nogil:
    # The equations of types.pxd, and the summaries, from the words as they are now.
    cdef Segment* segment = &ph.segments[s]
    if segment.mapped != SEGMENT_ACCESSIBLE:
        # It was given up, or is about to be opened: without memory nothing in it is free, or used.
        segment.free = 0
        segment.dirty = 0
    segment.muzzy &= segment.free & segment.dirty
    segment.old &= segment.dirty | ~segment.free
    segment.purged &= segment.free
    summary_count(ph, 0, rt_count_bits(segment.free & segment.dirty))
    if segment.mapped == SEGMENT_ACCESSIBLE:
        summary_count(ph, SEGMENT_SLICES - <int64_t>rt_count_bits(segment.free), 0)
    segment.level_free = 0
    segment.level_dirty = 0
    summary_note(ph, s)


cdef inline void mend_take(Arena* arena, uint64_t slice, uint64_t slices) noexcept nogil:
    # These slices are somebody's, whatever the segments say.
    cdef uint64_t end = <uint64_t>page_heap_opened(&arena.pages) * SEGMENT_SLICES
    while slices and slice < end:
        arena.pages.segments[slice // SEGMENT_SLICES].free &= ~(<uint64_t>1 << (slice % SEGMENT_SLICES))
        slice += 1
        slices -= 1


cdef inline void mend_transfer(Allocator* a) noexcept nogil:
    # Before the sums are made: an empty span that no tag and no free bit claims is free.
    cdef TransferList* l
    cdef uint32_t length, i, k, slice
    cdef bint idle
    cdef Segment* segment
    for length in range(TRANSFER_LENGTHS):
        l = &a.transfer.lists[length]
        for i in range(l.count if l.count <= TRANSFER_SPANS else 0):
            slice = l.slice[i]
            idle = slice + (1 << length) <= page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
            for k in range(1 << length if idle else 0):
                idle = idle and tag_of_slice(&a.arena, slice + k) == 0
            for k in range(slice, slice + (1 << length) if idle else slice):
                segment = &a.arena.pages.segments[k // SEGMENT_SLICES]
                segment.free |= <uint64_t>1 << (k % SEGMENT_SLICES)
                segment.dirty |= <uint64_t>1 << (k % SEGMENT_SLICES)
        l.count = 0
        l.low = 0


cdef inline void mend_span(Allocator* a, uint64_t slice, uint32_t tag) noexcept nogil:
    # What the slice with this tag is: slices are taken, spans and slabs join their lists.
    cdef Span* s = &a.arena.spans[slice]
    if tag_code(tag) == TAG_LARGE:
        mend_take(&a.arena, slice, s.slices)
        return
    mend_take(&a.arena, slice, 1)
    if s.index != slice:
        return
    if tag_code(tag) == TAG_SAMPLED:
        s.slab_next = NULL
        s.slab_previous = NULL
        if s.class_ < rt_class_count and span_has_free(s):
            slab_list(a, s)
    elif tag_is_small(tag) and span_is_complete(s, tag_class(tag)):
        if span_has_free(s):
            shelf_list(a, shelf_of(a, tag), s)
        else:
            span_set_state(s, SPAN_FULL)


cdef inline void mend_lists(Allocator* a) noexcept nogil:
    # Every list that a lock guards is empty, for what follows to fill.
    cdef uint32_t i, c
    cdef int hint
    for i in range(a.slot_count):
        for c in range(rt_class_count):
            a.slots[i].shelves[c].current = NULL
            a.slots[i].shelves[c].partial = NULL
            a.slots[i].shelves[c].count = 0
            for hint in range(SHELF_HINTS):
                a.slots[i].shelves[c].hints[hint] = 0
    for c in range(rt_class_count):
        a.profile.slabs[c] = NULL
    # A chunk of heaps that was being cut up stays as it is; the next heap opens another one.
    a.heap_room = 0
    a.reclaim = NULL


cdef inline void mend_pool(Allocator* a) noexcept nogil:
    cdef Heap* h = heap_first(a)
    a.pool = NULL
    while h != NULL:
        if not h.live and h.cpu == 0:
            h.pool_next = a.pool
            a.pool = h
        h = h.next


cdef inline cold_void mend_everything(Allocator* a) noexcept nogil:
    # The caller is the only thread, and has renewed the locks.
    cdef PageHeap* ph = &a.arena.pages
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(ph) * SEGMENT_SLICES
    cdef uint32_t tag, s
    if not a.ready:
        return
    mend_lists(a)
    mend_pool(a)
    mend_transfer(a)
    for slice in range(end):
        if ph.segments[slice // SEGMENT_SLICES].mapped != SEGMENT_ACCESSIBLE:
            continue
        tag = tag_of_slice(&a.arena, slice)
        if tag:
            mend_span(a, slice, tag)
    memset(ph.summaries, 0, summary_bytes(page_heap_opened(ph)))
    ph.used_slices = 0
    ph.dirty_slices = 0
    for s in range(page_heap_opened(ph)):
        mend_segment(ph, s)
    if ph.peak_slices < ph.used_slices + ph.dirty_slices:
        ph.peak_slices = ph.used_slices + ph.dirty_slices
    a.purge.cursor = page_heap_opened(ph)
