# The page heap: runs of slices for spans and large blocks, lowest address first, dirty memory before clean.
#
# One lock; no system call under it. Summaries over all segments find a segment with a long enough run without
# looking at the segments themselves; inside a segment a run is a few shifts (bitmap.pxd).
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport rt_load_relaxed_u32, rt_store_relaxed_u32, rt_store_relaxed_u64
from rtmalloc.core.base.attributes cimport cold_void, slow_int
from rtmalloc.core.base.bitmap cimport (
    RUN_LEVELS, RUN_NONE, level_of, mask_low, mask_run, rt_count_bits, rt_highest_bit, rt_lowest_bit, run_find,
    run_length, run_level,
)
from rtmalloc.core.base.lock cimport Lock, lock_drop, lock_take
from rtmalloc.core.base.platform cimport RT_GUARDED, rt_guard_open, rt_os_huge_pages, rt_os_split_huge
from rtmalloc.core.pages.segment cimport (
    SEGMENT_OPENING, SEGMENT_SLICES, Segment, segment_give, segment_give_untouched, segment_take,
)

cdef extern from "base/config.h":
    enum:
        RT_SLICE_SHIFT
        RT_SLICE_BYTES
        RT_SEGMENT_SHIFT
        RT_HUGE_SHIFT
        RT_GROUP_SEGMENTS
        RT_GROUP_BYTES
        RT_LOOKUP
        RT_LOOKUP_HEADER

cdef enum:
    SLICE_NONE = 0xFFFFFFFF    # "no slice": slices are numbered from 0
    SUMMARY_FREE = 0           # which summary: runs of free slices ...
    SUMMARY_DIRTY = 1          # ... or of free slices that are dirty, hence resident
    PAGE_HEAP_PROBES = 16      # segments tried at the level that only may fit, before the level that must

    SEGMENTS_GIVE_UP = 0       # what the hook is asked for: let the memory of idle segments go ...
    SEGMENTS_OPEN = 1          # ... make it accessible ...
    SEGMENTS_OPEN_DENSE = 2    # ... and expect that all of it is used soon
    DENSE_LEAST = 32           # MiB opened: a smaller heap never counts as dense
    DENSE_RUN = 16             # MiB in a row, up to the end, without a free slice: growth behind them is dense

# Open segments [first, first + count) or give them up (SEGMENTS_*); 0 on success.
ctypedef int (*segments_hook)(void* context, uint32_t first, uint32_t count, int how) noexcept nogil
# The same for slices [slice, slice + count): where each run has a mapping of its own (option segments=0).
ctypedef int (*runs_hook)(void* context, uint32_t slice, uint32_t count, bint open) noexcept nogil

cdef struct PageHeap:
    Lock lock
    uint32_t opened            # segments [0, opened) have been in use; beyond them all is untouched (read relaxed
                               # without the lock)
    uint32_t limit             # segments that the arena has
    bint on_demand             # address space is scarce: idle segments are given up
    char* base                 # address of slice 0
    segments_hook hook         # called without the lock; NULL when all memory is accessible already
    void* hook_context
    runs_hook run_hook         # NULL, or called without the lock for each run that is taken or given back: no slice is
                               # then ever dirty, and there is nothing to purge
    Segment* segments          # [limit]
    uint64_t* summaries        # see page_heap_summary
    const int64_t* address_order  # the option: 0 looks for a run where the last one was taken or given; NULL as if 1
    uint32_t recent            # that segment
    uint64_t used_slices       # taken and not given back, those in the hands of the purger included
    uint64_t dirty_slices      # free and dirty
    uint64_t peak_slices       # the most of used and dirty ones together (purge_for_peak lowers it)
    uint64_t unmapped          # idle segments given up
    uint64_t wanted_back       # slices taken after they had been purged
    # used_slices + free slices of opened segments (+ slices of segments that could not be mapped) = opened * 64


cdef struct Rise:
    # What taking a run has done to the peak.
    uint64_t slices            # by how many it rose
    uint64_t used_slices       # the counters afterwards
    uint64_t dirty_slices


