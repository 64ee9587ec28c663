# The page heap: runs of slices for spans and large blocks, lowest first, dirty memory before clean.
#
# One lock; no system call under it. summary.pxd finds a segment with a run, base/bitmap.pxd the run inside it, growth.pxd
# opens more of the arena.
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memset

from rtmalloc.core.base.atomics cimport (
    rt_load_acquire_u32, rt_load_relaxed_u32, rt_store_relaxed_u32, rt_store_relaxed_u64,
)
from rtmalloc.core.base.attributes cimport cold_void, slow_int
from rtmalloc.core.base.bitmap cimport mask_low, mask_run, rt_count_bits, rt_lowest_bit, run_length
from rtmalloc.core.base.config cimport RT_HEADER_SLICES, RT_SLICE_SHIFT
from rtmalloc.core.base.lock cimport lock_drop, lock_take
from rtmalloc.core.base.platform cimport RT_GUARDED, rt_guard_open, rt_os_renew
from rtmalloc.core.pages.growth cimport growth_open, growth_reopen
from rtmalloc.core.pages.segment cimport (
    SEGMENT_SLICES, segment_give, segment_give_clean, segment_give_untouched, segment_take,
)
from rtmalloc.core.pages.summary cimport (
    SLICE_NONE, SUMMARY_DIRTY, SUMMARY_FREE, summary_count, summary_find, summary_find_across, summary_note,
)
from rtmalloc.core.types cimport PageHeap, Rise, Segment

cdef enum:                     # what page_heap_mark does to a run
    RUN_TAKE = 0
    RUN_GIVE = 1               # it comes back after use
    RUN_GIVE_UNTOUCHED = 2     # it comes back as it was taken: nothing has been written
    RUN_GIVE_CLEAN = 3         # it comes back after use, mapped anew


cdef inline cold_void page_heap_open(
    PageHeap* ph, char* base, uint32_t limit, Segment* segments, void* summary_memory
) noexcept nogil:
    # Start with nothing opened; `segments` and `summary_memory` are zeroed and stay the heap's. They have all `limit`
    # entries; who sets a hook may set `described` to fewer.
    memset(ph, 0, sizeof(PageHeap))
    ph.base = base
    ph.limit = limit
    ph.described = limit
    ph.segments = segments
    ph.summaries = <uint64_t*>summary_memory


cdef inline uint32_t page_heap_opened(PageHeap* ph) noexcept nogil:
    # `opened`, for callers without the lock. Acquire: what is told of these segments lies in tables that are mapped.
    return rt_load_acquire_u32(&ph.opened)


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
    summary_count(ph, rt_count_bits(mask), -<int64_t>rt_count_bits(mask & segment.dirty))
    rt_store_relaxed_u64(&ph.wanted_back, ph.wanted_back + rt_count_bits(mask & segment.purged))


cdef inline void page_heap_note_peak(PageHeap* ph, Rise* rise) noexcept nogil:
    # After slices were taken, under the lock.
    rise.used_slices = ph.used_slices
    rise.dirty_slices = ph.dirty_slices
    rise.slices = 0
    if ph.used_slices + ph.dirty_slices > ph.peak_slices:
        rise.slices = ph.used_slices + ph.dirty_slices - ph.peak_slices
        ph.peak_slices += rise.slices


