# Free slices go back to the kernel after a delay. No timestamps: a decay step ages every dirty slice by one generation
# and purges what was old already, so a slice stays between one half and one whole delay. Whoever ticks when a step is due
# does a bounded part of it; no system call happens under a lock.
from libc.stdint cimport int64_t, uint32_t, uint64_t

from rtmalloc.core.arena cimport Arena, arena_address
from rtmalloc.core.atomics cimport rt_load_relaxed_u64
from rtmalloc.core.attributes cimport cold_int, cold_void
from rtmalloc.core.bitmap cimport mask_run, rt_count_bits, rt_lowest_bit, run_length
from rtmalloc.core.lock cimport Lock, lock_drop, lock_take, lock_try
from rtmalloc.core.options cimport RT_OPTION_dirty_decay_ms, RT_OPTION_muzzy_decay_ms
from rtmalloc.core.page_heap cimport SUMMARY_DIRTY, PageHeap, page_heap_note, page_heap_opened
from rtmalloc.core.platform cimport rt_os_discard, rt_os_discard_lazily
from rtmalloc.core.segment cimport SEGMENT_SLICES, Segment, segment_decay
from rtmalloc.core.store cimport Store

cdef extern from "config.h":
    enum:
        RT_SLICE_SHIFT

cdef enum:
    PURGE_CALLS = 16           # madvise calls per tick: about 50 us

cdef struct Purge:
    Lock lock                  # held by the one purger; others go on without waiting
    uint32_t cursor            # segment where the step goes on; >= opened: the step is over
    uint64_t step_at           # clock, in ms, when the next step begins
    uint64_t calls             # madvise calls
    uint64_t slices            # slices given back


cdef inline uint32_t purge_mask(Store* store, Purge* purge, uint32_t s, uint64_t mask, bint lazily) noexcept nogil:
    # Give back the slices `mask` of segment s, which are free and which the caller has taken out of `free`; afterwards
    # they are free again, and clean (or muzzy). Returns the number of system calls.
    cdef PageHeap* ph = &store.arena.pages
    cdef Segment* segment = &ph.segments[s]
    cdef uint64_t rest = mask
    cdef uint64_t failed = 0
    cdef uint32_t first, length
    cdef uint32_t calls = 0
    cdef int result
    cdef char* at
    while rest:
        first = rt_lowest_bit(rest)
        length = run_length(rest, first)
        at = arena_address(&store.arena, <uint64_t>s * SEGMENT_SLICES + first)
        if lazily:
            result = rt_os_discard_lazily(at, <size_t>length << RT_SLICE_SHIFT)
        else:
            result = rt_os_discard(at, <size_t>length << RT_SLICE_SHIFT)
        if result != 0:
            # Locked memory, for instance: it stays what it was.
            failed |= mask_run(first, length)
        rest &= ~mask_run(first, length)
        calls += 1
    lock_take(&ph.lock)
    segment.free |= mask
    ph.used_slices -= rt_count_bits(mask)
    if lazily:
        segment.muzzy |= mask & ~failed
        segment.old &= ~mask
        ph.dirty_slices += rt_count_bits(mask)
    else:
        segment.dirty &= ~(mask & ~failed)
        segment.old &= ~mask
        segment.muzzy &= ~mask
        ph.dirty_slices += rt_count_bits(failed)
    page_heap_note(ph, s)
    lock_drop(&ph.lock)
    purge.calls += calls
    purge.slices += rt_count_bits(mask & ~failed)
    return calls


cdef inline uint64_t purge_due(PageHeap* ph, uint32_t s, bint all, bint muzzy_wanted, bint* lazily) noexcept nogil:
    # Age segment s by one step (or, with `all`, regard everything as due) and take what is due out of `free`.
    cdef Segment* segment = &ph.segments[s]
    cdef uint64_t due
    lock_take(&ph.lock)
    due = segment.free & segment.dirty if all else segment_decay(segment)
    lazily[0] = False
    if muzzy_wanted and not all and due & ~segment.muzzy:
        # First what is dirty; what is muzzy already has its turn in the next step.
        segment.old |= due & segment.muzzy
        due &= ~segment.muzzy
        lazily[0] = True
    if due:
        segment.free &= ~due
        ph.used_slices += rt_count_bits(due)
        ph.dirty_slices -= rt_count_bits(due)
        page_heap_note(ph, s)
    lock_drop(&ph.lock)
    return due


cdef inline uint32_t purge_next_dirty(PageHeap* ph, uint32_t s) noexcept nogil:
    # The first segment from s on with dirty free slices; `opened` when there is none. Unlocked: a stale answer is mended
    # by the next step.
    cdef uint64_t word
    cdef uint32_t opened = page_heap_opened(ph)
    while s < opened:
        word = rt_load_relaxed_u64(&ph.summary[SUMMARY_DIRTY][0][s >> 6]) >> (s & 63)
        if word:
            return s + rt_lowest_bit(word)
        s = (s | 63) + 1
    return opened


cdef inline cold_int purge_run(Store* store, Purge* purge, uint32_t calls, bint all) noexcept nogil:
    # Go on with the step until it is over or `calls` system calls are done; whether anything was given back.
    cdef PageHeap* ph = &store.arena.pages
    cdef bint lazily = False
    cdef bint muzzy = store.options.value[RT_OPTION_muzzy_decay_ms] > 0
    cdef uint32_t done = 0
    cdef uint64_t due
    while done < calls:
        purge.cursor = purge_next_dirty(ph, purge.cursor)
        if purge.cursor >= page_heap_opened(ph):
            break
        due = purge_due(ph, purge.cursor, all, muzzy, &lazily)
        if due:
            done += purge_mask(store, purge, purge.cursor, due, lazily)
        purge.cursor += 1
    return done > 0


cdef inline void purge_tick(Store* store, Purge* purge, uint64_t now) noexcept nogil:
    # A thread passes by with the time in its hand: begin or continue a step if one is due and nobody is at it.
    cdef int64_t decay = store.options.value[RT_OPTION_dirty_decay_ms]
    if decay < 0 or not lock_try(&purge.lock):
        return
    if now >= purge.step_at:
        purge.step_at = now + (decay // 2 if decay > 1 else 1)
        purge.cursor = 0
    if purge.cursor < page_heap_opened(&store.arena.pages):
        purge_run(store, purge, PURGE_CALLS, decay == 0)
    lock_drop(&purge.lock)


cdef inline cold_int purge_everything(Store* store, Purge* purge) noexcept nogil:
    # Give back all free dirty memory now; whether there was any.
    cdef bint gave
    lock_take(&purge.lock)
    purge.cursor = 0
    gave = purge_run(store, purge, 0xFFFFFFFF, True)
    lock_drop(&purge.lock)
    return gave
