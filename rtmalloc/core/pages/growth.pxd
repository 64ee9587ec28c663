# How the page heap grows and shrinks: segments are opened in groups, given up, and opened again.
#
# Nothing is reserved. The arena is a range of addresses that the program is not going to use: what it does have there
# nevertheless is left out.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u32, rt_store_relaxed_u32, rt_store_release_u32,
)
from rtmalloc.core.base.attributes cimport slow_int
from rtmalloc.core.base.bitmap cimport rt_count_bits
from rtmalloc.core.base.config cimport RT_GROUP_SEGMENTS, RT_HEADER_SLICES, RT_SEGMENT_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport RT_OS_MAPPED, RT_OS_OCCUPIED, RT_OS_REFUSED
from rtmalloc.core.pages.segment cimport (
    SEGMENT_ACCESSIBLE, SEGMENT_FOREIGN, SEGMENT_MOVING, SEGMENT_NOTHING, SEGMENT_SLICES,
)
from rtmalloc.core.pages.summary cimport summary_count, summary_note
from rtmalloc.core.types cimport PageHeap, Segment

cdef enum:
    SEGMENTS_GIVE_UP = 0       # what the hook is asked for: let the memory of idle segments go ...
    SEGMENTS_OPEN = 1          # ... make it accessible ...
    SEGMENTS_OPEN_DENSE = 2    # ... and expect that all of it is used soon ...
    SEGMENTS_DESCRIBE = 3      # ... or see to it that the tables have entries for them
    DENSE_LEAST = 32           # MiB opened: a smaller heap never counts as dense
    DENSE_RUN = 16             # MiB in a row, up to the end, without a free slice: growth behind them is dense
    IDLE_MOST = 1024           # segments given up by one system call: they are marked under the lock


cdef inline bint growth_is_dense(const PageHeap* ph, uint32_t end) noexcept nogil:
    # Whether the segments before `end`, which is to be opened next, are full in a row. Under the lock.
    cdef uint32_t s
    if end < (DENSE_LEAST << 20) >> RT_SEGMENT_SHIFT:
        return False
    for s in range(end - ((DENSE_RUN << 20) >> RT_SEGMENT_SHIFT), end):
        if ph.segments[s].free or ph.segments[s].mapped != SEGMENT_ACCESSIBLE:
            return False
    return True


cdef inline void growth_begin(PageHeap* ph, uint32_t s) noexcept nogil:
    # The memory of segment s is there: all of it is free, but for a header in one of the variants.
    ph.segments[s].free = ~<uint64_t>0 << RT_HEADER_SLICES
    summary_count(ph, RT_HEADER_SLICES, 0)
    summary_note(ph, s)


cdef inline void growth_settle(PageHeap* ph, uint32_t first, uint32_t end, uint32_t state) noexcept nogil:
    # What segments [first, end), which are MOVING, are from now on.
    cdef uint32_t s
    for s in range(first, end):
        rt_store_release_u32(&ph.segments[s].mapped, state)
        if state == SEGMENT_ACCESSIBLE:
            growth_begin(ph, s)
        elif state == SEGMENT_NOTHING:
            ph.nothing += 1
            if s < ph.nothing_from:
                ph.nothing_from = s
    # At the end they are not opened any more, so that walks over all segments are short.
    while ph.opened and ph.segments[ph.opened - 1].mapped == SEGMENT_NOTHING:
        ph.nothing -= 1
        rt_store_relaxed_u32(&ph.opened, ph.opened - 1)


cdef inline slow_int growth_map(PageHeap* ph, uint32_t first, uint32_t least, uint32_t most) noexcept nogil:
    # Open segments [first, first + most), or, where the kernel refuses, `least` of them. They are MOVING; the lock is
    # dropped for the system call. 1 when it is worth to look for a run again: they are open, or some are not ours to use.
    cdef int how = SEGMENTS_OPEN_DENSE if growth_is_dense(ph, first) else SEGMENTS_OPEN
    cdef uint32_t count = most
    cdef int answer
    lock_drop(&ph.lock)
    answer = ph.hook(ph.hook_context, first, count, how)
    if answer == RT_OS_REFUSED and least < most:
        count = least
        answer = ph.hook(ph.hook_context, first, count, how)
    lock_take(&ph.lock)
    if answer == RT_OS_OCCUPIED:
        # Somewhere in there: the first group is left to whoever it is, the others get another try.
        count = RT_GROUP_SEGMENTS - (first & (RT_GROUP_SEGMENTS - 1))
        count = count if count < most else most
        growth_settle(ph, first, first + count, SEGMENT_FOREIGN)
    elif answer == RT_OS_MAPPED:
        growth_settle(ph, first, first + count, SEGMENT_ACCESSIBLE)
    else:
        count = 0
    growth_settle(ph, first + count, first + most, SEGMENT_NOTHING)
    return count != 0


cdef inline slow_int growth_describe(PageHeap* ph, uint32_t first, uint32_t count) noexcept nogil:
    # Table entries for further segments, before anything is noted in them. The lock is dropped meanwhile. 1 on success.
    cdef int answer
    lock_drop(&ph.lock)
    answer = ph.hook(ph.hook_context, first, count, SEGMENTS_DESCRIBE)
    lock_take(&ph.lock)
    return answer == RT_OS_MAPPED