cdef inline uint32_t page_heap_take_inside(PageHeap* ph, uint32_t count) noexcept nogil:
    # A run of `count` <= 64 slices inside one segment, under the lock, or SLICE_NONE.
    cdef uint32_t slice = summary_find(ph, SUMMARY_DIRTY, count)
    cdef uint64_t mask
    cdef Segment* segment
    if slice == SLICE_NONE:
        slice = summary_find(ph, SUMMARY_FREE, count)
        if slice == SLICE_NONE:
            return SLICE_NONE
    segment = &ph.segments[slice // SEGMENT_SLICES]
    mask = mask_run(slice % SEGMENT_SLICES, count)
    page_heap_note_taken(ph, segment, mask)
    segment_take(segment, mask)
    summary_note(ph, slice // SEGMENT_SLICES)
    ph.recent = slice // SEGMENT_SLICES
    return slice


cdef inline void page_heap_mark(PageHeap* ph, uint32_t slice, uint32_t count, int how) noexcept nogil:
    # Take or give back (RUN_*) a run of any length, under the lock.
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
        if how == RUN_TAKE:
            page_heap_note_taken(ph, segment, mask)
            segment_take(segment, mask)
        else:
            if how == RUN_GIVE:
                segment_give(segment, mask)
                ph.recent = s
            elif how == RUN_GIVE_CLEAN:
                segment_give_clean(segment, mask)
            else:
                segment_give_untouched(segment, mask)
            summary_count(ph, -<int64_t>n, rt_count_bits(mask & segment.dirty))
        summary_note(ph, s)
        slice += n
        count -= n


cdef inline slow_int page_heap_take_locked(PageHeap* ph, uint32_t count, uint32_t* slice) noexcept nogil:
    # page_heap_take under the lock: 1 with *slice set, or 0.
    cdef uint32_t tail, need
    if RT_HEADER_SLICES and count >= SEGMENT_SLICES:
        # No run reaches over a segment's header.
        return 0
    while True:
        if count <= SEGMENT_SLICES:
            slice[0] = page_heap_take_inside(ph, count)
            if slice[0] != SLICE_NONE:
                return 1
        tail = 0
        if count > 1:
            slice[0] = summary_find_across(ph, count, &tail)
            if slice[0] != SLICE_NONE:
                page_heap_mark(ph, slice[0], count, RUN_TAKE)
                return 1
        need = (count - tail + SEGMENT_SLICES - 1) // SEGMENT_SLICES
        if growth_reopen(ph, (count + SEGMENT_SLICES - 1) // SEGMENT_SLICES):
            continue
        if not growth_open(ph, need):
            return 0


cdef inline int page_heap_map_run(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # A run was taken, and the lock dropped: make it accessible if that has not been done with its segment. 0 on success;
    # else the run is given back.
    if ph.run_hook == NULL or ph.run_hook(ph.hook_context, slice, count, True) == 0:
        return 0
    lock_take(&ph.lock)
    page_heap_mark(ph, slice, count, RUN_GIVE_UNTOUCHED)
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
        page_heap_mark(ph, slice, misfit, RUN_GIVE_UNTOUCHED)
        page_heap_mark(ph, first + count, alignment - 1 - misfit, RUN_GIVE_UNTOUCHED)
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


cdef inline void page_heap_marks(PageHeap* ph, uint64_t slice, uint64_t end) noexcept nogil:
    # The program tells the kernel something about memory in slices [slice, end): it is to be forgotten with its blocks.
    cdef uint64_t s
    for s in range(slice // SEGMENT_SLICES, (end + SEGMENT_SLICES - 1) // SEGMENT_SLICES):
        if s < rt_load_relaxed_u32(&ph.opened):
            rt_store_relaxed_u32(&ph.segments[s].marked, 1)


cdef inline bint page_heap_is_marked(const PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # Whether it has done so in a segment that the run lies in.
    cdef uint32_t s
    for s in range(slice // SEGMENT_SLICES, (slice + count - 1) // SEGMENT_SLICES + 1):
        if rt_load_relaxed_u32(&ph.segments[s].marked):
            return True
    return False


cdef inline void page_heap_give(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # Take back a run after use.
    cdef int how = RUN_GIVE
    if ph.run_hook != NULL and ph.run_hook(ph.hook_context, slice, count, False) == 0:
        how = RUN_GIVE_UNTOUCHED
    elif page_heap_is_marked(ph, slice, count) and rt_os_renew(
        ph.base + (<size_t>slice << RT_SLICE_SHIFT), <size_t>count << RT_SLICE_SHIFT
    ) == 0:
        # Before anybody else lives there.
        how = RUN_GIVE_CLEAN
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
        page_heap_mark(ph, end, more, RUN_TAKE)
    page_heap_note_peak(ph, rise)
    lock_drop(&ph.lock)
    return fits and page_heap_map_run(ph, end, more) == 0


cdef inline uint64_t page_heap_dirty_in(PageHeap* ph, uint32_t slice, uint32_t count) noexcept nogil:
    # For the owner of a run inside one segment: which of its slices may hold something else than zeros (bit 0 = the
    # first). Our own bits change only by our own doing, but the word is everybody's: hence the lock.
    cdef uint64_t dirty
    lock_take(&ph.lock)
    dirty = ph.segments[slice // SEGMENT_SLICES].dirty
    lock_drop(&ph.lock)
    return (dirty >> (slice % SEGMENT_SLICES)) & mask_low(count)
