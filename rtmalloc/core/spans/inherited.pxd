# Inherited spans: a fork child leaves the partly used ones alone, whose pages it shares with its parent.
# The first write into such a page copies it. A page of a new span costs as much and has room for more. So before a child's
# first draw of a class the shelves of that class become empty: their spans are FULL, as if nothing were free in them, and come
# back one by one when the child frees into them. A child that grows by a sixteenth of what it inherited is more than a
# worker: then all of them come back.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from cython cimport unlikely

from rtmalloc.core.base.atomics cimport rt_add_u64, rt_and_u64, rt_load_relaxed_u64, rt_store_relaxed_u64
from rtmalloc.core.base.attributes cimport cold_void
from rtmalloc.core.base.lock cimport lock_take
from rtmalloc.core.pages.page_heap cimport page_heap_opened
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.pages.tag cimport tag_is_small, tag_now, tag_of_class
from rtmalloc.core.spans.shelf cimport shelf_event, shelf_leave, shelf_unlist
from rtmalloc.core.spans.span cimport SPAN_FULL, span_set_state, span_state
from rtmalloc.core.types cimport Allocator, Shelf, Span

cdef enum:
    INHERITED_LEAST = 512      # slices in use: a smaller parent has nothing worth it
    INHERITED_PART = 16        # a child may grow by one part in so many


cdef inline void inherited_begin(Allocator* a) noexcept nogil:
    # In a fork child, which has one thread.
    cdef uint64_t used = a.arena.pages.used_slices
    cdef uint64_t all = ~<uint64_t>0 if used >= INHERITED_LEAST else 0
    a.inheritance.classes[0] = all
    a.inheritance.classes[1] = all
    a.inheritance.room = used // INHERITED_PART if all else 0


cdef inline cold_void inherited_lay_aside(Allocator* a, uint32_t class_) noexcept nogil:
    # Holding nothing, before the first draw of a class.
    cdef uint64_t bit = <uint64_t>1 << (class_ & 63)
    cdef uint32_t i
    cdef Shelf* shelf
    cdef Span* s
    if rt_and_u64(&a.inheritance.classes[class_ >> 6], ~bit) & bit == 0:
        return
    for i in range(a.slot_count):
        shelf = &a.slots[i].shelves[class_]
        lock_take(&shelf.lock)
        s = shelf.current if shelf.current != NULL else shelf_unlist(shelf)
        shelf.current = NULL
        while s != NULL:
            # (A free that makes it whole tells of it in any state.)
            span_set_state(s, SPAN_FULL)
            s = shelf_unlist(shelf)
        shelf_leave(a, shelf, tag_of_class(a.slots[i].tag_base, class_))


cdef inline void inherited_look(Allocator* a, uint32_t class_) noexcept nogil:
    # Before a draw, holding nothing.
    if unlikely(rt_load_relaxed_u64(&a.inheritance.classes[class_ >> 6]) >> (class_ & 63) & 1):
        inherited_lay_aside(a, class_)


cdef inline cold_void inherited_return(Allocator* a) noexcept nogil:
    # All of them may be drawn from again.
    cdef uint64_t slice
    cdef uint64_t end = <uint64_t>page_heap_opened(&a.arena.pages) * SEGMENT_SLICES
    rt_store_relaxed_u64(&a.inheritance.classes[0], 0)
    rt_store_relaxed_u64(&a.inheritance.classes[1], 0)
    for slice in range(end):
        if tag_is_small(tag_now(&a.arena, slice)) and span_state(&a.arena.spans[slice]) == SPAN_FULL:
            shelf_event(a, <uint32_t>slice)


cdef inline void inherited_spend(Allocator* a, uint32_t slices) noexcept nogil:
    # Holding nothing: a span of so many slices is about to be formed.
    cdef int64_t left
    if <int64_t>rt_load_relaxed_u64(&a.inheritance.room) <= 0:
        return
    left = <int64_t>rt_add_u64(&a.inheritance.room, -<int64_t>slices) - <int64_t>slices
    if left <= 0 and left + <int64_t>slices > 0:
        rt_store_relaxed_u64(&a.inheritance.room, 0)
        inherited_return(a)
