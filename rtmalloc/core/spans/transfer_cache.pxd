# The transfer cache: whole empty spans between the shelves and the page heap, by length.
# One small LIFO per span length, so that a span given up by one class or slot is formed anew by the next without the
# page heap's work. What it holds counts as used in the page heap and is resident; it is bounded in bytes and emptied
# when it was not needed for an epoch. Refills and frees do not wait for its locks: the page heap serves them as well.
from libc.stdint cimport uint32_t

from rtmalloc.core.base.atomics cimport rt_add_u64, rt_load_relaxed_u32, rt_store_relaxed_u32
from rtmalloc.core.base.bitmap cimport rt_lowest_bit
from rtmalloc.core.base.lock cimport lock_drop, lock_take, lock_try
from rtmalloc.core.pages.page_heap cimport page_heap_give
from rtmalloc.core.pages.summary cimport SLICE_NONE
from rtmalloc.core.types cimport TRANSFER_LENGTHS, TRANSFER_SPANS, PageHeap, TransferCache, TransferList


cdef inline uint32_t transfer_take(TransferCache* t, uint32_t slices) noexcept nogil:
    # An empty span of `slices` slices, its content unknown, or SLICE_NONE.
    cdef TransferList* l = &t.lists[rt_lowest_bit(slices)]
    cdef uint32_t slice = SLICE_NONE
    if rt_load_relaxed_u32(&l.count) == 0 or not lock_try(&l.lock):
        rt_add_u64(&t.misses, 1)
        return SLICE_NONE
    if l.count:
        rt_store_relaxed_u32(&l.count, l.count - 1)
        slice = l.slice[l.count]
        if l.count < l.low:
            l.low = l.count
        rt_add_u64(&t.hits, 1)
    lock_drop(&l.lock)
    return slice


cdef inline bint transfer_give(TransferCache* t, uint32_t slice, uint32_t slices, uint32_t room) noexcept nogil:
    # Keep an empty span if fewer than `room` of its length are here already; whether it was kept.
    cdef TransferList* l = &t.lists[rt_lowest_bit(slices)]
    cdef bint kept = False
    if room > TRANSFER_SPANS:
        room = TRANSFER_SPANS
    if rt_load_relaxed_u32(&l.count) >= room or not lock_try(&l.lock):
        return False
    if l.count < room:
        l.slice[l.count] = slice
        rt_store_relaxed_u32(&l.count, l.count + 1)
        kept = True
    lock_drop(&l.lock)
    return kept


cdef inline void transfer_drain(TransferCache* t, PageHeap* pages, bint all) noexcept nogil:
    # Hand to the page heap what was not needed since the last call, oldest first, but for lists in use; everything with `all`.
    cdef TransferList* l
    cdef uint32_t length, unneeded, i
    cdef uint32_t gone[TRANSFER_SPANS]
    for length in range(TRANSFER_LENGTHS):
        l = &t.lists[length]
        if not lock_try(&l.lock):
            if not all:
                continue
            lock_take(&l.lock)
        unneeded = l.count if all or l.low > l.count else l.low
        for i in range(unneeded):
            gone[i] = l.slice[i]
        for i in range(unneeded, l.count):
            l.slice[i - unneeded] = l.slice[i]
        rt_store_relaxed_u32(&l.count, l.count - unneeded)
        l.low = l.count
        lock_drop(&l.lock)
        for i in range(unneeded):
            page_heap_give(pages, gone[i], 1 << length)
