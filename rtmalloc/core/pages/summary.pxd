# Summaries: which segments have a run of so many slices.
# A search looks at them instead of at the segments.
#
# A summary is a bitmap over segments. There is one for each length 1, 2, 4, ... 64, for free slices and for those that are
# dirty as well. They belong to the page heap, and are changed under its lock.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.base.atomics cimport rt_store_relaxed_u32, rt_store_relaxed_u64
from rtmalloc.core.base.bitmap cimport (
    RUN_LEVELS, RUN_NONE, level_of, mask_low, rt_highest_bit, rt_lowest_bit, run_find, run_length, run_level,
)
from rtmalloc.core.pages.segment cimport SEGMENT_SLICES
from rtmalloc.core.types cimport PageHeap, Segment

cdef enum:
    SLICE_NONE = 0xFFFFFFFF    # "no slice": slices are numbered from 0
    SUMMARY_FREE = 0           # which summary: runs of free slices ...
    SUMMARY_DIRTY = 1          # ... or of free slices that are dirty, hence resident
    SUMMARY_PROBES = 16        # segments tried at the level that only may fit, before the level that must


cdef inline size_t summary_bytes(uint32_t limit) noexcept nogil:
    # Bytes of zeroed memory that page_heap_open wants for the summaries.
    return 2 * RUN_LEVELS * ((limit + 63) // 64) * sizeof(uint64_t)


cdef inline uint64_t* summary_word(PageHeap* ph, uint32_t which, uint32_t level, uint32_t word) noexcept nogil:
    # A word of a summary: bit i = segment 64 * word + i has a run of at least 2**level slices (SUMMARY_FREE or _DIRTY).
    # The words of the same segments lie together, so that a small heap touches one page of them.
    return &ph.summaries[(word * 2 + which) * RUN_LEVELS + level]


cdef inline void summary_note_level(PageHeap* ph, uint32_t which, uint32_t s, uint32_t before, uint32_t now) noexcept nogil:
    # Segment s had runs of the lengths below level `before` and now has those below `now`.
    # Relaxed stores because the purger reads the words without the lock; no other thread writes them.
    cdef uint64_t bit = <uint64_t>1 << (s & 63)
    cdef uint64_t* word
    while before < now:
        word = summary_word(ph, which, before, s >> 6)
        rt_store_relaxed_u64(word, word[0] | bit)
        before += 1
    while before > now:
        before -= 1
        word = summary_word(ph, which, before, s >> 6)
        rt_store_relaxed_u64(word, word[0] & ~bit)


cdef inline void summary_count(PageHeap* ph, int64_t used, int64_t dirty) noexcept nogil:
    # So many slices more are in use, and are free and dirty. Who estimates reads the counters without the lock.
    rt_store_relaxed_u64(&ph.used_slices, ph.used_slices + <uint64_t>used)
    rt_store_relaxed_u64(&ph.dirty_slices, ph.dirty_slices + <uint64_t>dirty)


cdef inline void summary_note(PageHeap* ph, uint32_t s) noexcept nogil:
    # Segment s has changed: bring the summaries up to date.
    cdef Segment* segment = &ph.segments[s]
    cdef uint32_t level = run_level(segment.free)
    if level != segment.level_free:
        summary_note_level(ph, SUMMARY_FREE, s, segment.level_free, level)
        segment.level_free = level
    level = run_level(segment.free & segment.dirty)
    if level != segment.level_dirty:
        summary_note_level(ph, SUMMARY_DIRTY, s, segment.level_dirty, level)
        rt_store_relaxed_u32(&segment.level_dirty, level)


cdef inline uint32_t summary_find(PageHeap* ph, uint32_t which, uint32_t count) noexcept nogil:
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
        candidates = summary_word(ph, which, level, w)[0]
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
            if probes == SUMMARY_PROBES and level + 1 < RUN_LEVELS:
                # Enough near misses: from here on only segments whose run is surely long enough.
                level += 1
                candidates &= summary_word(ph, which, level, w)[0]
    return SLICE_NONE


cdef inline uint32_t summary_find_across(PageHeap* ph, uint32_t count, uint32_t* tail) noexcept nogil:
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