cdef inline slow_int growth_open(PageHeap* ph, uint32_t segments) noexcept nogil:
    # Open `segments` further segments in a row, and as many more as fill the last group. Called with the lock held, which
    # is dropped for system calls: the numbers are taken first, and the segments appear when their memory is there.
    # Returns 1 when it is worth to look for a run again, 0 when the arena is at its end or the kernel refuses.
    cdef uint32_t first = ph.opened
    cdef uint32_t misfit = (first + segments) & (RT_GROUP_SEGMENTS - 1)
    cdef uint32_t count = segments
    cdef uint32_t s
    if misfit and segments + RT_GROUP_SEGMENTS - misfit <= ph.limit - first:
        count += RT_GROUP_SEGMENTS - misfit
    if count > ph.limit - first:
        return 0
    if first + count > rt_load_relaxed_u32(&ph.described):
        return growth_describe(ph, first, count)
    rt_store_release_u32(&ph.opened, first + count)
    for s in range(first, first + count):
        rt_store_release_u32(&ph.segments[s].mapped, SEGMENT_MOVING)
    if ph.hook == NULL:
        growth_settle(ph, first, first + count, SEGMENT_ACCESSIBLE)
        return 1
    return growth_map(ph, first, segments, count)


cdef inline slow_int growth_reopen(PageHeap* ph, uint32_t segments) noexcept nogil:
    # The same with the lowest `segments` in a row that have been given up; 0 when there are none.
    cdef uint32_t s = ph.nothing_from
    cdef uint32_t length = 0
    cdef uint32_t first, i
    if ph.nothing < segments:
        return 0
    while s < ph.opened and length < segments:
        length = length + 1 if ph.segments[s].mapped == SEGMENT_NOTHING else 0
        s += 1
        if segments == 1 and length == 0:
            ph.nothing_from = s
    if length < segments:
        return 0
    first = s - segments
    while s & (RT_GROUP_SEGMENTS - 1) and s < ph.opened and ph.segments[s].mapped == SEGMENT_NOTHING:
        s += 1
    for i in range(first, s):
        rt_store_release_u32(&ph.segments[i].mapped, SEGMENT_MOVING)
    ph.nothing -= s - first
    return growth_map(ph, first, segments, s - first)


cdef inline bint growth_is_idle(const PageHeap* ph, uint32_t first, uint32_t end, bint dirty_too) noexcept nogil:
    # Whether segments [first, end) are wholly free, and clean.
    cdef uint32_t s
    for s in range(first, end):
        if ph.segments[s].mapped != SEGMENT_ACCESSIBLE or ph.segments[s].free != ~<uint64_t>0:
            return False
        if ph.segments[s].dirty and not dirty_too:
            return False
    return True


cdef inline void growth_leave(PageHeap* ph, uint32_t s) noexcept nogil:
    # Segment s, which is idle, is MOVING now: no run is found in it.
    cdef Segment* segment = &ph.segments[s]
    summary_count(ph, 0, -<int64_t>rt_count_bits(segment.dirty))
    segment.free = 0
    segment.dirty = 0
    segment.old = 0
    segment.muzzy = 0
    segment.purged = 0
    rt_store_release_u32(&segment.mapped, SEGMENT_MOVING)
    summary_note(ph, s)


cdef inline slow_int growth_give_up(PageHeap* ph, uint32_t first, bint dirty_too) noexcept nogil:
    # If the group that begins at segment `first` is idle, let its addresses and those of the idle groups behind it go: what
    # is writable counts against limits whether it is used or not, and whatever the program has told the kernel about it is
    # forgotten. Returns how many segments.
    cdef uint32_t end = first
    cdef uint32_t s, next
    cdef int failed
    if RT_HEADER_SLICES or ph.hook == NULL or ph.run_hook != NULL:
        return 0
    lock_take(&ph.lock)
    while end < ph.opened and end - first < IDLE_MOST:
        next = end + RT_GROUP_SEGMENTS if end + RT_GROUP_SEGMENTS < ph.opened else ph.opened
        if not growth_is_idle(ph, end, next, dirty_too):
            break
        for s in range(end, next):
            growth_leave(ph, s)
        end = next
    if end > first:
        lock_drop(&ph.lock)
        failed = ph.hook(ph.hook_context, first, end - first, SEGMENTS_GIVE_UP)
        lock_take(&ph.lock)
        if failed:
            # What they hold is not known: some may have been dirty.
            growth_settle(ph, first, end, SEGMENT_ACCESSIBLE)
            for s in range(first, end):
                ph.segments[s].dirty = ~<uint64_t>0
                summary_count(ph, 0, SEGMENT_SLICES)
                summary_note(ph, s)
            end = first
        else:
            for s in range(first, end):
                rt_store_relaxed_u32(&ph.segments[s].huge, 0)
                rt_store_relaxed_u32(&ph.segments[s].marked, 0)
            ph.unmapped += end - first
            growth_settle(ph, first, end, SEGMENT_NOTHING)
    lock_drop(&ph.lock)
    return end - first


cdef inline slow_int growth_give_up_all(PageHeap* ph) noexcept nogil:
    # Let the addresses of all idle groups go. Returns how many segments.
    cdef uint32_t s = 0
    cdef int count = 0
    cdef int here
    while s < rt_load_acquire_u32(&ph.opened):
        here = growth_give_up(ph, s, True)
        count += here
        s += here if here else RT_GROUP_SEGMENTS
    return count
