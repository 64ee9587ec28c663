# How the page heap grows: segments are opened in groups, given up, and opened again.
# They are given up where address space is scarce.
from libc.stdint cimport uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_store_relaxed_u32
from rtmalloc.core.base.attributes cimport slow_int
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.config cimport RT_GROUP_SEGMENTS, RT_HEADER_SLICES, RT_SEGMENT_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.pages.segment cimport SEGMENT_ACCESSIBLE, SEGMENT_NOTHING, SEGMENT_OPENING
from rtmalloc.core.pages.summary cimport summary_note
from rtmalloc.core.types cimport PageHeap, Segment

cdef enum:
    SEGMENTS_GIVE_UP = 0       # what the hook is asked for: let the memory of idle segments go ...
    SEGMENTS_OPEN = 1          # ... make it accessible ...
    SEGMENTS_OPEN_DENSE = 2    # ... and expect that all of it is used soon
    DENSE_LEAST = 32           # MiB opened: a smaller heap never counts as dense
    DENSE_RUN = 16             # MiB in a row, up to the end, without a free slice: growth behind them is dense


cdef inline bint growth_is_dense(const PageHeap* ph, uint32_t end) noexcept nogil:
    # Whether the segments before `end`, which is to be opened next, are full in a row. Under the lock.
    cdef uint32_t s
    if end < (DENSE_LEAST << 20) >> RT_SEGMENT_SHIFT:
        return False
    for s in range(end - ((DENSE_RUN << 20) >> RT_SEGMENT_SHIFT), end):
        if ph.segments[s].free:
            return False
    return True


cdef inline void growth_begin(PageHeap* ph, uint32_t s) noexcept nogil:
    # The memory of segment s is there: all of it is free, but for a header in one of the variants.
    ph.segments[s].free = ~<uint64_t>0 << RT_HEADER_SLICES
    ph.used_slices += RT_HEADER_SLICES
    summary_note(ph, s)


cdef inline slow_int growth_open(PageHeap* ph, uint32_t segments) noexcept nogil:
    # Open `segments` further segments in a row, and as many more as fill the last group. Called with the lock held, which
    # it drops for the system call: the numbers are reserved first, and the segments appear when their memory is there.
    # Returns 1 when it opened them, 0 when the arena is at its end or the kernel refuses.
    cdef uint32_t first = ph.opened
    cdef uint32_t misfit = (first + segments) & (RT_GROUP_SEGMENTS - 1)
    cdef uint32_t s
    cdef int failed
    cdef int how = SEGMENTS_OPEN_DENSE if growth_is_dense(ph, first) else SEGMENTS_OPEN
    if misfit and segments + RT_GROUP_SEGMENTS - misfit <= ph.limit - first:
        segments += RT_GROUP_SEGMENTS - misfit
    if segments > ph.limit - first:
        return 0
    rt_store_relaxed_u32(&ph.opened, first + segments)
    # Claimed before the lock is dropped: else somebody who looks for idle segments to map again would take them for such.
    for s in range(first, first + segments):
        rt_store_relaxed_u32(&ph.segments[s].mapped, SEGMENT_OPENING)
    if ph.hook != NULL:
        lock_drop(&ph.lock)
        failed = ph.hook(ph.hook_context, first, segments, how)
        lock_take(&ph.lock)
        if failed:
            for s in range(first, first + segments):
                rt_store_relaxed_u32(&ph.segments[s].mapped, SEGMENT_NOTHING)
            # If nobody has opened more meanwhile, hand the numbers back, so that a later try finds them.
            if ph.opened == first + segments:
                rt_store_relaxed_u32(&ph.opened, first)
            return 0
    for s in range(first, first + segments):
        rt_store_relaxed_u32(&ph.segments[s].mapped, SEGMENT_ACCESSIBLE)
        growth_begin(ph, s)
    return 1


cdef inline bint growth_reopen(PageHeap* ph) noexcept nogil:
    # Map one segment again that was unmapped when it was idle. Called with the lock held, which it drops meanwhile.
    cdef uint32_t s
    cdef int failed
    for s in range(ph.opened):
        if ph.segments[s].mapped == SEGMENT_NOTHING:
            # Claimed before the lock is dropped.
            rt_store_relaxed_u32(&ph.segments[s].mapped, SEGMENT_ACCESSIBLE)
            lock_drop(&ph.lock)
            failed = ph.hook(ph.hook_context, s, 1, SEGMENTS_OPEN)
            lock_take(&ph.lock)
            if failed:
                rt_store_relaxed_u32(&ph.segments[s].mapped, SEGMENT_NOTHING)
                return False
            growth_begin(ph, s)
            return True
    return False


cdef inline slow_int growth_unmap_idle(PageHeap* ph) noexcept nogil:
    # Give the address space of segments that are wholly free back, where it is scarce (an arena that maps on demand).
    # Returns how many.
    cdef uint32_t s
    cdef int count = 0
    cdef Segment* segment
    if not ph.on_demand or ph.hook == NULL:
        return 0
    lock_take(&ph.lock)
    for s in range(ph.opened):
        segment = &ph.segments[s]
        if segment.free == ~<uint64_t>0:
            ph.dirty_slices -= rt_count_bits(segment.dirty)
            segment.free = 0
            segment.dirty = 0
            segment.old = 0
            segment.muzzy = 0
            segment.purged = 0
            summary_note(ph, s)
            lock_drop(&ph.lock)
            ph.hook(ph.hook_context, s, 1, SEGMENTS_GIVE_UP)
            lock_take(&ph.lock)
            rt_store_relaxed_u32(&segment.mapped, SEGMENT_NOTHING)
            ph.unmapped += 1
            count += 1
    lock_drop(&ph.lock)
    return count
