# The checked build (RT_CHECK=1, `make debug`): the equations of types.pxd, looked at while the program runs.
#
# A heap is looked at in each of its ticks, an object in each free, and what threads share in each epoch, before a fork, in
# malloc_trim and at exit. A broken equation is told in one line on stderr, and ends the process at once.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u64
from rtmalloc.core.base.bitmap cimport rt_count_bits, run_level
from rtmalloc.core.base.complain cimport complain, complain_of_pointer
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport abort
from rtmalloc.core.base.size_class cimport rt_class_count, rt_class_size
from rtmalloc.core.heaps.bin cimport bin_entry_span, bin_floor
from rtmalloc.core.pages.arena cimport arena_slice_of
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_SLICES, segment_is_valid
from rtmalloc.core.pages.tag cimport BIN_BYTES, TAG_OWNER_SHIFT, tag_class, tag_now, tag_of_class, tag_of_slice
from rtmalloc.core.spans.span cimport SPAN_CURRENT, SPAN_PARTIAL, span_full_mask, span_slice
from rtmalloc.core.types cimport (
    HOME_CELLS, SHELF_HINTS, Allocator, Arena, Heap, PageHeap, Segment, Shelf, Slot, Source, Span,
)


cdef inline void check_that(bint holds, const char* equation) noexcept nogil:
    if unlikely(not holds):
        complain(b"checked build:", equation, b"does not hold")
        abort()


# ---- a heap

cdef inline bint check_object(const Arena* a, const void* p, uint32_t class_) noexcept nogil:
    cdef uint32_t object_ = 0
    return bin_entry_span(a, p, class_, &object_) != NULL


cdef inline void check_bin(Heap* h, uint32_t class_) noexcept nogil:
    cdef const Source* source = &h.sources[class_]
    cdef void** cell = bin_floor(h, class_)
    check_that(cell[0] == NULL, b"a bin stands on a NULL")
    check_that(cell <= h.bins[class_].top <= h.bins[class_].limit, b"floor <= top <= limit of a bin")
    check_that(source.capacity == 0 or source.capacity < source.block, b"capacity < block of a bin")
    check_that(source.block & (source.block - 1) == 0, b"a bin's block is a power of two")
    while cell < h.bins[class_].top:
        cell += 1
        if cell[0] == NULL:
            check_that((cell - 1)[0] != NULL, b"a fence stands above an object")
        else:
            check_that(check_object(&h.allocator.arena, cell[0], class_), b"a bin holds objects of its class")


cdef inline void check_heap(Heap* h) noexcept nogil:
    # The calling thread's own heap.
    cdef int64_t capacity = 0
    cdef int64_t room = h.home_room
    cdef uint32_t c, i
    for c in range(1, rt_class_count):
        check_bin(h, c)
        capacity += <int64_t>h.sources[c].capacity * rt_class_size[c]
    check_that(capacity == h.capacity_bytes, b"capacity_bytes = sum of capacity * size")
    check_that(h.home_count <= HOME_CELLS, b"home_count <= HOME_CELLS")
    for i in range(h.home_count):
        c = tag_class(tag_of_slice(&h.allocator.arena, arena_slice_of(&h.allocator.arena, h.home[i])))
        check_that(check_object(&h.allocator.arena, h.home[i], c), b"what goes home is in no span")
        room += rt_class_size[c]
    check_that(room % 1024 == 0, b"home_room + bytes on their way home = remote_kib")


cdef inline void check_free(Heap* h, size_t at, void* p) noexcept nogil:
    # An object is about to enter a bin.
    cdef uint32_t class_ = <uint32_t>(at // BIN_BYTES)
    cdef void** cell = bin_floor(h, class_)
    if not check_object(&h.allocator.arena, p, class_):
        complain_of_pointer(b"free", p, b"free already, or not the start of a block")
    while cell < h.bins[class_].top:
        cell += 1
        if cell[0] == p:
            complain_of_pointer(b"free", p, b"double free")


# ---- the shelves

cdef inline void check_span(Allocator* a, Span* s, uint32_t tag, uint32_t state) noexcept nogil:
    # Under the lock of its shelf.
    cdef uint32_t w
    check_that(s.index == span_slice(a, s), b"a span begins at its own entry")
    check_that(tag_now(&a.arena, s.index) == tag, b"a span's tag names its shelf")
    check_that(s.state == state, b"CURRENT is current, PARTIAL is in the queue")
    check_that(s.size == rt_class_size[tag_class(tag)], b"a span has objects of its class")
    for w in range(s.words):
        check_that(rt_load_relaxed_u64(&s.bits[w]) & ~span_full_mask(s, w) == 0, b"no bits beyond the last object")


cdef inline Span* check_next(Span* s) noexcept nogil:
    # The next one of a queue in depth-first order; NULL behind the last.
    if s.child != NULL:
        return s.child
    while s != NULL and s.sibling == NULL:
        # To the first of the siblings, and from there to the parent.
        while s.previous != NULL and s.previous.child != s:
            s = s.previous
        s = s.previous
    return s.sibling if s != NULL else NULL


cdef inline void check_shelf(Allocator* a, Shelf* shelf, uint32_t tag) noexcept nogil:
    cdef Span* s
    cdef uint32_t count = 0
    cdef uint32_t i
    lock_take(&shelf.lock)
    if shelf.current != NULL:
        check_span(a, shelf.current, tag, SPAN_CURRENT)
        check_that(shelf.word <= shelf.current.words, b"the scan stands in the current span")
    s = shelf.partial
    while s != NULL:
        check_span(a, s, tag, SPAN_PARTIAL)
        check_that(s.child == NULL or s.child.rank >= s.rank, b"the lowest span comes first")
        count += 1
        s = check_next(s)
    check_that(count == shelf.count, b"count = spans in the queue")
    for i in range(SHELF_HINTS):
        check_that(shelf.hints[i] <= rt_load_relaxed_u64(&a.arena.slice_count), b"a hint names a slice")
    lock_drop(&shelf.lock)


# ---- the page heap

cdef inline void check_pages(PageHeap* ph) noexcept nogil:
    cdef uint64_t free = 0
    cdef uint64_t dirty = 0
    cdef bint whole = True
    cdef uint32_t i
    cdef Segment* s
    lock_take(&ph.lock)
    for i in range(ph.opened):
        s = &ph.segments[i]
        check_that(segment_is_valid(s), b"old & free <= dirty, muzzy <= free & dirty, purged <= free")
        check_that(s.level_free == run_level(s.free), b"level_free = run_level(free)")
        check_that(s.level_dirty == run_level(s.free & s.dirty), b"level_dirty = run_level(free & dirty)")
        free += rt_count_bits(s.free)
        dirty += rt_count_bits(s.free & s.dirty)
        whole = whole and s.mapped == SEGMENT_ACCESSIBLE
    check_that(dirty == ph.dirty_slices, b"dirty_slices = ones in free & dirty")
    if whole:
        check_that(ph.used_slices + free == <uint64_t>ph.opened * SEGMENT_SLICES, b"used + free slices = opened * 64")
    lock_drop(&ph.lock)


cdef inline void check_shared(Allocator* a) noexcept nogil:
    # What threads share, holding nothing.
    cdef uint32_t i, c
    cdef Slot* slot
    for i in range(a.slot_count):
        slot = &a.slots[i]
        check_that(slot.tag_base == (i + 1) << TAG_OWNER_SHIFT, b"a slot's tags begin at (number + 1) << 11")
        for c in range(1, rt_class_count):
            check_shelf(a, &slot.shelves[c], tag_of_class(slot.tag_base, c))
    check_pages(&a.arena.pages)