cdef inline size_t page_heap_summary_bytes(uint32_t limit) noexcept nogil:
    # Bytes of zeroed memory that page_heap_open wants for its summaries.
    return 2 * RUN_LEVELS * ((limit + 63) // 64) * sizeof(uint64_t)


cdef inline cold_void page_heap_open(
    PageHeap* ph, char* base, uint32_t limit, bint on_demand, Segment* segments, void* summary_memory
) noexcept nogil:
    # Start with nothing opened; `segments` and `summary_memory` are zeroed and stay the heap's.
    memset(ph, 0, sizeof(PageHeap))
    ph.base = base
    ph.limit = limit
    ph.on_demand = on_demand
    ph.segments = segments
    ph.summaries = <uint64_t*>summary_memory


cdef inline uint64_t* page_heap_summary(PageHeap* ph, uint32_t which, uint32_t level, uint32_t word) noexcept nogil:
    # A word of a summary: bit i = segment 64 * word + i has a run of at least 2**level slices (SUMMARY_FREE or _DIRTY).
    # The words of the same segments lie together, so that a small heap touches one page of them.
    return &ph.summaries[(word * 2 + which) * RUN_LEVELS + level]


cdef inline uint32_t page_heap_opened(PageHeap* ph) noexcept nogil:
    # `opened`, for those who do not hold the lock.
    return rt_load_relaxed_u32(&ph.opened)


cdef inline void page_heap_note_level(PageHeap* ph, uint32_t which, uint32_t s, uint32_t before, uint32_t now) noexcept nogil:
    # Segment s had runs of the lengths below level `before` and now has those below `now`.
    # Relaxed stores because the purger reads the words without the lock; no other thread writes them.
    cdef uint64_t bit = <uint64_t>1 << (s & 63)
    cdef uint64_t* word
    while before < now:
        word = page_heap_summary(ph, which, before, s >> 6)
        rt_store_relaxed_u64(word, word[0] | bit)
        before += 1
    while before > now:
        before -= 1
        word = page_heap_summary(ph, which, before, s >> 6)
        rt_store_relaxed_u64(word, word[0] & ~bit)


cdef inline void page_heap_note(PageHeap* ph, uint32_t s) noexcept nogil:
    # Segment s has changed: bring the summaries up to date.
    cdef Segment* segment = &ph.segments[s]
    cdef uint32_t level = run_level(segment.free)
    if level != segment.level_free:
        page_heap_note_level(ph, SUMMARY_FREE, s, segment.level_free, level)
        segment.level_free = level
    level = run_level(segment.free & segment.dirty)
    if level != segment.level_dirty:
        page_heap_note_level(ph, SUMMARY_DIRTY, s, segment.level_dirty, level)
        rt_store_relaxed_u32(&segment.level_dirty, level)


cdef inline void page_heap_guard_open(PageHeap* ph, const Segment* segment, uint64_t mask) noexcept nogil:
    # (RT_GUARD) What was given back may be used again.
    cdef uint64_t first = <uint64_t>(segment - ph.segments) * SEGMENT_SLICES
    cdef uint32_t bit, length
    while mask:
        bit = rt_lowest_bit(mask)
        length = run_length(mask, bit)
        rt_guard_open(ph.base + ((first + bit) << RT_SLICE_SHIFT), <size_t>length << RT_SLICE_SHIFT)
        mask &= ~mask_run(bit, length)


cdef inline void page_heap_note_taken(PageHeap* ph, Segment* segment, uint64_t mask) noexcept nogil:
    # `mask` is about to leave the free set of `segment`.
    if RT_GUARDED:
        page_heap_guard_open(ph, segment, mask)
    ph.dirty_slices -= rt_count_bits(mask & segment.dirty)
    ph.used_slices += rt_count_bits(mask)
    rt_store_relaxed_u64(&ph.wanted_back, ph.wanted_back + rt_count_bits(mask & segment.purged))


cdef inline void page_heap_note_peak(PageHeap* ph, Rise* rise) noexcept nogil:
    # After slices were taken, under the lock.
    rise.used_slices = ph.used_slices
    rise.dirty_slices = ph.dirty_slices
    rise.slices = 0
    if ph.used_slices + ph.dirty_slices > ph.peak_slices:
        rise.slices = ph.used_slices + ph.dirty_slices - ph.peak_slices
        ph.peak_slices += rise.slices


cdef inline uint32_t page_heap_search(PageHeap* ph, uint32_t which, uint32_t count) noexcept nogil:
    # The lowest run of `count` <= 64 slices inside one segment, or the next one after the segment used last; or SLICE_NONE.
    cdef uint32_t level = level_of(count)
    cdef uint32_t words = (ph.opened + 63) // 64
    cdef bint next_fit = ph.address_order != NULL and ph.address_order[0] == 0
    cdef uint32_t start = ph.recent if next_fit else 0
    cdef uint32_t i, w, s, first
    cdef uint32_t probes = 0
    cdef uint64_t candidates, mask
    # Next fit comes round to the first word's lower segments at the end.
    for i in range(words + next_fit):
        w = start // 64 + i
        if w >= words:
            w -= words
        candidates = page_heap_summary(ph, which, level, w)[0]
        if i == 0:
            candidates &= ~mask_low(start % 64)
        while candidates:
            s = w * 64 + rt_lowest_bit(candidates)
            candidates &= candidates - 1
            mask = ph.segments[s].free
            if which == SUMMARY_DIRTY:
                mask &= ph.segments[s].dirty
            first = run_find(mask, count)
            if first != RUN_NONE:
                return s * SEGMENT_SLICES + first
            probes += 1
            if probes == PAGE_HEAP_PROBES and level + 1 < RUN_LEVELS:
                # Enough near misses: from here on only segments whose run is surely long enough.
                level += 1
                candidates &= page_heap_summary(ph, which, level, w)[0]
    return SLICE_NONE


cdef inline bint page_heap_is_dense(const PageHeap* ph, uint32_t end) noexcept nogil:
    # Whether the segments before `end`, which is to be opened next, are full in a row. Under the lock.
    cdef uint32_t s
    if end < (DENSE_LEAST << 20) >> RT_SEGMENT_SHIFT:
        return False
    for s in range(end - ((DENSE_RUN << 20) >> RT_SEGMENT_SHIFT), end):
        if ph.segments[s].free:
            return False
    return True


cdef inline void page_heap_begin(PageHeap* ph, uint32_t s) noexcept nogil:
    # The memory of segment s is there: all of it is free, but for a header (pagemap.pxd).
    ph.segments[s].free = ~<uint64_t>0
    if RT_LOOKUP == RT_LOOKUP_HEADER:
        ph.segments[s].free -= 1
        ph.used_slices += 1
    page_heap_note(ph, s)


cdef inline slow_int page_heap_grow(PageHeap* ph, uint32_t segments) noexcept nogil:
    # Open `segments` further segments in a row, and as many more as fill the last group. Called with the lock held, which
    # it drops for the system call: the numbers are reserved first, and the segments appear when their memory is there.
    # Returns 1 when it opened them, 0 when the arena is at its end or the kernel refuses.
    cdef uint32_t first = ph.opened
    cdef uint32_t misfit = (first + segments) & (RT_GROUP_SEGMENTS - 1)
    cdef uint32_t s
    cdef int failed
    cdef int how = SEGMENTS_OPEN_DENSE if page_heap_is_dense(ph, first) else SEGMENTS_OPEN
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
                rt_store_relaxed_u32(&ph.segments[s].mapped, 0)
            # If nobody has opened more meanwhile, hand the numbers back, so that a later try finds them.
            if ph.opened == first + segments:
                rt_store_relaxed_u32(&ph.opened, first)
            return 0
    for s in range(first, first + segments):
        rt_store_relaxed_u32(&ph.segments[s].mapped, 1)
        page_heap_begin(ph, s)
    return 1


cdef inline bint page_heap_reopen(PageHeap* ph) noexcept nogil:
    # Map one segment again that was unmapped when it was idle. Called with the lock held, which it drops meanwhile.
    cdef uint32_t s
    cdef int failed
    for s in range(ph.opened):
        if ph.segments[s].mapped == 0:
            # Claimed before the lock is dropped.
            rt_store_relaxed_u32(&ph.segments[s].mapped, 1)
            lock_drop(&ph.lock)
            failed = ph.hook(ph.hook_context, s, 1, SEGMENTS_OPEN)
            lock_take(&ph.lock)
            if failed:
                rt_store_relaxed_u32(&ph.segments[s].mapped, 0)
                return False
            page_heap_begin(ph, s)
            return True
    return False


cdef inline slow_int page_heap_unmap_idle(PageHeap* ph) noexcept nogil:
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
            page_heap_note(ph, s)
            lock_drop(&ph.lock)
            ph.hook(ph.hook_context, s, 1, SEGMENTS_GIVE_UP)
            lock_take(&ph.lock)
            rt_store_relaxed_u32(&segment.mapped, 0)
            ph.unmapped += 1
            count += 1
    lock_drop(&ph.lock)
    return count


cdef inline uint32_t page_heap_take_inside(PageHeap* ph, uint32_t count) noexcept nogil:
    # A run of `count` <= 64 slices inside one segment, under the lock, or SLICE_NONE.
    cdef uint32_t slice = page_heap_search(ph, SUMMARY_DIRTY, count)
    cdef uint64_t mask
    cdef Segment* segment
    if slice == SLICE_NONE:
        slice = page_heap_search(ph, SUMMARY_FREE, count)
        if slice == SLICE_NONE:
            return SLICE_NONE
    segment = &ph.segments[slice // SEGMENT_SLICES]
    mask = mask_run(slice % SEGMENT_SLICES, count)
    page_heap_note_taken(ph, segment, mask)
    segment_take(segment, mask)
    page_heap_note(ph, slice // SEGMENT_SLICES)
    ph.recent = slice // SEGMENT_SLICES
    return slice


cdef inline uint32_t page_heap_search_across(PageHeap* ph, uint32_t count, uint32_t* tail) noexcept nogil:
    # The lowest run of `count` slices that may cross segments, or SLICE_NONE and in `tail` how many free slices end
    # the opened part of the arena (a run that growing would lengthen).
    cdef uint32_t s, here, first
    cdef uint32_t start = 0
    cdef uint32_t length = 0
    cdef uint64_t mask
    for s in range(ph.opened):
        mask = ph.segments[s].free
        if mask == ~<uint64_t>0:
            if length == 0:
                start = s * SEGMENT_SLICES
            length += SEGMENT_SLICES
        else:
            here = run_length(mask, 0)
            if length + here >= count:
                return start if length else s * SEGMENT_SLICES
            if count < SEGMENT_SLICES:
                first = run_find(mask, count)
                if first != RUN_NONE:
                    return s * SEGMENT_SLICES + first
            # What ends the segment begins the next run.
            length = SEGMENT_SLICES - 1 - rt_highest_bit(~mask)
            start = (s + 1) * SEGMENT_SLICES - length
        if length >= count:
            return start
    tail[0] = length
    return SLICE_NONE


cdef inline void page_heap_mark(PageHeap* ph, uint32_t slice, uint32_t count, int how) noexcept nogil:
    # Take (0), give back used (1) or give back untouched (2) a run of any length, under the lock.
    cdef uint32_t s, first, n
    cdef uint64_t mask
    cdef Segment* segment
    while count:
        s = slice // SEGMENT_SLICES
        first = slice % SEGMENT_SLICES
        n = SEGMENT_SLICES - first
        if n > count:
            n = count
        segment = &ph.segments[s]
        mask = mask_run(first, n)
        if how == 0:
            page_heap_note_taken(ph, segment, mask)
            segment_take(segment, mask)
        else:
            if how == 1:
                segment_give(segment, mask)
                ph.recent = s
            else:
                segment_give_untouched(segment, mask)
            ph.used_slices -= n
            ph.dirty_slices += rt_count_bits(mask & segment.dirty)
        page_heap_note(ph, s)
        slice += n
        count -= n


cdef inline slow_int page_heap_take_locked(PageHeap* ph, uint32_t count, uint32_t* slice) noexcept nogil:
    # page_heap_take under the lock: 1 with *slice set, or 0.
    cdef uint32_t tail, need
    if RT_LOOKUP == RT_LOOKUP_HEADER and count >= SEGMENT_SLICES:
        # No run reaches over a segment's header.
        return 0
    while True:
        if count <= SEGMENT_SLICES:
            slice[0] = page_heap_take_inside(ph, count)
            if slice[0] != SLICE_NONE:
                return 1
        tail = 0
        if count > 1:
            slice[0] = page_heap_search_across(ph, count, &tail)
            if slice[0] != SLICE_NONE:
                page_heap_mark(ph, slice[0], count, 0)
                return 1
        need = (count - tail + SEGMENT_SLICES - 1) // SEGMENT_SLICES
        if ph.on_demand and ph.hook != NULL and count <= SEGMENT_SLICES and page_heap_reopen(ph):
            continue
        if not page_heap_grow(ph, need):
            return 0


cdef inline int page_heap_map_run(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # A run was taken, and the lock dropped: make it accessible if that has not been done with its segment. 0 on success;
    # else the run is given back.
    if ph.run_hook == NULL or ph.run_hook(ph.hook_context, slice, count, True) == 0:
        return 0
    lock_take(&ph.lock)
    page_heap_mark(ph, slice, count, 2)
    lock_drop(&ph.lock)
    return -1


cdef inline uint32_t page_heap_take_aligned(
    PageHeap* ph, uint32_t count, uint32_t alignment, Rise* rise
) noexcept nogil:
    # A run of `count` >= 1 slices whose address is a multiple of `alignment` (a power of two, at least 1) slices, or
    # SLICE_NONE when the arena is full. The slices' dirty bits tell what is not zero. Takes a longer run and gives its ends
    # back untouched. `rise` tells what that meant for the peak.
    cdef uint32_t first, misfit
    cdef uint64_t number
    cdef uint32_t slice = SLICE_NONE
    lock_take(&ph.lock)
    if count + alignment - 1 >= count and page_heap_take_locked(ph, count + alignment - 1, &slice):
        number = (<uint64_t><size_t>ph.base >> RT_SLICE_SHIFT) + slice
        misfit = <uint32_t>((alignment - (number & (alignment - 1))) & (alignment - 1))
        first = slice + misfit
        page_heap_mark(ph, slice, misfit, 2)
        page_heap_mark(ph, first + count, alignment - 1 - misfit, 2)
        slice = first
    else:
        slice = SLICE_NONE
    page_heap_note_peak(ph, rise)
    lock_drop(&ph.lock)
    if slice != SLICE_NONE and page_heap_map_run(ph, slice, count):
        return SLICE_NONE
    return slice


cdef inline uint32_t page_heap_take(PageHeap* ph, uint32_t count) noexcept nogil:
    # The same, anywhere, for who does not mind the peak.
    cdef Rise rise
    return page_heap_take_aligned(ph, count, 1, &rise)


cdef inline void page_heap_lower_peak(PageHeap* ph, uint64_t slices) noexcept nogil:
    # So many dirty slices went back when the peak had just been raised by at least as many: it never falls below 0.
    lock_take(&ph.lock)
    ph.peak_slices -= slices
    if ph.peak_slices < ph.used_slices + ph.dirty_slices:
        ph.peak_slices = ph.used_slices + ph.dirty_slices
    lock_drop(&ph.lock)


cdef inline void page_heap_give(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # Take back a run after use.
    cdef int how = 1
    if ph.run_hook != NULL and ph.run_hook(ph.hook_context, slice, count, False) == 0:
        how = 2
    lock_take(&ph.lock)
    page_heap_mark(ph, slice, count, how)
    lock_drop(&ph.lock)


cdef inline slow_int page_heap_extend(
    PageHeap* ph, uint32_t slice, uint32_t count, uint32_t more, Rise* rise
) noexcept nogil:
    # Lengthen the run [slice, slice + count) in place by `more` slices; 1 when they were free, else 0 and no change. `rise`
    # tells what that meant for the peak.
    cdef uint32_t end = slice + count
    cdef uint32_t left = more
    cdef uint32_t at = end
    cdef uint32_t s, first, n
    cdef bint fits
    lock_take(&ph.lock)
    fits = end + more >= end and end + more <= ph.opened * SEGMENT_SLICES
    while left and fits:
        s = at // SEGMENT_SLICES
        first = at % SEGMENT_SLICES
        n = SEGMENT_SLICES - first
        if n > left:
            n = left
        fits = (ph.segments[s].free & mask_run(first, n)) == mask_run(first, n)
        at += n
        left -= n
    if fits:
        page_heap_mark(ph, end, more, 0)
    page_heap_note_peak(ph, rise)
    lock_drop(&ph.lock)
    return fits and page_heap_map_run(ph, end, more) == 0


cdef inline void page_heap_split_huge(PageHeap* ph, uint32_t s) noexcept nogil:
    # Before the first page of segment s goes back. Discarding part of a huge page leaves all of it with the process until
    # the kernel is short of memory (only RSS looks smaller), so it is split first; and no later fault brings one back.
    cdef uint32_t first = s & ~<uint32_t>(RT_GROUP_SEGMENTS - 1)
    cdef char* base = ph.base + (<size_t>first << RT_SEGMENT_SHIFT)
    cdef uint32_t i
    if rt_load_relaxed_u32(&ph.segments[s].huge):
        for i in range(RT_GROUP_SEGMENTS):
            rt_store_relaxed_u32(&ph.segments[first + i].huge, 0)
        rt_os_huge_pages(base, RT_GROUP_BYTES, False)
        for i in range(RT_GROUP_BYTES >> RT_HUGE_SHIFT):
            rt_os_split_huge(base + (<size_t>i << RT_HUGE_SHIFT))


cdef inline uint64_t page_heap_dirty_in(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # For the owner of a run inside one segment: which of its slices may hold something else than zeros (bit 0 = the
    # first). Our own bits change only by our own doing, but the word is everybody's: hence the lock.
    cdef uint64_t dirty
    lock_take(&ph.lock)
    dirty = ph.segments[slice // SEGMENT_SLICES].dirty
    lock_drop(&ph.lock)
    return (dirty >> (slice % SEGMENT_SLICES)) & mask_low(count)
